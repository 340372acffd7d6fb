"""The built-in worlds: what their docstrings show, and what section 4 of the design asks of them."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from ipaddress import IPv4Network

import pytest

from tests.unit.topologies.plans import BUILT_IN
from topologies import catalog, company, hierarchy, internet, parts, two_companies
from topologies.addressing import assign
from topologies.check import check
from topologies.parts import Part
from topologies.plan import Host, MailServer, NameServer, Plan, Zone
from topologies.zonedata import zone_files

WORLD = two_companies.build()


def shown(module: str) -> dict[str, str]:
    """The address plan of a module's docstring: host to address. `a … c` stands for all from a to c."""
    doc = importlib.import_module(f"topologies.{module.replace('-', '_')}").__doc__ or ""
    names = [host.name for host in catalog.load(module).hosts]
    found: dict[str, str] = {}
    for line in doc.splitlines():
        row = re.fullmatch(r" +(\S+(?: \S+)*) {2,}(\d+(?:\.\d+){3}(?: \S+)*?)(?: …)?(?: {2,}.*)?", line)
        if row is None:
            continue
        hosts, addresses = row[1].split(), row[2].split()
        if "…" in hosts:
            between = names[names.index(hosts[0]) : names.index(hosts[-1]) + 1]
            found |= dict.fromkeys(between, "") | {hosts[0]: addresses[0], hosts[-1]: addresses[-1]}
        else:
            found |= dict(zip(hosts, addresses, strict=True))
    return found


@pytest.mark.parametrize("name", catalog.BUILT_IN)
def test_the_addresses_in_the_docstring_are_those_that_come_out(name: str) -> None:
    """Each host stands in its module's address plan, with the address that is derived for it."""
    primary = {host: str(address) for host, address in assign(catalog.load(name)).primary().items()}
    table = shown(name)
    assert {host: primary[host] for host, address in table.items() if address} == {
        host: address for host, address in table.items() if address
    }
    # What is generated goes on as it begins.
    assert set(table) == set(primary) or (name == "internet" and set(table) < set(primary))


def test_the_reader_of_docstrings_finds_them() -> None:
    """Ranges count as all that lie between their ends, and both ends are compared."""
    assert len(shown("two-companies")) == len(WORLD.hosts) == 62
    assert shown("two-companies")["com-ns1"] == "198.19.0.10"
    assert shown("two-companies")["m-root"] == "202.12.27.33"
    assert shown("minimal")["core1"] == "198.18.1.1"


@pytest.mark.parametrize("plan", BUILT_IN, ids=lambda plan: plan.name)
def test_routes_lead_somewhere(plan: Plan) -> None:
    """Every domain that mail is routed through is a domain of the plan, and every one has servers."""
    domains = {domain.name for domain in plan.domains}
    for host, role in plan.roles():
        for route in role.routes if isinstance(role, MailServer) else ():
            assert domains >= set(route.via), host.name
    reverse = [zone.origin for zone in plan.zones if zone.origin.endswith("in-addr.arpa")]
    subnets = {network.subnet.split(".")[0] for network in plan.networks} | {"198"}
    assert {origin.removesuffix(".in-addr.arpa").split(".")[-1] for origin in reverse} >= subnets


def test_every_host_of_the_design_is_there() -> None:
    """The table of section 4, host by host."""
    wanted = {
        *("alice", "carol", "corp-msa", "corp-hub", "corp-mta1", "corp-mta2", "corp-dns", "corp-gw"),
        *("core1", "core2", "core3", "core4"),
        *(f"{letter}-root" for letter in "abcdefghijklm"),
        *(f"{top}-ns{n}" for top in ("com", "org", "net", "edu", "gov") for n in (1, 2)),
        *(f"{place}-auth{n}" for place in ("com", "org", "net") for n in (1, 2)),
        *("lab-auth", "isp-a1", "isp-a2", "isp-b1", "isp-b2", "isp-c1", "isp-dns"),
        *("open-1", "open-2", "mallory", "lists", "bl-ns"),
        *("rcpt-fw", "rcpt-mx1", "rcpt-mx2", "rcpt-filt", "rcpt-dns", "rcpt-mda", "bob", "dave", "lab-mx"),
    }
    assert {host.name for host in WORLD.hosts} == wanted


MX = {
    "example.com": "10 corp-mta1, 20 corp-mta2",
    "isp-a.example.net": "10 isp-a1, 10 isp-a2",
    "isp-b.example.net": "10 isp-b1, 10 isp-b2",
    "isp-c.example.net": "10 isp-c1",
    "example.org": "10 rcpt-mx1, 20 rcpt-mx2",
    "lab.example.org": "10 lab-mx",
    "lab-mx.lab.example.org": "",
    "lists.example.net": "10 lists",
    "mallory.example.net": "10 mallory",
    "example.edu": "10 isp-b1, 20 isp-b2",
    "example.gov": "10 isp-b1, 20 isp-b2",
}


def test_the_exchangers_are_those_of_the_mail_flow_table() -> None:
    """Each domain's MX in preference order, as section 4 has it."""
    published = {
        domain.name: ", ".join(f"{e.preference} {e.host}" for e in domain.exchangers)
        for domain in WORLD.domains
    }
    assert {name: published[name] for name in MX} == MX
    # All others are next hops inside the two companies, and take no mail in their own names.
    inside = [domain for domain in WORLD.domains if domain.name not in MX]
    assert all(domain.transit for domain in inside)
    assert {domain.name.split(".", 1)[1] for domain in inside} == {"example.com", "example.org"}


def test_only_the_insides_have_private_addresses() -> None:
    """The LANs are in 10/8, the root servers have their own addresses, all else is in the benchmark range."""
    for host, address in assign(WORLD).primary().items():
        if host.endswith("-root"):
            assert str(address) == hierarchy.ROOTS[host[0]]
        elif host in ("alice", "carol", "corp-msa", "corp-hub"):
            assert address in IPv4Network("10.1.0.0/24")
        elif host in ("bob", "dave", "rcpt-mda"):
            assert address in IPv4Network("10.2.0.0/24")
        else:
            assert address in IPv4Network("198.18.0.0/15"), host


@pytest.mark.parametrize("top", ["com", "org", "net", "edu", "gov"])
def test_a_top_level_domain_has_two_servers(top: str) -> None:
    """Its primary and its secondary, at different routers; all 13 root servers refer to them."""
    assert [host.name for host in WORLD.servers_of(top)] == [f"{top}-ns1", f"{top}-ns2"]
    routers = {link.b for link in WORLD.links if link.a in (f"{top}-ns1", f"{top}-ns2")}
    assert len(routers) == 2
    assert len(WORLD.servers_of(".")) == 13
    assert f"{top}. NS {top}-ns1.nic.net." in zone_files(WORLD, assign(WORLD))["."]


def test_the_block_list_has_who_sends_unwanted_mail() -> None:
    """The spammer and the open relays are on it, and the entry to test with; 127.0.0.1 is not."""
    made = assign(WORLD).primary()
    text = zone_files(WORLD, assign(WORLD))["bl.example.net"]
    listed = {line.partition(" A ")[0] for line in text.splitlines() if line.endswith(" A 127.0.0.2")}
    assert listed == {
        "2.0.0.127",
        *(".".join(reversed(str(made[host]).split("."))) for host in ("open-1", "open-2", "mallory")),
    }
    assert text.count(" TXT ") == len(listed)


def test_the_company_is_the_same_alone() -> None:
    """`company` has the hosts and mail routes that the company has in the whole world."""
    alone = company.build()
    office = [host for host in alone.hosts if host.fqdn.endswith(".example.com")]
    assert len(office) == 8
    assert all(host == WORLD.host(host.name) for host in office)
    addresses, elsewhere = assign(alone).primary(), assign(WORLD).primary()
    assert all(addresses[host.name] == elsewhere[host.name] for host in office if not host.router)


@pytest.mark.parametrize("domains", [1, 2, 24, 25, 26, 50, 51, 101, 300, 1000])
def test_the_internet_grows(domains: int) -> None:
    """A generated plan of any size has no mistake, and each domain has all that it needs."""
    plan = internet.build(domains)
    check(plan)
    assert plan.name == f"internet-{domains}"
    assert len(plan.domains) == domains
    kinds = Counter(role.kind for _, role in plan.roles())
    assert kinds["mail-server"] == kinds["mail-client"] == domains
    assert kinds["resolver"] == -(-domains // 25)
    assert all(len(plan.servers_of(domain.name)) == 2 for domain in plan.domains)
    links = Counter(end for link in plan.links for end in (link.a, link.b))
    assert max(links[host.name] for host in plan.hosts) < 30


def test_the_largest_internet_has_room() -> None:
    """As many domains as the parameter allows have names, networks and addresses."""
    largest = internet.build(internet.PARAMETERS["DOMAINS"].most)
    check(largest)
    assert len(set(assign(largest).primary().values())) == len(largest.hosts)


def test_domains_are_spread_over_the_top_level() -> None:
    """One after the other; so the first two users are in different ones."""
    domains = [domain.name for domain in internet.build(7).domains]
    assert domains == ["d1.com", "d2.org", "d3.net", "d4.edu", "d5.gov", "d6.com", "d7.org"]


def test_a_smaller_internet_is_the_beginning_of_a_larger_one() -> None:
    """Whoever is there with few domains is there with many, and does the same."""
    few, many = internet.build(30), internet.build(60)
    for host in few.hosts:
        same = many.host(host.name)
        assert same == host or any(isinstance(role, NameServer) for role in host.roles)


def test_parts_come_in_order() -> None:
    """A plan holds what its parts hold, in their order, and more records stand behind those of a zone."""
    one = Part(hosts=(Host(name="a", fqdn="a.org"),), zones=(Zone(origin="org", records=("x TXT y",)),))
    other = Part(hosts=(Host(name="b", fqdn="b.org"),))
    plan = parts.plan("two", "two parts", one, other)
    assert plan == parts.plan("two", "two parts", one + other)
    assert [host.name for host in plan.hosts] == ["a", "b"]
    more = parts.with_records(plan, {"org": ("z TXT y",)})
    assert more.zones == (Zone(origin="org", records=("x TXT y", "z TXT y")),)


def test_domains_on_the_block_list() -> None:
    """The spammer's domain, and the name that each such list holds, have an address and a reason."""
    text = zone_files(WORLD, assign(WORLD))["dbl.example.net"]
    for name in ("mallory.example.net", "test"):
        assert f"{name} A 127.0.0.2" in text
        assert f'{name} TXT "unwanted mail leads to {name}"' in text
