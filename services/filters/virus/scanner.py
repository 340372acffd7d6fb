"""A message is malware, or not: it and all that it holds are compared with what is known (pure).

Theory of operation. An *object* is a run of octets: the message, an entity of it, what that decodes to, a
member of an archive. Each is compared with the signatures, then opened, and what is in it comes next, so only
one object of each level is in memory at a time. Nothing here calls itself: a million levels meet the limit on
depth, not the interpreter's.

The first thing found ends the scan: a signature, a limit (an archive bomb), or, where that is not wanted, an
archive that nobody can look into without its password. What cannot be read is no finding: it is looked at as
it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from services.filters.virus import archives, entities
from services.filters.virus.limits import Budget, LimitExceeded, Limits
from services.filters.virus.signatures import Signatures

ENCRYPTED = "Heuristics.Encrypted"
_ABOVE_LEVELS = 6
_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a scan found: `virus` is its name (empty: nothing), `where` what it lies in, outermost first.

    `reason` is one line for people; `objects` and `octets` tell what was looked at and what was expanded.
    """

    virus: str = ""
    where: tuple[str, ...] = ()
    reason: str = ""
    objects: int = 0
    octets: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Object:
    """Octets to look at: `entity` ones begin with a header, `seen` ones were compared already."""

    label: str
    data: bytes
    entity: bool = False
    seen: bool = False
    outermost: bool = False
    encrypted: bool = False


class Scanner:
    """Knows signatures and limits; `scan` may run in several threads at once."""

    def __init__(
        self,
        signatures: Signatures,
        limits: Limits,
        *,
        block_encrypted: bool = True,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._signatures = signatures
        self._limits = limits
        self._block_encrypted = block_encrypted
        self._clock = clock

    def scan(self, message: bytes) -> Report:
        """Return what is wrong with a message, or with any file."""
        budget = Budget(self._limits, self._clock)
        trail: list[str] = []
        virus, reason = "", ""
        try:
            virus, reason = self._search(message, budget, trail)
        except LimitExceeded as exceeded:
            virus, reason = exceeded.virus, str(exceeded)
        where = tuple(label for label in trail if label) if virus else ()
        return Report(
            virus=virus, where=_short(where), reason=reason, objects=budget.objects, octets=budget.octets
        )

    def _search(self, message: bytes, budget: Budget, trail: list[str]) -> tuple[str, str]:
        """Return the name and the reason of what is found; `trail` then has what it lies in."""
        levels: list[Iterator[_Object]] = [iter((_Object(label="", data=message, outermost=True),))]
        while levels:
            del trail[len(levels) - 1 :]
            found = next(levels[-1], None)
            if found is None:
                levels.pop()
                continue
            trail.append(found.label)
            budget.enter(len(levels) - 1)
            if found.encrypted and self._block_encrypted:
                return f"{ENCRYPTED}.Zip", "it is encrypted, so nobody can look into it"
            name = None if found.seen else self._signatures.find(found.data)
            if name:
                return name, "it holds what a signature describes"
            levels.append(_within(found, budget))
        return "", ""


def _within(outer: _Object, budget: Budget) -> Iterator[_Object]:
    """Yield what an object holds."""
    if outer.entity:
        yield from _in_entity(outer, budget)
        return
    opened = archives.opener(outer.data)
    if opened is not None:
        kind, members = opened
        for member in members(outer.data, budget):
            yield _Object(label=member.name or kind, data=member.data, encrypted=member.encrypted)
    if outer.outermost or entities.looks_like_message(outer.data):
        # Also what is an archive: a message may well hold what looks like the end of one.
        label = "" if outer.outermost else "message"
        yield _Object(label=label, data=outer.data, entity=True, seen=True)
    else:
        for file in entities.uuencoded(outer.data):
            yield _Object(label="uuencoded", data=file)


def _in_entity(outer: _Object, budget: Budget) -> Iterator[_Object]:
    head, body = entities.split(outer.data)
    label = head.name or head.kind.decode("utf-8", "replace")
    for content in entities.decodings(head, body):
        as_it_is = content is body
        budget.spend(0 if as_it_is else len(content), expanded=len(content), packed=len(body))
        has_parts = False
        for part in entities.parts(head, content) if head.is_multipart else ():
            has_parts = True
            yield _Object(label="", data=part, entity=True, seen=as_it_is)
        if head.is_message:
            yield _Object(label=label, data=content, entity=True)
        elif not has_parts or not as_it_is:
            yield _Object(label=label, data=content)


def _short(where: tuple[str, ...]) -> tuple[str, ...]:
    """Names fit for a log: not too many, printable, not too long."""
    named = [
        "".join(letter if letter.isprintable() else "?" for letter in label[:_LONGEST_NAME])
        for label in where
    ]
    return tuple(named[-_ABOVE_LEVELS:])
