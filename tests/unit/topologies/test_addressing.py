"""Interfaces and addresses."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.topologies.plans import plans, small
from topologies.addressing import Addressing, Interface, Port, assign, subnets, transit_pairs
from topologies.plan import Host, Link, Network, Plan


def table(addressing: Addressing) -> list[str]:
    """Each interface as `name address`."""
    return [f"{interface.name} {interface.address}" for interface in addressing.interfaces]


def star(*links: Link, routers: str = "r", subnet: str = "198.18.1.0/24") -> Addressing:
    """The addressing of hosts with one-letter names on a LAN; those in `routers` are."""
    names = sorted({end for link in links for end in (link.a, link.b)} - {"lan"})
    hosts = tuple(Host(name=name, fqdn=f"{name}.org", router=name in routers) for name in names)
    return assign(
        Plan(name="star", networks=(Network(name="lan", subnet=subnet),), hosts=hosts, links=tuple(links))
    )


def test_routers_count_from_one_and_hosts_from_ten() -> None:
    """In a network the routers have the first addresses and the others start at the tenth."""
    made = star(Link(a="a", b="lan"), Link(a="r", b="lan"), Link(a="b", b="lan"))
    assert table(made) == ["a-eth0 198.18.1.10/24", "r-eth0 198.18.1.1/24", "b-eth0 198.18.1.11/24"]


def test_small_networks_count_from_one() -> None:
    """Where there is no tenth address to start from, hosts and routers count together."""
    made = star(Link(a="a", b="lan"), Link(a="r", b="lan"), Link(a="b", b="lan"), subnet="198.18.1.0/29")
    assert table(made) == ["a-eth0 198.18.1.1/29", "r-eth0 198.18.1.2/29", "b-eth0 198.18.1.3/29"]


def test_a_fixed_address_is_set_aside() -> None:
    """An address that a link fixes is nobody else's, wherever in the plan that link stands."""
    made = star(Link(a="a", b="lan"), Link(a="b", b="lan", address="198.18.1.10"))
    assert table(made) == ["a-eth0 198.18.1.11/24", "b-eth0 198.18.1.10/24"]


def test_linked_hosts_share_a_pair() -> None:
    """Two hosts on one cable get the two addresses of a /31; .0 and .255 are never used."""
    made = star(Link(a="a", b="r"), Link(a="r", b="b"))
    assert table(made) == [
        "a-eth0 198.19.0.2/31",
        "r-eth0 198.19.0.3/31",
        "r-eth1 198.19.0.4/31",
        "b-eth0 198.19.0.5/31",
    ]


def test_a_fixed_pair_is_the_one_it_lies_in() -> None:
    """A root server keeps its real address, odd or even; the router gets the other of the pair."""
    made = star(Link(a="a", b="r", address="198.41.0.4"), Link(a="b", b="r", address="192.36.148.17"))
    assert table(made) == [
        "a-eth0 198.41.0.4/31",
        "r-eth0 198.41.0.5/31",
        "b-eth0 192.36.148.17/31",
        "r-eth1 192.36.148.16/31",
    ]


def test_switch_ports_start_at_one() -> None:
    """A network's ports are numbered as Mininet numbers them: its own is port 0."""
    made = star(Link(a="a", b="lan"), Link(a="b", b="lan"))
    assert [port.name for port in made.ports] == ["lan-eth1", "lan-eth2"]


@given(st.integers(0, 2**32 - 1), st.integers(20, 32))
def test_transit_pairs_are_usable(start: int, prefix: int) -> None:
    """Pairs of a range lie in it, are /31s, do not overlap, and leave out .0 and .255 alone."""
    transit = IPv4Network((start, prefix), strict=False)
    pairs = list(transit_pairs(transit))
    used = {address for pair in pairs for address in pair}
    assert all(int(near) ^ 1 == int(far) for near, far in pairs)
    unused = {int(address) % 256 for address in transit if address not in used}
    assert unused <= {0, 1, 254, 255} or prefix == 32


@given(plans())
def test_addresses_are_unique(plan: Plan) -> None:
    """No two interfaces share an address, a name or a hardware address, and all lie in their subnets."""
    made = assign(plan)
    ends: list[Interface | Port] = [*made.interfaces, *made.ports]
    addresses = [interface.address for interface in made.interfaces]
    assert len({address.ip for address in addresses}) == len(addresses)
    assert len({end.name for end in ends}) == len(ends)
    assert len({end.mac for end in ends}) == len(ends)
    assert all(len(end.name) <= 15 for end in ends)
    for address in addresses:
        lan = address.network.prefixlen < 31
        assert not lan or address.ip not in (
            address.network.network_address,
            address.network.broadcast_address,
        )


@given(plans())
def test_links_join_what_the_plan_says(plan: Plan) -> None:
    """Each link has its two ends, at the hosts or networks that it names, in one subnet."""
    made = assign(plan)
    lans = {network.name: IPv4Network(network.subnet) for network in plan.networks}
    for number, link in enumerate(plan.links):
        near, far = made.ends(number)
        assert not isinstance(near, Port)
        assert near.host == link.a
        if isinstance(far, Port):
            assert (far.network, near.address.network) == (link.b, lans[link.b])
        else:
            assert (far.host, far.address.network) == (link.b, near.address.network)
        assert link.address is None or near.address.ip == IPv4Address(link.address)


@given(plans())
def test_subnets_do_not_overlap(plan: Plan) -> None:
    """An address belongs to one subnet, so a route to it is a route to the right place."""
    found = subnets(assign(plan))
    assert not any(one.overlaps(other) for one, other in combinations(found, 2))
    assert sum(len(hosts) for hosts in found.values()) == len(assign(plan).interfaces)


@given(plans())
def test_equal_plans_have_equal_addresses(plan: Plan) -> None:
    """Nothing but the plan decides."""
    assert assign(plan) == assign(plan)


@given(plans())
def test_a_late_comer_moves_nobody(plan: Plan) -> None:
    """A host that is added at the end changes nobody else's address."""
    end = plan.links[0].b
    late = Plan(
        name=plan.name,
        networks=plan.networks,
        hosts=(*plan.hosts, Host(name="late", fqdn="late.org")),
        links=(*plan.links, Link(a="late", b=end)),
        transit=plan.transit,
    )
    before, after = assign(plan), assign(late)
    assert after.interfaces[: len(before.interfaces)] == before.interfaces


def test_a_host_stands_for_its_first_interface() -> None:
    """A host's main address is that of eth0, and `of` lists its interfaces in order."""
    made = assign(small())
    assert [interface.name for interface in made.of("core")] == ["core-eth0", "core-eth1"]
    assert made.primary()["core"] == IPv4Address("198.18.1.1")
    assert made.of("ghost") == ()
