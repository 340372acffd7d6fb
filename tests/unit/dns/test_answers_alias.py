"""Aliases (CNAME)."""

from __future__ import annotations

from textwrap import dedent

import pytest

from tests.unit.dns.conversation import EXAMPLE, query, server, told

ZONE = (
    EXAMPLE
    + """\
www     CNAME web
web     CNAME host
host    A     198.18.0.10
away    CNAME www.example.net.
gone    CNAME nope
loop    CNAME pool
pool    CNAME loop
self    CNAME self
"""
)
SOA = "authority example.org. 300 SOA ns1.example.org. hostmaster.example.org. 1 7200 900 1209600 300"


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        pytest.param(
            "www.example.org A",
            """\
            NOERROR aa
            answer www.example.org. 3600 CNAME web.example.org.
            answer web.example.org. 3600 CNAME host.example.org.
            answer host.example.org. 3600 A 198.18.0.10
            """,
            id="is followed through the zone",
        ),
        pytest.param(
            "www.example.org CNAME",
            """\
            NOERROR aa
            answer www.example.org. 3600 CNAME web.example.org.
            """,
            id="is not followed when it is what was asked for",
        ),
        pytest.param(
            "www.example.org ANY",
            """\
            NOERROR aa
            answer www.example.org. 3600 CNAME web.example.org.
            """,
            id="nor when everything was",
        ),
        pytest.param(
            "away.example.org A",
            """\
            NOERROR aa
            answer away.example.org. 3600 CNAME www.example.net.
            """,
            id="out of the zone: the rest is for others",
        ),
        pytest.param(
            "www.example.org MX",
            f"""\
            NOERROR aa
            answer www.example.org. 3600 CNAME web.example.org.
            answer web.example.org. 3600 CNAME host.example.org.
            {SOA}
            """,
            id="to a name without the type",
        ),
        pytest.param(
            "gone.example.org A",
            f"""\
            NXDOMAIN aa
            answer gone.example.org. 3600 CNAME nope.example.org.
            {SOA}
            """,
            id="to no name: the code is about the last one (RFC 6604 §3)",
        ),
        pytest.param(
            "loop.example.org A",
            """\
            NOERROR aa
            answer loop.example.org. 3600 CNAME pool.example.org.
            answer pool.example.org. 3600 CNAME loop.example.org.
            """,
            id="in a loop: told once",
        ),
        pytest.param(
            "self.example.org A",
            """\
            NOERROR aa
            answer self.example.org. 3600 CNAME self.example.org.
            """,
            id="of itself",
        ),
    ],
)
def test_alias(question: str, expected: str) -> None:
    """An alias is followed within its zone, and the answer tells the whole way."""
    assert told(server(ZONE), question) == dedent(expected)


@pytest.mark.parametrize(("question", "count"), [("loop.example.org A", 2), ("self.example.org A", 1)])
def test_a_loop_is_told_once(question: str, count: int) -> None:
    """Each alias of a loop stands in the message once."""
    reply = server(ZONE).respond(query(question).to_wire(), False)
    assert reply is not None
    assert int.from_bytes(reply[6:8], "big") == count
