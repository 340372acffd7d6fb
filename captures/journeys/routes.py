"""Which way a host sends a message on, as far as the packets tell: the domain by whose MX it found a server.

Theory of operation. A host's choice depends on the recipient's domain alone. So the route of a message is

    the one by which this host sent others to the same domain
    the recipient's own domain, if the host asked for its exchangers; it may have been either
    not known, if the host asked for something as soon as it had the message
    none, if it asked nothing: the message is in a mailbox there

Of two whose routes are not known a stranger's is the likelier to go on: a colleague may have a mailbox there.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable

from captures.journeys.linking import Transfer, domain
from captures.journeys.places import name_of, organisation
from captures.journeys.questions import Questions

LOOKED_UP_WITHIN_NS = 60_000_000_000
"""A program that connects has looked the server up a moment ago; what is older belongs to something else."""

UNKNOWN = ""
"""The route of a stranger's message that was not seen to go on, and of any from a host that asks nobody."""

COLLEAGUE = "@"
"""That of a message for the host's own organisation."""


class Routes:
    """The routes of all hosts."""

    def __init__(self, transfers: Iterable[Transfer], questions: Questions) -> None:
        """`transfers` are those that showed their message."""
        self._questions = questions
        self._by_domain: dict[tuple[str, str], set[str]] = defaultdict(set)
        for transfer in transfers:
            route = self.of_attempt(transfer)
            for place in {domain(recipient) for recipient in transfer.recipients}:
                self._by_domain[transfer.client.host, place].add(route)

    def of_attempt(self, attempt: Transfer) -> str:
        """Return how the client found the server: the domain whose MX it asked for, else the address."""
        host, address, until = attempt.client.host, attempt.server.address, attempt.began_ns
        if not self._questions.any_by(host):
            return UNKNOWN
        return self._questions.route(host, address, until - LOOKED_UP_WITHIN_NS, until) or address

    def of_message(self, custody: Transfer, recipient: str) -> frozenset[str]:
        """Return the routes that the server of `custody` may choose for a recipient; none: it stays there."""
        host, since, place = custody.server.host, custody.had_ns, domain(recipient)
        known = set(self._by_domain.get((host, place), ()))
        if self._questions.exchangers_of(host, place, since, math.inf):
            known.add(place)
        if known:
            return frozenset(known)
        if place.startswith("["):
            return frozenset({place.strip("[]")})
        if self._questions.any_by(host) and not self._questions.routes(host, since):
            return frozenset()
        here = organisation(name_of(custody.server, custody.session.server_name))
        return frozenset({COLLEAGUE if organisation(place) == here else UNKNOWN})
