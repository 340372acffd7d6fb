"""What became of each message of a trial, from the events of the lab.

Theory of operation. A message is followed from where it was handed in: `relayed` names the next host and the
queue id that it has there, `list` the queue ids of a post's copies. Where that leads to the filter,
`filtered` is its verdict. What does not get there was refused on its way: the last `bounced` says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Place = tuple[str, str]
"""A host and the queue id of a message there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule that fired, and what it counts."""

    name: str
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A message of the corpus (`path`), what it is, and what the filter did with it.

    `action` is `pass`, `quarantine`, `delete`, or `refused` where it did not come to the filter;
    `score` is None where the spam engine was not asked.
    """

    path: str
    category: str
    is_ham: bool
    action: str
    reason: str = ""
    score: float | None = None
    rules: tuple[Rule, ...] = ()

    @property
    def is_wrong(self) -> bool:
        """Ham that did not pass, or anything else that did."""
        return (self.action == "pass") != self.is_ham


class Traces:
    """The events of a run, by message; `hosts` are the lab's names of hosts by their names in DNS."""

    def __init__(self, events: Iterable[Mapping[str, Any]], hosts: Mapping[str, str]) -> None:
        self._next: dict[Place, Place] = {}
        self._copies: dict[Place, dict[str, str]] = {}
        self._verdicts: dict[Place, Mapping[str, Any]] = {}
        self._ends: dict[Place, str] = {}
        for event in events:
            here = str(event.get("host", "")), str(event.get("id", ""))
            kind = event["kind"]
            if kind == "relayed" and event["remote_id"]:
                self._next[here] = hosts.get(event["next_host"], event["next_host"]), event["remote_id"]
            elif kind == "list" and event["copies"]:
                self._copies[here] = event["copies"]
            elif kind == "filtered":
                self._verdicts[here] = event
            elif kind == "bounced":
                self._ends[here] = event["reply"]

    def verdict(self, start: Place, recipient: str) -> Mapping[str, Any] | str | None:
        """Return a message's `filtered` event, or the reply that ended it before; None if it is under way.

        `recipient` is whose copy counts where a list has made several.
        """
        here, seen = start, set[Place]()
        while here not in seen:
            seen.add(here)
            if here in self._verdicts:
                return self._verdicts[here]
            if here in self._ends:
                return self._ends[here]
            if recipient in self._copies.get(here, {}):
                here = here[0], self._copies[here][recipient]
            elif here in self._next:
                here = self._next[here]
        return None


def judged(path: str, category: str, *, is_ham: bool, found: Mapping[str, Any] | str) -> Judged:
    """Return what became of a message by what `Traces.verdict` found."""
    if isinstance(found, str):
        return Judged(path=path, category=category, is_ham=is_ham, action="refused", reason=found)
    return Judged(
        path=path,
        category=category,
        is_ham=is_ham,
        action=found["action"],
        reason=found["reason"],
        score=found["score"],
        rules=tuple(Rule(name=each["name"], weight=float(each["weight"])) for each in found["rules"]),
    )
