"""What a zone says to a question.

Theory of operation. The search goes down from the apex to the name, as RFC 1034 §4.3.2 has it:

    a cut on the way        Delegation: the servers below the cut know; NS and glue, not authoritative
    the name exists         Success with its records of the type; NoData if there are none
    it is an alias          the CNAME, then the search starts again at its target, inside this zone
    a wildcard covers it    as if the wildcard's records stood at the name (RFC 4592)
    nothing of these        NameError

NoData and NameError carry the SOA, whose TTL says for how long they hold (RFC 2308 §3). Nothing here
opens a socket or keeps time: zones and a question come in, an answer goes out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from services.dns import names
from services.dns.names import Name
from services.dns.records import RRset, negative_ttl, targets
from services.dns.zone import Zone, Zones

_MAX_ALIASES = 16
_NAMING_HOSTS = (names.NS, names.MX, names.SRV)


class Outcome(Enum):
    """How the search in the zones ended; the value is the response code."""

    SUCCESS = "success"
    NO_DATA = "no data"
    NAME_ERROR = "name error"
    DELEGATION = "delegation"
    REFUSED = "refused"

    @property
    def rcode(self) -> int:
        return _RCODES.get(self, names.NOERROR)


_RCODES = {Outcome.NAME_ERROR: names.NXDOMAIN, Outcome.REFUSED: names.REFUSED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The sections of a response. `glue` must reach the client or the response is truncated (RFC 9471);
    `additional` may be left out where it does not fit."""

    outcome: Outcome
    authoritative: bool = False
    answer: tuple[RRset, ...] = ()
    authority: tuple[RRset, ...] = ()
    glue: tuple[RRset, ...] = ()
    additional: tuple[RRset, ...] = ()


@dataclass(frozen=True, slots=True)
class _Cut:
    """The RRset that delegates a name to others."""

    ns: RRset


def answer(zones: Zones, name: Name, rtype: int) -> Answer:
    """Return what the zones say to the question for `name` (in lower case) and `rtype`.

    Source: RFC 1034 §4.3.2; RFC 2308 §2; RFC 4592 §3.3.1; RFC 6604 §3.
    """
    zone = zones.holding(name, rtype)
    if zone is None:
        return Answer(outcome=Outcome.REFUSED)
    aliases: list[RRset] = []
    visited = {name}
    while True:
        found = _search(zone, name, rtype)
        alias = found.get(names.CNAME) if isinstance(found, dict) else None
        if alias is None or rtype in (names.CNAME, names.ANY):
            return _finish(zone, tuple(aliases), found, rtype)
        aliases.append(alias)
        (name,) = targets(alias)
        if not names.is_below(name, zone.origin) or name in visited or len(aliases) == _MAX_ALIASES:
            # The rest is for others to find; in a loop there is no rest.
            return Answer(outcome=Outcome.SUCCESS, authoritative=True, answer=tuple(aliases))
        visited.add(name)


def _search(zone: Zone, name: Name, rtype: int) -> dict[int, RRset] | _Cut | None:
    """Return the RRsets at `name`, the cut above it, or None if it does not exist."""
    for start in range(len(name) - len(zone.origin), -1, -1):
        node = zone.nodes.get(name[start:])
        if node is None:
            # name[start + 1:] is the closest encloser: the longest existing ancestor.
            wildcard = zone.nodes.get((b"*", *name[start + 1 :]))
            if wildcard is None:
                return None
            return {kind: rrset.with_owner(name) for kind, rrset in wildcard.items()}
        at_apex = name[start:] == zone.origin
        if names.NS in node and not at_apex and not (start == 0 and rtype == names.DS):
            return _Cut(node[names.NS])
    return dict(zone.nodes[name])


def _finish(
    zone: Zone, aliases: tuple[RRset, ...], found: dict[int, RRset] | _Cut | None, rtype: int
) -> Answer:
    if isinstance(found, _Cut):
        return _referral(zone, aliases, found.ns)
    if found is None:
        return _negative(zone, aliases, Outcome.NAME_ERROR)
    matching = tuple(rrset for kind, rrset in found.items() if rtype in (kind, names.ANY))
    if not matching:
        return _negative(zone, aliases, Outcome.NO_DATA)
    return Answer(
        outcome=Outcome.SUCCESS,
        authoritative=True,
        answer=aliases + matching,
        additional=tuple(_hosts(zone, matching, already=matching)),
    )


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


def _hosts(zone: Zone, pointing: Iterable[RRset], already: Iterable[RRset]) -> Iterable[RRset]:
    """Yield the addresses that the zone holds, glue included, for the hosts that records point to."""
    given = {(rrset.owner, rrset.rtype) for rrset in already}
    for rrset in pointing:
        for host in targets(rrset) if rrset.rtype in _NAMING_HOSTS else ():
            for rtype in (names.A, names.AAAA):
                found = zone.nodes.get(host, {}).get(rtype)
                if found is not None and (host, rtype) not in given:
                    given.add((host, rtype))
                    yield found
