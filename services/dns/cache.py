"""What a resolver remembers, and for how long.

Theory of operation. Three kinds of things are remembered, each until its time is up:

    an RRset        for its TTL (RFC 1035 §3.2.1), with the rank of where it came from
    a negative      that a name, or a type at a name, does not exist: for the SOA's negative TTL (RFC 2308 §5)
    a failure       that nobody answered: a second, so that a flood of retries stays here (RFC 9520 §3.2)

Glue and referrals rank below answers (RFC 2181 §5.4.1): they lead the resolver on but are never given
to a client, and never replace what the zone's own servers said.

The clock is passed in: seconds that only grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from services.dns import names
from services.dns.names import Name
from services.dns.records import RRset, data_text, negative_ttl

_MAX_TTL = 7 * 86400  # RFC 8767 §4: caps of a week are in use
_MAX_NEGATIVE_TTL = 3 * 3600  # RFC 2308 §5: one to three hours work well
_FAILURE_TTL = 1


class Rank(IntEnum):
    """How far data are trusted, the least first."""

    REFERRAL = 1
    ANSWER = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Negative:
    """That there is none: `rcode` NXDOMAIN for the name, NOERROR for the type; the SOA that says so."""

    rcode: int
    soa: RRset


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """One thing remembered, as people read it: `ttl` is what is left, in whole seconds.

    `kind` is `answer`, `referral` (delegations and glue), `NXDOMAIN`, `NODATA` or `SERVFAIL`; an NXDOMAIN
    holds for every type and has `rtype` ANY. `data` is one text a record.
    """

    name: str
    rtype: str
    ttl: int
    kind: str
    data: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Kept:
    expires: float
    rank: Rank
    what: RRset | Negative | None  # None: a failure


class Cache:
    """Remembers at most `limit` things; beyond that the oldest are forgotten first."""

    def __init__(self, clock: Callable[[], float], *, limit: int = 100_000) -> None:
        self._clock = clock
        self._limit = limit
        self._kept: dict[tuple[Name, int], _Kept] = {}

    def put(self, rrset: RRset, rank: Rank) -> None:
        """Remember an RRset for its TTL, unless something of a higher rank stands there."""
        key = (rrset.owner, rrset.rtype)
        old = self._get(key)
        if old is not None and old.rank > rank and old.what is not None:
            return
        if rank is Rank.ANSWER:
            self._kept.pop((rrset.owner, names.ANY), None)
        self._keep(key, _Kept(self._clock() + min(rrset.ttl, _MAX_TTL), rank, rrset))

    def put_negative(self, name: Name, rtype: int, negative: Negative) -> None:
        """Remember that there is none: for every type, if the code is NXDOMAIN."""
        ttl = min(negative_ttl(negative.soa), _MAX_NEGATIVE_TTL)
        key = (name, names.ANY if negative.rcode == names.NXDOMAIN else rtype)
        self._keep(key, _Kept(self._clock() + ttl, Rank.ANSWER, negative))

    def put_failure(self, name: Name, rtype: int) -> None:
        """Remember for a second that the question could not be answered."""
        if self._get((name, rtype)) is None:
            self._keep((name, rtype), _Kept(self._clock() + _FAILURE_TTL, Rank.REFERRAL, None))

    def rrset(self, name: Name, rtype: int, rank: Rank) -> RRset | None:
        """Return the RRset if it is known at this rank or above; its TTL is what is left."""
        kept = self._get((name, rtype))
        if kept is None or kept.rank < rank or not isinstance(kept.what, RRset):
            return None
        return kept.what.with_ttl(self._left(kept))

    def negative(self, name: Name, rtype: int) -> Negative | None:
        """Return what says that there is none; its SOA's TTL is what is left."""
        for key in ((name, rtype), (name, names.ANY)):
            kept = self._get(key)
            if kept is not None and isinstance(kept.what, Negative):
                return Negative(rcode=kept.what.rcode, soa=kept.what.soa.with_ttl(self._left(kept)))
        return None

    def failed(self, name: Name, rtype: int) -> bool:
        """Tell whether the question failed within the last second."""
        kept = self._get((name, rtype))
        return kept is not None and kept.what is None

    def entries(self) -> Iterator[CacheEntry]:
        """Yield everything that still holds, by name and type."""
        now = self._clock()
        for (name, rtype), kept in sorted(
            self._kept.items(), key=lambda item: (item[0][0][::-1], item[0][1])
        ):
            if kept.expires > now:
                yield _entry(name, rtype, kept, self._left(kept))

    def flush(self, name: Name = names.ROOT) -> int:
        """Forget everything at or below `name` and return how much that was."""
        doomed = [key for key in self._kept if names.is_below(key[0], name)]
        for key in doomed:
            del self._kept[key]
        return len(doomed)

    def _get(self, key: tuple[Name, int]) -> _Kept | None:
        kept = self._kept.get(key)
        if kept is not None and kept.expires <= self._clock():
            del self._kept[key]
            return None
        return kept

    def _left(self, kept: _Kept) -> int:
        # Rounded up: what is still held never shows a TTL of 0, which would mean "do not keep this".
        return -int((self._clock() - kept.expires) // 1)

    def _keep(self, key: tuple[Name, int], kept: _Kept) -> None:
        if kept.expires <= self._clock():
            return
        self._kept.pop(key, None)
        if len(self._kept) >= self._limit:
            self._make_room()
        self._kept[key] = kept

    def _make_room(self) -> None:
        now = self._clock()
        self._kept = {key: kept for key, kept in self._kept.items() if kept.expires > now}
        # A tenth at a time, so that a full cache does not come here for each entry.
        for key in list(self._kept)[: max(len(self._kept) - self._limit * 9 // 10, 0)]:
            del self._kept[key]


def _entry(name: Name, rtype: int, kept: _Kept, ttl: int) -> CacheEntry:
    data: tuple[str, ...] = ()
    match kept.what:
        case None:
            kind = "SERVFAIL"
        case Negative(rcode=rcode, soa=soa):
            kind = "NXDOMAIN" if rcode == names.NXDOMAIN else "NODATA"
            data = (f"{names.to_text(soa.owner)} {data_text(soa.rdatas[0])}",)
        case RRset(rdatas=rdatas):
            kind = "answer" if kept.rank is Rank.ANSWER else "referral"
            data = tuple(data_text(rdata) for rdata in rdatas)
    return CacheEntry(name=names.to_text(name), rtype=names.type_text(rtype), ttl=ttl, kind=kind, data=data)
