"""How high in the DNS each server stands: the root, a top-level domain, or a domain below.

A server shows it by what it says: who refers to `org` is a root server, who refers to `example.org` is one of
org's. One that says nothing is known by what it said another time, or else by the referral that led to it. A
machine may serve several levels, so each answer counts for itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, get_args

from captures.lookups import Lookup, Query

Level = Literal["root", "top", "domain"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)


class Levels:
    """The levels of the servers that were asked on account of some lookups."""

    def __init__(self, lookups: Iterable[Lookup]) -> None:
        self._known: dict[str, Level] = {}
        for lookup in lookups:
            for query in lookup.upstream:
                level = _shown(query)
                if level is not None:
                    self._known.setdefault(query.server.address, level)

    def of(self, lookup: Lookup) -> list[Level]:
        """Return the level of each server that the resolver asked, in the order of `upstream`."""
        levels = []
        referred: Level = "domain"
        for query in lookup.upstream:
            levels.append(_shown(query) or self._known.get(query.server.address, referred))
            if query.outcome == "referral":
                referred = _at_depth(_depth(query.zone))
        return levels


def _shown(query: Query) -> Level | None:
    if query.name == "." or query.server.name.endswith(".root-servers.net"):
        return "root"
    if query.outcome == "referral":
        return _at_depth(_depth(query.zone) - 1)
    if query.zone:
        return _at_depth(_depth(query.zone))
    return "domain" if query.outcome in ("answer", "alias") else None


def _depth(zone: str) -> int:
    return 0 if zone == "." else zone.count(".") + 1


def _at_depth(depth: int) -> Level:
    return LEVELS[min(max(depth, 0), 2)]
