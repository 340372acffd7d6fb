"""The Authentication-Results field: what was found, in the words of RFC 8601."""

from __future__ import annotations

import dataclasses

import authres

from services.filters.authentication import Authentication, Dmarc, Result, Signature

FOUND = Authentication(
    authserv_id="rcpt-filt.example.org",
    sender="alice@example.com",
    helo="isp-b1.example.net",
    spf=Result(result="pass", domain="example.com"),
    dkim=(
        Signature(result="pass", domain="example.com", selector="lab"),
        Signature(result="fail", domain="lists.example.net", selector="s1", reason="body hash differs"),
    ),
    dmarc=Dmarc(result="pass", domain="example.com", policy="reject"),
)


def test_every_method_has_its_result() -> None:
    """Each signature is named by domain and selector, and a reason is quoted."""
    assert FOUND.header() == (
        "Authentication-Results: rcpt-filt.example.org;\r\n"
        "\tspf=pass smtp.mailfrom=alice@example.com;\r\n"
        "\tdkim=pass header.d=example.com header.s=lab;\r\n"
        '\tdkim=fail reason="body hash differs" header.d=lists.example.net header.s=s1;\r\n'
        "\tdmarc=pass policy.published-domain-policy=reject header.from=example.com;\r\n"
        "\tarc=none"
    )


def test_a_null_reverse_path_is_judged_by_helo() -> None:
    """A bounce has no sender: SPF speaks of the name that the client gave."""
    bounce = dataclasses.replace(FOUND, sender="", dkim=(), dmarc=Dmarc(result="none"))
    assert "spf=pass smtp.helo=isp-b1.example.net;\r\n\tdkim=none;\r\n\tdmarc=none;" in bounce.header()


def test_nothing_in_a_message_writes_another_result() -> None:
    """What a sender chose (a reverse-path, a selector) cannot end our field or add a result to it."""
    forged = dataclasses.replace(
        FOUND,
        sender='"a\r\nX: y"; dkim=pass "@example.com',
        dkim=(Signature(result="fail", domain='x"; dmarc=pass', selector="s\r\nFrom: z"),),
    )
    lines = forged.header().split("\r\n")
    assert len(lines) == 5
    assert lines[1] == r'	spf=pass smtp.mailfrom="\"a  X: y\"; dkim=pass \"@example.com";'
    assert lines[2] == r'	dkim=fail header.d="x\"; dmarc=pass" header.s="s  From: z";'


def test_another_reader_reads_it() -> None:
    """authres, by which others read such fields, finds the same results, quoted ones too."""
    bounce = dataclasses.replace(FOUND, sender='odd "name"@example.com')
    for found in (FOUND, bounce):
        parsed = authres.AuthenticationResultsHeader.parse(found.header().replace("\r\n", ""))
        assert parsed.authserv_id == "rcpt-filt.example.org"
        assert [(one.method, one.result) for one in parsed.results] == [
            ("spf", "pass"),
            ("dkim", "pass"),
            ("dkim", "fail"),
            ("dmarc", "pass"),
            ("arc", "none"),
        ]
