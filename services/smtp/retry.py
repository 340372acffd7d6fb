"""When a deferred recipient is tried again, when its sender is warned, and when it is given up.

Theory of operation. RFC 5321 §4.5.4.1 asks for at least half an hour between attempts, commends variable
strategies, and wants four to five days before giving up. Like Postfix and Exim this one begins sooner, since
most failures are short, and doubles:

    attempt failed    1       2        3        4        5 and later
    waits             5 min   10 min   20 min   40 min   1 h

each with up to a tenth more or less, so that a queue which filled at once does not come back at once. After
four hours, as is usual, the sender is warned (NOTIFY=DELAY, RFC 3461 §4.1).
A lab divides all of it by its `time_scale`: at 1000 the first wait is 0.3 s and five days are 7 min.
"""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Waits in seconds before `time_scale` divides them; `jitter` is a share of the wait."""

    first_s: float = 300.0
    ceiling_s: float = 3600.0
    warning_s: float = 4 * 3600.0
    expiry_s: float = 5 * 86400.0
    jitter: float = 0.1
    time_scale: float = 1.0

    def wait(self, attempts: int, *, rng: random.Random) -> float:
        """Return the seconds until the next attempt after `attempts` (1 or more) have failed."""
        # The exponent is bounded before the power, or a long-lived recipient would overflow.
        doubled = self.first_s * 2.0 ** min(attempts - 1, 32)
        return min(doubled, self.ceiling_s) * (1 + rng.uniform(-self.jitter, self.jitter)) / self.time_scale

    def due(self, attempts: int, *, arrival: float, now: float, rng: random.Random) -> float:
        """Return when to try again, in seconds since 1970: not past the time when it is given up.

        What is still there after that time, since this host could not do its part, waits as ever.
        """
        due, until = now + self.wait(attempts, rng=rng), self.until(arrival)
        return min(due, until) if now < until else due

    def delayed(self, age: float) -> bool:
        """The sender of a message that arrived `age` seconds ago is to be warned, if it still waits."""
        return age >= self.warning_s / self.time_scale

    def until(self, arrival: float) -> float:
        """Return when a message that came at `arrival` is given up; both in seconds since 1970."""
        return arrival + self.expiry_s / self.time_scale

    def expired(self, age: float) -> bool:
        """A message that arrived `age` seconds ago is given up (RFC 5321 §4.5.4.1: four to five days)."""
        return age >= self.expiry_s / self.time_scale
