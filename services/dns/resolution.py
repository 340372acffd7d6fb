"""Iterative resolution: from the roots down to the servers that know.

Theory of operation. `Resolver.resolve` is a generator. It yields an `Ask` whenever a server has to be
asked and is sent what became of it, the reply's octets or a `Failure`; it returns what the client is to
be told. It opens no socket and keeps no time of its own: whoever drives it does.

    follow      from alias to alias, looking into the cache at each name
    descend     from the closest delegation known, at worst the roots, through referrals to a finding
    ask_zone    one after the other the servers of a zone, until one says something useful
    ask_server  with what a single server may need: without EDNS, or over TCP

The roots come from hints, which are used once to ask for the real list (priming, RFC 8109). A server
whose address no glue tells is looked up like any other name, within the same limits. Each question may
cost a limited number of queries, seconds, referrals, aliases and nested look-ups; beyond that it fails.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias, TypeVar

from services.dns import message, names
from services.dns.asking import Ask, Failure, ask
from services.dns.cache import Cache, Negative, Rank
from services.dns.message import Malformed, Response
from services.dns.names import Name
from services.dns.records import RRset, addresses, negative_ttl, targets
from services.dns.replies import Delegation, Finding, Lame, glue, interpret
from services.dns.roster import NobodyLeft, Roster
from services.dns.servers import Servers
from services.dns.streams import stream

_MAX_ALIASES = 16
_MAX_REFERRALS = 24
_MAX_DEPTH = 6
_MAX_COUNTED = 10_000

T = TypeVar("T")
Steps: TypeAlias = Generator[Ask, "bytes | Failure", T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one question may cost; times in seconds. `timeout_s` is for the first try of a server, each
    further one waits twice as long."""

    timeout_s: float = 0.8
    total_s: float = 6.0
    queries: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What the client is told, how many queries it took, and, for SERVFAIL, why."""

    rcode: int
    answer: tuple[RRset, ...] = ()
    authority: tuple[RRset, ...] = ()
    queries: int = 0
    why: str = ""


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
        self.hints = hints
        self.clock = clock
        self.limits = limits or Limits()
        self._seed = seed
        self._host = host
        self._counts: Counter[tuple[Name, int]] = Counter()

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
            return Resolved(rcode=names.SERVFAIL, queries=question.queries, why=str(error))
        soa = finding.soa
        return Resolved(
            rcode=finding.rcode,
            answer=finding.answer,
            authority=() if soa is None else (soa.with_ttl(negative_ttl(soa)),),
            queries=question.queries,
        )

    def closest(self, name: Name, rtype: int) -> Delegation:
        """Return the deepest delegation above `name` that the cache can lead to, at worst the hints.

        One whose servers all lie inside it is of no use without an address.
        """
        start = 1 if rtype == names.DS and name else 0
        for at in range(start, len(name) + 1):
            zone = name[at:]
            ns = self.cache.rrset(zone, names.NS, Rank.REFERRAL)
            if ns is None:
                continue
            hosts = tuple(targets(ns))
            known = self._known_addresses(hosts)
            if known or any(not names.is_below(host, zone) for host in hosts):
                return Delegation(zone=zone, servers=hosts, addresses=known, ns=ns)
        return self.hints

    def _known_addresses(self, hosts: tuple[Name, ...]) -> Mapping[Name, tuple[str, ...]]:
        found = {host: self.cache.rrset(host, names.A, Rank.REFERRAL) for host in hosts}
        return {host: tuple(addresses(rrset)) for host, rrset in found.items() if rrset is not None}

    def streams(self, name: Name, rtype: int) -> tuple[random.Random, random.Random]:
        """Return the random streams for choosing servers and for making queries hard to guess.

        Their subject is the question and how often it has been resolved before.
        """
        if len(self._counts) >= _MAX_COUNTED:
            self._counts.clear()
        self._counts[name, rtype] += 1
        subject = f"{names.to_text(name)} {names.type_text(rtype)} {self._counts[name, rtype]}"
        return (
            stream(self._seed, self._host, "dns-recursive", "server", subject),
            stream(self._seed, self._host, "dns-recursive", "query", subject),
        )


class _Question:
    """One question of a client, with all that it leads to."""

    def __init__(self, resolver: Resolver, name: Name, rtype: int) -> None:
        self._resolver = resolver
        self._cache = resolver.cache
        self._servers = resolver.servers
        self._limits = resolver.limits
        self._name, self._rtype = name, rtype
        self._deadline = resolver.clock() + resolver.limits.total_s
        self._searched: set[Name] = set()  # servers whose address has been looked up
        self.queries = 0

    @cached_property
    def _streams(self) -> tuple[random.Random, random.Random]:
        return self._resolver.streams(self._name, self._rtype)

    def follow(self, name: Name, rtype: int, depth: int) -> Steps[Finding]:
        """Find what is known about the name, going from alias to alias."""
        answer: tuple[RRset, ...] = ()
        for _ in range(_MAX_ALIASES):
            finding = self._remembered(name, rtype)
            if finding is None:
                finding = yield from self._descend(name, rtype, depth)
            answer += finding.answer
            if finding.alias is None:
                return replace(finding, answer=answer)
            name = finding.alias
        raise _Failed(f"aliases without end at {names.to_text(name)}")

    def _remembered(self, name: Name, rtype: int) -> Finding | None:
        rrset = self._cache.rrset(name, rtype, Rank.ANSWER)
        if rrset is not None:
            return Finding(answer=(rrset,), name=name)
        alias = self._cache.rrset(name, names.CNAME, Rank.ANSWER)
        if alias is not None:
            return Finding(answer=(alias,), alias=next(targets(alias)), name=name)
        negative = self._cache.negative(name, rtype)
        if negative is not None:
            return Finding(rcode=negative.rcode, soa=negative.soa, name=name)
        return None

    def _descend(self, name: Name, rtype: int, depth: int) -> Steps[Finding]:
        delegation = self._resolver.closest(name, rtype)
        if delegation is self._resolver.hints:
            delegation = yield from self._prime(depth)
        for _ in range(_MAX_REFERRALS):
            result = yield from self._ask_zone(delegation, name, rtype, depth)
            if isinstance(result, Finding):
                return result
            delegation = result
        raise _Failed(f"referrals without end for {names.to_text(name)}")

    def _prime(self, depth: int) -> Steps[Delegation]:
        """Ask one of the hinted servers who the root servers are (RFC 8109 §3)."""
        try:
            yield from self._ask_zone(self._resolver.hints, names.ROOT, names.NS, depth)
        except _Failed:
            return self._resolver.hints
        return self._resolver.closest(names.ROOT, names.NS)

    def _ask_zone(
        self, delegation: Delegation, name: Name, rtype: int, depth: int
    ) -> Steps[Finding | Delegation]:
        zone = delegation.zone
        roster = Roster(delegation, may_search=depth < _MAX_DEPTH)
        while True:
            try:
                address = roster.next_address(self._servers, self._streams[0])
            except NobodyLeft as error:
                raise _Failed(str(error)) from error
            if address is None:
                yield from self._search(roster, depth)
                continue
            response = yield from self._ask_server(address, name, rtype, roster.tries(address))
            if isinstance(response, Failure):
                roster.failed(address, response)
                continue
            result = interpret(response, zone, name, rtype)
            if isinstance(result, Lame):
                roster.useless(address, result.why)
                continue
            self._remember(response, result, zone, rtype)
            return result

    def _search(self, roster: Roster, depth: int) -> Steps[None]:
        """Look up the address of one more server of the zone, unless this question did so before.

        Zones whose servers lie in each other would else be searched in every order there is.
        """
        host = roster.next_host(self._streams[0])
        known = self._cache.rrset(host, names.A, Rank.REFERRAL)
        if known is not None:
            roster.found(tuple(addresses(known)))
        elif host not in self._searched:
            self._searched.add(host)
            with contextlib.suppress(_Failed):
                finding = yield from self.follow(host, names.A, depth + 1)
                roster.found(tuple(address for rrset in finding.answer for address in addresses(rrset)))

    def _ask_server(self, address: str, name: Name, rtype: int, tries: int) -> Steps[Response | Failure]:
        stream, edns = False, self._servers.uses_edns(address)
        while True:
            started = self._resolver.clock()
            query = self._query(address, name, rtype, tries=tries, stream=stream, edns=edns)
            reply = yield query
            if reply is Failure.SPELLING and not stream:
                stream = True
                continue
            if isinstance(reply, Failure):
                self._servers.timed_out(address)
                return reply
            self._servers.answered(address, self._resolver.clock() - started)
            try:
                response = message.read_response(query.unspelled(reply))
            except Malformed:
                return Failure.MALFORMED
            if edns and response.rcode in (names.FORMERR, names.NOTIMP):
                edns = False
                self._servers.without_edns(address)
            elif response.flags & message.TC and not stream:
                stream = True
            else:
                return response

    def _query(self, address: str, name: Name, rtype: int, *, tries: int, stream: bool, edns: bool) -> Ask:
        left = self._deadline - self._resolver.clock()
        if left <= 0 or self.queries >= self._limits.queries:
            limit = f"{self._limits.total_s} s" if left <= 0 else f"{self.queries} queries"
            raise _Exhausted(f"not found within {limit}")
        self.queries += 1
        return ask(
            address,
            name,
            rtype,
            rng=self._streams[1],
            timeout_s=min(self._limits.timeout_s * 2 ** (tries - 1), left),
            recurse=False,
            stream=stream,
            edns=edns,
            spell=True,
        )

    def _remember(self, response: Response, result: Finding | Delegation, zone: Name, rtype: int) -> None:
        if isinstance(result, Delegation):
            hosts = result.servers
            if result.ns is not None:
                self._cache.put(result.ns, Rank.REFERRAL)
        else:
            hosts = tuple(h for rrset in result.answer if rrset.rtype == names.NS for h in targets(rrset))
            for rrset in result.answer:
                self._cache.put(rrset, Rank.ANSWER)
            if result.soa is not None:
                negative = Negative(rcode=result.rcode, soa=result.soa)
                self._cache.put_negative(result.name, rtype, negative)
        for rrset in glue(response, zone, hosts):
            self._cache.put(rrset, Rank.REFERRAL)
