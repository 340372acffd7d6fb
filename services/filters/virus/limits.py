"""How much one scan may cost: depth, objects, octets, ratio and time, whoever wrote the message.

Theory of operation. A `Budget` is spent by whoever opens something; what goes beyond a limit ends the scan
with `LimitExceeded`, whose `virus` is what clamd calls it. So a bomb is a finding, kept like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.errors import ServiceError

MIB = 1 << 20


class LimitExceeded(ServiceError):
    """A message would cost more than a scan may: `virus` names the limit, the text says how much it is."""

    def __init__(self, limit: str, sentence: str) -> None:
        super().__init__(sentence)
        self.virus = f"Heuristics.Limits.Exceeded.{limit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most that one message may cost.

    `depth` counts what lies in one another (an entity and what it decodes to are two), `objects` all parts
    and members, `object_octets` and `octets` what one of them and all together expand to. More than `ratio`
    times what it was packed in is a bomb, once above `ratio_from` octets: a log may well be packed by 100.
    """

    depth: int = 20
    objects: int = 10_000
    object_octets: int = 64 * MIB
    octets: int = 256 * MIB
    ratio: int = 250
    ratio_from: int = 8 * MIB
    time_s: float = 30.0


class Budget:
    """What is left of the limits for one message; `clock` counts seconds from anywhere."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self.limits = limits
        self._clock = clock
        self._until = clock() + limits.time_s
        self.objects = 0
        self.octets = 0

    def enter(self, depth: int) -> None:
        """Count one more object, at a depth. Raises: LimitExceeded."""
        self.objects += 1
        if depth > self.limits.depth:
            raise LimitExceeded("MaxRecursion", f"more than {self.limits.depth} levels in one another")
        if self.objects > self.limits.objects:
            raise LimitExceeded("MaxFiles", f"more than {self.limits.objects} parts and members")
        self.tick()

    def tick(self) -> None:
        """Look at the clock. Raises: LimitExceeded."""
        if self._clock() > self._until:
            raise LimitExceeded("MaxScanTime", f"scanned for more than {self.limits.time_s:g} s")

    def spend(self, octets: int, *, expanded: int, packed: int) -> None:
        """Count octets that came out, `expanded` of this object from `packed`. Raises: LimitExceeded."""
        self.octets += octets
        if expanded > self.limits.object_octets:
            raise LimitExceeded("MaxFileSize", f"expands to more than {self.limits.object_octets} octets")
        if self.octets > self.limits.octets:
            raise LimitExceeded("MaxScanSize", f"expands to more than {self.limits.octets} octets in all")
        if expanded > self.limits.ratio_from and expanded > self.limits.ratio * packed:
            raise LimitExceeded("MaxRatio", f"expands to more than {self.limits.ratio} times its size")
        self.tick()
