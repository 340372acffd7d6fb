"""What a message says of itself."""

from __future__ import annotations

import pytest

from captures.smtp import header_field, received_ids

MESSAGE = b"""\
Received: from a (a.example [198.18.1.1])
\tby b.example (Postfix) with ESMTPS id 4XbT
SUBJECT :  one
 two\tthree
subject: not this one
X-Empty:
Message-ID: <1@example.com>

Subject: of the body
To: nobody
""".replace(b"\n", b"\r\n")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Subject", "one two\\tthree"),
        ("message-id", "<1@example.com>"),
        ("X-Empty", ""),
        ("To", None),
        ("Message", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
def test_header_field(name: str, value: str | None, line_end: bytes) -> None:
    """The first field of the name is meant, without case, unfolded; the body has none."""
    assert header_field(MESSAGE.replace(b"\r\n", line_end), name) == value


@pytest.mark.parametrize("content", [b"", b"\r\n", b"\r\nSubject: body\r\n", b"\nSubject: body\n"])
def test_a_message_without_a_header(content: bytes) -> None:
    """There are no fields before an empty first line."""
    assert header_field(content, "Subject") is None
    assert received_ids(content) == []


def test_a_message_without_a_body() -> None:
    """A header need not be followed by anything."""
    assert header_field(b"Subject: x", "Subject") == "x"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("=?utf-8?q?Gr=C3=BC=C3=9Fe?= aus =?iso-8859-1?B?S/ZsbiE=?=", "Grüße aus Köln!"),
        ("=?utf-8?b?R3LDvMOf?=\r\n =?utf-8?b?ZQ==?=", "Grüße"),
        ("Grüße", "Grüße"),
        ("Grüße =?utf-8?q?=C3=BC?=", "Grüße ü"),
        ("=?utf-8?b?R?=", "=?utf-8?b?R?="),
        ("=?no-such?q?a=FF?=", "a�"),
        ("=?utf-8?q?=1B[2J?=", r"\x1b[2J"),
    ],
)
def test_encoded_words(value: str, text: str) -> None:
    """Encoded words are decoded (RFC 2047); damaged ones stay as they are."""
    assert header_field(f"Subject: {value}\r\n\r\n".encode(), "Subject") == text


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        pytest.param(
            "from alice.example.com ([198.18.1.10])\n\tby corp-mta.example.com with ESMTPSA id KH7ORW5242\n"
            "\tfor <bob@example.org>; Tue, 24 Nov 2026 03:50:00 +0000",
            ("corp-mta.example.com", "KH7ORW5242"),
            id="Mailbed",
        ),
        pytest.param(
            "from a.example (by.example [198.18.1.1])\n\t(using TLSv1.3 with cipher AES (256/256 bits)\n"
            "\t server-signature RSA-PSS (2048 bits))\n\t(No client certificate requested)\n"
            "\tby mx.example.org (Postfix) with ESMTPS id 4XbT9q2Zvnz1y\n\tfor <b@example.org>; Tue, 24 Nov",
            ("mx.example.org", "4XbT9q2Zvnz1y"),
            id="Postfix",
        ),
        pytest.param(
            "by mx.example.org (Postfix, from userid 0)\n\tid 2ABC; Tue, 24 Nov 2026",
            ("mx.example.org", "2ABC"),
            id="Postfix, local",
        ),
        pytest.param(
            "from [198.18.1.1] (helo=a.example)\n\tby mx.example.org with esmtps  (TLS1.3) tls TLS_AES_256\n"
            "\t(Exim 4.96)\n\t(envelope-from <a@example.com>)\n\tid 1tEXmp-000000004dP-0Abc\n"
            "\tfor b@example.org;\n\tTue, 24 Nov 2026",
            ("mx.example.org", "1tEXmp-000000004dP-0Abc"),
            id="Exim",
        ),
        pytest.param(
            "from by.example by id.example with SMTP id <4A1B@id.example>; by now id 7",
            ("id.example", "4A1B@id.example"),
            id="names that are keywords",
        ),
        pytest.param("from a by b; date", ("b", ""), id="no id"),
        pytest.param("(qmail 123 invoked by uid 0); 24 Nov 2026", None, id="no host: qmail"),
        pytest.param("from a by", ("", ""), id="broken off"),
        pytest.param("((((((((((by a) id b", None, id="too deep"),
    ],
)
def test_received_ids(trace: str, expected: tuple[str, str] | None) -> None:
    """Host and queue id are those of the clauses, not what a comment or the date says."""
    content = f"Received: {trace}\nSubject: x\n\nReceived: by body id 1\n".replace("\n", "\r\n").encode()
    assert received_ids(content) == ([expected] if expected else [])


def test_the_topmost_is_first() -> None:
    """The last server's field is the first one."""
    fields = "".join(f"Received: from x by {host} id {host}1;\r\n" for host in ("c", "b", "a"))
    assert received_ids(fields.encode()) == [("c", "c1"), ("b", "b1"), ("a", "a1")]
