"""One zone at one of its secondaries: when to ask the primary, and for how long to serve without it.

Theory of operation. The zone's SOA says it all (RFC 1034 §4.3.5):

    refresh     so long after the primary confirmed the copy it is asked again for its serial; a NOTIFY
                makes that now
    retry       so long after nobody answered; sooner and with growing pauses if there never was a copy
    expire      so long after the last confirmation the copy is served no more: SERVFAIL

A newer serial (RFC 1982) means a transfer; an equal one, that the copy is confirmed. With several primaries
the next one is asked when one fails.

`Secondary` is told what happened and says what to do, a `Step` at a time. It opens no socket and has no
clock: times are seconds on any clock that only goes forward, passed in with each call.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from services.dns import serials

SHORTEST_S = 1.0
"""However a SOA or a time scale has it, primaries are not asked more often."""

_FIRST_RETRY_S = 1.0
_LONGEST_RETRY_S = 60.0
# Secondaries of one primary that started together would ask together for ever.
_EARLIEST_REFRESH = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a copy's SOA says: its serial, and times in seconds."""

    serial: int
    refresh_s: float
    retry_s: float
    expire_s: float

    def scaled(self, scale: float) -> Terms:
        """Return the terms with all times divided by `scale`; refresh and retry stay above SHORTEST_S."""
        return Terms(
            serial=self.serial,
            refresh_s=max(self.refresh_s / scale, SHORTEST_S),
            retry_s=max(self.retry_s / scale, SHORTEST_S),
            expire_s=self.expire_s / scale,
        )


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing is to be done before `until`."""

    until: float


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask this primary for its serial, then tell `heard` or `failed`."""

    primary: str


@dataclass(frozen=True, slots=True)
class Fetch:
    """Transfer the zone from this primary, then tell `fetched` or `failed`."""

    primary: str


@dataclass(frozen=True, slots=True)
class Expire:
    """Serve the copy no more; said once."""


Step: TypeAlias = Rest | Ask | Fetch | Expire


class Secondary:
    """What a secondary knows of its copy, and what it does next."""

    def __init__(self, primaries: Sequence[str], *, rng: random.Random, time_scale: float = 1.0) -> None:
        """`primaries` are tried in this order; times in the SOA are divided by `time_scale`."""
        self._primaries = tuple(primaries)
        self._rng = rng
        self._scale = time_scale
        self._terms: Terms | None = None
        self._expires = 0.0
        self._due = 0.0
        self._retry_s: float | None = None
        self._failures = 0
        self._at = 0
        self._fetching = False
        self._busy = False
        self._again = False

    @property
    def serial(self) -> int | None:
        """The serial of the copy that is served; None without one."""
        return self._terms.serial if self._terms is not None else None

    def resume(self, terms: Terms, *, age_s: float, trusted: bool, now: float) -> None:
        """Take up a copy that was confirmed `age_s` ago; one past its expiry is dropped at the next step.

        Unless it is `trusted` to be what the primary has, the primary is asked at once.
        """
        self._hold(terms, now - age_s)
        if not trusted:
            self._due = now

    def step(self, now: float) -> Step:
        """Return what to do now."""
        if self._terms is not None and now >= self._expires:
            self._terms = None
            self._due = min(self._due, now)
            return Expire()
        if self._fetching:
            self._busy = True
            return Fetch(self._primaries[self._at])
        if now >= self._due:
            self._busy = True
            return Ask(self._primaries[self._at])
        return Rest(min(self._due, self._expires) if self._terms is not None else self._due)

    def notified(self, client: str, serial: int | None, now: float) -> bool:
        """Take a NOTIFY from an address; tell whether it is one of the primaries'.

        A hint that is not newer than the copy changes nothing. Source: RFC 1996 §3.10, §3.11, §4.7.
        """
        if client not in self._primaries:
            return False
        if self._terms is None or serial is None or serials.is_newer(serial, self._terms.serial):
            if self._busy:
                # What is under way may have begun before the change.
                self._again = True
            else:
                self._due, self._at = now, self._primaries.index(client)
        return True

    def hurry(self, now: float) -> None:
        """Have the primary asked now."""
        self._again = self._busy
        self._due = now

    def heard(self, serial: int, now: float) -> bool:
        """Take the primary's serial; tell whether it confirms the copy. If not, the zone is to be fetched.

        A serial that went backwards is for people to put right: the copy stays.
        """
        if self._terms is None or serials.is_newer(serial, self._terms.serial):
            self._fetching = True
            return False
        self._hold(self._terms, now)
        return True

    def fetched(self, terms: Terms, now: float) -> None:
        """Take over the copy that was transferred."""
        self._hold(terms, now)

    def failed(self, now: float) -> None:
        """Take note that the primary gave no answer, or no zone."""
        self._fetching = self._busy = False
        self._at += 1
        if self._at < len(self._primaries):
            self._due = now
            return
        self._at = 0
        pause = self._retry_s or min(_FIRST_RETRY_S * 2**self._failures, _LONGEST_RETRY_S)
        self._failures = min(self._failures + 1, 10)
        self._due = now if self._again else now + pause
        self._again = False

    def _hold(self, terms: Terms, confirmed: float) -> None:
        scaled = terms.scaled(self._scale)
        self._terms = terms
        self._expires = confirmed + scaled.expire_s
        self._retry_s = scaled.retry_s
        self._due = confirmed + scaled.refresh_s * self._rng.uniform(_EARLIEST_REFRESH, 1.0)
        if self._again:
            self._due = confirmed
        self._at = self._failures = 0
        self._fetching = self._busy = self._again = False
