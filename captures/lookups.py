"""What clients asked resolvers, and which servers these asked on account of it.

Theory of operation. A question with RD set is a lookup. From the moment it reaches the resolver until the
reply leaves, the resolver works on it. What it asks meanwhile is on account of that lookup if it is about a
name that the lookup led to:

    corp-mta asks corp-dns       MX example.org
        corp-dns asks a-root     MX example.org           referral to org: org-ns1.nic.net
        corp-dns asks org-ns1    MX example.org           referral to example.org: ns.example.net (no glue)
        corp-dns asks a-root     A ns.example.net         referral to net: …
        …
    corp-dns tells corp-mta      10 rcpt-mx1.example.org

`queries` pairs questions with replies, `responses` says what a reply means, `resolutions` decides on account
of which lookup a query was made. It is one walk through everything in order of time.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from captures.conversations import Conversations
from captures.queries import Query, read_queries
from captures.resolutions import Resolution, Resolver
from captures.responses import Outcome

__all__ = ["Lookup", "Outcome", "Query", "attribute", "read_lookups", "read_queries"]

_UNANSWERED_NS: Final = 30_000_000_000
"""How long a resolver may go on with a question whose client never hears from it."""

_AGAIN_NS: Final = 50_000_000
"""The same question to the same server within this time comes from another program on that host."""

_LAST: Final = 2**63  # behind all frames of the same time

_OPENED, _HEARD, _ASKED, _CLOSED = range(4)
_Step: TypeAlias = tuple[int, int, int, int]
"""Time, frame, what happened, and the number of the lookup or query; small, as there are many."""


@dataclass(slots=True, kw_only=True)
class Lookup:
    """A question that a host put to its resolver (`query`), and what this asked on account of it.

    `upstream` is in order of time; other lookups of the same question may share its queries. `watched`: the
    capture shows what the resolver asks, so that it asked nobody where nothing is seen.
    """

    query: Query
    upstream: list[Query]
    watched: bool = True

    @property
    def cached(self) -> bool:
        """The resolver knew already: it asked nobody, and does not speak with authority itself."""
        reply = self.query.reply
        if not self.watched or self.upstream or reply is None or reply.authoritative:
            return False
        return self.query.outcome in ("answer", "alias", "nodata", "nxdomain")

    @property
    def retries(self) -> int:
        """How often the client sent the same packet again."""
        return self.query.retries


def read_lookups(conversations: Conversations) -> list[Lookup]:
    """Return every lookup of the capture, in order of time."""
    return attribute(read_queries(conversations))


def attribute(queries: Iterable[Query]) -> list[Lookup]:
    """Return the lookups among the queries, each with those that were made on account of it.

    `queries` are in order of time; in those without an answer it is noted how long their clients waited.
    """
    queries = list(queries)
    asking = {query.client.host for query in queries if query.client.host != query.server.host}
    lookups = [
        Lookup(query=query, upstream=[], watched=query.server.host in asking)
        for query in queries
        if query.recursive
    ]
    _note_repetitions(lookups)
    resolvers = {lookup.query.server.host: Resolver() for lookup in lookups}
    resolutions = [Resolution(lookup.query, lookup.upstream) for lookup in lookups]
    for time_ns, _, step, number in sorted([*_of_clients(lookups), *_of_resolvers(queries, resolvers)]):
        if step == _OPENED:
            resolvers[lookups[number].query.server.host].opened(resolutions[number], time_ns)
        elif step == _CLOSED:
            _close(resolvers[lookups[number].query.server.host], resolutions[number], lookups[number].query)
        elif step == _ASKED:
            resolvers[queries[number].client.host].asked(queries[number])
        else:
            resolvers[queries[number].client.host].heard(queries[number])
    return lookups


def _note_repetitions(lookups: Iterable[Lookup]) -> None:
    """Note in questions without an answer when the client asked again, there or elsewhere."""
    unanswered: dict[tuple[str, str, str], list[Query]] = {}
    for lookup in lookups:
        query = lookup.query
        key = query.client.address, query.name, query.type
        others = []
        for earlier in unanswered.get(key, ()):
            if earlier.server != query.server or query.time_ns - earlier.time_ns >= _AGAIN_NS:
                earlier.give_up(query.time_ns)
            else:
                others.append(earlier)
        unanswered[key] = [*others, query] if query.outcome == "timeout" else others


def _of_clients(lookups: Iterable[Lookup]) -> Iterator[_Step]:
    """Yield when resolvers took up the questions of their clients, and when they were done with them."""
    for number, lookup in enumerate(lookups):
        query = lookup.query
        if query.arrived_ns is not None:
            end_ns = query.replied_ns or query.gave_up_ns or query.time_ns + _UNANSWERED_NS
            yield query.arrived_ns, query.frame, _OPENED, number
            yield max(end_ns, query.arrived_ns), _LAST, _CLOSED, number


def _of_resolvers(queries: Iterable[Query], resolvers: Container[str]) -> Iterator[_Step]:
    """Yield when resolvers asked something, and when they had the reply."""
    for number, query in enumerate(queries):
        # What a host asks itself is a lookup, but on nobody's account.
        if query.client.host in resolvers and query.client.host != query.server.host:
            yield query.time_ns, query.frame, _ASKED, number
            if query.answered_ns is not None:
                yield query.answered_ns, query.answer_frame or _LAST, _HEARD, number


def _close(resolver: Resolver, resolution: Resolution, question: Query) -> None:
    resolver.closed(resolution)
    if question.replied_ns is not None:
        # Having replied, the resolver waits for nobody any more.
        for query in resolution.upstream:
            query.give_up(question.replied_ns)
