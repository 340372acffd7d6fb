"""DKIM signatures, held against dkimpy, which verifies them."""

from __future__ import annotations

import base64
import re

import dkim
import pytest

from services.errors import ConfigError
from services.filters.signing import Signer, body_hash, read_key
from tests.unit.filters.keys import pem, published, signing_key

NOW = 1_795_000_000.0
MESSAGE = (
    b"From: Alice <alice@example.com>\r\nTo: bob@example.org\r\nSubject: Lunch\r\n"
    b"Date: Tue, 24 Nov 2026 13:33:33 +0000\r\nMessage-ID: <1@example.com>\r\n\r\nAt noon?\r\n"
)


def signed(message: bytes, kind: str = "rsa") -> bytes:
    field = Signer([signing_key(kind=kind)]).field(message, now=NOW)
    assert field
    return field + message


def verifies(message: bytes, kind: str = "rsa") -> bool:
    """Whether dkimpy finds the topmost signature right."""
    (name, _), (record,) = published(signing_key(kind=kind))

    def ask(asked: bytes, timeout: float = 5) -> bytes:
        assert asked.decode() == name + "."
        return record.encode()

    return dkim.verify(message, dnsfunc=ask)


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
@pytest.mark.parametrize(
    "message",
    [
        pytest.param(MESSAGE, id="plain"),
        pytest.param(MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n\r\n", id="no body"),
        pytest.param(MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n", id="not even an empty line"),
        pytest.param(MESSAGE + b"\r\n\r\n \t\r\n", id="empty lines at the end"),
        pytest.param(MESSAGE + b"no line end", id="no line end"),
        pytest.param(MESSAGE + b"white \t", id="white space at the end"),
        pytest.param(MESSAGE + b"x  y\r\n" * 50_000 + b"\r\n" * 100_000 + b"z\r\n", id="long"),
        pytest.param(MESSAGE + b" " * 200_000 + b"\r\n" + b"\t\r\n" * 50_000, id="long and empty"),
        pytest.param(MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + b"\r\n" * 99, id="empty lines alone"),
        pytest.param(MESSAGE + b"a \t b\t\r\n  c\r\n", id="white space"),
        pytest.param(MESSAGE.replace(b"Subject: ", b"Subject:\r\n\t\r\n  very \t long\r\n "), id="folded"),
        pytest.param(b"Received: from x\r\n\tby y\r\n" + MESSAGE, id="trace fields"),
        pytest.param(MESSAGE.replace(b"Lunch", "Düner \u4e2d".encode()), id="beyond ASCII"),
        pytest.param(MESSAGE + bytes(range(14, 256)) + b"\r\n", id="any octets"),
        pytest.param(b"Cc: a@example.org\r\nCc: b@example.org\r\n" + MESSAGE, id="a field twice"),
    ],
)
def test_dkimpy_verifies_what_is_signed(message: bytes, kind: str) -> None:
    """Whatever a message looks like, its signature is one that others accept."""
    assert verifies(signed(message, kind), kind)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(b"At noon?", b"At one?", id="the body"),
        pytest.param(b"Subject: Lunch", b"Subject: Launch", id="a field"),
        pytest.param(b"From: Alice", b"From: Eve <eve@example.com>\r\nFrom: Alice", id="a second From"),
    ],
)
def test_a_change_breaks_it(before: bytes, after: bytes) -> None:
    """What is signed cannot be altered, nor another author added."""
    message = signed(MESSAGE)
    assert before in message
    assert not verifies(message.replace(before, after))


def test_what_others_add_does_not_break_it() -> None:
    """Servers on the way put fields on top and may fold anew."""
    message = b"Received: from z\r\n" + signed(MESSAGE)
    assert verifies(message.replace(b"Subject: Lunch", b"subject:\r\n Lunch  "))


def test_from_is_named_once_more_than_it_is_there() -> None:
    """The list of signed fields closes the door to a second author."""
    field = Signer([signing_key()]).field(MESSAGE, now=NOW)
    listed = re.search(rb"h=([a-z:\s-]+);", field)
    assert listed
    assert listed[1].split(b":").count(b"from") == 2
    assert b"t=1795000000;" in field
    assert max(map(len, field.split(b"\r\n"))) <= 78


@pytest.mark.parametrize(
    ("author", "domain"),
    [
        ("alice@example.com", "example.com"),
        ("alice@EXAMPLE.com", "example.com"),
        ("MAILER-DAEMON@mx.example.com", "example.com"),
        ("a@lab.example.com", "lab.example.com"),
        ("bob@example.org", None),
        ("mallory@notexample.com", None),
        ("a@example.com, b@example.org", None),
        ("undisclosed", None),
    ],
)
def test_the_author_chooses_the_key(author: str, domain: str | None) -> None:
    """The nearest domain above the author's that has a key signs; nobody's mail else is signed."""
    signer = Signer([signing_key(), signing_key("lab.example.com")])
    field = signer.field(f"From: {author}\r\n\r\nx\r\n".encode(), now=NOW)
    assert (f"d={domain};".encode() in field) if domain else field == b""


def test_the_body_hash_of_an_empty_body() -> None:
    """RFC 6376 §3.4.4 gives it."""
    assert base64.b64encode(body_hash(b"From: a\r\n\r\n")) == b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


def test_a_key_is_read_from_its_file() -> None:
    """PEM of both kinds; anything else is a mistake that names the domain."""
    assert read_key(pem(signing_key()), domain="example.com", selector="lab").algorithm == "rsa-sha256"
    for text in (b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        with pytest.raises(ConfigError, match=r"example\.com"):
            read_key(text, domain="example.com", selector="lab")
