"""Which lookups lie behind a hop: the index of what each host asked.

Theory of operation. A host that connects to an address has found it somewhere. Backwards from the connection:

    the last answer that held the address    isp-a2.example.net A      198.18.10.11
    the last answer that held that name      isp-a.example.net MX      10 isp-a1…, 10 isp-a2…

The name that this begins with is the hop's *route*. A host asks one thing after the other when it routes a
message: so what it asked right before belongs to the same attempt, even if that led nowhere, and what it
asked in vain for one of these names was an attempt before. Anything else, somebody's `dig` while the message
waited, has nothing to do with it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from operator import attrgetter

from captures.dns import Record
from captures.lookups import Lookup

TOGETHER_NS = 100_000_000
"""Who routes a message asks the next question, or connects, at once; slow machines take their time."""

_TIMEOUT_NS = 11_000_000_000
"""So long a host may wait for an answer that does not come: twice five seconds, as in resolv.conf(5)."""

_FIRST_WITHIN_NS = 1_000_000_000
"""A host that is to pass a message on asks about its route at once, or is busy asking for others."""

_time = attrgetter("query.time_ns")


class Questions:
    """The lookups of all hosts, in order of time, found by who asked and by what was answered."""

    def __init__(self, lookups: Iterable[Lookup]) -> None:
        self._by_host: dict[str, list[Lookup]] = defaultdict(list)
        self._by_name: dict[tuple[str, str], list[Lookup]] = defaultdict(list)
        self._by_answer: dict[tuple[str, str], list[Lookup]] = defaultdict(list)
        for lookup in sorted(lookups, key=_time):
            host = lookup.query.client.host
            self._by_host[host].append(lookup)
            self._by_name[host, lookup.query.name].append(lookup)
            for target in targets(lookup):
                self._by_answer[host, target].append(lookup)

    def any_by(self, host: str) -> bool:
        """Return whether the host was seen to ask anything."""
        return host in self._by_host

    def between(self, host: str, since_ns: float, until_ns: float) -> list[Lookup]:
        """Return what the host asked in that time."""
        asked = self._by_host.get(host, [])
        return asked[bisect_left(asked, since_ns, key=_time) : bisect_right(asked, until_ns, key=_time)]

    def exchangers_of(self, host: str, name: str, since_ns: float, until_ns: float) -> list[Lookup]:
        """Return the host's lookups of a domain's MX in that time."""
        asked = self._by_name.get((host, name), [])
        found = asked[bisect_left(asked, since_ns, key=_time) : bisect_right(asked, until_ns, key=_time)]
        return [lookup for lookup in found if lookup.query.type == "MX"]

    def routes(self, host: str, since_ns: int) -> bool:
        """Return whether the host, given a message then, began to look for where it goes."""
        return bool(self.between(host, since_ns, since_ns + _FIRST_WITHIN_NS))

    def leading_to(self, host: str, address: str, since_ns: float, until_ns: float) -> list[Lookup]:
        """Return the lookups by which the host found `address`, in order of time."""
        found: list[Lookup] = []
        wanted: str | None = address
        while wanted:
            last = self._last(host, wanted, since_ns, until_ns)
            if last is None or any(last is each for each in found):
                break
            found.append(last)
            until_ns = _time(last)
            # An exchanger's name may be that of the domain itself (implicit MX): then nothing more led to it.
            wanted = last.query.name if last.query.type != "MX" else None
        return sorted(found, key=_time)

    def route(self, host: str, address: str, since_ns: float, until_ns: float) -> str:
        """Return the domain whose mail exchangers led the host to `address`; "" if none did."""
        chain = self.leading_to(host, address, since_ns, until_ns)
        name = chain[0].query.name if chain else ""
        return name if name and self.exchangers_of(host, name, since_ns, until_ns) else ""

    def for_attempt(
        self, host: str, address: str, since_ns: float, until_ns: float, *, domain: str
    ) -> list[Lookup]:
        """Return what the host asked for a message to `domain`, with no other there, before it connected."""
        chain = self.leading_to(host, address, since_ns, until_ns)
        if not chain:
            return []
        before = self.between(host, since_ns, _time(chain[0]) - 1)
        attempt = self.between(host, _time(chain[0]), until_ns)
        *earlier, last = _attempts([*before, chain[0]])
        attempt[:1] = last
        names = {domain, *_names(attempt)}
        return [each for asked in earlier for each in _in_vain(asked, names)] + attempt

    def in_vain(self, host: str, since_ns: int, until_ns: float, *, domain: str) -> list[Lookup]:
        """Return what the host asked for a message to `domain`, with no other there, if it led nowhere."""
        asked: list[Lookup] = []
        for lookup in self.between(host, since_ns, until_ns):
            query = lookup.query
            if not asked and not _begins(lookup, since_ns, domain):
                return []
            same = not asked or query.name in {domain, *_names(asked)}
            if same or (not _final(asked[-1]) and _together(asked[-1], lookup)):
                asked.append(lookup)
        return asked if asked and leads_nowhere(asked[-1]) else []

    def _last(self, host: str, target: str, since_ns: float, until_ns: float) -> Lookup | None:
        asked = self._by_answer.get((host, target), [])
        place = bisect_right(asked, until_ns, key=_time)
        if place and _time(asked[place - 1]) >= since_ns:
            return asked[place - 1]
        return None


def targets(lookup: Lookup) -> list[str]:
    """Return the addresses and names that an answer leads to, each once; a null MX leads nowhere."""
    records = lookup.query.reply.answers if lookup.query.reply else ()
    return list(dict.fromkeys(filter(None, map(_target, records))))


def leads_nowhere(lookup: Lookup) -> bool:
    """Return whether nothing was learned that a message could be sent to."""
    return not targets(lookup)


def _attempts(asked: Iterable[Lookup]) -> list[list[Lookup]]:
    """What was asked, one list for each time that the host set out to ask."""
    found: list[list[Lookup]] = []
    for lookup in asked:
        if found and _together(found[-1][-1], lookup):
            found[-1].append(lookup)
        else:
            found.append([lookup])
    return found


def _in_vain(asked: Sequence[Lookup], names: Collection[str]) -> Sequence[Lookup]:
    """An attempt up to the last question that led nowhere, if it was to find one of these names."""
    last = next((place for place in range(len(asked), 0, -1) if leads_nowhere(asked[place - 1])), 0)
    return asked[:last] if any(lookup.query.name in names for lookup in asked[:last]) else ()


def _begins(lookup: Lookup, since_ns: int, domain: str) -> bool:
    """Whether a host that had a message to `domain` since then, and no other, began to route it so."""
    within_ns = _FIRST_WITHIN_NS if lookup.query.name == domain else TOGETHER_NS
    return lookup.query.type == "MX" and lookup.query.time_ns - since_ns < within_ns


def _final(lookup: Lookup) -> bool:
    """Whether nothing is left to be asked for the message: what comes next is for the notice."""
    return leads_nowhere(lookup) and lookup.query.outcome in ("answer", "nodata", "nxdomain")


def _target(record: Record) -> str:
    """What a record leads to: an address, or a name in lower case without final dot."""
    if record.type in ("A", "AAAA"):
        return record.text
    if record.type == "MX":
        return record.text.rpartition(" ")[2].rstrip(".").lower()
    return ""


def _names(asked: Sequence[Lookup]) -> Iterator[str]:
    """The names that were asked for, and those that the answers named."""
    for lookup in asked:
        yield lookup.query.name
        yield from targets(lookup)


def _together(earlier: Lookup, later: Lookup) -> bool:
    """Whether the second question was the next thing to do after the first one."""
    answered_ns = earlier.query.answered_ns
    if answered_ns is None:
        return later.query.time_ns - earlier.query.time_ns < _TIMEOUT_NS
    return later.query.time_ns - answered_ns < TOGETHER_NS
