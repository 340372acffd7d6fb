"""The mistakes that a plan can have. Each row changes a plan without mistakes and names what is told then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.topologies.plans import BUILT_IN, small
from topologies.addressing import assign
from topologies.check import check
from topologies.errors import PlanError
from topologies.plan import (
    Alias,
    Command,
    Domain,
    Exchanger,
    Host,
    Link,
    MailClient,
    MailingList,
    MailRoute,
    MailServer,
    NameServer,
    Network,
    Plan,
    Role,
    User,
    Zone,
)

SMALL = small()
ALIASES = [
    ((Alias(local="info", to=("bob",)), Alias(local="INFO", to=("bob",))), "info is there 2 times"),
    ((Alias(local="in fo", to=("bob",)),), "'in fo' is no local part of an address"),
    ((Alias(local="info", to=()),), "info leads to nobody"),
    ((Alias(local="info", to=("eve",)),), "info leads to eve@example.org, where there is nobody"),
    ((Alias(local="info", to=("bob@a.org",)),), "info leads to bob@a.org, where there is nobody"),
    (
        (Alias(local="a", to=("b",)), Alias(local="b", to=("bob", "A+x"))),
        "a leads back to itself through b@example.org",
    ),
]
WEB = Command(name="web", command=("true",))
COMMANDS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"command": ()}, "host core: the role web has an empty command"),
    ({"ready": "soon"}, "ready of web is 'soon'; it is tcp:PORT, log:REGEX or started"),
    ({"ready": "tcp:0"}, "ready of web is 'tcp:0'"),
    ({"ready": "tcp:65536"}, "ready of web is 'tcp:65536'"),
    ({"ready": "log:("}, "ready of web: '(' is no regular expression"),
    ({"name": "../x"}, "host core: role '../x': a name is made of letters"),
    ({"files": {"../x": ""}}, "file '../x' of web lies outside the host's directory"),
    ({"files": {"/etc/x": ""}}, "file '/etc/x' of web lies outside the host's directory"),
)


def mistakes(plan: Plan) -> tuple[str, ...]:
    """What `check` tells about a plan."""
    try:
        check(plan)
    except PlanError as error:
        return error.mistakes
    return ()


def changed(part: str, name: str, **changes: Any) -> Plan:
    """The small plan with one of its hosts, zones, … changed."""
    key = {"zones": "origin"}.get(part, "name")
    items = tuple(
        replace(item, **changes) if getattr(item, key) == name else item for item in getattr(SMALL, part)
    )
    assert items != getattr(SMALL, part)
    parts: dict[str, Any] = {part: items}
    return replace(SMALL, **parts)


def added(part: str, *items: object) -> Plan:
    """The small plan with more of something."""
    parts: dict[str, Any] = {part: (*getattr(SMALL, part), *items)}
    return replace(SMALL, **parts)


def weighted(name: str, weight: int) -> MailServer:
    """A mail server whose route gives a host a weight."""
    return MailServer(routes=(MailRoute(domain="*", via=("example.org",), weights={name: weight}),))


def host(name: str = "new", *roles: Role, **fields: Any) -> Plan:
    """The small plan with one more host on the LAN."""
    more = Host(name=name, roles=roles, **{"fqdn": "new.example.org", **fields})
    return replace(added("hosts", more), links=(*SMALL.links, Link(a=name, b="lan")))


@pytest.mark.parametrize("plan", [*BUILT_IN, SMALL], ids=lambda plan: plan.name)
def test_the_plans_in_use_have_none(plan: Plan) -> None:
    """Nothing is told about a plan that can be built."""
    assert mistakes(plan) == ()


ISSUE = [
    pytest.param(
        added("links", Link(a="ghost", b="lan")),
        "link ghost - lan: there is no host ghost",
        id="an unknown host in a link",
    ),
    pytest.param(
        added("links", Link(a="mx", b="ghost")),
        "link mx - ghost: there is no host or network ghost",
        id="an unknown network in a link",
    ),
    pytest.param(
        changed("hosts", "core", roles=(NameServer(primary=("org",)),)),
        "zone org has two primaries: core and ns",
        id="two primaries of a zone",
    ),
    pytest.param(
        host("mx2", MailServer(mailboxes=("example.org",)), resolver="ns"),
        "domain example.org has two primaries: mx and mx2 both hold its mailboxes",
        id="two primaries of a domain",
    ),
    pytest.param(
        changed("domains", "example.org", exchangers=()),
        "domain example.org has no MX: name its exchangers, or say implicit = true",
        id="a domain without MX",
    ),
    pytest.param(
        host("much-too-long"),
        "host much-too-long: the name is too long for an interface: 13 characters, at most 10 fit with -eth0",
        id="a host's name too long for an interface",
    ),
    pytest.param(
        added("networks", Network(name="long-office", subnet="198.18.9.0/24")),
        "network long-office: the name is too long for an interface: 11 characters, at most 10 fit with",
        id="a network's name too long for an interface",
    ),
    pytest.param(
        added("networks", Network(name="dmz", subnet="198.18.0.0/16")),
        "network dmz (198.18.0.0/16) and network lan (198.18.1.0/24) overlap",
        id="overlapping subnets",
    ),
    pytest.param(
        added("zones", Zone(origin="net")),
        "zone net: a delegation to nowhere: no host serves it",
        id="a delegation to nowhere",
    ),
]

NAMES = [
    pytest.param(replace(SMALL, name=""), "the plan has no name", id="no name"),
    pytest.param(host("New"), "host 'New': a name is a letter, then", id="a capital"),
    pytest.param(host("-new"), "host '-new': a name is a letter, then", id="a hyphen at the start"),
    pytest.param(host("new/x"), "host 'new/x': a name is a letter, then", id="a slash"),
    pytest.param(host(fqdn="a..org"), "host new: fqdn 'a..org' is no domain name", id="no fqdn"),
    pytest.param(host(fqdn="a.org."), "host new: fqdn 'a.org.' is no domain name", id="a final dot"),
    pytest.param(host(fqdn="x" * 64 + ".org"), "is no domain name", id="a label too long"),
    pytest.param(added("zones", Zone(origin="a b")), "zone 'a b' is no domain name", id="a zone's name"),
    pytest.param(
        added("zones", Zone(origin="Net")), "zone Net: write it in lower case", id="a zone's capital"
    ),
    pytest.param(
        added("domains", Domain(name="a b.org")), "domain 'a b.org' is no domain name", id="a domain's"
    ),
    pytest.param(
        changed("hosts", "core", roles=(weighted("core", 1),)),
        "host core: its route for * gives a weight to core, which is no exchanger of example.org",
        id="a weight for somebody else",
    ),
    pytest.param(
        changed("hosts", "core", roles=(weighted("mx", 0),)),
        "host core: its route for * gives mx the weight 0; it is 1 or more",
        id="no weight",
    ),
    pytest.param(host("lan"), "host or network lan is there 2 times", id="a name twice"),
    pytest.param(host(fqdn="MX.example.org"), "fqdn mx.example.org is there 2 times", id="an fqdn twice"),
    pytest.param(added("zones", Zone(origin="org")), "zone org is there 2 times", id="a zone twice"),
    pytest.param(
        added("domains", *SMALL.domains), "domain example.org is there 2 times", id="a domain twice"
    ),
    pytest.param(
        replace(
            SMALL,
            networks=(*SMALL.networks, Network(name="big-office", subnet="198.18.2.0/24")),
            links=(*SMALL.links, *(Link(a="core", b="big-office") for _ in range(10))),
        ),
        "network big-office: the name is too long for an interface: with 10 links there is big-office-eth10, "
        "16 characters of at most 15",
        id="a name too long for the tenth interface",
    ),
]

LINKS = [
    pytest.param(
        added("links", Link(a="lan", b="mx")),
        "link lan - mx: there is no host lan (a network stands at b)",
        id="a network at the wrong end",
    ),
    pytest.param(added("links", Link(a="mx", b="mx")), "link mx - mx: a link needs two ends", id="one end"),
    pytest.param(
        added("hosts", Host(name="new", fqdn="new.example.org")), "host new has no link", id="no link"
    ),
    *(
        pytest.param(added("links", Link(a="mx", b="core", **quality)), mistake, id=f"{quality}")
        for quality, mistake in (
            ({"rate_mbit": 0}, "link mx - core: rate_mbit must be above 0"),
            ({"rate_mbit": float("nan")}, "rate_mbit must be above 0"),
            ({"rate_mbit": float("inf")}, "rate_mbit must be above 0"),
            ({"delay_ms": -1}, "link mx - core: delay_ms must not be negative"),
            ({"delay_ms": float("nan")}, "delay_ms must not be negative"),
            ({"loss_percent": 101}, "link mx - core: loss_percent lies between 0 and 100"),
            ({"address": "198.18.1"}, "link mx - core: '198.18.1' is no IPv4 address"),
        )
    ),
    *(
        pytest.param(added("links", Link(a="ns", b="lan", address=address)), mistake, id=f"address {address}")
        for address, mistake in (
            ("198.18.2.5", "link ns - lan: address 198.18.2.5 lies outside 198.18.1.0/24"),
            ("198.18.1.0", "address 198.18.1.0 is the network or broadcast address of 198.18.1.0/24"),
            ("198.18.1.255", "address 198.18.1.255 is the network or broadcast address"),
        )
    ),
    pytest.param(
        added(
            "links",
            Link(a="ns", b="lan", address="198.18.1.5"),
            Link(a="core", b="lan", address="198.18.1.5"),
        ),
        "fixed address 198.18.1.5 is there 2 times",
        id="an address twice",
    ),
]

SUBNETS = [
    pytest.param(
        added("networks", Network(name="dmz", subnet="198.18.2.1/24")),
        "network dmz: '198.18.2.1/24' is no IPv4 subnet such as 198.18.1.0/24",
        id="host bits",
    ),
    pytest.param(replace(SMALL, transit="x"), "transit 'x' is no IPv4 subnet", id="transit"),
    pytest.param(
        replace(SMALL, transit="198.18.0.0/15"),
        "transit (198.18.0.0/15) and network lan (198.18.1.0/24) overlap",
        id="a network in the transit range",
    ),
    pytest.param(
        added("links", Link(a="mx", b="core", address="198.18.1.9")),
        "network lan (198.18.1.0/24) and link mx - core (198.18.1.8/31) overlap",
        id="a link's address in a network",
    ),
    pytest.param(
        changed("networks", "lan", subnet="198.18.1.0/30"),
        "network lan: 3 hosts, but 198.18.1.0/30 has room for 2",
        id="no room in a network",
    ),
    pytest.param(
        replace(SMALL, transit="198.19.0.0/31"),
        "transit 198.19.0.0/31: 1 links between hosts, but room for 0",
        id="no room in the transit range",
    ),
]

ROLES = [
    pytest.param(
        changed("hosts", "core", roles=(NameServer(primary=("com",)),)),
        "host core serves com, which is no zone of the plan",
        id="an unknown zone",
    ),
    pytest.param(
        changed("hosts", "core", roles=(NameServer(secondary=("org", "org")),)),
        "host core serves org 2 times",
        id="a zone served twice",
    ),
    pytest.param(
        changed("hosts", "core", roles=(MailServer(mailboxes=("example.com",)),)),
        "host core holds mailboxes of example.com, which is no domain of the plan",
        id="an unknown domain",
    ),
    pytest.param(
        changed("hosts", "core", roles=(MailServer(relay_from=("dmz",)),)),
        "host core: relay_from names dmz, which is no host or network",
        id="an unknown client",
    ),
    pytest.param(
        changed("hosts", "bob", roles=(MailClient(user="eve@example.org", server="mx"),)),
        "host bob: there is no user eve@example.org",
        id="an unknown user",
    ),
    pytest.param(
        changed("hosts", "bob", roles=(MailClient(user="bob@example.org", server="ns"),)),
        "host bob submits to ns, which is no mail server with submission",
        id="no submission server",
    ),
    pytest.param(
        changed("hosts", "core", roles=(NameServer(), NameServer())),
        "host core has the role name-server 2 times",
        id="a role twice",
    ),
    pytest.param(
        changed("hosts", "mx", resolver="core"),
        "host mx asks the resolver core, which has no such role",
        id="no resolver",
    ),
    pytest.param(
        changed("hosts", "mx", resolver=None),
        "host mx handles mail and needs a resolver",
        id="no resolver named",
    ),
    pytest.param(
        changed("hosts", "ns", roles=(NameServer(primary=("org", "example.org")), *SMALL.hosts[1].roles[1:])),
        "there are resolvers, but no root name server: a host must serve the zone .",
        id="no root server",
    ),
    *(
        pytest.param(
            changed("hosts", "core", roles=(replace(WEB, **fields),)),
            mistake,
            id=f"{fields}",
        )
        for fields, mistake in COMMANDS
    ),
]

ZONES = [
    pytest.param(
        changed("hosts", "ns", roles=(NameServer(primary=(".", "org"), secondary=("example.org",)),)),
        "zone example.org has secondaries (ns), but no primary",
        id="no primary",
    ),
    pytest.param(
        replace(changed("hosts", "ns", roles=(NameServer(primary=("org",)),)), zones=SMALL.zones[1:2]),
        "zone org: no zone of the plan delegates it, not even the root",
        id="no root",
    ),
    pytest.param(
        host(fqdn="new.example.com"), "host new: new.example.com lies in no zone", id="a host in no zone"
    ),
    pytest.param(
        added("domains", Domain(name="example.com", exchangers=(Exchanger(host="mx"),))),
        "domain example.com lies in no zone of the plan",
        id="a domain in no zone",
    ),
    pytest.param(
        replace(
            SMALL,
            zones=(*SMALL.zones, *(Zone(origin=origin) for origin in ("net", "example.net"))),
            hosts=(
                replace(SMALL.hosts[0], roles=(NameServer(primary=("net", "example.net")),)),
                replace(SMALL.hosts[1], fqdn="ns.example.net"),
                *SMALL.hosts[2:],
            ),
        ),
        "zone example.net: a delegation to nowhere: no way leads from the root to the address of core.exam",
        id="two zones whose servers hang on each other",
    ),
]

NOWHERE = "which is no address that a list can send to"
LISTS = [
    ((MailingList(local="all"), MailingList(local="All")), "all is there 2 times"),
    ((MailingList(local="bob"),), "bob is a user or an alias, too"),
    (
        (MailingList(local="all+x"),),
        "all+x has a name that is not letters, digits, dots, hyphens and underscores",
    ),
    ((MailingList(local="all", members=("bob", "bob@")),), f"all names 'bob@', {NOWHERE}"),
    ((MailingList(local="all", members=("å@example.com",)),), f"all names 'å@example.com', {NOWHERE}"),
    ((MailingList(local="all", owner="a b"),), f"all names 'a b', {NOWHERE}"),
    ((MailingList(local="all", posting="me"),), "all: posting is 'me', not 'members' or 'anyone'"),
    ((MailingList(local="all", bounce_limit=0),), "all: bounce_limit is 0; it is 1 or more"),
    ((MailingList(local="all", seal=True),), "all seals, for which the domain needs a key: say dkim = true"),
]

DOMAINS = [
    pytest.param(
        changed("domains", "example.org", implicit=True),
        "domain example.org is implicit and has exchangers: it cannot be both",
        id="implicit with MX",
    ),
    pytest.param(
        added("domains", Domain(name="web.example.org", implicit=True)),
        "domain web.example.org is implicit, but no host bears that name",
        id="implicit without a host",
    ),
    pytest.param(
        added("domains", Domain(name="core.example.org", implicit=True)),
        "domain core.example.org is implicit, but its host core is no mail server",
        id="implicit without a mail server",
    ),
    pytest.param(
        changed("domains", "example.org", transit=True),
        "domain example.org is for transit, so it has no users and nobody holds its mailboxes",
        id="a next hop with users",
    ),
    pytest.param(
        changed("domains", "example.org", users=(), transit=True),
        "domain example.org is for transit, so it has no users and nobody holds its mailboxes",
        id="a next hop with mailboxes",
    ),
    pytest.param(
        changed("domains", "example.org", exchangers=(Exchanger(host="ghost"),)),
        "domain example.org: its MX names the host ghost, which is not there",
        id="an unknown MX",
    ),
    pytest.param(
        changed("domains", "example.org", exchangers=(Exchanger(host="core"),)),
        "domain example.org: its MX core is no mail server",
        id="an MX without mail server",
    ),
    pytest.param(
        changed("domains", "example.org", exchangers=(Exchanger(host="mx", preference=65536),)),
        "domain example.org: preference 65536 of mx lies outside 0 to 65535",
        id="a preference too high",
    ),
    *(
        pytest.param(
            changed("domains", "example.org", aliases=aliases),
            f"domain example.org: alias {mistake}",
            id=f"alias {mistake}",
        )
        for aliases, mistake in ALIASES
    ),
    *(
        pytest.param(
            changed("domains", "example.org", lists=lists),
            f"domain example.org: list {mistake}",
            id=f"list {mistake}",
        )
        for lists, mistake in LISTS
    ),
    pytest.param(
        changed("domains", "example.org", users=(), lists=(MailingList(local="all"),), transit=True),
        "domain example.org is for transit, so it has no users and nobody holds its mailboxes",
        id="a next hop with lists",
    ),
    pytest.param(
        changed("domains", "example.org", users=(User(local="bob"), User(local="bob"))),
        "domain example.org: user bob is there 2 times",
        id="a user twice",
    ),
    pytest.param(
        changed("domains", "example.org", users=(User(local="bob"), User(local="../etc"))),
        "domain example.org: user '../etc' is no local part of an address",
        id="no local part",
    ),
    *(
        pytest.param(
            changed("domains", "example.org", users=(User(local="bob"), User(local=local))),
            f"domain example.org: user {local.lower()!r} is no local part of an address",
            id=f"no local part {local!r}",
        )
        for local in (
            "",
            "a b",
            "a@b",
            "a..b",
            ".a",
            "jos\u00e9\u00a0b",
            "\u200bx",
            "a\u0085",
            "\ud800",
            '"q"',
        )
    ),
    pytest.param(
        changed("domains", "example.org", users=(User(local="bob"), User(local="JOSÉ"), User(local="josé"))),
        "domain example.org: user josé is there 2 times",
        id="a user twice, beyond ASCII",
    ),
    pytest.param(
        changed("hosts", "mx", roles=(MailServer(submission=True),)),
        "domain example.org has users, but no mail server holds its mailboxes",
        id="users without mailboxes",
    ),
]

WORDS = [
    pytest.param(replace(SMALL, require=("magic",)), "require: there is no feature 'magic'", id="a feature"),
    pytest.param(replace(SMALL, switch="hub"), "switch 'hub': it is bridge or openvswitch", id="a switch"),
]


@pytest.mark.parametrize(
    ("plan", "mistake"), [*ISSUE, *NAMES, *LINKS, *SUBNETS, *ROLES, *ZONES, *DOMAINS, *WORDS]
)
def test_a_mistake_is_told(plan: Plan, mistake: str) -> None:
    """A plan with a mistake cannot be built, and the mistake is told by name."""
    told = mistakes(plan)
    assert any(mistake in sentence for sentence in told), told


def test_all_mistakes_are_told_at_once() -> None:
    """Mistakes of different kinds, in different places, come in one error, one sentence each."""
    plan = replace(
        changed("domains", "example.org", exchangers=()),
        links=(*SMALL.links, Link(a="ghost", b="lan")),
        networks=(*SMALL.networks, Network(name="long-office", subnet="198.18.9.0/24")),
        switch="hub",
    )
    with pytest.raises(PlanError) as caught:
        check(plan)
    assert caught.value.mistakes == (
        "network long-office: the name is too long for an interface: 11 characters, "
        "at most 10 fit with -eth0",
        "link ghost - lan: there is no host ghost",
        "domain example.org has no MX: name its exchangers, or say implicit = true",
        "switch 'hub': it is bridge or openvswitch",
    )
    assert str(caught.value) == "small: 4 mistakes: " + "; ".join(caught.value.mistakes)


def test_all_that_depends_on_the_rest_is_told_at_once() -> None:
    """Once names and references are right, overlaps, primaries and delegations are told together."""
    plan = replace(
        changed("hosts", "core", roles=(NameServer(primary=("org",)),)),
        networks=(*SMALL.networks, Network(name="dmz", subnet="198.18.1.128/25")),
        zones=(*SMALL.zones, Zone(origin="net"), Zone(origin="com")),
    )
    assert mistakes(plan) == (
        "network lan (198.18.1.0/24) and network dmz (198.18.1.128/25) overlap",
        "zone org has two primaries: core and ns",
        "zone net: a delegation to nowhere: no host serves it",
        "zone com: a delegation to nowhere: no host serves it",
    )


def test_every_overlap_is_told() -> None:
    """A wide network overlaps with each one inside it, not only with the first."""
    inside = [Network(name=f"lan{n}", subnet=f"198.18.{n}.0/24") for n in range(4, 7)]
    told = mistakes(added("networks", Network(name="wide", subnet="198.18.4.0/22"), *inside))
    assert [sentence.partition(" and ")[2] for sentence in told] == [
        f"network lan{n} (198.18.{n}.0/24) overlap" for n in range(4, 7)
    ]


@pytest.mark.parametrize(
    ("subnet", "hosts"), [("198.18.2.0/27", 30), ("198.18.2.0/28", 14), ("198.18.2.0/30", 2)]
)
def test_a_network_can_be_filled(subnet: str, hosts: int) -> None:
    """As many hosts as a subnet has addresses have room in it, and not one more."""

    def crowd(size: int) -> Plan:
        new = [Host(name=f"p{n}", fqdn=f"p{n}.example.org", router=n % 3 == 0) for n in range(size)]
        return replace(
            SMALL,
            networks=(*SMALL.networks, Network(name="full", subnet=subnet)),
            hosts=(*SMALL.hosts, *new),
            links=(*SMALL.links, *(Link(a=host.name, b="full") for host in new)),
        )

    assert mistakes(crowd(hosts)) == ()
    assert len(set(assign(crowd(hosts)).primary().values())) == len(crowd(hosts).hosts)
    assert "has room for" in mistakes(crowd(hosts + 1))[0]


def test_local_parts_may_be_utf_8() -> None:
    """Users may have names in any script (RFC 6531 §3.3), and the characters of RFC 5321 §4.1.2."""
    spelt = ("bob", "josé", "δοκιμή", "用户", "a.b+c", "o'hara", "x_y-z", "Ünicode.ß")
    assert mistakes(changed("domains", "example.org", users=tuple(User(local=name) for name in spelt))) == ()


def test_a_domain_without_mx_is_held_by_a_program() -> None:
    """What an implicit domain's host runs may be a mail server of the user's own."""
    plan = changed("hosts", "core", roles=(WEB,))
    domains = (*plan.domains, Domain(name="core.example.org", implicit=True))
    assert mistakes(replace(plan, domains=domains)) == ()


def test_a_program_needs_no_root_server() -> None:
    """Only who asks a resolver needs a root server."""
    web = Host(name="web", fqdn="web.org", roles=(WEB,))
    plan = Plan(
        name="web",
        networks=(Network(name="lan", subnet="198.18.1.0/24"),),
        hosts=(web,),
        links=(Link(a="web", b="lan"),),
    )
    assert mistakes(plan) == ()
