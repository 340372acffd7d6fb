"""Other people's resolvers in our world, and ours in a world of NSDs: everything resolves all the same."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from mailbed import Lab
from mailbed.pytest_plugin import LabFactory
from tests.lab.asking import ask, world
from topologies import two_companies
from topologies.addressing import assign
from topologies.hierarchy import ROOTS
from topologies.plan import Command, NameServer, Plan

FOREIGN = {"corp-dns": ("alice", "unbound"), "rcpt-dns": ("bob", "named")}
"""The resolvers that are not ours, with who asks them, and the program's name."""
COMPLAINT = re.compile(
    r"\b(error|lame|caps|scrub|sanitize|unexpected|FORMERR|SERVFAIL|timed out)", re.IGNORECASE
)
TEXT = "Subject: hello\n\nHello\n"

STRICT_UNBOUND = """\
server:
    interface: ${ADDRESS}
    access-control: 0.0.0.0/0 allow
    do-ip6: no
    unblock-lan-zones: yes
    username: ""
    chroot: ""
    pidfile: ""
    use-syslog: no
    num-threads: 1
    verbosity: 2
    # Letters in random case must come back as they were; names are told no further than a server needs to
    # know; a server's own name and address are looked up from above before they are believed.
    use-caps-for-id: yes
    qname-minimisation-strict: yes
    harden-referral-path: yes
    harden-large-queries: yes
    harden-short-bufsize: yes
remote-control:
    control-enable: no
"""
STRICT_BIND = """\
options {
    directory "${DIR}";
    listen-on { ${ADDRESS}; };
    pid-file none;
    session-keyfile none;
    lock-file none;
    allow-recursion { any; };
    dnssec-validation no;
    disable-empty-zone "10.in-addr.arpa";
    max-cache-size 64m;
    qname-minimization strict;
};
controls { };
"""
STRICT = {
    "carol": Command(
        name="resolver",
        command=("unbound", "-d", "-p", "-c", "${DIR}/strict.conf"),
        files={"strict.conf": STRICT_UNBOUND},
        ready="log:start of service",
    ),
    "dave": Command(
        name="resolver",
        command=("named", "-4", "-g", "-n", "1", "-c", "${DIR}/strict.conf"),
        files={"strict.conf": STRICT_BIND},
        ready="log: running$",
    ),
}
"""Two users who have resolvers of their own, stricter than stock."""


def with_strict_resolvers() -> Plan:
    """`two-companies`, where STRICT are there too."""
    plan = two_companies.build()
    hosts = tuple(
        replace(host, roles=(STRICT[host.name], *host.roles)) if host.name in STRICT else host
        for host in plan.hosts
    )
    return replace(plan, hosts=hosts)


pytestmark = [
    pytest.mark.long,
    pytest.mark.topology(
        with_strict_resolvers(), implementations={"corp-dns": "unbound", "rcpt-dns": "bind"}
    ),
]


@pytest.mark.parametrize("resolver", FOREIGN)
def test_stock_resolvers_find_every_mx_and_ptr(shared_lab: Lab, resolver: str) -> None:
    """Unbound and BIND, started with the root hints compiled into them, resolve what mail needs."""
    host, program = FOREIGN[resolver]
    directory = shared_lab.run / "hosts" / resolver
    assert not list(directory.rglob("*hints*")), "they are to find the roots by themselves"
    assert program in shared_lab.exec(resolver, "ps", "-eo", "comm").stdout.split()
    addresses = assign(shared_lab.plan).primary()
    wanted = {key: data for key, data in world(shared_lab.plan).items() if key[1] in ("MX", "PTR")}
    assert {rtype for _, rtype in wanted} == {"MX", "PTR"}
    assert len(wanted) > 60
    replies = ask(shared_lab, host, str(addresses[resolver]), list(wanted))
    got = {key: (reply.rcode, reply.answer) for key, reply in zip(wanted, replies, strict=True)}
    assert got == {key: ("NOERROR", data) for key, data in wanted.items()}
    roots = [packet for letter in ROOTS for packet in shared_lab.packets(f"{letter}-root-eth0")]
    assert str(addresses[resolver]) in {packet["IP"].src for packet in roots if packet.haslayer("DNS")}


@pytest.mark.parametrize("resolver", FOREIGN)
def test_stock_resolvers_learn_what_is_not_there(shared_lab: Lab, resolver: str) -> None:
    """Beside and below names that exist they get NXDOMAIN or no data, never SERVFAIL."""
    host, _ = FOREIGN[resolver]
    address = str(assign(shared_lab.plan).primary()[resolver])
    expected = {
        ("nosuch.example.org", "MX"): "NXDOMAIN",
        ("a.b.nosuch.lab.example.org", "A"): "NXDOMAIN",
        ("nosuchtld", "A"): "NXDOMAIN",
        ("200.0.1.10.in-addr.arpa", "PTR"): "NXDOMAIN",
        ("example.org", "HINFO"): "NOERROR",
        ("org", "AAAA"): "NOERROR",
        ("rcpt-mx1.example.org", "TYPE65280"): "NOERROR",
        (".", "DS"): "NOERROR",
        # An empty non-terminal: only names below it have records.
        ("18.198.in-addr.arpa", "PTR"): "NOERROR",
        ("1.18.198.in-addr.arpa", "PTR"): "NOERROR",
    }
    replies = ask(shared_lab, host, address, list(expected))
    assert dict(zip(expected, [reply.rcode for reply in replies], strict=True)) == expected
    assert [reply.answer for reply in replies] == [set()] * len(expected)


@pytest.mark.parametrize("host", STRICT)
def test_strict_resolvers_find_everything(shared_lab: Lab, host: str) -> None:
    """At their strictest, Unbound and BIND resolve every name and type, and complain of nothing."""
    wanted = world(shared_lab.plan)
    neighbour = {"carol": "alice", "dave": "bob"}[host]  # no firewall is between them
    replies = ask(shared_lab, neighbour, str(assign(shared_lab.plan).primary()[host]), list(wanted))
    got = {key: (reply.rcode, reply.answer) for key, reply in zip(wanted, replies, strict=True)}
    assert got == {key: ("NOERROR", data) for key, data in wanted.items()}
    log = (shared_lab.run / "hosts" / host / "resolver.log").read_text()
    # What Unbound and BIND write of servers that are lame, change letters, or say what is not theirs to say.
    assert [line for line in log.splitlines() if COMPLAINT.search(line)] == []


def test_mail_goes_by_what_stock_resolvers_say(shared_lab: Lab) -> None:
    """Both companies ask other people's software where to send mail, and it arrives, both ways."""
    for sender, to in (("alice@example.com", "bob@example.org"), ("bob@example.org", "alice@example.com")):
        assert shared_lab.send(TEXT, to=to, sender=sender).wait()[to].state == "delivered"


def test_our_resolver_in_a_world_of_nsd(lab_factory: LabFactory) -> None:
    """Every name and type of every zone resolves through NSD, and what is not there is not there."""
    plan = two_companies.build()
    servers = {host.name: "nsd" for host, role in plan.roles() if isinstance(role, NameServer)}
    lab = lab_factory("two-companies", implementations=servers)
    wanted = world(plan)
    assert {zone.origin for zone in plan.zones} == {name for name, rtype in wanted if rtype == "SOA"}
    address = str(assign(plan).primary()["isp-dns"])
    replies = ask(lab, "lists", address, list(wanted))
    got = {key: (reply.rcode, reply.answer) for key, reply in zip(wanted, replies, strict=True)}
    assert got == {key: ("NOERROR", data) for key, data in wanted.items()}

    absent = [(f"no-such-name.{zone.origin}".removesuffix(".."), "A") for zone in plan.zones]
    nothing = [(zone.origin, "HINFO") for zone in plan.zones]
    replies = ask(lab, "lists", address, absent + nothing)
    assert [reply.rcode for reply in replies] == ["NXDOMAIN"] * len(absent) + ["NOERROR"] * len(nothing)
    for zone, reply in zip(plan.zones * 2, replies, strict=True):
        origin = zone.origin.rstrip(".") + "."
        assert not reply.answer
        assert {(owner, rtype) for owner, rtype, _ in reply.authority} == {(origin, "SOA")}
