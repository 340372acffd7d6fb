"""Which messages waited at which host, and which of them had been idle for the longest time.

Theory of operation. A message waits for a recipient from when a host took it until a server has taken it in
turn or refused it for good, or until the host sends a notice that it gives up. Queues are worked through in
turn: so the next attempt is for the one that nothing has been done for since the longest time, and nothing is
while the attempt lasts.

Each kind of thing that attempts can be told by, an envelope or a route, has a queue of its own. Whoever asks
does so in the order of time, and adds each attempt to its message before the next one: what is done with is
forgotten.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable
from heapq import heappop, heappush, heapreplace

from captures.journeys.linking import Transfer
from captures.journeys.notices import reports_on

_Entry = tuple[int, int, Transfer, frozenset[str]]
"""When it was last tried, a number that breaks ties, the message, and the recipients it waits for."""


class Waiting:
    """The messages that waited, by whatever they are told by."""

    def __init__(self, roots: Iterable[Transfer], transfers: Iterable[Transfer]) -> None:
        """`transfers` are those that showed their message, `roots` those of them by which it came."""
        self._given_up = _given_up(roots, transfers)
        self._queues: dict[Hashable, list[_Entry]] = defaultdict(list)
        self._count = 0

    def add(self, kind: Hashable, custody: Transfer, recipients: Collection[str]) -> None:
        """Have a message wait for these recipients, to be found by `kind`."""
        self._count += 1
        heappush(self._queues[kind], (custody.ended_ns, self._count, custody, frozenset(recipients)))

    def waits_for(self, custody: Transfer, recipient: str, now_ns: int) -> bool:
        """Return whether the message waited for that recipient then."""
        if not custody.accepted_for(recipient) or now_ns < custody.ended_ns:
            return False
        given_up_ns = self._given_up.get((custody, recipient), math.inf)
        return now_ns < min(custody.settled_ns(recipient), given_up_ns)

    def longest_idle(self, kinds: Iterable[Hashable], attempt: Transfer) -> Transfer | None:
        """Return the message of one of these kinds that an attempt was most likely made for."""
        queues = [queue for kind in kinds if (queue := self._queues.get(kind))]
        found = [entry for queue in queues if (entry := self._first_idle(queue, attempt))]
        if not found:
            # All are under way: to other recipients, or on two connections at once.
            found = [entry for queue in queues for entry in queue if self._any(entry, attempt.began_ns)]
        return min(found, key=lambda entry: entry[:2])[2] if found else None

    def _first_idle(self, queue: list[_Entry], attempt: Transfer) -> _Entry | None:
        busy: list[_Entry] = []
        chosen: _Entry | None = None
        while queue and queue[0][0] <= attempt.began_ns and chosen is None:
            noted, number, custody, recipients = entry = queue[0]
            last = last_before(custody, attempt)
            if not self._any(entry, attempt.began_ns):
                heappop(queue)
            elif last is not None and last.ended_ns > noted:
                heapreplace(queue, (last.ended_ns, number, custody, recipients))
            elif under_way(custody, attempt):
                busy.append(heappop(queue))
            else:
                chosen = entry
        for entry in busy:
            heappush(queue, entry)
        return chosen

    def _any(self, entry: _Entry, now_ns: int) -> bool:
        return any(self.waits_for(entry[2], recipient, now_ns) for recipient in entry[3])


def last_before(custody: Transfer, attempt: Transfer) -> Transfer | None:
    """Return what was tried last for a message before an attempt began."""
    earlier = (sent for sent in custody.onward if sent.began_ns < attempt.began_ns)
    return max(earlier, key=lambda sent: sent.ended_ns, default=None)


def under_way(custody: Transfer, attempt: Transfer) -> bool:
    """Return whether something was done for a message while the attempt lasted."""
    return any(
        sent.began_ns < attempt.ended_ns and sent.ended_ns > attempt.began_ns for sent in custody.onward
    )


def _given_up(roots: Iterable[Transfer], transfers: Iterable[Transfer]) -> dict[tuple[Transfer, str], int]:
    """When hosts sent notices that they had given up, by message and recipient."""
    by_message: dict[tuple[str, str], list[Transfer]] = defaultdict(list)
    for custody in transfers:
        if custody.accepted and custody.message_id:
            by_message[custody.server.host, custody.message_id].append(custody)
    found: dict[tuple[Transfer, str], int] = {}
    for root in roots:
        report = reports_on(root)
        if "failed" not in report.names:
            continue
        for message_id in report.message_ids:
            for custody in by_message[root.client.host, message_id]:
                for recipient in report.names["failed"] or custody.recipients:
                    found.setdefault((custody, recipient), root.began_ns)
    return found
