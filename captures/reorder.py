"""Putting packets of many interfaces into the order of time.

Theory of operation. Each ring hands its packets over in blocks, late by up to the block time-out, so that
the packets of different rings come mixed. They are held until no earlier one can follow: until they are
older than a horizon that lies further back than any ring is late. What comes even later is still written,
and counted.

Pure: times are given, nothing here asks a clock.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from operator import itemgetter

_time = itemgetter(0)


class ReorderBuffer:
    """Holds blocks by their time in nanoseconds; equal times keep the order in which they came."""

    def __init__(self) -> None:
        self.late = 0
        """How many blocks were taken after one with a later time."""
        self._held: list[tuple[int, bytes]] = []
        self._last = 0

    def __len__(self) -> int:
        return len(self._held)

    def extend(self, blocks: Iterable[tuple[int, bytes]]) -> None:
        """Hold more blocks, in any order."""
        self._held.extend(blocks)

    def take(self, until_ns: int | None = None) -> list[bytes]:
        """Return the blocks up to `until_ns` in the order of time, all for None, and hold them no longer."""
        held = self._held
        # Mostly sorted runs: this costs little more than looking at each block once.
        held.sort(key=_time)
        end = len(held) if until_ns is None else bisect_right(held, until_ns, key=_time)
        if not end:
            return []
        self.late += bisect_left(held, self._last, hi=end, key=_time)
        self._last = max(self._last, held[end - 1][0])
        taken = [block for _, block in held[:end]]
        del held[:end]
        return taken
