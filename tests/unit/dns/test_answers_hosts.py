"""The addresses of hosts that records name: what goes into the additional section, and what does not."""

from __future__ import annotations

import pytest

from tests.unit.dns.conversation import EXAMPLE, server, whole

ZONE = (
    EXAMPLE
    + """\
ns1     A     198.18.0.1
sub     NS    ns.sub
sub     NS    ns1
sub     NS    any.wild
ns.sub  A     198.18.0.2
ns.sub  AAAA  2001:db8::2
mail    MX    10 ns.sub
mail    MX    20 any.wild
mail    MX    30 www
mail    MX    40 mx
_s._tcp SRV   0 0 25 ns.sub
www     CNAME mx
mx      A     198.18.0.3
*.wild  A     198.18.0.4
"""
)


@pytest.mark.parametrize(
    ("question", "hosts"),
    [
        pytest.param(
            "x.sub.example.org A",
            ["ns.sub A", "ns.sub AAAA", "ns1 A", "any.wild A"],
            id="a referral has glue",
        ),
        pytest.param(
            "mail.example.org MX", ["any.wild A", "mx A", "ns1 A"], id="no glue and no alias for an exchanger"
        ),
        pytest.param("_s._tcp.example.org SRV", ["ns1 A"], id="nor for a service"),
    ],
)
def test_hosts(question: str, hosts: list[str]) -> None:
    """Glue leads to the servers of a zone and is for nothing else; a wildcard covers hosts too."""
    found = [line.split() for line in whole(server(ZONE), question).splitlines() if "additional" in line]
    told = {f"{owner.removesuffix('.example.org.')} {rtype}" for _, owner, _, rtype, _ in found}
    assert told == set(hosts)
