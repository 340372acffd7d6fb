"""Delegations that the parent has taken back: whatever their servers say, they do not outlive its TTL."""

from __future__ import annotations

import pytest

from tests.unit.dns.internet import ORG, Internet

DELEGATED = ORG + "ghost NS ns.ghost\nns.ghost A 198.18.4.1\n"
GHOST = """\
$ORIGIN ghost.org.
$TTL 604800
@   SOA  ns hostmaster 1 1800 900 604800 60
@   NS   ns
ns  A    198.18.4.1
www A    198.18.4.9
deep NS  ns.deep
ns.deep  A 198.18.4.2
"""
DEEP = """\
$ORIGIN deep.ghost.org.
$TTL 604800
@   SOA  ns hostmaster 1 1800 900 604800 60
@   NS   ns
ns  A    198.18.4.2
"""


@pytest.fixture
def internet() -> Internet:
    internet = Internet()
    internet.serve("198.18.1.1", DELEGATED)
    internet.serve("198.18.4.1", GHOST)
    internet.serve("198.18.4.2", DEEP)
    return internet


@pytest.mark.parametrize(
    ("asked", "then"),
    [
        pytest.param(["ghost.org NS"], "x.ghost.org A", id="its own NS records"),
        pytest.param(["ghost.org NS", "ns.ghost.org A"], "x.ghost.org A", id="and its server's address"),
        pytest.param(["x.deep.ghost.org A"], "y.deep.ghost.org A", id="a zone below"),
        pytest.param(["deep.ghost.org NS"], "y.deep.ghost.org A", id="the NS records of a zone below"),
    ],
)
def test_a_ghost_does_not_prolong_its_life(internet: Internet, asked: list[str], then: str) -> None:
    """NS records that the child gives hold no longer than those of the parent, which has removed it."""
    resolver = internet.resolver()
    assert internet.look_up(resolver, "nope.ghost.org A") == ["NXDOMAIN"]
    internet.serve("198.18.1.1", ORG)
    for internet.clock in (2000.0, 3000.0, 4500.0):
        for question in asked:
            assert internet.look_up(resolver, question)[0] in ("NOERROR", "NXDOMAIN")
    internet.asked.clear()
    internet.clock = 4700.0  # the delegation came with 3600 s at 1000
    assert internet.look_up(resolver, then) == ["NXDOMAIN"]
    assert not any(line.startswith("198.18.4.") for line in internet.asked)


def test_a_delegation_that_is_still_there_is_renewed(internet: Internet) -> None:
    """The parent is asked again when its TTL is over, and what it says then holds anew."""
    resolver = internet.resolver()
    internet.look_up(resolver, "ghost.org NS")
    for internet.clock in (4000.0, 4700.0, 9000.0):
        assert internet.look_up(resolver, f"x{internet.clock:.0f}.ghost.org A") == ["NXDOMAIN"]
    assert sum(line.startswith("198.18.1.1") for line in internet.asked) == 3


def test_the_ttl_of_a_tld_is_its_own(internet: Internet) -> None:
    """What the roots delegate holds as long as it says, though the list of the roots may end before."""
    resolver = internet.resolver()
    internet.look_up(resolver, "nope A")
    internet.clock += 86000
    internet.look_up(resolver, "ghost.org NS")
    (org,) = (e for e in resolver.cache.entries() if (e.name, e.kind) == ("org", "delegation"))
    assert org.ttl == 86400
