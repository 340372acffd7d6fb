"""What a server's response means to a resolver that asked it about a name in `zone`.

Theory of operation. The server was asked because a delegation (or the hints) says that it serves `zone`. It
is believed about names in that zone and about nothing else (the bailiwick rule): first everything
outside is dropped, then

    the records, or an alias        a Finding, if the server claims authority (AA)
    there is none, with SOA         a Finding as well: NoData or NXDOMAIN
    NS of a name between the zone
    and the one asked for           a Delegation
    anything else                   Lame: another server may do better

An NS that leads to the zone itself or upwards is lame too: following it would be going in circles. So is an
answer that is all about something else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from math import inf
from types import MappingProxyType
from typing import NamedTuple

from services.dns import message, names
from services.dns.names import Name
from services.dns.records import RRset, addresses, targets
from services.dns.responses import Response

_MAX_ALIASES = 16
_MAX_SERVERS = 20  # the root has 13; a referral to thousands is an attack (NRDelegationAttack)


class Finding(NamedTuple):
    """What is known about a question: records, or that there are none, or (`alias`) where to go on.

    `answer` has the aliases in order and then the records; `soa` stands for there being none. `glue` are the
    addresses of the servers that the answer names.
    """

    rcode: int = names.NOERROR
    answer: tuple[RRset, ...] = ()
    soa: RRset | None = None
    alias: Name | None = None
    name: Name = names.ROOT  # the one that the finding is about: the last alias's target
    glue: tuple[RRset, ...] = ()


class Delegation(NamedTuple):
    """The servers of a zone: their names, and those of their addresses that are known.

    `until` is when it ends, by the resolver's clock; hints never do. `ns` and `glue` are what it was made of.
    """

    zone: Name
    servers: tuple[Name, ...]
    addresses: Mapping[Name, tuple[str, ...]] = MappingProxyType({})
    ns: RRset | None = None
    glue: tuple[RRset, ...] = ()
    until: float = inf


class Lame(NamedTuple):
    """The server does not serve the zone, or not properly; `why` is for people."""

    why: str


def interpret(response: Response, zone: Name, name: Name, rtype: int) -> Finding | Delegation | Lame:
    """Return what the response means.

    Raises: Malformed: it has no meaning, though it began well.
    Source: RFC 1034 §5.3.3; RFC 2181 §5.4.1; RFC 2308 §2; RFC 5452 §6.
    """
    if response.rcode not in (names.NOERROR, names.NXDOMAIN):
        return Lame(why=names.rcode_text(response.rcode))
    if not response.answer:
        return _without_answer(response, zone, name)
    answers = {(rrset.owner, rrset.rtype): rrset for rrset in within(response.answer, zone)}
    chain, last = _follow(answers, name, rtype)
    final = answers.get((last, rtype))
    if chain or final:
        if not response.flags & message.AA:
            return Lame(why="answers without authority")
        if final is not None:
            found = _glue(response, zone, servers_of(final)) if rtype == names.NS else ()
            return Finding(answer=(*chain, final), name=last, glue=found)
        soa = _soa_above(response, zone, last)
        if soa is None:
            return Finding(answer=chain, alias=last, name=last)
        return Finding(rcode=response.rcode, answer=chain, soa=soa, name=last)
    return Lame(why="answers something else")


def servers_of(ns: RRset) -> tuple[Name, ...]:
    """Return the servers that an NS RRset names; of very many the first alone."""
    return tuple(dict.fromkeys(islice(targets(ns), _MAX_SERVERS)))


def within(rrsets: Iterable[RRset], zone: Name) -> tuple[RRset, ...]:
    """Return the RRsets whose names lie in the zone's bailiwick."""
    return tuple(rrset for rrset in rrsets if names.is_below(rrset.owner, zone))


def _glue(response: Response, zone: Name, servers: Collection[Name]) -> tuple[RRset, ...]:
    """Return the IPv4 addresses that the response gives, within its bailiwick, for these servers."""
    return tuple(
        [
            rrset
            for rrset in response.additional
            if rrset.rtype == names.A and rrset.owner in servers and names.is_below(rrset.owner, zone)
        ]
    )


def _follow(
    answers: Mapping[tuple[Name, int], RRset], name: Name, rtype: int
) -> tuple[tuple[RRset, ...], Name]:
    """Return the aliases that lead on from `name`, and where they end."""
    chain: list[RRset] = []
    while rtype != names.CNAME and len(chain) < _MAX_ALIASES:
        alias = answers.get((name, names.CNAME))
        if alias is None or alias in chain or (name, rtype) in answers:
            break
        chain.append(alias)
        name = next(targets(alias))
    return tuple(chain), name


def _without_answer(response: Response, zone: Name, name: Name) -> Finding | Delegation | Lame:
    soa = _soa_above(response, zone, name)
    ns = next((rrset for rrset in response.authority if rrset.rtype == names.NS), None)
    if soa is None and ns is not None and response.rcode == names.NOERROR:
        return _delegation(response, zone, name, ns)
    if not response.flags & message.AA:
        return Lame(why="neither answers nor refers")
    return Finding(rcode=response.rcode, soa=soa, name=name)


def _delegation(response: Response, zone: Name, name: Name, ns: RRset) -> Delegation | Lame:
    deeper = len(ns.owner) > len(zone) and names.is_below(ns.owner, zone)
    if not deeper or not names.is_below(name, ns.owner):
        return Lame(why=f"refers to {names.to_text(ns.owner)}")
    servers = servers_of(ns)
    found = _glue(response, zone, servers)
    known = {rrset.owner: tuple(addresses(rrset)) for rrset in found}
    return Delegation(ns.owner, servers, known, ns, found)


def _soa_above(response: Response, zone: Name, name: Name) -> RRset | None:
    for rrset in response.authority:
        if (
            rrset.rtype == names.SOA
            and names.is_below(rrset.owner, zone)
            and names.is_below(name, rrset.owner)
        ):
            return rrset
    return None
