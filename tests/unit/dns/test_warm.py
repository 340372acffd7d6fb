"""Replies kept from the cache are what the cache says: whatever it has learnt, and however late it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dns.message
import dnslib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.dns import message, names
from services.dns.cache import Cache, Negative, Rank
from services.dns.names import Name
from services.dns.records import RRset
from services.dns.resolution import Resolver
from services.dns.servers import Servers
from services.dns.warm import Warm
from tests.unit.dns.conversation import make_zone, query
from tests.unit.dns.internet import ROOT, hints

HOSTS = ("a.example", "b.a.example", "c.test")
LABEL = dnslib.DNSLabel("a.example")
UNKNOWN = "not from the cache alone"


class World:
    """A cache with a clock, and both ways to ask it; `told` are the look-ups that only the fast one saw."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.told: list[tuple[Name, int, int]] = []
        self.asked = 0
        self.cache = Cache(self._clock, limit=4)
        self._resolver = Resolver(
            cache=self.cache, servers=Servers(self._clock), hints=hints(make_zone(ROOT)), clock=self._clock
        )
        self.warm = Warm(self.slow, self._resolver.knowledge, self.cache, self._clock, self._tell)

    def _clock(self) -> float:
        return self.now

    def _tell(self, name: Name, rtype: int, rcode: int) -> None:
        self.told.append((name, rtype, rcode))

    def slow(self, packet: bytes, stream: bool) -> Any:
        """The reply of a resolver without `Warm`, as far as it needs nobody else."""
        self.asked += 1
        try:
            read = message.read_query(packet)
        except message.Malformed:
            return message.bare_reply(packet, names.FORMERR)
        steps = self._resolver.resolve(read.name, read.rtype)
        try:
            next(steps)
        except StopIteration as done:
            found = done.value
            flags = message.RA | read.flags & message.CD
            encoded = message.encode(read.name, answer=found.answer, authority=found.authority)
            return message.reply(read, found.rcode, flags, encoded, stream=stream)
        steps.close()
        return UNKNOWN

    def put(self, host: str, rtype: int, ttl: int, data: Sequence[dnslib.RD]) -> None:
        """Let an answer come in."""
        rrset = RRset(owner=key(host), rtype=rtype, ttl=ttl, rdatas=tuple(data))
        self.cache.put(rrset, Rank.ANSWER)

    def put_none(self, host: str, rtype: int, ttl: int, rcode: int) -> None:
        """Let come in that there is none."""
        data = dnslib.SOA(LABEL, LABEL, (1, 7200, 900, 86400, ttl))
        soa = RRset(owner=key("example"), rtype=names.SOA, ttl=ttl + 5, rdatas=(data,))
        self.cache.put_negative(key(host), rtype, Negative(rcode=rcode, soa=soa))


def key(host: str) -> Name:
    return names.lower(names.from_text(host))


HOST = st.sampled_from(HOSTS)
TTL = st.sampled_from((0, 1, 2, 3, 60, 10**6))
TYPE = st.sampled_from((names.A, names.MX))
MANY = [dnslib.A(f"198.18.0.{n}") for n in range(60)]
ALIASES = HOST.map(lambda host: [dnslib.CNAME(dnslib.DNSLabel(host))])
CHANGES = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from((0.0, 0.25, 0.5, 1.0, 1.75, 57.0, 10.0**6))),
    st.tuples(st.just("put"), HOST, st.just(names.A), TTL, st.sampled_from((MANY[:1], MANY[:3], MANY))),
    st.tuples(st.just("put"), HOST, st.just(names.MX), TTL, st.just([dnslib.MX(LABEL, 10)])),
    st.tuples(st.just("put"), HOST, st.just(names.CNAME), TTL, ALIASES),
    st.tuples(st.just("none"), HOST, TYPE, TTL, st.sampled_from((names.NOERROR, names.NXDOMAIN))),
    st.tuples(st.just("fail"), HOST, TYPE),
    st.tuples(st.just("flush"), HOST),
)


PACKETS = [query(f"{host} {rtype}").to_wire() for host in HOSTS for rtype in ("A", "MX")]

ALIAS = (
    ("put", "c.test", names.CNAME, 60, [dnslib.CNAME(LABEL)]),
    ("put", "a.example", names.A, 60, MANY[:2]),
)


@st.composite
def questions(draw: st.DrawFn) -> bytes:
    asked = query(f"{draw(HOST)} A", edns=draw(st.booleans()), payload=draw(st.sampled_from((512, 1232))))
    asked.flags = draw(st.sampled_from((0x0100, 0, 0x0110)))
    packet = asked.to_wire()
    return packet if draw(st.booleans()) else packet[: draw(st.integers(12, len(packet)))] + b"\0"


@settings(deadline=None, max_examples=400)
@given(
    changes=st.lists(CHANGES, max_size=10).flatmap(lambda more: st.sampled_from((more, [*ALIAS, *more]))),
    asked=st.lists(st.tuples(questions(), st.booleans()), min_size=1, max_size=3),
)
def test_as_the_cache_says(changes: list[tuple[Any, ...]], asked: list[tuple[bytes, bool]]) -> None:
    """After each change and at every time both ways give the same octets."""
    world = World()
    packets = [(packet, False) for packet in PACKETS] + asked
    for change in changes:
        apply(world, *change)
        for packet, stream in packets:
            assert world.warm.respond(packet, stream) == world.slow(packet, stream)


def apply(world: World, kind: str, *details: Any) -> None:
    match kind:
        case "wait":
            world.now += details[0]
        case "put":
            world.put(*details)
        case "none":
            world.put_none(*details)
        case "fail":
            world.cache.put_failure(key(details[0]), details[1])
        case "flush":
            world.cache.flush(key(details[0]))


@pytest.mark.parametrize(
    ("spelled", "edns"), [("a.example A", False), ("A.EXAMPLE A", False), ("a.exAmple A", True)]
)
def test_the_resolver_is_asked_once(spelled: str, edns: bool) -> None:
    """A second question is answered without it, in whatever case, with TTLs that count down."""
    world = World()
    world.put("a.example", names.A, 60, MANY[:1])
    world.warm.respond(query("a.example A").to_wire(), False)
    world.now += 7.5
    asked = query(spelled, edns=edns)
    reply = dns.message.from_wire(world.warm.respond(asked.to_wire(), False))
    assert asked.is_response(reply)
    assert reply.answer[0].ttl == 53
    assert world.asked == 1
    assert world.told == [(key("a.example"), names.A, names.NOERROR)]


def test_a_flood_is_not_told_of() -> None:
    """Of the look-ups in a second a hundred are told of; in the next one there are more."""
    world = World()
    world.put("a.example", names.A, 60, MANY[:1])
    packet = query("a.example A").to_wire()
    for _ in range(300):
        world.warm.respond(packet, False)
    assert len(world.told) == 100
    world.now += 1
    world.warm.respond(packet, False)
    assert len(world.told) == 101
