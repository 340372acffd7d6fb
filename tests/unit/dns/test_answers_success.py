"""Questions that a zone answers with records, and what it adds to them."""

from __future__ import annotations

from textwrap import dedent

import pytest

from tests.unit.dns.conversation import EXAMPLE, server, told

ZONE = (
    EXAMPLE
    + """\
@       MX   10 mx1
@       MX   20 mx.elsewhere.net.
@       TXT  "v=spf1 mx -all"
mx1     A    198.18.0.10
mx1     AAAA 2001:db8::10
_smtp._tcp  SRV 0 5 25 mx1
a.b.c   A    198.18.0.20
Upper   A    198.18.0.30
10      PTR  mx1
svc     TYPE65280 \\# 3 010203
"""
)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        pytest.param(
            "mx1.example.org A",
            """\
            NOERROR aa
            answer mx1.example.org. 3600 A 198.18.0.10
            """,
            id="an address",
        ),
        pytest.param(
            "example.org MX",
            """\
            NOERROR aa
            answer example.org. 3600 MX 10 mx1.example.org.
            answer example.org. 3600 MX 20 mx.elsewhere.net.
            additional mx1.example.org. 3600 A 198.18.0.10
            additional mx1.example.org. 3600 AAAA 2001:db8::10
            """,
            id="exchangers come with the addresses that the zone holds",
        ),
        pytest.param(
            "example.org NS",
            """\
            NOERROR aa
            answer example.org. 3600 NS ns1.example.org.
            answer example.org. 3600 NS ns.elsewhere.net.
            additional ns1.example.org. 3600 A 198.18.0.1
            """,
            id="so do name servers",
        ),
        pytest.param(
            "_smtp._tcp.example.org SRV",
            """\
            NOERROR aa
            answer _smtp._tcp.example.org. 3600 SRV 0 5 25 mx1.example.org.
            additional mx1.example.org. 3600 A 198.18.0.10
            additional mx1.example.org. 3600 AAAA 2001:db8::10
            """,
            id="and services",
        ),
        pytest.param(
            "example.org TXT",
            """\
            NOERROR aa
            answer example.org. 3600 TXT "v=spf1 mx -all"
            """,
            id="text",
        ),
        pytest.param(
            "10.example.org PTR",
            """\
            NOERROR aa
            answer 10.example.org. 3600 PTR mx1.example.org.
            """,
            id="a pointer comes alone",
        ),
        pytest.param(
            "upper.example.org A",
            """\
            NOERROR aa
            answer upper.example.org. 3600 A 198.18.0.30
            """,
            id="names compare without case",
        ),
        pytest.param(
            "svc.example.org TYPE65280",
            """\
            NOERROR aa
            answer svc.example.org. 3600 TYPE65280 \\# 3 010203
            """,
            id="a type that nobody knows",
        ),
    ],
)
def test_success(question: str, expected: str) -> None:
    """What the zone holds is answered with authority; addresses of the hosts that records name go with it."""
    assert told(server(ZONE), question) == dedent(expected)


def test_the_root_tells_its_servers_with_addresses() -> None:
    """A reply to a priming query has the addresses, though they lie below a cut (RFC 8109 §3.3)."""
    root = """\
        $ORIGIN .
        $TTL 86400
        @       SOA a.root-servers.net. nstld. 1 1800 900 604800 86400
        @       NS a.root-servers.net.
        net.    NS a.gtld-servers.net.
        a.root-servers.net.  A 198.41.0.4
        a.gtld-servers.net.  A 198.18.1.1
        """
    assert told(server(root), ". NS") == dedent(
        """\
        NOERROR aa
        answer . 86400 NS a.root-servers.net.
        additional a.root-servers.net. 86400 A 198.41.0.4
        """
    )
