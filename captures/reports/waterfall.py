"""Where the time of a journey went: each hop as bars on one scale.

    hop 2   ░░░░▒▒▒▓▓▓▓               ░ in the queue
    hop 3              ░▒▒▓▓▓▓▓       ▒ looking the next host up     ▓ in the session with it

Positions and widths are in thousandths of the journey's duration.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, get_args

from captures.journeys.model import Hop, Journey

Spent = Literal["queue", "lookup", "session"]
SPENT: Final[tuple[Spent, ...]] = get_args(Spent)
_SCALE: Final = 1000
_LEAST: Final = 4.0
"""So that a short one is seen at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A stretch of time: what it was spent on, and where it lies."""

    spent: Spent
    duration_ns: int
    x: float
    width: float


def waterfall(journey: Journey) -> list[list[Bar]]:
    """Return the bars of each hop, in order of time."""
    whole = max(1, *(hop.ended_ns - journey.started_ns for hop in journey.hops))
    return [
        [
            Bar(
                spent=spent,
                duration_ns=end - start,
                x=min((start - journey.started_ns) * _SCALE / whole, _SCALE - _LEAST),
                width=max((end - start) * _SCALE / whole, _LEAST),
            )
            for spent, start, end in _stretches(hop)
        ]
        for hop in journey.hops
    ]


def totals(bars: Iterable[Iterable[Bar]]) -> dict[Spent, int]:
    """Return how much time was spent on what, in nanoseconds."""
    spent = dict.fromkeys(SPENT, 0)
    for hop in bars:
        for bar in hop:
            spent[bar.spent] += bar.duration_ns
    return spent


def _stretches(hop: Hop) -> Iterator[tuple[Spent, int, int]]:
    if hop.waited_ns is not None:
        yield "queue", hop.began_ns - hop.waited_ns, hop.began_ns
    opened = max(hop.began_ns, hop.attempt.opened_ns) if hop.attempt else hop.ended_ns
    if hop.lookups:
        yield "lookup", hop.began_ns, opened
    if hop.attempt:
        yield "session", opened if hop.lookups else hop.began_ns, hop.ended_ns
