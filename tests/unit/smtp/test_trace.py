"""Trace fields, and what is read of a message's header."""

from __future__ import annotations

import pytest

from services.smtp.trace import (
    Arrival,
    field,
    header_section,
    hops,
    missing_fields,
    protocol_name,
    received,
    return_path,
)

NOON = 1795521600.0  # 24 November 2026, 12:00 UTC


def arrival(*recipients: str, client: str = "198.18.0.1") -> Arrival:
    return Arrival(
        helo="a.example", client=client, by="mx.example.org", protocol="ESMTPS", recipients=recipients
    )


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (
            arrival("bob@example.org"),
            "Received: from a.example ([198.18.0.1])\r\n\tby mx.example.org with ESMTPS id Q1\r\n"
            "\tfor <bob@example.org>; Tue, 24 Nov 2026 12:00:00 +0000\r\n",
        ),
        (
            arrival("bob@example.org", "dave@example.org"),
            "Received: from a.example ([198.18.0.1])\r\n"
            "\tby mx.example.org with ESMTPS id Q1; Tue, 24 Nov 2026 12:00:00 +0000\r\n",
        ),
        (
            arrival("bøb@example.org", client="fe80::1"),
            "Received: from a.example ([IPv6:fe80::1])\r\n\tby mx.example.org with ESMTPS id Q1\r\n"
            "\tfor <bøb@example.org>; Tue, 24 Nov 2026 12:00:00 +0000\r\n",
        ),
    ],
)
def test_received(one: Arrival, expected: str) -> None:
    """The field names where the message came from, who took it, and its only recipient."""
    assert received(one, queue_id="Q1", now=NOON).decode() == expected


@pytest.mark.parametrize(
    ("flags", "name"),
    [("", "SMTP"), ("e", "ESMTP"), ("es", "ESMTPS"), ("ea", "ESMTPA"), ("esa", "ESMTPSA"),
     ("eu", "UTF8SMTP"), ("esu", "UTF8SMTPS"), ("esau", "UTF8SMTPSA")],
)  # fmt: skip
def test_protocol_names(flags: str, name: str) -> None:
    """The protocol's name says what the session had: extensions, TLS, AUTH, UTF-8."""
    keyword = protocol_name(
        extended="e" in flags, tls="s" in flags, authenticated="a" in flags, utf8="u" in flags
    )
    assert keyword == name


@pytest.mark.parametrize(
    ("content", "added"),
    [
        (b"Subject: x\r\n\r\nDate: in the body\r\n", ["Date", "Message-ID"]),
        (b"date : Tue\r\nSubject: x\r\n", ["Message-ID"]),
        (b"MESSAGE-ID:\r\n <1@a>\r\n\r\n", ["Date"]),
        (b"Date: x\r\nMessage-Id: <1@a>\r\n\r\n", []),
        (b"X-Date: x\r\n\tDate: folded\r\n", ["Date", "Message-ID"]),
        (b"\r\nno header\r\n", ["Date", "Message-ID"]),
    ],
)
def test_missing_fields(content: bytes, added: list[str]) -> None:
    """The MSA adds a Date and a Message-ID where the header has none, and nothing else."""
    fields = missing_fields(content, hostname="msa.example", queue_id="Q1", now=NOON)
    assert [line.partition(b":")[0].decode() for line in fields.splitlines()] == added


def test_return_path() -> None:
    """The reverse-path is kept where the message ends; that of a notification is empty."""
    assert return_path("a@b.c") == b"Return-Path: <a@b.c>\r\n"
    assert return_path("") == b"Return-Path: <>\r\n"


@pytest.mark.parametrize(
    ("content", "header"),
    [
        (b"", b""),
        (b"\r\nbody\r\n", b""),
        (b"A: b\r\n", b"A: b\r\n"),
        (b"A: b\r\n\r\nC: d\r\n\r\n", b"A: b\r\n"),
    ],
)
def test_header_section(content: bytes, header: bytes) -> None:
    """The header ends before the first empty line."""
    assert header_section(content) == header


def test_fields_are_unfolded() -> None:
    """The first field of a name is read, its folded lines joined."""
    content = b"A: one\r\n two\r\n\tthree\r\nB: x\r\na: other\r\n\r\n"
    assert field(content, "a") == "one two\tthree"
    assert field(content, "b") == "x"
    assert field(content, "c") is None


def test_hops() -> None:
    """Received fields are counted in the header, in either case, and nowhere else."""
    content = b"Received: a\r\n\tReceived: b\r\nRECEIVED : c\r\nX-Received: d\r\n\r\nReceived: e\r\n"
    assert hops(content) == 2
