"""Which lookups lie behind a hop: the index of what each host asked.

Theory of operation. A host that connects to an address has found it somewhere. Backwards from the connection:

    the last answer that held the address    isp-a2.example.net A      198.18.10.11
    the last answer that held that name      isp-a.example.net MX      10 isp-a1…, 10 isp-a2…

Lookups that led nowhere name no address; they belong to the message if it was the only one at the host then.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from operator import attrgetter

from captures.dns import Record
from captures.lookups import Lookup

_time = attrgetter("query.time_ns")


class Questions:
    """The lookups of all hosts, in order of time, found by who asked and by what was answered."""

    def __init__(self, lookups: Iterable[Lookup]) -> None:
        self._by_client: dict[str, list[Lookup]] = defaultdict(list)
        self._by_name: dict[tuple[str, str], list[Lookup]] = defaultdict(list)
        self._by_answer: dict[tuple[str, str], list[Lookup]] = defaultdict(list)
        for lookup in sorted(lookups, key=_time):
            client = lookup.query.client.address
            self._by_client[client].append(lookup)
            self._by_name[client, lookup.query.name].append(lookup)
            for answer in dict.fromkeys(map(_target, answers(lookup))):
                if answer:
                    self._by_answer[client, answer].append(lookup)

    def between(self, client: str, since_ns: float, until_ns: float) -> list[Lookup]:
        """Return what the host at `client` asked in that time."""
        asked = self._by_client.get(client, [])
        return asked[bisect_left(asked, since_ns, key=_time) : bisect_right(asked, until_ns, key=_time)]

    def named(self, client: str, name: str, since_ns: float) -> list[Lookup]:
        """Return what the host at `client` asked about `name` since then."""
        asked = self._by_name.get((client, name), [])
        return asked[bisect_left(asked, since_ns, key=_time) :]

    def leading_to(self, client: str, address: str, since_ns: float, until_ns: float) -> list[Lookup]:
        """Return the lookups by which the host at `client` found `address`, in order of time."""
        found: list[Lookup] = []
        wanted: str | None = address
        while wanted:
            last = self._last(client, wanted, since_ns, until_ns)
            if last is None or last in found:
                break
            found.append(last)
            # An exchanger's name may be that of the domain itself (implicit MX): then nothing more led to it.
            wanted = last.query.name if last.query.type != "MX" else None
        return sorted(found, key=_time)

    def _last(self, client: str, answer: str, since_ns: float, until_ns: float) -> Lookup | None:
        asked = self._by_answer.get((client, answer), [])
        place = bisect_right(asked, until_ns, key=_time)
        if place and _time(asked[place - 1]) >= since_ns:
            return asked[place - 1]
        return None


def answers(lookup: Lookup) -> tuple[Record, ...]:
    """Return the records that answer a lookup."""
    return lookup.query.reply.answers if lookup.query.reply else ()


def _target(record: Record) -> str:
    """What a record leads to: an address, or a name in lower case without final dot."""
    if record.type in ("A", "AAAA"):
        return record.text
    if record.type == "MX":
        return record.text.rpartition(" ")[2].rstrip(".").lower()
    return ""
