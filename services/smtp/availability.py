"""Which hosts can be reached, learnt from what came of connecting to them.

Theory of operation. Nobody says that a server is down: whoever tried to connect knows. An address that took
no connection, or did not greet, is left alone for a while, so that not every message waits for it first:

    failed in a row    1       2       3        4        5 and more
    left alone         30 s    1 min   2 min    4 min    5 min

all of it divided by the lab's `time_scale`, but never less than a tenth of a second. When the time has come
*one* attempt finds it free; for all others it is left alone for that time again, and for as long as it may
take to see what comes of the attempt. The first success ends it.

Only what failed is remembered, and not beyond the end of the process: after a restart all are tried.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.smtp.replies import Reply

_LEAST_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class BackOff:
    """How long an address is left alone, in seconds before `time_scale` divides them."""

    first_s: float = 30.0
    ceiling_s: float = 300.0
    time_scale: float = 1.0

    def wait(self, failures: int) -> float:
        """Return the seconds after `failures` (1 or more) in a row."""
        return max(
            min(self.first_s * 2.0 ** min(failures - 1, 32), self.ceiling_s) / self.time_scale, _LEAST_S
        )


@dataclass(slots=True, kw_only=True)
class _Failure:
    reply: Reply
    failures: int
    again: float


class Availability:
    """What is known of the addresses that were tried. Times are seconds of one clock."""

    def __init__(self, back_off: BackOff, *, attempt_s: float) -> None:
        """`attempt_s`: how long an attempt may take until it is known what came of it."""
        self._back_off = back_off
        self._attempt_s = attempt_s
        self._failed: dict[str, _Failure] = {}

    def __len__(self) -> int:
        return len(self._failed)

    def failed(self, address: str, reply: Reply, now: float) -> None:
        """Remember that nobody answers at `address`, which `reply` tells."""
        known = self._failed.get(address)
        failures = known.failures + 1 if known else 1
        again = now + self._back_off.wait(failures)
        self._failed[address] = _Failure(reply=reply, failures=failures, again=again)

    def forget(self) -> None:
        """Forget all failures: every address is tried again, by whoever comes first."""
        self._failed.clear()

    def worked(self, address: str) -> None:
        """Forget that `address` has failed: it answers."""
        self._failed.pop(address, None)

    def left_alone(self, address: str, now: float) -> Reply | None:
        """Return what it said last if it is to be left alone now, None for whoever is to try it.

        Who gets None is the one to try: others are told to leave it alone.
        """
        known = self._failed.get(address)
        if known is None:
            return None
        if now < known.again:
            return known.reply
        known.again = now + max(self._back_off.wait(known.failures), self._attempt_s)
        return None

    def again(self, address: str) -> float:
        """Return when `address` may be tried again; 0 if it may be at any time."""
        known = self._failed.get(address)
        return known.again if known else 0.0
