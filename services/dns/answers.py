"""What zones say to a question.

Theory of operation. The search goes down from the apex to the name, as RFC 1034 §4.3.2 has it:

    a cut on the way        Delegation: the servers below the cut know; NS and glue, not authoritative
    a DNAME on the way      the alias that it makes of the name (RFC 6672), then as with a CNAME
    the name exists         Success with its records of the type; NoData if there are none
    it is an alias          the CNAME, then the search starts again at its target, in any of the zones
    a wildcard covers it    as if the wildcard's records stood at the name (RFC 4592)
    nothing of these        NameError

NoData and NameError carry the SOA, whose TTL says for how long they hold (RFC 2308 §3); an answer with
records carries the zone's NS records, where there is room. Nothing here opens a socket or keeps time: zones
and a question come in, an answer goes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

import dnslib

from services.dns import names
from services.dns.names import Name
from services.dns.records import RRset, negative_ttl, targets
from services.dns.zone import Zone, Zones

_MAX_ALIASES = 16
_MAX_NAME = 255
_NAMING_HOSTS = (names.NS, names.MX, names.SRV, names.TYPES["KX"], names.TYPES["RT"])
_ALONE = (names.DS, names.TYPES["DNSKEY"], names.ANY)  # NSD gives no NS records with these, as they are large
# What ANY is answered with, if there is something of it: it is short and often wanted.
_LIKELY = (names.SOA, names.A, names.AAAA, names.MX, names.PTR)


class Outcome(Enum):
    """How the search in the zones ended; the value is the response code."""

    SUCCESS = "success"
    NO_DATA = "no data"
    NAME_ERROR = "name error"
    DELEGATION = "delegation"
    REFUSED = "refused"
    TOO_LONG = "the redirected name is too long"
    WITHHELD = "withheld"

    @property
    def rcode(self) -> int:
        return _RCODES.get(self, names.NOERROR)


_RCODES = {
    Outcome.NAME_ERROR: names.NXDOMAIN,
    Outcome.REFUSED: names.REFUSED,
    Outcome.TOO_LONG: names.YXDOMAIN,
    Outcome.WITHHELD: names.SERVFAIL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The sections of a response. `glue` must reach the client or the response is truncated (RFC 9471 §3).

    Of the authority section `servers`, and of the additional one `additional`, may be left out where they do
    not fit.
    """

    outcome: Outcome
    authoritative: bool = False
    answer: tuple[RRset, ...] = ()
    authority: tuple[RRset, ...] = ()
    servers: tuple[RRset, ...] = ()
    glue: tuple[RRset, ...] = ()
    additional: tuple[RRset, ...] = ()


@dataclass(frozen=True, slots=True)
class _Cut:
    """The RRset that delegates a name to others."""

    ns: RRset


@dataclass(frozen=True, slots=True)
class _Redirected:
    """The DNAME that a name lies below."""

    dname: RRset


_Node = Mapping[int, RRset]
_Found = _Node | _Cut | _Redirected | None


def answer(zones: Zones, name: Name, rtype: int) -> Answer:
    """Return what the zones say to the question for `name` (in lower case) and `rtype`.

    Source: RFC 1034 §4.3.2; RFC 2308 §2; RFC 4592 §3.3.1; RFC 6604 §3; RFC 6672 §3.2.
    """
    zone = zones.holding(name, rtype)
    if zone is None:
        return Answer(outcome=Outcome.REFUSED)
    if not zone.served:
        return Answer(outcome=Outcome.WITHHELD)
    aliases: list[RRset] = []
    visited = {name}
    while True:
        found = _search(zone, name, rtype)
        following = _follow(found, name, rtype)
        if following is None:
            return _finish(zone, tuple(aliases), found, rtype)
        aliases += following
        if following[-1].rtype == names.DNAME:
            return Answer(outcome=Outcome.TOO_LONG, authoritative=True, answer=tuple(aliases))
        if rtype == names.CNAME:
            # The one made of a DNAME is what was asked for.
            return Answer(outcome=Outcome.SUCCESS, authoritative=True, answer=tuple(aliases))
        (name,) = targets(following[-1])
        next_zone = zones.holding(name, rtype)
        if next_zone is None or not next_zone.served or name in visited or len(visited) > _MAX_ALIASES:
            # The rest is for others to find; in a loop there is no rest.
            return Answer(outcome=Outcome.SUCCESS, authoritative=True, answer=tuple(aliases))
        zone = next_zone
        visited.add(name)


def _search(zone: Zone, name: Name, rtype: int) -> _Found:
    """Return the RRsets at `name`, the cut or DNAME above it, or None if it does not exist."""
    node: _Node = {}
    for start in range(len(name) - len(zone.origin), -1, -1):
        found = zone.nodes.get(name[start:])
        if found is None:
            # name[start + 1:] is the closest encloser: the longest existing ancestor.
            wildcard = zone.nodes.get((b"*", *name[start + 1 :]))
            if wildcard is None:
                return None
            return {kind: rrset.with_owner(name) for kind, rrset in wildcard.items()}
        node = found
        at_apex = start == len(name) - len(zone.origin)
        if names.NS in node and not at_apex and not (start == 0 and rtype == names.DS):
            return _Cut(node[names.NS])
        if start and names.DNAME in node:
            return _Redirected(node[names.DNAME])
    return node


def _follow(found: _Found, name: Name, rtype: int) -> list[RRset] | None:
    """Return the records that lead on from `name`: an alias, or a DNAME and the alias made of it.

    Where the alias would be too long the DNAME stands alone (RFC 6672 §2.2). None: it is no alias.
    """
    if isinstance(found, _Redirected):
        dname = found.dname
        (target,) = targets(dname)
        renamed = name[: len(name) - len(dname.owner)] + target
        if sum(map(len, renamed)) + len(renamed) + 1 > _MAX_NAME:
            return [dname]
        alias = dnslib.CNAME(dnslib.DNSLabel(renamed))
        return [dname, RRset(owner=name, rtype=names.CNAME, ttl=dname.ttl, rdatas=(alias,))]
    if found is None or isinstance(found, _Cut) or rtype in (names.CNAME, names.ANY):
        return None
    return [found[names.CNAME]] if names.CNAME in found and rtype not in found else None


def _finish(zone: Zone, aliases: tuple[RRset, ...], found: _Found, rtype: int) -> Answer:
    if isinstance(found, _Cut):
        return _referral(zone, aliases, found.ns)
    if not isinstance(found, Mapping):
        return _negative(zone, aliases, Outcome.NAME_ERROR)
    matching = _least(found) if rtype == names.ANY else found.get(rtype)
    if matching is None:
        return _negative(zone, aliases, Outcome.NO_DATA)
    ns = zone.nodes[zone.origin][names.NS]
    is_told = rtype in _ALONE or (matching.owner, matching.rtype) == (zone.origin, names.NS)
    servers = () if is_told else (ns,)
    return Answer(
        outcome=Outcome.SUCCESS,
        authoritative=True,
        answer=(*aliases, matching),
        servers=servers,
        additional=tuple(_hosts(zone, (matching, *servers), already=(matching,))),
    )


def _least(node: _Node) -> RRset | None:
    """Return one RRset of a name, as is enough for ANY (RFC 8482 §4.1)."""
    likely = (rrset for kind, rrset in node.items() if kind in _LIKELY)
    return next(likely, None) or next(iter(node.values()), None)


def _negative(zone: Zone, aliases: tuple[RRset, ...], outcome: Outcome) -> Answer:
    soa = zone.soa.with_ttl(negative_ttl(zone.soa))
    return Answer(outcome=outcome, authoritative=True, answer=aliases, authority=(soa,))


def _referral(zone: Zone, aliases: tuple[RRset, ...], ns: RRset) -> Answer:
    """AA tells about the first owner name only (RFC 1035 §4.1.1): after an alias of ours it stands."""
    hosts = list(_hosts(zone, (ns,), already=()))
    return Answer(
        outcome=Outcome.DELEGATION,
        authoritative=bool(aliases),
        answer=aliases,
        authority=(ns,),
        glue=tuple(host for host in hosts if names.is_below(host.owner, ns.owner)),
        additional=tuple(host for host in hosts if not names.is_below(host.owner, ns.owner)),
    )


def _hosts(zone: Zone, pointing: Iterable[RRset], already: Iterable[RRset]) -> Iterator[RRset]:
    """Yield the addresses that the zone has for the hosts that records point to.

    What lies below a cut is glue: it is there to lead to the servers of a zone, and for nothing else
    (RFC 2181 §6.1).
    """
    given = {(rrset.owner, rrset.rtype) for rrset in already}
    for rrset in pointing:
        for host in targets(rrset) if rrset.rtype in _NAMING_HOSTS else ():
            found = _host(zone, host, is_server=rrset.rtype == names.NS)
            for rtype in (names.A, names.AAAA):
                if rtype in found and (host, rtype) not in given:
                    given.add((host, rtype))
                    yield found[rtype]


def _host(zone: Zone, host: Name, *, is_server: bool) -> _Node:
    if not names.is_below(host, zone.origin):
        return {}
    found = _search(zone, host, names.A)
    if isinstance(found, _Cut) and is_server:
        return zone.nodes.get(host, {})
    return found if isinstance(found, Mapping) else {}
