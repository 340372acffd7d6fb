"""What the cache means to a resolution: what is known of a question, and where to start asking.

Theory of operation. Everything that a response taught goes through `learn` or `learn_referral` into the
cache, and comes back as a `Finding` (what a client may be told) or as the closest `Delegation` (whom to ask).

A delegation is the parent's to give and to take away, but its NS records stand in the child as well, with a
TTL of the child's choosing. So whatever NS records the servers of a delegation give, their own or those of
zones below, are held no longer than that delegation: a domain that its parent has removed goes out of use
when the parent's TTL is over, and cannot keep itself alive (a ghost domain; Jiang et al., NDSS 2012, and
"phoenix domains" below it, Li et al., NDSS 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import inf

from services.dns import names
from services.dns.cache import Cache, Negative, Rank
from services.dns.names import Name
from services.dns.records import addresses, targets
from services.dns.replies import Delegation, Finding, servers_of

_ROOT_FOR_S = 1.0


class Knowledge:
    """The cache as a resolution sees it. `hints` are the root servers; the clock is the cache's."""

    def __init__(self, cache: Cache, hints: Delegation, clock: Callable[[], float]) -> None:
        self._cache = cache
        self._clock = clock
        self.hints = hints
        self._root = hints
        self._root_until = -inf
        self._flushes = cache.flushes

    def finding(self, name: Name, rtype: int) -> Finding | None:
        """Return what a client may be told without asking anybody, be it an alias or that there is none."""
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

    def closest(self, name: Name, rtype: int) -> Delegation:
        """Return the deepest delegation above `name` that the cache can lead to, at worst the hints.

        One whose servers all lie inside it is of no use without an address.
        """
        # What a zone says of DS is said by its parent (RFC 4035 §3.1.4.1).
        start = 1 if rtype == names.DS and name else 0
        for at in range(start, len(name)):
            zone = name[at:]
            ns = self._cache.rrset(zone, names.NS, Rank.REFERRAL)
            if ns is None:
                continue
            hosts = servers_of(ns)
            known = self._known_addresses(hosts)
            if known or any(not names.is_below(host, zone) for host in hosts):
                until = self._cache.held_until(zone, names.NS)
                return Delegation(zone=zone, servers=hosts, addresses=known, ns=ns, until=until)
        return self._closest_root()

    def _closest_root(self) -> Delegation:
        """Return the root servers that the cache knows, or the hints.

        They are many, and what is cold begins with them: they are put together once a second at most.
        """
        now = self._clock()
        if now < self._root_until and self._flushes == self._cache.flushes:
            return self._root
        ns = self._cache.rrset(names.ROOT, names.NS, Rank.REFERRAL)
        if ns is None:
            return self.hints
        hosts = servers_of(ns)
        # Root servers whose address came with no response are where the hints say (RFC 9609 §4.2).
        known = {host: found for host, found in self.hints.addresses.items() if host in hosts}
        known |= self._known_addresses(hosts)
        if not known:
            return self.hints
        # No time at which it ends: nobody removes the root.
        self._root = Delegation(zone=names.ROOT, servers=hosts, addresses=known, ns=ns)
        self._root_until = now + min(_ROOT_FOR_S, ns.ttl)
        self._flushes = self._cache.flushes
        return self._root

    def addresses(self, host: Name) -> tuple[str, ...] | None:
        """Return the addresses of a server as far as glue or answers told, or None."""
        rrset = self._cache.rrset(host, names.A, Rank.REFERRAL)
        return None if rrset is None else tuple(addresses(rrset))

    def _known_addresses(self, hosts: Iterable[Name]) -> dict[Name, tuple[str, ...]]:
        found: Mapping[Name, tuple[str, ...] | None] = {host: self.addresses(host) for host in hosts}
        return {host: known for host, known in found.items() if known is not None}

    def learn(self, result: Finding, delegation: Delegation, rtype: int) -> None:
        """Remember what the servers of `delegation` said to a question about `rtype`."""
        for rrset in result.answer:
            of_servers = rrset.rtype == names.NS
            self._cache.put(rrset, Rank.ANSWER, until=delegation.until if of_servers else None)
        if result.soa is not None:
            self._cache.put_negative(result.name, rtype, Negative(rcode=result.rcode, soa=result.soa))
        for rrset in result.glue:
            self._cache.put(rrset, Rank.REFERRAL)

    def held(self, referral: Delegation, delegation: Delegation) -> Delegation:
        """Return a referral that the servers of `delegation` gave, with how long it holds."""
        zone, servers, known, ns, glue, _ = referral
        until = delegation.until if ns is None else min(delegation.until, self._clock() + ns.ttl)
        return Delegation(zone, servers, known, ns, glue, until)

    def learn_referral(self, referral: Delegation) -> None:
        """Remember a referral, which is `held`."""
        if referral.ns is not None:
            self._cache.put(referral.ns, Rank.REFERRAL, until=referral.until)
        for rrset in referral.glue:
            self._cache.put(rrset, Rank.REFERRAL)
