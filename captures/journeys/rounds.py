"""Attempts that came to the same, one after the other: what a queue does for days while a host is dead.

Theory of operation. A queue tries in rounds: the servers of a destination in their order, then a wait.

    round 1                        round 2                        …       round 130
    mx1 unreachable, mx2 deferred  mx1 unreachable, mx2 deferred          mx1 unreachable, mx2 deferred

Of equal rounds the first and the last are worth telling, and how many there were between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from captures.journeys.model import Hop

AT_ONCE_NS = 50_000_000
"""Another server is tried at once, rather than later, if no more than that goes by."""


def in_line(hop: Hop) -> bool:
    """Whether the host turned to this server at once after the one before."""
    return hop.again and hop.waited_ns is not None and hop.waited_ns < AT_ONCE_NS


def worth_telling(hops: Sequence[Hop]) -> list[tuple[Hop, int]]:
    """Return the hops without those of equal rounds, each with how many rounds were left out before it."""
    told: list[tuple[Hop, int]] = []
    for _, equal in groupby(_rounds(hops), key=_result):
        first, *rest = equal
        told += [(hop, 0) for hop in first]
        if rest:
            last = rest.pop()
            told += [(hop, 0 if place else len(rest)) for place, hop in enumerate(last)]
    return told


def _rounds(hops: Iterable[Hop]) -> list[list[Hop]]:
    found: list[list[Hop]] = []
    for hop in hops:
        if found and in_line(hop):
            found[-1].append(hop)
        else:
            found.append([hop])
    return found


def _result(tried: Sequence[Hop]) -> tuple[object, ...]:
    """What a round came to. Texts of replies count for nothing: they may name a time or an id."""
    return tuple(
        (hop.client.host, hop.server and hop.server.host, hop.reached, hop.reply and hop.reply.code)
        for hop in tried
    )
