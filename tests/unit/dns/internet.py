"""An Internet in memory: servers by address, and a driver that takes a resolver from one to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import dns.flags
import dns.message
import dns.rrset

from services.dns import message, names
from services.dns.asking import Ask, Failure
from services.dns.cache import Cache
from services.dns.records import addresses, data_text, targets
from services.dns.replies import Delegation
from services.dns.resolution import Limits, Resolved, Resolver, Steps
from services.dns.servers import Servers
from services.dns.zone import Zone
from tests.unit.dns.conversation import make_zone, server

Behaviour: TypeAlias = Callable[[Ask], "bytes | Failure"]

ROOT = """\
$ORIGIN .
$TTL 86400
@        SOA  a.root-servers.net. nstld. 1 1800 900 604800 3600
@        NS   a.root-servers.net.
@        NS   b.root-servers.net.
a.root-servers.net.  A 198.41.0.4
b.root-servers.net.  A 170.247.170.2
org.     NS   ns1.nic.org.
ns1.nic.org.   A 198.18.1.1
net.     NS   ns1.nic.net.
ns1.nic.net.   A 198.18.1.2
"""
ORG = """\
$ORIGIN org.
$TTL 3600
@        SOA  ns1.nic hostmaster.nic 1 1800 900 604800 900
@        NS   ns1.nic
ns1.nic  A    198.18.1.1
example  NS   ns1.example
example  NS   ns2.example
ns1.example   A 198.18.2.1
ns2.example   A 198.18.2.2
glueless NS   ns.example.net.
"""
NET = """\
$ORIGIN net.
$TTL 3600
@        SOA  ns1.nic hostmaster.nic 1 1800 900 604800 900
@        NS   ns1.nic
ns1.nic  A    198.18.1.2
example  NS   ns.example
ns.example   A 198.18.2.3
"""
EXAMPLE_ORG = """\
$ORIGIN example.org.
$TTL 300
@        SOA  ns1 hostmaster 1 1800 900 604800 60
@        NS   ns1
@        NS   ns2
ns1      A    198.18.2.1
ns2      A    198.18.2.2
@        MX   10 mx1
@        MX   20 mx2.example.net.
mx1      A    198.18.3.1
www      CNAME web.example.net.
loop     CNAME loop.example.net.
"""
EXAMPLE_NET = """\
$ORIGIN example.net.
$TTL 300
@        SOA  ns hostmaster 1 1800 900 604800 60
@        NS   ns
ns       A    198.18.2.3
web      CNAME host
host     A    198.18.3.9
loop     CNAME loop.example.org.
"""
ROOTS = {"198.41.0.4", "170.247.170.2"}
GLUELESS_ORG = """\
$ORIGIN glueless.org.
$TTL 300
@        SOA  ns.example.net. hostmaster 1 1800 900 604800 60
@        NS   ns.example.net.
www      A    198.18.3.7
"""


@dataclass
class Internet:
    """Servers by address. `behaviours` replaces one's by another; `asked` tells who was asked what."""

    clock: float = 1000.0
    rtt_s: float = 0.02
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    packets: list[Ask] = field(default_factory=list)

    def __post_init__(self) -> None:
        for texts, hosts in (
            ((ROOT,), ("198.41.0.4", "170.247.170.2")),
            ((ORG,), ("198.18.1.1",)),
            ((NET,), ("198.18.1.2",)),
            ((EXAMPLE_ORG,), ("198.18.2.1", "198.18.2.2")),
            ((EXAMPLE_NET, GLUELESS_ORG), ("198.18.2.3",)),
        ):
            for host in hosts:
                self.serve(host, *texts)

    def serve(self, address: str, *texts: str) -> None:
        """Let a server at the address hold these zones."""
        authority = server(*texts)

        def respond(ask: Ask) -> bytes | Failure:
            return authority.respond(ask.packet, ask.stream) or Failure.TIMEOUT

        self.behaviours[address] = respond

    def kill(self, *dead: str) -> None:
        """Let nobody answer at the addresses."""
        for address in dead:
            self.behaviours[address] = lambda _: Failure.TIMEOUT

    def resolver(self, *, seed: int = 1, limits: Limits | None = None, root: str = ROOT) -> Resolver:
        """Return a resolver with an empty cache that keeps this Internet's time."""
        return Resolver(
            cache=Cache(lambda: self.clock),
            servers=Servers(lambda: self.clock),
            hints=hints(make_zone(root)),
            clock=lambda: self.clock,
            seed=seed,
            host="test",
            limits=limits,
        )

    def resolve(self, resolver: Resolver, question: str) -> Resolved:
        """Drive the resolver until it has found `www.example.org A`, or given up."""
        name, rtype = question.split()
        steps = resolver.resolve(names.from_text(name), names.type_number(rtype))
        result: bytes | Failure | None = None
        try:
            while True:
                ask = next(steps) if result is None else steps.send(result)
                result = self.exchange(ask)
        except StopIteration as done:
            resolved: Resolved = done.value
            return resolved

    def resolve_together(self, resolver: Resolver, *questions: str) -> list[Resolved]:
        """Drive several questions at a time: what all of them ask is sent before any reply comes."""
        going: dict[int, tuple[Steps[Resolved], Ask]] = {}
        found: dict[int, Resolved] = {}
        for number, question in enumerate(questions):
            name, rtype = question.split()
            steps = resolver.resolve(names.from_text(name), names.type_number(rtype))
            going[number] = steps, next(steps)
        while going:
            # The very same object is one query, whoever yields it.
            replies = {id(ask): self.exchange(ask) for ask in {id(a): a for _, a in going.values()}.values()}
            for number, (steps, ask) in list(going.items()):
                try:
                    going[number] = steps, steps.send(replies[id(ask)])
                except StopIteration as done:
                    found[number] = done.value
                    del going[number]
        return [found[number] for number in range(len(questions))]

    def look_up(self, resolver: Resolver, question: str) -> list[str]:
        """Return what is found as text: the code, then the records of the answer."""
        resolved = self.resolve(resolver, question)
        return [
            names.rcode_text(resolved.rcode),
            *(
                f"{names.to_text(rrset.owner)} {rrset.ttl} {names.type_text(rrset.rtype)} {data_text(rdata)}"
                for rrset in resolved.answer
                for rdata in rrset.rdatas
            ),
        ]

    def exchange(self, ask: Ask) -> bytes | Failure:
        """Return what becomes of a query."""
        query = message.read_query(ask.packet)
        transport = " tcp" if ask.stream else ""
        name, rtype = names.to_text(query.name), names.type_text(query.rtype)
        self.asked.append(f"{ask.address} {name} {rtype}{transport}")
        self.packets.append(ask)
        behaviour = self.behaviours.get(ask.address)
        result = behaviour(ask) if behaviour is not None else Failure.UNREACHABLE
        self.clock += ask.timeout_s if result is Failure.TIMEOUT else self.rtt_s
        if isinstance(result, bytes):
            verdict = ask.judge(result)
            assert verdict is not False, "a driver would have waited for another reply"
            return result if verdict is True else verdict
        return result


def hints(root: Zone) -> Delegation:
    """Return the servers of a root zone."""
    hosts = tuple(targets(root.nodes[names.ROOT][names.NS]))
    known = {host: tuple(addresses(root.nodes[host][names.A])) for host in hosts}
    return Delegation(zone=names.ROOT, servers=hosts, addresses=known)


def where(internet: Internet) -> list[str]:
    """The queries sent, the root servers' addresses replaced by `root` and example.org's by `example`."""
    lines = []
    for line in internet.asked:
        address, rest = line.split(" ", 1)
        known = {"198.18.2.1": "example", "198.18.2.2": "example"} | dict.fromkeys(ROOTS, "root")
        lines.append(f"{known.get(address, address)} {rest}")
    return lines


def forge(
    ask: Ask, answer: str = "", authority: str = "", additional: str = "", flags: str = "QR AA"
) -> bytes:
    """A reply to the query with these records, written one a line as `name ttl type data`."""
    query = dns.message.from_wire(ask.packet)
    reply = dns.message.make_response(query)
    reply.flags = dns.flags.Flag(dns.flags.from_text(flags))
    for section, text in (
        (reply.answer, answer),
        (reply.authority, authority),
        (reply.additional, additional),
    ):
        for line in text.splitlines():
            name, ttl, rtype, data = line.split(" ", 3)
            section.append(dns.rrset.from_text(name, int(ttl), "IN", rtype, data))
    return reply.to_wire()
