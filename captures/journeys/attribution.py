"""Whose was an attempt that shows no message: one refused before its data, or a connection that failed.

Theory of operation. Such an attempt was made for a message that waited at its client. Which one, is told by

    the envelope     of what was refused at MAIL or RCPT: the same sender, and a recipient not done with yet
    the route        of a connection that failed (routes)

Of several, it was the one that other servers of the same route had just failed; if there is none, the one
that had been idle for the longest time (waiting). That is exact with one message in flight at the host, and
near to it with many.

What a host makes itself, such as a notice, is seen first when somebody takes it; attempts before that belong
to it, if no message that is known to go there waited.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence

from captures.journeys.linking import Linked, Transfer, everything
from captures.journeys.questions import TOGETHER_NS, Questions
from captures.journeys.routes import COLLEAGUE, UNKNOWN, Routes
from captures.journeys.waiting import Waiting, last_before, under_way
from captures.paths import same

_GUESSED = (UNKNOWN, COLLEAGUE)


def attribute(linked: Linked, questions: Questions) -> list[Transfer]:
    """Add each attempt that shows no message to its message's; return the roots, in order of time.

    Refusals of what never was in anybody's hands become roots themselves. A failed connection without a
    message belongs to no mail, and is left out.
    """
    attribution = _Attribution(linked.roots, questions)
    nobodys = [attempt for attempt in linked.blind if not attribution.take(attempt)]
    roots = [*linked.roots, *(attempt for attempt in nobodys if attempt.transaction is not None)]
    for transfer in everything(roots):
        transfer.onward.sort(key=_began)
    return sorted(roots, key=lambda root: _began((root.before or [root])[0]))


class _Attribution:
    """What attempts can belong to."""

    def __init__(self, roots: Sequence[Transfer], questions: Questions) -> None:
        transfers = everything(roots)
        self._routes = Routes(transfers, questions)
        self._waiting = Waiting(roots, transfers)
        self._beginnings: dict[tuple[str, str], list[Transfer]] = defaultdict(list)
        self._failed: dict[str, deque[tuple[Transfer, Transfer]]] = defaultdict(deque)
        for custody in transfers:
            if custody.accepted:
                self._came(custody)
        for root in roots:
            route = self._routes.of_attempt(root)
            # A mail program knows its server's name, and whoever uses it may send another message next.
            if route not in (UNKNOWN, root.server.address):
                self._beginnings[root.client.host, route].append(root)

    def take(self, attempt: Transfer) -> bool:
        """Give an attempt to the message that it was made for, in order of time; False if there is none."""
        route = self._routes.of_attempt(attempt)
        owner = self._passed_over(attempt, route) or self._waited(attempt, [route])
        if owner is None and (root := self._beginning(attempt, route)):
            attempt.concerned = frozenset(root.recipients)
            root.before.append(attempt)
            return True
        owner = owner or self._waited(attempt, _GUESSED)
        if owner is None:
            return False
        attempt.concerned = self._concerned(owner, attempt, route)
        owner.onward.append(attempt)
        self._failed[attempt.client.host].append((attempt, owner))
        return True

    def _came(self, custody: Transfer) -> None:
        """Have a message that a host has taken wait there, to be found by envelope and route."""
        host = custody.server.host
        routes: dict[str, set[str]] = defaultdict(set)
        for recipient in filter(custody.accepted_for, custody.recipients):
            self._waiting.add((host, _sender(custody), recipient), custody, [recipient])
            for route in self._routes.of_message(custody, recipient):
                routes[route].add(recipient)
        for route, recipients in routes.items():
            self._waiting.add((host, route), custody, recipients)

    def _waited(self, attempt: Transfer, routes: Iterable[str]) -> Transfer | None:
        """The message that waited with the attempt's envelope, or else for the first of the routes."""
        host = attempt.client.host
        if attempt.transaction is not None:
            kinds = [(host, _sender(attempt), recipient) for recipient in attempt.recipients]
            return self._waiting.longest_idle(kinds, attempt)
        found = (self._waiting.longest_idle([(host, route)], attempt) for route in routes)
        return next((custody for custody in found if custody), None)

    def _passed_over(self, attempt: Transfer, route: str) -> Transfer | None:
        """The message that another server of the same route has just failed."""
        failed = self._failed[attempt.client.host]
        while failed and failed[0][0].ended_ns < attempt.began_ns - TOGETHER_NS:
            failed.popleft()
        for before, owner in failed:
            just = 0 <= attempt.began_ns - before.ended_ns <= TOGETHER_NS
            again = attempt.server.address in _tried(owner, attempt)
            if just and not again and self._next(owner, attempt, route):
                return owner
        return None

    def _next(self, owner: Transfer, attempt: Transfer, route: str) -> bool:
        """Whether an attempt may be what comes next for a message."""
        failed = last_before(owner, attempt)
        if failed is None or failed.accepted or under_way(owner, attempt):
            return False
        if attempt.transaction is not None and _sender(owner) != _sender(attempt):
            return False
        return any(
            route in self._routes.of_message(owner, recipient)
            for recipient in (attempt.recipients if attempt.transaction else owner.recipients)
            if self._waiting.waits_for(owner, recipient, attempt.began_ns)
        )

    def _beginning(self, attempt: Transfer, route: str) -> Transfer | None:
        """The message that the same client brought in later, by the same route."""
        roots = self._beginnings.get((attempt.client.host, route), [])
        later = roots[bisect_right(roots, attempt.began_ns, key=_began) :]
        return next((root for root in later if _same_envelope(root, attempt)), None)

    def _concerned(self, owner: Transfer, attempt: Transfer, route: str) -> frozenset[str]:
        """Which recipients a connection that failed was for."""
        waiting = {
            recipient: self._routes.of_message(owner, recipient)
            for recipient in owner.recipients
            if self._waiting.waits_for(owner, recipient, attempt.began_ns)
        }
        for each in (route, *_GUESSED):
            if found := frozenset(recipient for recipient, routes in waiting.items() if each in routes):
                return found
        return frozenset(waiting)


def _tried(owner: Transfer, attempt: Transfer) -> set[str]:
    """The servers that were tried for a message right before, one after the other."""
    found: set[str] = set()
    until_ns = attempt.began_ns
    for sent in sorted(owner.onward, key=_began, reverse=True):
        if sent.began_ns < attempt.began_ns:
            if until_ns - sent.ended_ns > TOGETHER_NS:
                break
            found.add(sent.server.address)
            until_ns = sent.began_ns
    return found


def _began(transfer: Transfer) -> int:
    return transfer.began_ns


def _sender(transfer: Transfer) -> str:
    return same(transfer.transaction.sender) if transfer.transaction else ""


def _same_envelope(root: Transfer, attempt: Transfer) -> bool:
    """Whether a later message may be what an attempt was made for, which may be made again."""
    if attempt.transaction is None:
        return True
    return _sender(root) == _sender(attempt) and any(
        recipient in root.recipients and not attempt.settles(recipient) for recipient in attempt.recipients
    )
