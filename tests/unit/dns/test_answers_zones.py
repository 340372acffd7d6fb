"""Several zones on one server: an alias is followed from one to the other."""

from __future__ import annotations

from textwrap import dedent

import pytest

from tests.unit.dns.conversation import EXAMPLE, server, told

NET = """\
$ORIGIN example.net.
$TTL 600
@       SOA  ns1 hostmaster 1 7200 900 1209600 60
@       NS   ns1.example.org.
www     A    198.18.1.1
back    CNAME host.example.org.
sub     NS   ns.sub
ns.sub  A    198.18.1.2
round   CNAME round.example.org.
"""
CHILD = """\
$ORIGIN child.example.org.
$TTL 500
@       SOA  ns hostmaster 1 7200 900 1209600 60
@       NS   ns
ns      A    198.18.2.1
www     A    198.18.2.2
up      CNAME host.example.org.
"""
ZONE = (
    EXAMPLE
    + """\
host    A     198.18.0.10
web     CNAME www.example.net.
gone    CNAME nope.example.net.
there   CNAME back.example.net.
below   CNAME host.sub.example.net.
inside  CNAME www.child
round   CNAME round.example.net.
mx      MX    10 www.example.net.
child   NS    ns.child
ns.child A    198.18.2.1
"""
)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        pytest.param(
            "web.example.org A",
            """\
            NOERROR aa
            answer web.example.org. 3600 CNAME www.example.net.
            answer www.example.net. 600 A 198.18.1.1
            """,
            id="to a name that the other zone has",
        ),
        pytest.param(
            "gone.example.org A",
            """\
            NXDOMAIN aa
            answer gone.example.org. 3600 CNAME nope.example.net.
            authority example.net. 60 SOA ns1.example.net. hostmaster.example.net. 1 7200 900 1209600 60
            """,
            id="to one that it has not: its own SOA says so",
        ),
        pytest.param(
            "there.example.org A",
            """\
            NOERROR aa
            answer there.example.org. 3600 CNAME back.example.net.
            answer back.example.net. 600 CNAME host.example.org.
            answer host.example.org. 3600 A 198.18.0.10
            """,
            id="and back",
        ),
        pytest.param(
            "below.example.org A",
            """\
            NOERROR aa
            answer below.example.org. 3600 CNAME host.sub.example.net.
            authority sub.example.net. 600 NS ns.sub.example.net.
            additional ns.sub.example.net. 600 A 198.18.1.2
            """,
            id="to what the other zone delegates",
        ),
        pytest.param(
            "inside.example.org A",
            """\
            NOERROR aa
            answer inside.example.org. 3600 CNAME www.child.example.org.
            answer www.child.example.org. 500 A 198.18.2.2
            """,
            id="below a cut, where the server has the child too",
        ),
        pytest.param(
            "up.child.example.org A",
            """\
            NOERROR aa
            answer up.child.example.org. 500 CNAME host.example.org.
            answer host.example.org. 3600 A 198.18.0.10
            """,
            id="from the child to its parent",
        ),
        pytest.param(
            "round.example.org A",
            """\
            NOERROR aa
            answer round.example.org. 3600 CNAME round.example.net.
            answer round.example.net. 600 CNAME round.example.org.
            """,
            id="in a circle: told once",
        ),
        pytest.param(
            "mx.example.org MX",
            """\
            NOERROR aa
            answer mx.example.org. 3600 MX 10 www.example.net.
            """,
            id="addresses come from the zone of the answer alone",
        ),
    ],
)
def test_across_zones(question: str, expected: str) -> None:
    """The search begins again in the zone that holds the target (RFC 1034 §4.3.2, step 3a)."""
    assert told(server(ZONE, NET, CHILD), question) == dedent(expected)
