"""What IMAP servers tell of messages being fetched, for journeys whose capture has no packets of it.

Theory of operation. The packets come first: an event that tells of a fetch which they show says nothing new.
One is for the other if user and time agree, each for one. What is left is told too, and as what it is: a
fetch without a session.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from captures.journeys import Fetch, Journey, Place

_CLOSE_NS = 5_000_000_000
"""How far an event may be from the packets, on a busy machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    time_ns: int
    server: str
    client: str
    user: str
    size: int


class Fetches:
    """The `fetched` events of a run; `places` are its hosts by name and by address."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        self._places = places
        self._told: dict[tuple[str, str], list[_Told]] = defaultdict(list)

    def learn(self, event: Mapping[str, Any]) -> None:
        """Take note of an event. Raises: KeyError, TypeError, ValueError if no service has written it."""
        if event["kind"] != "fetched":
            return
        told = _Told(
            time_ns=round(float(event["time"]) * 1e9),
            server=str(event["host"]),
            client=str(event["client"]),
            user=str(event["user"]),
            size=int(event["size"]),
        )
        self._told[told.server, str(event["file"])].append(told)

    def added(self, journey: Journey) -> Journey:
        """Return the journey with what its mailbox's server tells and the packets do not show."""
        name = journey.mailbox_file.rpartition("/")[2].partition(":")[0]
        told = self._told.get((journey.end.host, name), []) if name else []
        rest = [self._fetch(one) for one in _unseen(told, journey.fetches)]
        if not rest:
            return journey
        fetches = sorted([*journey.fetches, *rest], key=lambda fetch: fetch.began_ns)
        return dataclasses.replace(journey, fetches=tuple(fetches))

    def _fetch(self, told: _Told) -> Fetch:
        return Fetch(
            client=self._place(told.client),
            server=self._place(told.server),
            user=told.user,
            began_ns=told.time_ns,
            ended_ns=told.time_ns,
            size=told.size,
            whole=True,
            session=None,
        )

    def _place(self, known: str) -> Place:
        return self._places.get(known) or Place(host=known, name="", address=known)


def _unseen(told: Sequence[_Told], shown: Sequence[Fetch]) -> list[_Told]:
    """Return the events that are for none of the fetches; the nearest ones are for each other."""
    pairs = sorted(
        (abs(fetch.began_ns - one.time_ns), at, place)
        for at, one in enumerate(told)
        for place, fetch in enumerate(shown)
        if _same(one, fetch)
    )
    seen: set[int] = set()
    taken: set[int] = set()
    for _, at, place in pairs:
        if at not in seen and place not in taken:
            seen.add(at)
            taken.add(place)
    return [one for at, one in enumerate(told) if at not in seen]


def _same(told: _Told, fetch: Fetch) -> bool:
    near = fetch.began_ns - _CLOSE_NS <= told.time_ns <= fetch.ended_ns + _CLOSE_NS
    return near and fetch.user.lower() in ("", told.user.lower())
