"""Whatever a stranger sends, it is judged, and the field that says so is one field."""

from __future__ import annotations

import asyncio
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from services.filters.authentication import Authentication, authenticate
from services.filters.signing import Signer
from tests.unit.filters.dns import FAILS, TableResolver
from tests.unit.filters.keys import published, signing_key

NAMES = [
    b"From", b"DKIM-Signature", b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results",
    b"Authentication-Results", b"Subject", b" ", b"",
]  # fmt: skip
PIECES = [
    b"a@example.com", b"<", b">", b'"', b"(", b")", b"\\", b",", b";", b"=", b"\r\n ", b"\n", b"\r", b"\0",
    b"i=1", b"v=1; a=rsa-sha256; d=example.com; s=lab; h=from; bh=YQ==; b=YQ==", b"cv=none", b"cv=pass",
    b"l=9", b"\xff",
    b"x=1", b"t=99999999999", b"c=relaxed", b"=?utf-8?q?=40?=", b"d=", b"s=\xc3\xbc", b"xn--", b"..",
]  # fmt: skip
RECORDS = [
    "v=spf1 -all", "v=spf1 exists:%{l}.%{d} -all", "v=spf1 redirect=example.com", "v=spf1 include:%{x} all",
    "v=spf1 a/99 mx//0 ptr ip4:1.2.3/8 exp=%", "v=DMARC1; p=reject", "v=DMARC1; p", "v=DMARC1;;;=", "p=",
    "k=rsa; p=A", "v=DKIM1; p=!!!", "\u00fc", "", FAILS,
]  # fmt: skip

values = st.lists(st.sampled_from(PIECES), max_size=6).map(b"".join)
fields = st.tuples(st.sampled_from(NAMES), values).map(lambda pair: b":".join(pair) + b"\r\n")
messages = st.one_of(
    st.binary(max_size=60),
    st.tuples(st.lists(fields, max_size=8).map(b"".join), st.binary(max_size=20)).map(b"\r\n".join),
    st.lists(fields, max_size=8).map(lambda found: b"From: a@example.com\r\n" + b"".join(found) + b"\r\nx"),
)
texts = st.lists(st.sampled_from(PIECES), max_size=4).map(lambda parts: b"".join(parts).decode("latin-1"))
senders = st.one_of(texts, texts.map(lambda text: text + "@example.com"))
records = st.lists(st.sampled_from(RECORDS), max_size=2)


def judged(
    message: bytes, sender: str, helo: str, spf: list[str], dmarc: list[str], key: list[str]
) -> Authentication:
    resolver = TableResolver(
        {
            ("example.com", "TXT"): spf,
            ("_dmarc.example.com", "TXT"): dmarc,
            ("lab._domainkey.example.com", "TXT"): key,
        }
    )
    return asyncio.run(
        authenticate(
            message,
            client="198.18.0.1",
            helo=helo,
            sender=sender,
            resolver=resolver,
            authserv_id="mx.example.org",
            now=1_795_000_000.0,
        )
    )


@settings(max_examples=200, deadline=None)
@given(message=messages, sender=senders, helo=texts, spf=records, dmarc=records, key=records)
def test_everything_is_judged(
    message: bytes, sender: str, helo: str, spf: list[str], dmarc: list[str], key: list[str]
) -> None:
    """No message, envelope or record makes a check fail, nor breaks out of our field."""
    found = judged(message, sender, helo, spf, dmarc, key)
    header = found.header()
    assert header.startswith("Authentication-Results: mx.example.org;\r\n\tspf=")
    assert all(line.startswith("\t") for line in header.split("\r\n")[1:])
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n", header)
    methods = re.findall(r"(?:^|;)\r\n\t(\w+)=\w+", header)
    assert methods == ["spf", *["dkim"] * max(1, len(found.dkim)), "dmarc", "arc"]


@settings(max_examples=200, deadline=None)
@given(body=st.lists(st.sampled_from([b"\r\n", b" ", b"\t", b"a", b"=", b"\xff"]), max_size=30).map(b"".join))
def test_every_body_is_signed_as_others_read_it(body: bytes) -> None:
    """White space and empty lines in whatever order: our signature verifies with dkimpy."""
    message = b"From: a@example.com\r\n\r\n" + body + b"\r\n"
    name, record = published(signing_key(kind="ed25519"))
    field = Signer([signing_key(kind="ed25519")]).field(message, now=1_795_000_000.0)
    (signature,) = judged(field + message, "", "x", [], [], record).dkim
    assert name == ("lab._domainkey.example.com", "TXT")
    assert signature.result == "pass"
