"""Replies from the cache, kept ready while they hold: the fast way through a resolver.

Theory of operation. `Warm` stands in front of a resolver, `slow`, and keeps the pieces (see `plain`) of
replies that came from the cache alone, with where their TTLs are and when each of these ends. A reply is good
until the first of its TTLs is due to count down; then all are written anew, and when one has ended the reply
is dropped. It is dropped as well when the cache learns something about a name that it speaks of, and all are
when something is flushed. So whoever asks is told what the cache would say.

Each of these look-ups is told of as `slow` does it, but no more than a hundred a second: under load nobody
would read that, and writing it would take longer than answering.

The clock is the cache's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from math import ceil, inf
from typing import Any

from services.dns import plain
from services.dns.cache import Cache
from services.dns.knowledge import Knowledge
from services.dns.names import Name, from_wire
from services.dns.plain import NAME, Cut

_MAX_REPLIES = 50_000
_MAX_ALIASES = 16
_TOLD_A_SECOND = 100
_RECORD = struct.Struct("!HHIH")  # type, class, TTL, length
_TTL = struct.Struct("!I")
_TTL_AT = 4
_POINTER = 0xC0


class _Reply:
    """A reply without id and question, good until `until`; `ttls` are where each TTL is and when it ends."""

    __slots__ = ("body", "head", "owners", "ttls", "until")

    def __init__(self, cut: Cut, ttls: tuple[tuple[int, float], ...], owners: frozenset[Name]) -> None:
        self.head, self.body = cut
        self.ttls = ttls
        self.owners = owners
        self.until = -inf

    def count_down(self, now: float) -> bool:
        """Write what is left of each TTL at that time; False if one is over."""
        body, self.until = bytearray(self.body), inf
        for at, ends in self.ttls:
            left = ceil(ends - now)
            if left <= 0:
                return False
            _TTL.pack_into(body, at, left)
            self.until = min(self.until, ends - left + 1)
        self.body = bytes(body)
        return True


class Warm:
    """Answers like `slow`, which takes a message and whether it came by TCP; faster where it can.

    `tell` is called with name, type and response code of look-ups that `slow` did not see.
    """

    __slots__ = (
        "_cache", "_clock", "_flushes", "_knowledge", "_quiet_until", "_replies", "_slow", "_speaking",
        "_tell", "_told", "_until",
    )  # fmt: skip

    def __init__(
        self,
        slow: Callable[[bytes, bool], Any],
        knowledge: Knowledge,
        cache: Cache,
        clock: Callable[[], float],
        tell: Callable[[Name, int, int], None],
    ) -> None:
        self._slow = slow
        self._knowledge = knowledge
        self._cache = cache
        self._clock = clock
        self._tell = tell
        self._told = 0
        self._until = self._quiet_until = -inf
        self._replies: dict[bytes, _Reply] = {}
        self._speaking: dict[Name, list[bytes]] = {}  # the replies that speak of a name
        self._flushes = cache.flushes
        cache.changed = self._changed

    def respond(self, packet: bytes, stream: bool) -> Any:
        """Return the reply to a message: what `slow` would return for it."""
        found = self._replies.get(packet[2:].lower())
        if found is not None:
            now = self._clock()
            if now < found.until and self._flushes == self._cache.flushes:
                if now >= self._quiet_until:
                    self._tell_of(packet[2:].lower(), found, now)
                return b"".join((packet[:2], found.head, packet[12:], found.body))
        return self._uncommon(packet, stream)

    def _uncommon(self, packet: bytes, stream: bool) -> Any:
        query = plain.read(packet)
        if query is not None:
            found, is_new = self._known(query.plain)
            if found is not None:
                cut = Cut(found.head, found.body)
                reply = plain.stitch(packet, query, cut, stream=stream, copied=plain.CD)
                if reply is not None:
                    now = self._clock()
                    if not is_new and now >= self._quiet_until:
                        self._tell_of(query.plain, found, now)
                    return reply
        return self._slow(packet, stream)

    def _known(self, question: bytes) -> tuple[_Reply | None, bool]:
        """Return the reply, its TTLs of now, and whether `slow` was asked for it; None if it is not known."""
        if self._flushes != self._cache.flushes:
            self._forget()
        found = self._replies.get(question)
        if found is None:
            return self._learn(question), True
        now = self._clock()
        if now < found.until or found.count_down(now):
            return found, False
        self._drop(question, found)
        return None, False

    def _learn(self, question: bytes) -> _Reply | None:
        """Keep the reply to a question if the cache alone has it."""
        if not plain.is_proper(question):
            return None
        name, rtype = from_wire(question[NAME:-4]), int.from_bytes(question[-4:-2], "big")
        ends = self._ends(name, rtype)
        if ends is None:
            return None
        reply = self._slow(b"\0\0" + question, True)
        cut = plain.cut(question, reply) if isinstance(reply, bytes) else None
        places = tuple(_ttls(cut)) if cut is not None else ()
        if cut is None or not places or len(places) != len(ends):
            return None
        ttls = tuple((at, ends) for at, (ends, _) in zip(places, ends, strict=True))
        found = _Reply(cut, ttls, frozenset(owner for _, owner in ends))
        if not found.count_down(self._clock()):
            return None
        self._keep(question, found)
        return found

    def _ends(self, name: Name, rtype: int) -> list[tuple[float, Name]] | None:
        """Return for each record of the reply when its TTL ends, and its owner; None if one is not known."""
        ends: list[tuple[float, Name]] = []
        for _ in range(_MAX_ALIASES):
            finding = self._knowledge.finding(name, rtype)
            if finding is None:
                return None
            for rrset in finding.answer:
                ends += [(self._cache.held_until(rrset.owner, rrset.rtype), rrset.owner)] * len(rrset.rdatas)
            if finding.soa is not None:
                ends.append((self._cache.negative_until(name, rtype), name))
            if finding.alias is None:
                return ends
            name = finding.alias
        return None

    def _keep(self, question: bytes, found: _Reply) -> None:
        if len(self._replies) >= _MAX_REPLIES:
            self._forget()
        self._replies[question] = found
        for owner in found.owners:
            self._speaking.setdefault(owner, []).append(question)

    def _drop(self, question: bytes, found: _Reply) -> None:
        del self._replies[question]
        for owner in found.owners:
            self._speaking[owner].remove(question)
            if not self._speaking[owner]:
                del self._speaking[owner]

    def _changed(self, name: Name) -> None:
        """Drop the replies that speak of a name, since the cache has learnt something about it."""
        for question in tuple(self._speaking.get(name, ())):
            self._drop(question, self._replies[question])

    def _forget(self) -> None:
        self._replies.clear()
        self._speaking.clear()
        self._flushes = self._cache.flushes

    def _tell_of(self, question: bytes, found: _Reply, now: float) -> None:
        """Tell of a look-up, unless too many have been told of within the second."""
        if now >= self._until:
            self._told, self._until = 0, now + 1
        self._told += 1
        if self._told >= _TOLD_A_SECOND:
            self._quiet_until = self._until
        rtype = int.from_bytes(question[-4:-2], "big")
        self._tell(from_wire(question[NAME:-4]), rtype, found.head[1] & 0xF)


def _ttls(cut: Cut) -> Iterator[int]:
    """Yield where in a body each record's TTL is."""
    head, body = cut
    at = 0
    for _ in range(sum(head[4 + 2 * section] << 8 | head[5 + 2 * section] for section in range(3))):
        while body[at]:
            if body[at] >= _POINTER:
                at += 1
                break
            at += body[at] + 1
        at += 1
        yield at + _TTL_AT
        at += _RECORD.size + _RECORD.unpack_from(body, at)[3]
