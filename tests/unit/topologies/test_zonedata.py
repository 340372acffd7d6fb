"""Zone files and root hints, walked as a resolver walks them: from the roots down, by every server."""

from __future__ import annotations

import os
import subprocess
import sys
from ipaddress import IPv4Address
from typing import TypeAlias

import dns.name
import dns.node
import dns.rdatatype
import dns.zone
import pytest
from hypothesis import given

from services.dns import master, names
from services.dns.answers import Outcome, answer
from services.dns.names import Name
from services.dns.records import addresses, data_text, targets
from services.dns.zone import Zones, build
from tests.unit.topologies.plans import BUILT_IN, plans, small
from topologies import minimal, two_companies
from topologies.addressing import assign
from topologies.plan import ROOT, Exchanger, Host, Link, NameServer, Plan, Zone
from topologies.zonedata import enclosing_zone, parent_zone, reverse_name, root_hints, zone_files

PLANS = [*BUILT_IN, small()]
Data: TypeAlias = frozenset[str]


def files(plan: Plan) -> dict[str, str]:
    """The plan's zone files, by origin."""
    return zone_files(plan, assign(plan))


def parsed(text: str, origin: str) -> dns.zone.Zone:
    """A zone file or root hints as dnspython reads them."""
    return dns.zone.from_text(text, origin=_dotted(origin), relativize=False, check_origin=False)


def found(zone: dns.zone.Zone, name: str, rtype: str) -> set[str]:
    """The data that a zone holds at a name, as text."""
    node = zone.get_rdataset(_dotted(name), rtype)
    return {rdata.to_text() for rdata in node} if node is not None else set()


def _dotted(name: str) -> str:
    return name if name == ROOT else f"{name}."


class Walk:
    """Every name server of a plan with its zones, and a resolver that tries all of them at each step."""

    def __init__(self, plan: Plan) -> None:
        made = assign(plan).primary()
        zones = {
            origin: build(master.parse(text, names.from_text(origin), source=origin), source=origin)
            for origin, text in files(plan).items()
        }
        self._servers = {
            str(made[host.name]): Zones(zones[origin] for origin in role.zones)
            for host, role in plan.roles()
            if isinstance(role, NameServer)
        }
        hints = parsed(root_hints(plan, assign(plan)), ROOT)
        self._roots = sorted(
            address for server in found(hints, ROOT, "NS") for address in found(hints, server[:-1], "A")
        )
        self._known: dict[tuple[str, Name, int], Data] = {}
        self._asking: set[tuple[Name, int]] = set()

    def resolve(self, name: str, rtype: str) -> Data:
        """The data at a name, which is the same whichever servers are asked."""
        data = self._from_the_roots(names.lower(names.from_text(name)), names.TYPES[rtype])
        assert data is not None, f"no way leads from the roots to {name}"
        return data

    def _from_the_roots(self, name: Name, rtype: int) -> Data | None:
        """None while the same is being asked already: one of several servers may hang on the zone itself."""
        if (name, rtype) in self._asking:
            return None
        self._asking.add((name, rtype))
        data = self._by_all(self._roots, name, rtype, -1)
        self._asking.remove((name, rtype))
        return data

    def _by_all(self, servers: list[str], name: Name, rtype: int, depth: int) -> Data | None:
        results = {self._ask(server, name, rtype, depth) for server in servers} - {None}
        assert len(results) <= 1, f"{names.to_text(name)}: servers disagree: {results}"
        return results.pop() if results else None

    def _ask(self, server: str, name: Name, rtype: int, depth: int) -> Data | None:
        data = self._known.get((server, name, rtype))
        if data is None:
            data = self._answer(server, name, rtype, depth)
        if data is not None:
            self._known[server, name, rtype] = data
        return data

    def _answer(self, server: str, name: Name, rtype: int, depth: int) -> Data | None:
        said = answer(self._servers[server], name, rtype)
        assert said.outcome is not Outcome.REFUSED, f"{server} is lame for {names.to_text(name)}"
        if said.outcome is not Outcome.DELEGATION:
            return frozenset(data_text(rdata) for rrset in said.answer for rdata in rrset.rdatas)
        (delegation,) = said.authority
        assert len(delegation.owner) > depth, f"{names.to_text(name)}: sideways to {delegation.owner!r}"
        given = {rrset.owner: frozenset(addresses(rrset)) for rrset in (*said.glue, *said.additional)}
        following: set[str] = set()
        for host in targets(delegation):
            # Glue must be there for a name below the cut: nobody else could say (RFC 1034 §4.2.1).
            assert host in given or not names.is_below(host, delegation.owner), f"no glue for {host!r}"
            following |= given.get(host) or self._from_the_roots(host, names.A) or frozenset()
        return self._by_all(sorted(following), name, rtype, len(delegation.owner))

    def prove(self, plan: Plan) -> None:
        """Whatever the plan says can be looked up from the roots: names, addresses, reverse names, MX."""
        made = assign(plan)
        main = made.primary()
        fqdns = {host.name: host.fqdn for host in plan.hosts}
        for host in plan.hosts:
            assert self.resolve(host.fqdn, "A") == {str(main[host.name])}
        if any(zone.origin.endswith("in-addr.arpa") for zone in plan.zones):
            for end in made.interfaces:
                assert self.resolve(reverse_name(end.address.ip), "PTR") == {fqdns[end.host]}
        for domain in plan.domains:
            assert self.resolve(domain.name, "MX") == {
                f"{exchanger.preference} {fqdns[exchanger.host]}" for exchanger in domain.exchangers
            }


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_everything_in_use_is_found_from_the_roots(plan: Plan) -> None:
    """Names, reverse names and MX records of the plans in use are found through every server."""
    Walk(plan).prove(plan)


@given(plans())
def test_everything_is_found_from_the_roots(plan: Plan) -> None:
    """In any plan every delegation leads to servers that answer, with glue where nothing else would help."""
    Walk(plan).prove(plan)


@given(plans())
def test_parent_and_child_agree(plan: Plan) -> None:
    """A delegation names the child's own servers, all of them, and their addresses where it must."""
    made = assign(plan).primary()
    texts = files(plan)
    origins = {zone.origin: zone for zone in plan.zones}
    for origin in origins:
        servers = {f"{server.fqdn}." for server in plan.servers_of(origin)}
        child = parsed(texts[origin], origin)
        assert found(child, origin, "NS") == servers
        parent = parent_zone(origin, origins)
        if parent is None:
            continue
        above = parsed(texts[parent], parent)
        assert found(above, origin, "NS") == servers
        for server in plan.servers_of(origin):
            if server.fqdn.endswith(f".{origin}") or server.fqdn == origin:
                assert found(above, server.fqdn, "A") == {str(made[server.name])}


@given(plans())
def test_zone_files_are_master_files(plan: Plan) -> None:
    """dnspython reads each: one SOA with the primary's name, the zone's TTL, nothing outside the zone."""
    for zone in plan.zones:
        read = dns.zone.from_text(files(plan)[zone.origin], origin=_dotted(zone.origin), relativize=False)
        (soa,) = found(read, zone.origin, "SOA")
        assert soa.startswith(f"{plan.servers_of(zone.origin)[0].fqdn}. ")
        assert {ttl for _, ttl, _ in read.iterate_rdatas()} == {zone.ttl}
        assert all(name.is_subdomain(dns.name.from_text(zone.origin)) for name in read.nodes)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_the_hints_name_every_root_server(plan: Plan) -> None:
    """Root hints hold the NS record of every root server, and its address."""
    made = assign(plan).primary()
    hints = parsed(root_hints(plan, assign(plan)), ROOT)
    roots = plan.servers_of(ROOT)
    assert found(hints, ROOT, "NS") == {f"{root.fqdn}." for root in roots}
    assert all(found(hints, root.fqdn, "A") == {str(made[root.name])} for root in roots)
    assert len(list(hints.iterate_rdatas())) == 2 * len(roots)


def test_the_thirteen_roots_keep_their_addresses() -> None:
    """Stock root hints work: a.root-servers.net is 198.41.0.4, and so on."""
    plan = two_companies.build()
    hints = parsed(root_hints(plan, assign(plan)), ROOT)
    assert len(found(hints, ROOT, "NS")) == 13
    assert found(hints, "a.root-servers.net", "A") == {"198.41.0.4"}
    assert found(hints, "m.root-servers.net", "A") == {"202.12.27.33"}


def test_what_the_plan_adds_comes_too() -> None:
    """Lines of the plan's own stand in the zone, relative names completed with its origin."""
    zones = (
        *small().zones[:2],
        Zone(origin="example.org", ttl=60, records=("www A 198.18.1.99", "@ TXT hi")),
    )
    zone = parsed(files(small(zones=zones))["example.org"], "example.org")
    assert found(zone, "www.example.org", "A") == {"198.18.1.99"}
    assert found(zone, "example.org", "TXT") == {'"hi"'}


def test_a_domain_has_its_exchangers_in_its_zone() -> None:
    """MX records stand at the domain's name, which need not be a zone of its own."""
    (domain,) = small().domains
    lower = (Exchanger(host="mx", preference=5), Exchanger(host="core", preference=20))
    plan = small(domains=(type(domain)(name="mail.example.org", exchangers=lower),))
    zone = parsed(files(plan)["example.org"], "example.org")
    assert found(zone, "mail.example.org", "MX") == {"5 mx.example.org.", "20 core.example.org."}
    assert found(zone, "example.org", "MX") == set()


@pytest.mark.parametrize(
    ("name", "zone", "parent"),
    [
        ("example.org", "example.org", "org"),
        ("a.b.example.org", "example.org", "org"),
        ("A.B.Example.ORG", "example.org", "org"),
        ("lab.example.org", "lab.example.org", "example.org"),
        ("badexample.org", "org", "."),
        ("example.com", ".", None),
        (".", ".", None),
    ],
)
def test_a_name_lies_in_the_most_specific_zone(name: str, zone: str, parent: str | None) -> None:
    """The zone of a name is the longest origin that ends it at a dot; its parent is the next one."""
    origins = {origin: Zone(origin=origin) for origin in (".", "org", "example.org", "lab.example.org")}
    assert enclosing_zone(name, origins) == zone
    assert parent_zone(zone, origins) == parent


def test_without_a_root_there_may_be_no_zone() -> None:
    """A name outside every zone has none, and a top-most zone no parent."""
    origins = {"org": Zone(origin="org")}
    assert enclosing_zone("example.com", origins) is None
    assert parent_zone("org", origins) is None


def test_reverse_names() -> None:
    """An address' reverse name has its octets from the last to the first (RFC 1035 §3.5)."""
    assert reverse_name(IPv4Address("198.18.1.10")) == "10.1.18.198.in-addr.arpa"


def test_every_interface_has_a_reverse_name() -> None:
    """A router is one name, and each of its addresses leads back to it."""
    zone = parsed(files(minimal.build())["18.198.in-addr.arpa"], "18.198.in-addr.arpa")
    assert found(zone, "1.1.18.198.in-addr.arpa", "PTR") == {"core1.nic.net."}
    assert found(zone, "1.2.18.198.in-addr.arpa", "PTR") == {"core1.nic.net."}


def test_glue_for_a_sibling() -> None:
    """A server in another zone below the same parent gets its address into the parent, where it helps."""
    plan = small(
        hosts=(
            Host(name="a", fqdn="ns.one.org", roles=(NameServer(primary=(".", "org", "two.org")),)),
            Host(name="b", fqdn="ns.two.org", roles=(NameServer(primary=("one.org",)),)),
        ),
        links=(Link(a="a", b="b"),),
        zones=tuple(Zone(origin=origin) for origin in (".", "org", "one.org", "two.org")),
        domains=(),
    )
    Walk(plan).prove(plan)
    zone = parsed(files(plan)["org"], "org")
    assert found(zone, "ns.two.org", "A") == {"198.19.0.3"}


SCRIPT = """
from topologies import planfile, routing, two_companies, zonedata
from topologies.addressing import assign
plan = two_companies.build()
print(planfile.dumps(plan), zonedata.zone_files(plan, assign(plan)), routing.routes(plan, assign(plan)))
print(zonedata.root_hints(plan, assign(plan)))
"""


def test_equal_plans_give_equal_files() -> None:
    """In another process, with other hashes, plan file, zone files, hints and routes are the same."""
    made = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(made) == 1
    assert b"a.root-servers.net" in made.pop()
