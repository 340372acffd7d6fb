"""DNAME: an alias for everything below a name (RFC 6672)."""

from __future__ import annotations

from textwrap import dedent

import pytest

from services.errors import ConfigError
from tests.unit.dns.conversation import EXAMPLE, make_zone, server, told

LONG = ".".join(["x" * 60] * 3)
ZONE = (
    EXAMPLE
    + f"""\
old     300 DNAME new
old     TXT   "moved"
a.new   A     198.18.0.10
www     CNAME a.old
away    DNAME example.net.
deep    DNAME {LONG}
loop    DNAME loop.loop
"""
)
SOA = "authority example.org. 300 SOA ns1.example.org. hostmaster.example.org. 1 7200 900 1209600 300"


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        pytest.param(
            "a.old.example.org A",
            """\
            NOERROR aa
            answer old.example.org. 300 DNAME new.example.org.
            answer a.old.example.org. 300 CNAME a.new.example.org.
            answer a.new.example.org. 3600 A 198.18.0.10
            """,
            id="a name below it is an alias",
        ),
        pytest.param(
            "b.old.example.org A",
            f"""\
            NXDOMAIN aa
            answer old.example.org. 300 DNAME new.example.org.
            answer b.old.example.org. 300 CNAME b.new.example.org.
            {SOA}
            """,
            id="of what need not exist",
        ),
        pytest.param(
            "old.example.org TXT",
            """\
            NOERROR aa
            answer old.example.org. 3600 TXT "moved"
            """,
            id="the name itself is none",
        ),
        pytest.param(
            "old.example.org DNAME",
            """\
            NOERROR aa
            answer old.example.org. 300 DNAME new.example.org.
            """,
            id="and may be asked for",
        ),
        pytest.param(
            "a.old.example.org CNAME",
            """\
            NOERROR aa
            answer old.example.org. 300 DNAME new.example.org.
            answer a.old.example.org. 300 CNAME a.new.example.org.
            """,
            id="the alias may be asked for, too",
        ),
        pytest.param(
            "www.example.org A",
            """\
            NOERROR aa
            answer www.example.org. 3600 CNAME a.old.example.org.
            answer old.example.org. 300 DNAME new.example.org.
            answer a.old.example.org. 300 CNAME a.new.example.org.
            answer a.new.example.org. 3600 A 198.18.0.10
            """,
            id="behind a CNAME",
        ),
        pytest.param(
            "x.y.away.example.org MX",
            """\
            NOERROR aa
            answer away.example.org. 3600 DNAME example.net.
            answer x.y.away.example.org. 3600 CNAME x.y.example.net.
            """,
            id="out of the zone",
        ),
        pytest.param(
            f"{'y' * 60}.deep.example.org A",
            f"""\
            YXDOMAIN aa
            answer deep.example.org. 3600 DNAME {LONG}.example.org.
            """,
            id="to a name that is too long",
        ),
    ],
)
def test_dname(question: str, expected: str) -> None:
    """The DNAME is told, with the CNAME that it makes of the name."""
    assert told(server(ZONE), question) == dedent(expected)


def test_a_dname_that_grows_ends() -> None:
    """One that leads below itself makes longer and longer names; that comes to an end."""
    lines = told(server(ZONE), "a.loop.example.org A").splitlines()
    assert lines[0].split()[0] in ("NOERROR", "YXDOMAIN")
    assert len(lines) <= 40


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ("old DNAME a\nold DNAME b", "redirects to several names"),
        ("old DNAME a\nold CNAME b", "is an alias and has DNAME too"),
        ("old DNAME a\nx.old A 198.18.0.1", "lies below a DNAME"),
    ],
)
def test_dname_mistakes(records: str, reason: str) -> None:
    """A name has one DNAME and nothing below it (RFC 6672 §2.4)."""
    with pytest.raises(ConfigError, match=reason):
        make_zone(EXAMPLE + records + "\n")
