"""Questions about names that the zone has given to others."""

from __future__ import annotations

from textwrap import dedent

import pytest

from tests.unit.dns.conversation import EXAMPLE, server, told

ZONE = (
    EXAMPLE
    + """\
lab         NS  ns.lab
lab         NS  ns.sister
lab         NS  ns1
lab         NS  ns.elsewhere.net.
ns.lab      A   198.18.0.40
www.lab     A   198.18.0.41
sister      NS  ns.sister
ns.sister   A   198.18.0.50
alias       CNAME www.lab
*.lab       A   198.18.0.66
"""
)
REFERRAL = """\
authority lab.example.org. 3600 NS ns.elsewhere.net.
authority lab.example.org. 3600 NS ns.lab.example.org.
authority lab.example.org. 3600 NS ns.sister.example.org.
authority lab.example.org. 3600 NS ns1.example.org.
additional ns.lab.example.org. 3600 A 198.18.0.40
additional ns.sister.example.org. 3600 A 198.18.0.50
additional ns1.example.org. 3600 A 198.18.0.1
"""


@pytest.mark.parametrize(
    "question",
    [
        pytest.param("lab.example.org NS", id="the cut itself"),
        pytest.param("lab.example.org MX", id="any type at the cut"),
        pytest.param("www.lab.example.org A", id="data below it are not ours to give"),
        pytest.param("ns.lab.example.org A", id="not even glue"),
        pytest.param("nope.lab.example.org A", id="nor to deny"),
        pytest.param("a.b.c.lab.example.org TXT", id="however deep"),
        pytest.param("x.lab.example.org A", id="a wildcard below a cut is nothing"),
        pytest.param("x.lab.example.org DS", id="DS below the cut"),
    ],
)
def test_referral(question: str) -> None:
    """Below a cut the zone refers, without authority, with glue, sibling glue and its own addresses."""
    assert told(server(ZONE), question) == f"NOERROR\n{REFERRAL}"


def test_an_alias_into_a_delegation() -> None:
    """The alias is the zone's own, so it has authority; what it leads to is referred (RFC 1035 §4.1.1)."""
    expected = f"NOERROR aa\nanswer alias.example.org. 3600 CNAME www.lab.example.org.\n{REFERRAL}"
    assert told(server(ZONE), "alias.example.org A") == expected


def test_a_ds_at_the_cut_is_the_parents() -> None:
    """DS belongs to the parent's side of the cut (RFC 4035 §3.1.4.1): here there is none."""
    assert told(server(ZONE), "lab.example.org DS") == dedent(
        """\
        NOERROR aa
        authority example.org. 300 SOA ns1.example.org. hostmaster.example.org. 1 7200 900 1209600 300
        """
    )


def test_a_cut_below_a_cut_is_not_seen() -> None:
    """The topmost cut counts; what stands below it is the other side's."""
    zone = EXAMPLE + "lab NS ns.elsewhere.net.\ndeep.lab NS ns.other.net.\n"
    assert told(server(zone), "x.deep.lab.example.org A") == dedent(
        """\
        NOERROR
        authority lab.example.org. 3600 NS ns.elsewhere.net.
        """
    )
