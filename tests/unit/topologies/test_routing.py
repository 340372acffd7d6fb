"""Static routes, tried out: packets are forwarded hop by hop as the kernel would."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from ipaddress import IPv4Address

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.unit.topologies.plans import BUILT_IN, plans, small
from topologies.addressing import Addressing, Interface, assign, subnets
from topologies.plan import Host, Link, Network, Plan
from topologies.routing import DEFAULT, Route, routes


class World:
    """A plan with its routes, some links and hosts of which are down."""

    def __init__(
        self, plan: Plan, *, links_down: Collection[int] = (), hosts_down: Collection[str] = ()
    ) -> None:
        self.plan = plan
        self.addressing: Addressing = assign(plan)
        self.routes = routes(plan, self.addressing, links_down=links_down, hosts_down=hosts_down)
        self.routers = {host.name for host in plan.hosts if host.router}
        self.hosts = [host.name for host in plan.hosts if host.name not in hosts_down]
        cut = {
            number
            for number, link in enumerate(plan.links)
            if number in links_down or {link.a, link.b} & set(hosts_down)
        }
        self.working = [end for end in self.addressing.interfaces if end.link not in cut]
        networks = {port.link: port.network for port in self.addressing.ports}
        self.segment = {end.name: networks.get(end.link, f"link {end.link}") for end in self.working}

    def owner(self, device: str, address: IPv4Address) -> str | None:
        """Who answers ARP for an address on the segment that a device is in."""
        for end in self.working:
            if end.address.ip == address and self.segment[end.name] == self.segment[device]:
                return end.host
        return None

    def next_hop(self, host: str, destination: IPv4Address) -> str | None:
        """Where a host's kernel sends a packet: the longest prefix wins, its own subnets among them."""
        mine = [end for end in self.working if end.host == host]
        found = [
            (end.address.network.prefixlen, end.name, destination)
            for end in mine
            if destination in end.address.network
        ]
        devices = {end.name for end in mine}
        for route in self.routes[host]:
            assert route.device in devices, f"{host} routes out of {route.device}, which is down"
            if destination in route.destination:
                found.append((route.destination.prefixlen, route.device, route.via))
        if not found:
            return None
        _, device, via = max(found)
        return self.owner(device, via)

    def path(self, source: str, destination: IPv4Address) -> list[str]:
        """The hosts that a packet passes, the last one being where it ends, arrived or lost."""
        owners = {end.address.ip: end.host for end in self.addressing.interfaces}
        path = [source]
        while path[-1] != owners[destination]:
            if len(path) > 1 and path[-1] not in self.routers:
                break
            following = self.next_hop(path[-1], destination)
            if following is None:
                break
            assert following not in path, f"a loop: {path} and then {following}"
            path.append(following)
        return path

    def connected(self, source: str) -> set[str]:
        """Who can be reached at all when only routers forward."""
        members: dict[str, set[str]] = {}
        for end in self.working:
            members.setdefault(self.segment[end.name], set()).add(end.host)
        seen, queue = {source}, [source]
        while queue:
            here = queue.pop()
            if here != source and here not in self.routers:
                continue
            for group in members.values():
                if here in group:
                    queue += group - seen
                    seen |= group
        return seen

    def within_reach(self, source: str) -> Iterator[Interface]:
        """Working interfaces in a subnet that a host is in itself, or that a router it can reach is in."""
        connected = self.connected(source)
        doors = {
            end.address.network
            for end in self.working
            if end.host == source or (end.host in self.routers and end.host in connected)
        }
        for end in self.working:
            if end.host != source and end.address.network in doors:
                yield end

    def prove(self) -> None:
        """Whoever is connected reaches each other, at every address that is up."""
        for source in self.hosts:
            for end in self.within_reach(source):
                path = self.path(source, end.address.ip)
                assert path[-1] == end.host, f"{source} does not reach {end.address} of {end.host}: {path}"


@pytest.mark.parametrize("plan", [*BUILT_IN, small()], ids=lambda plan: plan.name)
def test_in_the_plans_in_use_everybody_reaches_everybody(plan: Plan) -> None:
    """From each host a packet gets to every address of every other."""
    world = World(plan)
    everything = len(world.addressing.interfaces)
    for host in plan.hosts:
        assert len(list(world.within_reach(host.name))) == everything - len(world.addressing.of(host.name))
    world.prove()


@given(plans())
def test_everybody_reaches_everybody(plan: Plan) -> None:
    """In any plan, whoever is connected reaches each other, without loops."""
    World(plan).prove()


@given(plans())
def test_every_router_knows_every_subnet(plan: Plan) -> None:
    """A router is in a subnet or has exactly one route to it."""
    world = World(plan)
    for router in world.routers:
        own = {end.address.network for end in world.addressing.of(router)}
        routed = [route.destination for route in world.routes[router]]
        assert len(routed) == len(set(routed))
        assert own | set(routed) == set(subnets(world.addressing))
        assert not own & set(routed)


@given(plans(), st.data())
def test_routes_lead_around_what_is_down(plan: Plan, data: st.DataObject) -> None:
    """With any links and hosts down, those who are still connected reach each other."""
    links = data.draw(st.sets(st.integers(0, len(plan.links) - 1), max_size=4), label="links down")
    hosts = data.draw(st.sets(st.sampled_from([h.name for h in plan.hosts]), max_size=2), label="hosts down")
    assume(links or hosts)
    world = World(plan, links_down=links, hosts_down=hosts)
    world.prove()
    assert all(world.routes[host] == () for host in hosts)


@given(plans())
def test_equal_plans_have_equal_routes(plan: Plan) -> None:
    """The order of a set or a dictionary decides nothing."""
    assert routes(plan, assign(plan)) == routes(plan, assign(plan))
    assert all(list(table) == sorted(table) for table in routes(plan, assign(plan)).values())


def ring(size: int = 4) -> Plan:
    """Routers in a ring, and a host at the first and at the third."""
    cores = [Host(name=f"c{n}", fqdn=f"c{n}.org", router=True) for n in range(size)]
    ends = [Host(name=name, fqdn=f"{name}.org") for name in ("a", "b")]
    around = [Link(a=f"c{n}", b=f"c{(n + 1) % size}") for n in range(size)]
    return Plan(
        name="ring",
        hosts=(*cores, *ends),
        links=(*around, Link(a="a", b="c0"), Link(a="b", b="c2")),
    )


def path(plan: Plan, source: str, target: str, **down: Collection[int] | Collection[str]) -> list[str]:
    """The hosts on the way to another's main address."""
    world = World(plan, **down)  # type: ignore[arg-type]  # links are numbers and hosts are names
    return world.path(source, world.addressing.primary()[target])


def test_of_equal_paths_the_plan_chooses() -> None:
    """Two ways around a ring are equally long: the one whose next router comes first in the plan is taken."""
    assert path(ring(), "a", "b") == ["a", "c0", "c1", "c2", "b"]
    assert path(ring(), "b", "a") == ["b", "c2", "c1", "c0", "a"]


def test_a_cut_sends_packets_the_other_way() -> None:
    """With the near way cut, or a router on it off, packets take the other way around."""
    assert path(ring(), "a", "b", links_down=[0]) == ["a", "c0", "c3", "c2", "b"]
    assert path(ring(), "a", "b", hosts_down=["c1"]) == ["a", "c0", "c3", "c2", "b"]


def test_where_no_way_is_left_there_is_no_route() -> None:
    """A router has no route to what it cannot reach, rather than one that loops."""
    world = World(ring(), links_down=[0, 2])
    beyond = {end.address.network for end in world.addressing.of("b")}
    assert not beyond & {route.destination for route in world.routes["c0"]}
    assert path(ring(), "a", "b", links_down=[0, 2]) == ["a", "c0"]


def test_a_host_has_a_default_route() -> None:
    """A host on one network sends everything to its router; one with no router beside it has no route."""
    world = World(small())
    mx = world.addressing.of("mx")[0]
    assert world.routes["mx"] == (Route(DEFAULT, IPv4Address("198.18.1.1"), mx.name),)
    assert World(small(), hosts_down=["core"]).routes["mx"] == ()


def test_a_host_between_two_routers_takes_the_nearer_one() -> None:
    """Its default is the first router of the plan, and what lies behind the other goes there."""
    plan = Plan(
        name="between",
        networks=(Network(name="far", subnet="198.18.2.0/24"),),
        hosts=(
            Host(name="r1", fqdn="r1.org", router=True),
            Host(name="r2", fqdn="r2.org", router=True),
            Host(name="h", fqdn="h.org"),
            Host(name="x", fqdn="x.org"),
        ),
        links=(Link(a="h", b="r1"), Link(a="h", b="r2"), Link(a="r2", b="far"), Link(a="x", b="far")),
    )
    assert World(plan).routes["h"][0].destination == DEFAULT
    assert path(plan, "h", "x") == ["h", "r2", "x"]
    # The routers know no way to each other: the host between them does not forward.
    assert path(plan, "r1", "x") == ["r1"]
