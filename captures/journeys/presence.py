"""Which messages were at which host, and until when."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence

from captures.journeys.linking import Transfer


class Presence:
    """Which messages were at which host, and until when."""

    def __init__(self, transfers: Sequence[Transfer]) -> None:
        self._came: dict[str, list[int]] = defaultdict(list)
        self._left: dict[str, list[int]] = defaultdict(list)
        for transfer in filter(lambda each: each.accepted, transfers):
            self._came[transfer.server.host].append(transfer.ended_ns)
            self._left[transfer.server.host].append(_gone_ns(transfer))
        for times in (*self._came.values(), *self._left.values()):
            times.sort()

    def alone(self, custody: Transfer, until_ns: float) -> bool:
        """Return whether no other message was at the host from when it came until `until_ns`."""
        host = custody.server.host
        came = bisect_right(self._came.get(host, []), until_ns)
        left = bisect_left(self._left.get(host, []), custody.ended_ns)
        return came - left <= 1

    def alone_until(self, custody: Transfer) -> float:
        """Return when the next message came to the host; infinite if none did."""
        came = self._came.get(custody.server.host, [])
        place = bisect_right(came, custody.ended_ns)
        return came[place] if place < len(came) else math.inf


def _gone_ns(transfer: Transfer) -> int:
    """When the host was done with the message: at once if it stayed, in a mailbox for all we see."""
    return max((sent.ended_ns for sent in transfer.onward), default=transfer.ended_ns)
