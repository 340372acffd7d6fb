"""Iterative resolution: from the roots down to the servers that know.

Theory of operation. `Resolver.resolve` is a generator. It yields an `Ask` whenever a server has to be
asked and is sent what became of it, the reply's octets or a `Failure`; it returns what the client is to
be told. It opens no socket and keeps no time of its own: whoever drives it does.

    follow      from alias to alias, looking into the cache at each name
    descend     from the closest delegation known, at worst the roots, through referrals to a finding
    ask_zone    one after the other the servers of a zone, until one says something useful
    ask_server  with what a single server may need: without EDNS, or over TCP

The roots come from hints, which are used once to ask for the real list (priming, RFC 9609, before that RFC
8109). A server whose address no glue tells is looked up like any other name, within the same limits. Each
question may cost a limited number of queries, seconds, referrals, aliases and nested look-ups, of which few
may be in vain: a referral to many servers that do not exist would else make others suffer (NXNSAttack).

What a referral teaches the cache is put off until the next query is on its way, since then there is time:
whoever drives a resolution calls `catch_up` after each sending.

No server is asked the same twice at a time. A resolution that would do so yields the `Ask` that another one
waits for, the very same object, and both are sent its reply: with several on the way a forger would
have as many chances (RFC 5452 §5).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeAlias, TypeVar

from services.dns import message, names
from services.dns.asking import Ask, Failure, ask
from services.dns.cache import Cache
from services.dns.knowledge import Knowledge
from services.dns.message import Malformed
from services.dns.names import Name
from services.dns.records import RRset, addresses, negative_ttl
from services.dns.replies import Delegation, Finding, Lame, interpret
from services.dns.responses import Response, read_response
from services.dns.roster import NobodyLeft, Roster, is_asked
from services.dns.servers import Servers
from services.dns.streams import Draws

_MAX_ALIASES = 16
_MAX_REFERRALS = 24
_MAX_DEPTH = 6
_MAX_COUNTED = 10_000

T = TypeVar("T")
Steps: TypeAlias = Generator[Ask, "bytes | Failure", T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one question may cost; times in seconds.

    `timeout_s` is for the first try of a server, each further one waits twice as long. `total_s` is below
    the five seconds after which most clients give up, dig and resolv.conf(5) among them: they are told.
    `searches` are look-ups of servers' addresses, `vain` how many of them may find nothing.
    """

    timeout_s: float = 0.8
    total_s: float = 4.5
    queries: int = 60
    searches: int = 16
    vain: int = 5


class Resolved(NamedTuple):
    """What the client is told, how many queries it took, and, for SERVFAIL, why.

    `shared` are the queries of other questions whose replies were used, too.
    """

    rcode: int
    answer: tuple[RRset, ...] = ()
    authority: tuple[RRset, ...] = ()
    queries: int = 0
    shared: int = 0
    why: str = ""

    @classmethod
    def of(cls, finding: Finding, *, queries: int = 0, shared: int = 0) -> Resolved:
        """Return what a client is told of a finding: that there is none with the SOA (RFC 2308 §3)."""
        soa = finding.soa
        return cls(
            rcode=finding.rcode,
            answer=finding.answer,
            authority=() if soa is None else (soa.with_ttl(negative_ttl(soa)),),
            queries=queries,
            shared=shared,
        )


class _Failed(Exception):
    """This name cannot be resolved; another way may lead on."""


class _Exhausted(Exception):
    """The whole question has cost as much as it may."""


class Resolver:
    """Resolves questions with one cache and one memory of servers.

    `hints` are the root servers; `seed` and `host` key the random choices; the clock gives seconds that
    only grow.
    """

    def __init__(
        self,
        *,
        cache: Cache,
        servers: Servers,
        hints: Delegation,
        clock: Callable[[], float],
        seed: int = 0,
        host: str = "",
        limits: Limits | None = None,
    ) -> None:
        self.cache = cache
        self.servers = servers
        self.knowledge = Knowledge(cache, hints, clock)
        self.loopback = any(
            not is_asked(address, loopback=False) for known in hints.addresses.values() for address in known
        )
        """Whether the Internet is on this host."""
        self.pending: dict[tuple[str, Name, int, bool], Ask] = {}
        """Each query on its way: its address, name, type, and whether it goes over TCP."""
        self.clock = clock
        self.limits = limits or Limits()
        self._key = f"{seed}\x1f{host}\x1fdns-recursive\x1f".encode()
        self._counts: dict[tuple[Name, int], int] = {}
        self._later: list[Callable[[], None]] = []

    def resolve(self, name: Name, rtype: int) -> Steps[Resolved]:
        """Return what is known of the question, having asked for it where the cache did not know.

        NXDOMAIN and NoData carry the SOA; SERVFAIL means that nobody could be found who knows.
        """
        if self.cache.failed(name, rtype):
            return Resolved(rcode=names.SERVFAIL, why="failed a moment ago")
        question = _Question(self, name, rtype)
        try:
            finding = yield from question.follow(name, rtype, depth=0)
        except (_Failed, _Exhausted) as error:
            self.cache.put_failure(name, rtype)
            return Resolved(
                rcode=names.SERVFAIL, queries=question.queries, shared=question.shared, why=str(error)
            )
        finally:
            # A referral may have been the last that could be followed.
            self.catch_up()
        return Resolved.of(finding, queries=question.queries, shared=question.shared)

    def put_off(self, work: Callable[[], None]) -> None:
        """Do this when a query has been sent."""
        self._later.append(work)

    def catch_up(self) -> None:
        """Do what was put off."""
        while self._later:
            self._later.pop(0)()

    def draws(self, name: Name, rtype: int) -> tuple[Draws, Draws]:
        """Return the random bits for choosing servers and for making queries hard to guess.

        Their subject is the question and how often it has been resolved before.
        """
        if len(self._counts) >= _MAX_COUNTED:
            self._counts.clear()
        count = self._counts[name, rtype] = self._counts.get((name, rtype), 0) + 1
        subject = b"%s\x1f%s %d %d" % (self._key, names.to_wire(name), rtype, count)
        return Draws(b"server\x1f" + subject), Draws(b"query\x1f" + subject)


class _Question:
    """One question of a client, with all that it leads to."""

    def __init__(self, resolver: Resolver, name: Name, rtype: int) -> None:
        self._resolver = resolver
        self._known = resolver.knowledge
        self._servers = resolver.servers
        self._limits = resolver.limits
        self._name, self._rtype = name, rtype
        self._deadline = resolver.clock() + resolver.limits.total_s
        self._searched: set[Name] = set()  # servers whose address has been looked up
        self._vain = 0  # and in how many cases there was none
        self._drawn: tuple[Draws, Draws] | None = None
        self.queries = 0
        self.shared = 0

    def _draws(self) -> tuple[Draws, Draws]:
        if self._drawn is None:
            self._drawn = self._resolver.draws(self._name, self._rtype)
        return self._drawn

    def follow(self, name: Name, rtype: int, depth: int) -> Steps[Finding]:
        """Find what is known about the name, going from alias to alias."""
        answer: tuple[RRset, ...] = ()
        for _ in range(_MAX_ALIASES):
            finding = self._known.finding(name, rtype)
            if finding is None:
                finding = yield from self._descend(name, rtype, depth)
            if finding.alias is None:
                return finding._replace(answer=answer + finding.answer) if answer else finding
            answer += finding.answer
            name = finding.alias
        raise _Failed(f"aliases without end at {names.to_text(name)}")

    def _descend(self, name: Name, rtype: int, depth: int) -> Steps[Finding]:
        delegation = self._known.closest(name, rtype)
        if delegation is self._known.hints:
            delegation = yield from self._prime(depth)
        for _ in range(_MAX_REFERRALS):
            result = yield from self._ask_zone(delegation, name, rtype, depth)
            if isinstance(result, Finding):
                return result
            delegation = result
        raise _Failed(f"referrals without end for {names.to_text(name)}")

    def _prime(self, depth: int) -> Steps[Delegation]:
        """Ask one of the hinted servers who the root servers are (RFC 9609 §3).

        If none says, the hints do for now, and the next question need not try at once.
        """
        cache, hints = self._resolver.cache, self._known.hints
        if cache.failed(names.ROOT, names.NS):
            return hints
        try:
            yield from self._ask_zone(hints, names.ROOT, names.NS, depth)
        except _Failed:
            cache.put_failure(names.ROOT, names.NS)
            return hints
        return self._known.closest(names.ROOT, names.NS)

    def _ask_zone(
        self, delegation: Delegation, name: Name, rtype: int, depth: int
    ) -> Steps[Finding | Delegation]:
        roster = Roster(delegation, may_search=depth < _MAX_DEPTH, loopback=self._resolver.loopback)
        pending = self._resolver.pending

        def asked(address: str) -> bool:
            return bool(pending) and (address, name, rtype, self._servers.uses_stream(address)) in pending

        while True:
            try:
                address = roster.next_address(self._servers, self._draws()[0], asked)
            except NobodyLeft as error:
                raise _Failed(str(error)) from error
            if address is None:
                yield from self._search(roster, depth)
                continue
            response = yield from self._ask_server(address, name, rtype, roster.tries(address))
            if isinstance(response, Failure):
                roster.failed(address, response)
                continue
            try:
                result = interpret(response, delegation.zone, name, rtype)
            except Malformed:
                roster.failed(address, Failure.MALFORMED)
                continue
            if isinstance(result, Lame):
                roster.useless(address, result.why)
                continue
            if isinstance(result, Delegation):
                held = self._known.held(result, delegation)
                self._resolver.put_off(partial(self._known.learn_referral, held))
                return held
            self._known.learn(result, delegation, rtype)
            return result

    def _search(self, roster: Roster, depth: int) -> Steps[None]:
        """Look up the address of one more server of the zone, unless this question did so before.

        Zones whose servers lie in each other would else be searched in every order there is.
        """
        host = roster.next_host(self._draws()[0])
        known = self._known.addresses(host)
        if known is not None:
            roster.found(known)
        elif host not in self._searched:
            if len(self._searched) >= self._limits.searches or self._vain >= self._limits.vain:
                roster.search_no_more()
                return
            self._searched.add(host)
            found: tuple[str, ...] = ()
            with contextlib.suppress(_Failed):
                finding = yield from self.follow(host, names.A, depth + 1)
                found = tuple(address for rrset in finding.answer for address in addresses(rrset))
            self._vain += not found
            roster.found(found)

    def _ask_server(self, address: str, name: Name, rtype: int, tries: int) -> Steps[Response | Failure]:
        stream, edns = self._servers.uses_stream(address), self._servers.uses_edns(address)
        while True:
            query = self._query(address, name, rtype, tries=tries, stream=stream, edns=edns)
            reply = yield from self._exchange((address, name, rtype, stream), query)
            if reply is Failure.SPELLING and not stream:
                self._servers.respells(address)
                stream = True
                continue
            if isinstance(reply, Failure):
                return reply
            try:
                response = read_response(query.unspelled(reply))
            except Malformed:
                return Failure.MALFORMED
            if edns and response.rcode in (names.FORMERR, names.NOTIMP):
                edns = False
                self._servers.without_edns(address)
            elif response.flags & message.TC and not stream:
                stream = True
            else:
                return response

    def _exchange(self, key: tuple[str, Name, int, bool], query: Ask) -> Steps[bytes | Failure]:
        """Wait for what becomes of the query, be it this question's own or one that is on its way."""
        pending = self._resolver.pending
        if pending.get(key) is query:
            self.shared += 1
            reply = yield query
            self._resolver.catch_up()
            return reply
        self.queries += 1
        pending[key] = query
        started = self._resolver.clock()
        try:
            reply = yield query
        finally:
            del pending[key]
        self._resolver.catch_up()
        if isinstance(reply, bytes):
            self._servers.answered(key[0], self._resolver.clock() - started)
        elif reply is not Failure.SPELLING:
            self._servers.timed_out(key[0])
        return reply

    def _query(self, address: str, name: Name, rtype: int, *, tries: int, stream: bool, edns: bool) -> Ask:
        """Return the query to send next, or the same one if another question has sent it."""
        left = self._deadline - self._resolver.clock()
        if left <= 0 or self.queries >= self._limits.queries:
            limit = f"{self._limits.total_s:g} s" if left <= 0 else f"{self.queries} queries"
            raise _Exhausted(f"not found within {limit}")
        shared = self._resolver.pending.get((address, name, rtype, stream))
        return shared or ask(
            address,
            name,
            rtype,
            rng=self._draws()[1],
            timeout_s=min(self._limits.timeout_s * 2 ** (tries - 1), left),
            recurse=False,
            stream=stream,
            edns=edns,
            spell=True,
        )
