"""What a resolver remembers, and for how long.

Theory of operation. Three kinds of things are remembered, each until its time is up:

    an RRset        for its TTL (RFC 1035 §3.2.1), with the rank of where it came from
    a negative      that a name, or a type at a name, does not exist: for the SOA's negative TTL (RFC 2308 §5)
    a failure       that nobody answered: a second, so that a flood of retries stays here (RFC 9520 §3.2); no
                    longer, since in a lab what failed is mended by hand and tried again

Glue and referrals rank below answers (RFC 2181 §5.4.1): they lead the resolver on but are never given
to a client, and never replace what the zone's own servers said.

The clock is passed in: seconds that only grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum
from math import inf
from typing import NamedTuple

from services.dns import names
from services.dns.entry import CacheEntry
from services.dns.names import Name
from services.dns.records import RRset, data_text, negative_ttl

_MAX_TTL = 7 * 86400  # RFC 8767 §4: caps of a week are in use
_MAX_NEGATIVE_TTL = 3 * 3600  # RFC 2308 §5: one to three hours work well
_FAILURE_TTL = 1
_MAX_FAILURES = 10_000


class Rank(IntEnum):
    """How far data are trusted, the least first."""

    REFERRAL = 1
    ANSWER = 2


class Negative(NamedTuple):
    """That there is none: `rcode` NXDOMAIN for the name, NOERROR for the type; the SOA that says so."""

    rcode: int
    soa: RRset


class _Kept(NamedTuple):
    expires: float
    rank: Rank
    what: RRset | Negative


class Cache:
    """Remembers at most `limit` things; beyond that the oldest are forgotten first.

    `flushes` counts how often anything was flushed: what was made of the cache's contents before, to be
    used again until its TTL is over, is void when the number has changed.
    """

    def __init__(self, clock: Callable[[], float], *, limit: int = 100_000) -> None:
        self._clock = clock
        self._limit = limit
        self._kept: dict[tuple[Name, int], _Kept] = {}
        self._failures: dict[tuple[Name, int], float] = {}  # until when
        self.flushes = 0
        self.changed: Callable[[Name], object] = len
        """Is called with each name about which a client may be told something else from now on."""

    def put(self, rrset: RRset, rank: Rank, *, until: float | None = None) -> None:
        """Remember an RRset for its TTL, unless something of a higher rank stands there.

        `until` is a time of the clock's after which it does not hold, whatever its TTL.
        """
        key, now = (rrset.owner, rrset.rtype), self._clock()
        old = self._kept.get(key)
        if old is not None and old.rank > rank and old.expires > now:
            return
        if rank is Rank.ANSWER:
            self.changed(rrset.owner)
            self._kept.pop((rrset.owner, names.ANY), None)
            self._failures.pop(key, None)
        expires = now + min(rrset.ttl, _MAX_TTL)
        if until is not None and until < expires:
            expires = until
        if expires > now:
            self._keep(key, _Kept(expires, rank, rrset))

    def put_negative(self, name: Name, rtype: int, negative: Negative) -> None:
        """Remember that there is none: for every type, if the code is NXDOMAIN."""
        ttl = min(negative_ttl(negative.soa), _MAX_NEGATIVE_TTL)
        key = (name, names.ANY if negative.rcode == names.NXDOMAIN else rtype)
        self._failures.pop((name, rtype), None)
        self.changed(name)
        if ttl > 0:
            self._keep(key, _Kept(self._clock() + ttl, Rank.ANSWER, negative))

    def put_failure(self, name: Name, rtype: int) -> None:
        """Remember for a second that the question could not be answered."""
        now = self._clock()
        if len(self._failures) >= _MAX_FAILURES:
            self._failures = {key: until for key, until in self._failures.items() if until > now}
        if len(self._failures) < _MAX_FAILURES:
            self._failures[name, rtype] = now + _FAILURE_TTL
            self.changed(name)

    def rrset(self, name: Name, rtype: int, rank: Rank) -> RRset | None:
        """Return the RRset if it is known at this rank or above; its TTL is what is left."""
        kept = self._get((name, rtype))
        if kept is None or kept.rank < rank or not isinstance(kept.what, RRset):
            return None
        return kept.what.with_ttl(self._left(kept.expires))

    def held_until(self, name: Name, rtype: int) -> float:
        """Return the time of the clock's until which an RRset holds; now, if there is none."""
        kept = self._get((name, rtype))
        return self._clock() if kept is None else kept.expires

    def negative(self, name: Name, rtype: int) -> Negative | None:
        """Return what says that there is none; its SOA's TTL is what is left."""
        kept = self._negative(name, rtype)
        if kept is None or not isinstance(kept.what, Negative):
            return None
        return Negative(rcode=kept.what.rcode, soa=kept.what.soa.with_ttl(self._left(kept.expires)))

    def negative_until(self, name: Name, rtype: int) -> float:
        """Return the time of the clock's until which it holds that there is none; now, if it does not."""
        kept = self._negative(name, rtype)
        return self._clock() if kept is None else kept.expires

    def failed(self, name: Name, rtype: int) -> bool:
        """Tell whether the question failed within the last second."""
        return self._failures.get((name, rtype), -inf) > self._clock()

    def entries(self, below: Name = names.ROOT) -> Iterator[CacheEntry]:
        """Yield everything at or below a name that still holds, by name and type."""
        now = self._clock()
        things: list[tuple[tuple[Name, int], float, _Kept | None]] = [
            (key, kept.expires, kept) for key, kept in self._kept.items()
        ]
        things += [(key, until, None) for key, until in self._failures.items()]
        chosen = [thing for thing in things if thing[1] > now and names.is_below(thing[0][0], below)]
        for key, expires, kept in sorted(chosen, key=lambda thing: (thing[0][0][::-1], thing[0][1])):
            yield _entry(key, kept, self._left(expires))

    def flush(self, below: Name = names.ROOT) -> int:
        """Forget everything at or below a name and return how much that was."""
        self.flushes += 1
        count = 0
        for things in (self._kept, self._failures):
            doomed = [key for key in things if names.is_below(key[0], below)]
            for key in doomed:
                del things[key]
            count += len(doomed)
        return count

    def _negative(self, name: Name, rtype: int) -> _Kept | None:
        for key in ((name, rtype), (name, names.ANY)):
            kept = self._get(key)
            if kept is not None and isinstance(kept.what, Negative):
                return kept
        return None

    def _get(self, key: tuple[Name, int]) -> _Kept | None:
        kept = self._kept.get(key)
        if kept is not None and kept.expires <= self._clock():
            del self._kept[key]
            return None
        return kept

    def _left(self, expires: float) -> int:
        # Rounded up: what is still held never shows a TTL of 0, which would mean "do not keep this".
        return -int((self._clock() - expires) // 1)

    def _keep(self, key: tuple[Name, int], kept: _Kept) -> None:
        self._kept.pop(key, None)
        if len(self._kept) >= self._limit:
            self._make_room()
        self._kept[key] = kept

    def _make_room(self) -> None:
        self.flushes += 1
        now = self._clock()
        self._kept = {key: kept for key, kept in self._kept.items() if kept.expires > now}
        # A tenth at a time, so that a full cache does not come here for each entry.
        for key in list(self._kept)[: max(len(self._kept) - self._limit * 9 // 10, 0)]:
            del self._kept[key]


def _entry(key: tuple[Name, int], kept: _Kept | None, ttl: int) -> CacheEntry:
    name, rtype = key
    data: tuple[str, ...] = ()
    match kept:
        case None:
            kind = "SERVFAIL"
        case _Kept(what=Negative(rcode=rcode, soa=soa)):
            kind = "NXDOMAIN" if rcode == names.NXDOMAIN else "NODATA"
            data = (f"{names.to_text(soa.owner)} {data_text(soa.rdatas[0])}",)
        case _Kept(what=RRset(rdatas=rdatas)):
            referral = "delegation" if rtype == names.NS else "glue"
            kind = "answer" if kept.rank is Rank.ANSWER else referral
            data = tuple(data_text(rdata) for rdata in rdatas)
    return CacheEntry(name=names.to_text(name), rtype=names.type_text(rtype), ttl=ttl, kind=kind, data=data)
