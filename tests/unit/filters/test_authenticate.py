"""Who sent a message: SPF, DKIM, DMARC and ARC together, against a table of DNS records."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence

import pytest

from services.filters.authentication import (
    Authentication,
    LookupFailed,
    SealingFailed,
    authenticate,
    checking,
    seal,
)
from services.filters.signing import Signer
from tests.unit.filters.dns import FAILS, TableResolver
from tests.unit.filters.keys import pem, published, signing_key

NOW = time.time()
INSIDE, OUTSIDE = "198.18.11.10", "198.18.20.12"
MESSAGE = (
    b"From: Alice <alice@example.com>\r\nTo: bob@example.org\r\nSubject: Lunch\r\n"
    b"Date: Tue, 24 Nov 2026 13:33:33 +0000\r\nMessage-ID: <1@example.com>\r\n\r\nAt noon?\r\n"
)

Records = Mapping[tuple[str, str], Sequence[object]]
WORLD: Records = dict(
    [
        (("example.com", "TXT"), ["v=spf1 ip4:198.18.11.0/24 -all"]),
        (("_dmarc.example.com", "TXT"), ["v=DMARC1; p=reject; rua=mailto:postmaster@example.com"]),
        (("my-list.example.net", "TXT"), ["v=spf1 ip4:198.18.20.12 -all"]),
        published(signing_key()),
        published(signing_key("my-list.example.net")),
    ]
)


def signed(message: bytes = MESSAGE, domain: str = "example.com") -> bytes:
    return Signer([signing_key(domain)]).field(message, now=NOW) + message


def judged(
    message: bytes = MESSAGE,
    *,
    client: str = INSIDE,
    sender: str = "alice@example.com",
    helo: str = "isp-b1.example.net",
    records: Records | None = None,
    trusted: Collection[str] = (),
) -> Authentication:
    return asyncio.run(
        authenticate(
            message,
            client=client,
            helo=helo,
            sender=sender,
            resolver=TableResolver({**WORLD, **(records or {})}),
            authserv_id="mx.example.org",
            now=NOW,
            trusted_sealers=trusted,
        )
    )


def test_a_domain_s_own_mail_passes() -> None:
    """Sent by a host that may, and signed: everything passes."""
    found = judged(signed())
    assert (found.spf.result, found.spf.domain) == ("pass", "example.com")
    assert [(one.result, one.domain, one.selector) for one in found.dkim] == [("pass", "example.com", "lab")]
    assert (found.dmarc.result, found.dmarc.domain, found.dmarc.policy) == ("pass", "example.com", "reject")
    assert found.dmarc.disposition == "none"
    assert found.arc == "none"


@pytest.mark.parametrize(
    ("message", "client", "sender", "spf", "dkim", "dmarc", "disposition"),
    [
        pytest.param(MESSAGE, OUTSIDE, "alice@example.com", "fail", [], "fail", "reject", id="forged"),
        pytest.param(
            signed(), OUTSIDE, "alice@example.com", "fail", ["pass"], "pass", "none", id="forwarded"
        ),
        pytest.param(MESSAGE, INSIDE, "alice@example.com", "pass", [], "pass", "none", id="unsigned"),
        pytest.param(
            signed() + b"-- \r\nfooter\r\n", OUTSIDE, "x@my-list.example.net", "pass", ["fail"], "fail",
            "reject", id="through a mailing list",
        ),
        pytest.param(
            signed(MESSAGE.replace(b"example.com", b"my-list.example.net")), OUTSIDE,
            "x@my-list.example.net", "pass", [], "none", "none", id="no policy",
        ),
        pytest.param(
            MESSAGE.replace(b"@example.com", b"@lab.example.com"), INSIDE, "a@lab.example.com", "none", [],
            "fail", "reject", id="a subdomain",
        ),
        pytest.param(
            MESSAGE.replace(b"@example.com", b"@lab.example.com"), INSIDE, "alice@example.com", "pass", [],
            "pass", "none", id="aligned by organisation",
        ),
        pytest.param(
            MESSAGE.replace(b"From:", b"From: a@my-list.example.net\r\nFrom:"), OUTSIDE, "", "none", [],
            "fail", "reject", id="two authors: the strictest policy",
        ),
        pytest.param(b"To: bob\r\n\r\nx\r\n", OUTSIDE, "", "none", [], "none", "none", id="no author"),
        pytest.param(b"no header at all", OUTSIDE, "", "none", [], "none", "none", id="no header"),
        pytest.param(b"", OUTSIDE, "", "none", [], "none", "none", id="nothing"),
    ],
)  # fmt: skip
def test_results(
    message: bytes, client: str, sender: str, spf: str, dkim: list[str], dmarc: str, disposition: str
) -> None:
    """What each method finds, and what the author's policy asks for."""
    found = judged(message, client=client, sender=sender)
    assert found.spf.result == spf
    assert [one.result for one in found.dkim] == dkim
    assert (found.dmarc.result, found.dmarc.disposition) == (dmarc, disposition)


@pytest.mark.parametrize(
    ("sender", "helo", "result", "domain"),
    [
        ("", "example.com", "pass", "example.com"),
        ("", "nothing.example.com", "none", "nothing.example.com"),
        ("alice@EXAMPLE.com", "x", "pass", "example.com"),
        ("alice@b\u00fccher.example", "x", "pass", "xn--bcher-kva.example"),
        ('"a@b"@example.com', "x", "pass", "example.com"),
        ("alice@a..b", "x", "none", "a..b"),
        ("alice@" + "a" * 64 + ".com", "x", "none", "a" * 64 + ".com"),
    ],
)
def test_spf_judges_the_envelope(sender: str, helo: str, result: str, domain: str) -> None:
    """The reverse-path's domain counts or, where that is null, the name that the client gave."""
    records = {("xn--bcher-kva.example", "TXT"): ["v=spf1 ip4:198.18.11.10 -all"]}
    found = judged(sender=sender, helo=helo, records=records)
    assert (found.spf.result, found.spf.domain) == (result, domain)


@pytest.mark.parametrize(
    ("name", "spf", "dkim", "dmarc"),
    [
        ("example.com", "temperror", "pass", "pass"),
        ("lab._domainkey.example.com", "fail", "temperror", "temperror"),
        ("_dmarc.example.com", "fail", "pass", "temperror"),
    ],
)
def test_dns_that_does_not_answer_is_temporary(name: str, spf: str, dkim: str, dmarc: str) -> None:
    """A look-up that fails is told apart from a record that is not there."""
    found = judged(signed(), client=OUTSIDE, records={(name, "TXT"): [FAILS]})
    assert (found.spf.result, found.dkim[0].result, found.dmarc.result) == (spf, dkim, dmarc)
    assert found.dmarc.disposition == "none"


def test_somebody_else_s_dns_is_no_excuse() -> None:
    """That a spammer's own zone does not answer does not keep the author's policy from being applied."""
    found = judged(client=OUTSIDE, sender="x@mallory.example", records={("mallory.example", "TXT"): [FAILS]})
    assert found.spf.result == "temperror"
    assert found.dmarc.disposition == "reject"


class _Silent(TableResolver):
    """Never answers."""

    async def txt(self, name: str) -> list[bytes]:
        await asyncio.Event().wait()
        raise LookupFailed(name)


def test_look_ups_together_have_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where DNS hangs, an answer comes all the same: nothing is known yet."""
    monkeypatch.setattr(checking, "DEADLINE_S", 0.05)
    found = asyncio.run(
        authenticate(
            signed(),
            client=INSIDE,
            helo="x",
            sender="alice@example.com",
            resolver=_Silent({}),
            authserv_id="mx.example.org",
            now=NOW,
        )
    )
    assert (found.spf.result, found.dkim[0].result, found.dmarc.result) == ("temperror",) * 3


@pytest.mark.parametrize(
    ("field", "result", "reason"),
    [
        pytest.param(b"DKIM-Signature: nonsense\r\n", "neutral", "", id="no tags"),
        pytest.param(b"DKIM-Signature: v=1; a=rsa-sha256\r\n", "permerror", "missing", id="tags lack"),
        pytest.param(b"DKIM-Signature:\r\n", "permerror", "missing", id="empty"),
    ],
)
def test_signatures_that_are_none(field: bytes, result: str, reason: str) -> None:
    """A field that cannot be read is told as such and harms nothing else."""
    found = judged(field + signed())
    assert [one.result for one in found.dkim] == [result, "pass"]
    assert reason in found.dkim[0].reason


def test_a_key_that_is_not_there() -> None:
    """It has been withdrawn, or never was: no later attempt will do better."""
    found = judged(signed(), records={("lab._domainkey.example.com", "TXT"): []})
    assert found.dkim[0].result == "permerror"
    assert "missing public key" in found.dkim[0].reason


def test_only_so_many_signatures_are_looked_at() -> None:
    """A thousand signatures cost no thousand look-ups."""
    assert len(judged(b"DKIM-Signature: v=1\r\n" * 1000 + MESSAGE).dkim) == 10


def test_a_header_of_megabytes_is_not_read() -> None:
    """What would take minutes is refused, and said so."""
    found = judged(b"X: " + b"a\r\n " * 400_000 + b"\r\n" + MESSAGE)
    assert found.dmarc.result == "permerror"
    assert "header" in found.dmarc.reason


def listed(trusted: Collection[str] = (), *, breaks_seal: bool = False) -> Authentication:
    """Alice's post as it comes from a list that changes and seals it."""
    taken = judged(signed())
    post = signed().replace(b"Subject: ", b"Subject: [list] ") + b"-- \r\nfooter\r\n"
    key = signing_key("my-list.example.net")
    sealed = seal(post, taken, domain=key.domain, selector=key.selector, key=pem(key), now=NOW) + post
    if breaks_seal:
        sealed = sealed.replace(b"footer", b"buy now")
    return judged(sealed, client=OUTSIDE, sender="owner@my-list.example.net", trusted=trusted)


def test_a_seal_vouches_where_it_is_trusted() -> None:
    """DMARC fails, as the list broke the signature; who trusts the list sees that it had passed."""
    assert (listed().arc, listed().dmarc.disposition) == ("pass", "reject")
    found = listed(trusted=["my-list.example.net"])
    assert (found.dmarc.result, found.dmarc.disposition) == ("fail", "none")
    assert "my-list.example.net" in found.dmarc.reason


def test_a_broken_seal_vouches_for_nothing() -> None:
    """What was changed after it was sealed is nobody's."""
    found = listed(trusted=["my-list.example.net"], breaks_seal=True)
    assert (found.arc, found.dmarc.disposition) == ("fail", "reject")


def test_a_chain_of_two_seals() -> None:
    """A second server seals what the first had sealed; all must be trusted."""
    taken = judged(signed())
    first, second = signing_key("my-list.example.net"), signing_key()
    post = seal(MESSAGE, taken, domain=first.domain, selector="lab", key=pem(first), now=NOW) + MESSAGE
    between = judged(post)
    assert between.arc == "pass"
    post = seal(post, between, domain=second.domain, selector="lab", key=pem(second), now=NOW) + post
    forged = post.replace(b"Lunch", b"Lunch!")
    assert judged(forged, client=OUTSIDE).arc == "fail"
    for trusted, disposition in (([first.domain], "reject"), ([first.domain, second.domain], "none")):
        found = judged(post, client=OUTSIDE, trusted=trusted)
        assert (found.arc, found.dmarc.disposition) == ("pass", disposition)


def test_a_chain_without_end_is_broken() -> None:
    """What would take seconds to verify is not, since no honest chain is that long."""
    seals = b"".join(b"ARC-Seal: i=%d; cv=none; d=example.com\r\n" % number for number in range(1, 1000))
    assert judged(seals + signed()).arc == "fail"


def test_what_cannot_be_sealed_is_said_so() -> None:
    """A message without an author cannot be: the list sends it as it is."""
    key = signing_key()
    with pytest.raises(SealingFailed):
        seal(b"broken\r\n\r\n", judged(), domain=key.domain, selector="lab", key=pem(key), now=NOW)
