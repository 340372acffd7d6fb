"""How large rings are, and how often they are handed over, when there are many of them.

Theory of operation. Two things grow with the number of rings and not with the traffic. Their memory is taken,
and cleared, when they are set up. And the kernel looks after each ring by a timer, whether or not it has a
packet: 700 rings at 10 ms are 70,000 interrupts a second, a third of what two processors can do. So both
have a budget for all rings together, which small labs do not feel:

    rings       10      50       100      300      700      2,300
    each, KiB   2,048   2,048    2,048    864      352      128      256 MiB in all, but for the least
    each, ms    10      10       20       60       140      460      5 timers a millisecond

A smaller ring is full sooner: the recorder passes by every few milliseconds, and what an interface receives
in between must fit. A slower one is in the file later: packets are held longer to be put in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PAGE: Final = 4096
LARGEST_KIB: Final = 2048
LEAST_KIB: Final = 128
ALL_KIB: Final = 256 * 1024
SHORTEST_MS: Final = 10
TIMERS_EACH_MS: Final = 5
"""A timer costs some 7 µs where the machine is a virtual one: 5,000 a second are 4 % of a processor."""
SLACK_MS: Final = 50
"""So much later than its time a ring may be handed over, and the recorder may come by."""

_BLOCKS: Final = 8
_STEP_KIB: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What each ring gets: its memory, and after how long the kernel hands over a block that is not full."""

    ring_kib: int
    block_timeout_ms: int

    @property
    def reorder_ms(self) -> int:
        """How long packets must be held so that none comes after a later one."""
        return self.block_timeout_ms + SLACK_MS


def measure(rings: int) -> Measure:
    """Return what each of so many rings gets."""
    share = ALL_KIB // max(1, rings) // _STEP_KIB * _STEP_KIB
    return Measure(
        ring_kib=max(LEAST_KIB, min(LARGEST_KIB, share)),
        block_timeout_ms=max(SHORTEST_MS, rings // TIMERS_EACH_MS),
    )


def block_size(ring_kib: int) -> int:
    """Return the size of a ring's blocks in bytes, a power of two: at least eight make up the ring.

    The least, four pages, still has room for ten packets of 1,500 bytes.
    """
    size = 4 * PAGE
    while 2 * size * _BLOCKS <= min(ring_kib, LARGEST_KIB) * 1024:
        size *= 2
    return size
