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
        self._at: dict[str, list[Transfer]] = defaultdict(list)
        for transfer in transfers:
            if transfer.accepted:
                self._at[transfer.server.host].append(transfer)
        self._came: dict[str, list[float]] = {}
        self._left: dict[str, list[float]] = {}
        for host, transfers_here in self._at.items():
            transfers_here.sort(key=lambda transfer: transfer.ended_ns)
            self._came[host] = [transfer.ended_ns for transfer in transfers_here]
            self._left[host] = sorted(self._gone_ns(transfer) for transfer in transfers_here)

    def at(self, host: str) -> list[Transfer]:
        """Return the transfers by which messages came to the host, in order of time."""
        return self._at.get(host, [])

    def left_ns(self, custody: Transfer) -> float:
        """Return when the host had handed the message on for all recipients; infinite if it has not."""
        return max((custody.settled_ns(recipient) for recipient in custody.recipients), default=math.inf)

    def alone(self, custody: Transfer, until_ns: float) -> bool:
        """Return whether no other message was at the host from when it came until `until_ns`."""
        host = custody.server.host
        came = bisect_right(self._came.get(host, []), until_ns)
        left = bisect_left(self._left.get(host, []), custody.ended_ns)
        return came - left <= 1

    def _gone_ns(self, transfer: Transfer) -> float:
        """When the host was done with the message: at once if it stayed, in a mailbox for all we see."""
        return max((sent.ended_ns for sent in transfer.onward), default=transfer.ended_ns)
