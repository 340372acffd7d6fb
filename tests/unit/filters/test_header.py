"""A message's header as it stands in its bytes."""

from __future__ import annotations

import pytest

from services.filters.header import author_domains, header_length, values, without_results_of

OURS = "mx.example.org"


@pytest.mark.parametrize(
    ("message", "length"),
    [
        (b"A: b\r\n\r\nbody\r\n\r\n", 6),
        (b"A: b\n\nbody", 5),
        (b"A: b\r\n", 6),
        (b"\r\nbody", 0),
        (b"\nbody", 0),
        (b"", 0),
    ],
)
def test_header_length(message: bytes, length: int) -> None:
    """The header ends before the first empty line, which is not part of it."""
    assert header_length(message) == length


def test_values_are_unfolded() -> None:
    """All fields of a name, in any case, and nothing of the body."""
    message = b"x: 1\r\nX : a\r\n\t b\r\nXY: no\r\nx:\r\n\r\nX: body\r\n"
    assert values(message, "X") == [b"1", b"a\t b", b""]


@pytest.mark.parametrize(
    ("header", "domains"),
    [
        (b"From: a@Example.COM", ["example.com"]),
        (b"From: =?utf-8?q?=40?= <a@example.com>", ["example.com"]),
        (b'From: "x@evil.example" <a@example.com>', ["example.com"]),
        (b"From: a@one.example, B <b@two.example>", ["one.example", "two.example"]),
        (b"From: a@one.example\r\nfrom: b@two.example", ["one.example", "two.example"]),
        ("From: a@b\u00fccher.example".encode(), ["xn--bcher-kva.example"]),
        (b"From: a@example.com.", ["example.com"]),
        (b"From: nobody", []),
        (b"From:", []),
        (b"Sender: a@example.com", []),
    ],
)
def test_author_domains(header: bytes, domains: list[str]) -> None:
    """Whoever may be read as an author counts."""
    assert author_domains(header + b"\r\n\r\nFrom: a@body.example\r\n") == domains


@pytest.mark.parametrize(
    ("field", "kept"),
    [
        (b"Authentication-Results: mx.example.org; spf=pass", False),
        (b"authentication-results : MX.Example.Org 1; dkim=pass", False),
        (b"Authentication-Results:\r\n\tmx.example.org;\r\n\tspf=pass", False),
        (b'Authentication-Results: "mx.example.org"; spf=pass', False),
        (b"Authentication-Results: (hello) mx.example.org; spf=pass", False),
        (b"Authentication-Results: ((nested) x) mx.example.org; spf=pass", False),
        (b"Authentication-Results:", False),
        (b"Authentication-Results: mx.example.com; spf=pass", True),
        (b"ARC-Authentication-Results: i=1; mx.example.org; spf=pass", True),
        (b"Subject: Authentication-Results: mx.example.org; spf=pass", True),
    ],
)
def test_results_in_our_name_are_taken_out(field: bytes, kept: bool) -> None:
    """A field that claims to be ours is forged when it comes from outside; others' are left alone."""
    before, after = b"Received: x\r\n", b"Subject: y\r\n\r\nAuthentication-Results: mx.example.org; body\r\n"
    message = before + field + b"\r\n" + after
    assert without_results_of(message, OURS) == (message if kept else before + after)
