"""Questions that a zone answers with "there is none"."""

from __future__ import annotations

from textwrap import dedent

import pytest

from tests.unit.dns.conversation import EXAMPLE, server, told

SOA = "authority example.org. 300 SOA ns1.example.org. hostmaster.example.org. 1 7200 900 1209600 300\n"


@pytest.mark.parametrize(
    ("records", "question", "rcode"),
    [
        pytest.param("", "nope.example.org A", "NXDOMAIN", id="no such name"),
        pytest.param("", "a.b.nope.example.org A", "NXDOMAIN", id="nor any above it"),
        pytest.param("", "ns1.example.org MX", "NOERROR", id="no data of the type"),
        pytest.param("", "example.org A", "NOERROR", id="no data at the apex"),
        pytest.param("a.b.c A 198.18.0.20", "b.c.example.org A", "NOERROR", id="an empty non-terminal"),
        pytest.param("a.b.c A 198.18.0.20", "b.c.example.org ANY", "NOERROR", id="has nothing at all"),
        pytest.param("a.b.c A 198.18.0.20", "x.b.c.example.org A", "NXDOMAIN", id="beside a name below it"),
        pytest.param("", "ns1.example.org DS", "NOERROR", id="DS inside the zone"),
        pytest.param("", "example.org DS", "NOERROR", id="DS of the apex, the parent being elsewhere"),
    ],
)
def test_negative(records: str, question: str, rcode: str) -> None:
    """NameError and NoData carry the SOA, its TTL cut to the minimum field (RFC 2308 §3)."""
    assert told(server(EXAMPLE + records), question) == f"{rcode} aa\n{SOA}"


def test_a_short_soa_ttl_is_the_limit() -> None:
    """The negative TTL is the SOA's own where that is less than its minimum field (RFC 2308 §5)."""
    zone = """\
        $ORIGIN example.org.
        @ 60  SOA ns1 hostmaster 1 7200 900 1209600 300
        @ 600 NS  ns.elsewhere.net.
        """
    assert " 60 SOA " in told(server(zone), "nope.example.org A")


@pytest.mark.parametrize("question", ["example.net A", "org NS", ". NS", "xexample.org A"])
def test_refused(question: str) -> None:
    """A name outside every zone is refused, without authority."""
    assert told(server(EXAMPLE), question) == "REFUSED\n"


def test_below_several_zones() -> None:
    """The most specific zone answers; the parent's cut does not show where the child is held too."""
    parent = EXAMPLE + "lab NS ns.lab\nns.lab A 198.18.0.9\n"
    child = """\
        $ORIGIN lab.example.org.
        $TTL 60
        @    SOA ns root 1 1 1 1 30
        @    NS  ns
        ns   A   198.18.0.9
        mx   A   198.18.0.10
        """
    both = server(parent, child)
    assert told(both, "mx.lab.example.org A") == dedent(
        """\
        NOERROR aa
        answer mx.lab.example.org. 60 A 198.18.0.10
        """
    )
    assert "authority lab.example.org. 30 SOA" in told(both, "nope.lab.example.org A")
    assert told(both, "lab.example.org DS") == f"NOERROR aa\n{SOA}"
