"""DMARC decided from records and results, and held against authheaders where that follows RFC 7489."""

from __future__ import annotations

import authheaders
import pytest
from authres import DKIMAuthenticationResult, SPFAuthenticationResult

from services.filters.authentication.checking import organisation, sample_of
from services.filters.authentication.policy import evaluate, read
from services.filters.authentication.results import Dmarc, Result, Signature


def decided(
    domain: str,
    record: str,
    *,
    at: str = "example.com",
    spf: tuple[str, str] = ("none", ""),
    dkim: tuple[str, str] = ("none", ""),
    sample: int = 0,
) -> Dmarc:
    """DMARC for the author's domain; results are given as result and domain."""
    return evaluate(
        domain,
        read(at, [record.encode()]),
        Result(result=spf[0], domain=spf[1]),
        [Signature(result=dkim[0], domain=dkim[1])] if dkim[1] else [],
        organisation=organisation,
        sample=sample,
    )


@pytest.mark.parametrize(
    ("record", "domain", "spf", "dkim", "result"),
    [
        ("v=DMARC1; p=reject", "example.com", ("pass", "example.com"), ("none", ""), "pass"),
        ("v=DMARC1; p=reject", "example.com", ("pass", "mail.example.com"), ("none", ""), "pass"),
        ("v=DMARC1; p=reject", "a.example.com", ("pass", "b.example.com"), ("none", ""), "pass"),
        ("v=DMARC1; p=reject", "example.com", ("pass", "example.org"), ("none", ""), "fail"),
        ("v=DMARC1; p=reject", "example.com", ("fail", "example.com"), ("none", ""), "fail"),
        ("v=DMARC1; p=reject", "example.com", ("none", ""), ("pass", "example.com"), "pass"),
        ("v=DMARC1; p=reject", "example.com", ("none", ""), ("pass", "notexample.com"), "fail"),
        ("v=DMARC1; p=reject", "example.com", ("none", ""), ("fail", "example.com"), "fail"),
        ("v=DMARC1; p=reject; aspf=s", "example.com", ("pass", "m.example.com"), ("none", ""), "fail"),
        ("v=DMARC1; p=reject; aspf=s", "example.com", ("pass", "example.com"), ("none", ""), "pass"),
        ("v=DMARC1; p=reject; adkim=s", "example.com", ("none", ""), ("pass", "m.example.com"), "fail"),
        ("v=DMARC1; p=none", "example.com", ("fail", "example.org"), ("none", ""), "fail"),
        ("v=spf1 -all", "example.com", ("pass", "example.com"), ("none", ""), "none"),
        ("v=DMARC1; p=reject", "x.co.uk", ("pass", "y.co.uk"), ("none", ""), "fail"),
    ],
)
def test_alignment(
    record: str, domain: str, spf: tuple[str, str], dkim: tuple[str, str], result: str
) -> None:
    """It passes by a domain of the author's own, and authheaders says the same."""
    assert decided(domain, record, at=domain, spf=spf, dkim=dkim).result == result
    found, *_ = authheaders.dmarc_per_from(
        domain,
        SPFAuthenticationResult(result=spf[0], smtp_mailfrom=f"a@{spf[1]}"),
        DKIMAuthenticationResult(result=dkim[0], header_d=dkim[1]),
        dnsfunc=lambda name: record if name == f"_dmarc.{domain}" else None,
    )
    assert found == result


def test_what_authheaders_does_otherwise() -> None:
    """Why it is not asked: sp= is for subdomains, and a hyphen is part of a name."""
    spf = SPFAuthenticationResult(result="pass", smtp_mailfrom="a@my-list.example")
    policy = "v=DMARC1; p=reject; sp=none"
    assert authheaders.dmarc_per_from("my-list.example", spf, dnsfunc=lambda _: policy)[0] == "fail"
    assert authheaders.dmarc_per_from("my-list.example", dnsfunc=lambda _: policy)[3] == "none"

    found = decided("my-list.example", policy, at="my-list.example", spf=("pass", "my-list.example"))
    assert (found.result, found.policy) == ("pass", "reject")


@pytest.mark.parametrize(
    ("record", "domain", "sample", "policy", "disposition"),
    [
        ("v=DMARC1; p=none", "example.com", 0, "none", "none"),
        ("v=DMARC1; p=quarantine", "example.com", 99, "quarantine", "quarantine"),
        ("v=DMARC1; p=reject; sp=none", "example.com", 99, "reject", "reject"),
        ("v=DMARC1; p=reject; sp=none", "a.example.com", 0, "none", "none"),
        ("v=DMARC1; p=none; sp=quarantine", "a.example.com", 0, "quarantine", "quarantine"),
        ("v=DMARC1; p=reject; pct=40", "example.com", 39, "reject", "reject"),
        ("v=DMARC1; p=reject; pct=40", "example.com", 40, "reject", "quarantine"),
        ("v=DMARC1; p=quarantine; pct=40", "example.com", 40, "quarantine", "none"),
        ("v=DMARC1; p=reject; pct=0", "example.com", 0, "reject", "quarantine"),
        ("v=DMARC1; p=reject; pct=lots", "example.com", 99, "reject", "reject"),
        ("v=DMARC1; p=rejct; rua=mailto:a@b", "example.com", 0, "none", "none"),
        ("v = DMARC1 ;p= REJECT ; x=y=z", "example.com", 0, "reject", "reject"),
    ],
)
def test_disposition_of_what_fails(
    record: str, domain: str, sample: int, policy: str, disposition: str
) -> None:
    """The policy for the domain or those below it, weakened for messages beyond the percentage."""
    found = decided(domain, record, sample=sample)
    assert (found.result, found.policy, found.disposition) == ("fail", policy, disposition)


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param([], id="none"),
        pytest.param([b"v=DMARC1; p=none", b"v=DMARC1; p=reject"], id="two"),
        pytest.param([b"v=DMARC2; p=none"], id="another version"),
        pytest.param([b"p=none; v=DMARC1"], id="the version is not first"),
        pytest.param([b"v=DMARC1; p=rejct"], id="no policy, and nobody to tell"),
        pytest.param([b"\xff\xfe"], id="no text"),
    ],
)
def test_no_record(texts: list[bytes]) -> None:
    """A domain that publishes none, or none that counts, has no policy."""
    assert read("example.com", texts) is None


def test_other_records_at_the_name_do_not_matter() -> None:
    """Only those that begin with the version are DMARC's."""
    record = read("example.com", [b"hello", b"v=DMARC1; p=reject"])
    assert record is not None
    assert record.p == "reject"


def test_a_record_that_cannot_be_read() -> None:
    """It is told apart from none: somebody meant something."""
    with pytest.raises(ValueError):
        read("example.com", [b"v=DMARC1; p=reject; rua"])


@pytest.mark.parametrize(
    ("domain", "found"),
    [
        ("example.com", "example.com"),
        ("a.b.example.com", "example.com"),
        ("corp-mta1.example.com", "example.com"),
        ("lab.example.org", "example.org"),
        ("x.y.co.uk", "y.co.uk"),
        ("example.gov", "example.gov"),
        ("com", "com"),
        ("", ""),
    ],
)
def test_organisational_domain(domain: str, found: str) -> None:
    """One label below the public suffix, by a list that comes along."""
    assert organisation(domain) == found


def test_samples_are_spread_and_repeated() -> None:
    """A message is judged alike each time; of many about as many as wanted are below a percentage."""
    samples = [sample_of(f"message {number}".encode()) for number in range(1000)]
    assert samples == [sample_of(f"message {number}".encode()) for number in range(1000)]
    assert 420 < sum(sample < 50 for sample in samples) < 580
    assert set(samples) == set(range(100))
