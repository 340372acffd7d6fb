"""Where a recipient's mail goes next.

Theory of operation. The next hop is decided in two steps, the second one asked of DNS anew each time:

    local domain            the mailbox here
    [198.18.2.3]            that address (RFC 5321 §4.1.3)
    a route for the domain  the route's domain; `*` is the route of every other domain
    otherwise               the recipient's own domain

A host that finds itself to be the best exchanger of a route's domain takes the route's `as_primary` instead.
A source route (RFC 821) that the server left with the address goes before all that: its first host is the
domain.

    domain  ->  MX, ordered (mx)  ->  addresses of each exchanger, as they are needed

A route names a domain and never a host, so that a change in DNS changes the path. It may name several:
then one is chosen by seed, and the others are tried if it cannot be reached.

What DNS says is final or not: NXDOMAIN, a null MX, a loop or no address at all are permanent; a resolver
that gives no answer is not.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import Protocol

from services.smtp.address import Address, canonical_domain
from services.smtp.config import Route
from services.smtp.errors import LookupFailed
from services.smtp.mx import Exchanger, MailLoop, RoutingError, delivery_order
from services.smtp.policy import Directory, Mailbox


class NoSuchDomain(RoutingError):
    """The domain does not exist: NXDOMAIN (RFC 3463 §3.2)."""

    enhanced_code = "5.1.2"


class NoAddress(RoutingError):
    """The domain exists, but none of its exchangers has an address (RFC 5321 §5.1)."""


class NoSuchUser(RoutingError):
    """The domain is local and the user is not known: a mailbox that was removed while mail waited for it."""

    enhanced_code = "5.1.1"


class BadLiteral(RoutingError):
    """The address literal is no IPv4 address, and nothing else can be connected to."""

    enhanced_code = "5.1.2"


class Resolver(Protocol):
    """What routing asks of DNS. Names come without a final dot; every method may raise LookupFailed."""

    async def mx(self, domain: str) -> list[Exchanger]:
        """Return the MX records, none if there are none. Raises: NoSuchDomain."""

    async def addresses(self, host: str) -> list[str]:
        """Return the IPv4 addresses of a host, none if it has none or does not exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """Mail goes to the exchangers of one of these domains; or to `literal`, an address.

    `weights` are those of exchangers of equal preference, by name; `as_primary` is the domain for a host that
    is the best of them itself (Route).
    """

    domains: tuple[str, ...] = ()
    literal: str = ""
    weights: tuple[tuple[str, int], ...] = ()
    as_primary: str = ""

    def __str__(self) -> str:
        return self.literal or ",".join(self.domains)

    def __hash__(self) -> int:
        # It is looked up often, and two that differ in nothing but the rest are rare.
        return hash((self.domains, self.literal))


NextHop = Mailbox | Remote


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One address to connect to: that of `host`, an exchanger of `domain`."""

    domain: str
    host: str
    address: str


def route_table(routes: Sequence[Route]) -> dict[str, Remote]:
    """Return where the routes lead, by domain. Of two for one domain the first holds."""
    return {
        route.domain: Remote(domains=route.via, weights=route.weights, as_primary=route.as_primary)
        for route in reversed(routes)
    }


def next_hop(recipient: Address, *, directory: Directory, routes: Mapping[str, Remote]) -> NextHop:
    """Return where mail for `recipient` goes from here.

    Raises: NoSuchUser for an unknown one at a local domain, BadLiteral.
    """
    if recipient.route:
        domain = canonical_domain(recipient.route[0])
        return routes.get(domain) or routes.get("*") or Remote(domains=(domain,))
    if directory.is_local(recipient):
        mailbox = directory.mailbox(recipient)
        if not mailbox:
            raise NoSuchUser(f"<{recipient}>: no such user here")
        return mailbox
    if recipient.literal:
        # Anything else would be taken for a host name, and looked up past DNS as this service asks it.
        if not _is_ipv4(recipient.literal):
            raise BadLiteral(f"<{recipient}>: not the literal of an IPv4 address")
        return Remote(literal=recipient.literal)
    domain = recipient.canonical.domain
    return routes.get(domain) or routes.get("*") or Remote(domains=(domain,))


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True


async def targets(
    hop: Remote, *, resolver: Resolver, own_names: Collection[str], draw: Callable[[], random.Random]
) -> AsyncGenerator[Target, None]:
    """Yield the addresses to try, best first; DNS is asked for each exchanger when its turn comes.

    `draw` gives the generator for this attempt's choices, if there is any to make.
    Raises: RoutingError or LookupFailed if there is none; what may change counts before what will not.
    """
    if hop.literal:
        yield Target(domain=hop.literal, host=f"[{hop.literal}]", address=hop.literal)
        return
    rng = draw()
    found = False
    errors: list[RoutingError | LookupFailed] = []
    for domain in rng.sample(hop.domains, len(hop.domains)):
        try:
            domain, hosts = await _exchangers(domain, hop, resolver, own_names, rng)
        except (RoutingError, LookupFailed) as error:
            errors.append(error)
            continue
        for host in hosts:
            try:
                addresses = await resolver.addresses(host)
            except LookupFailed as error:
                errors.append(error)
                continue
            for address in addresses:
                found = True
                yield Target(domain=domain, host=host, address=address)
    if not found:
        raise decisive(errors) or NoAddress(f"no mail exchanger of {hop} has an address")


async def _exchangers(
    domain: str, hop: Remote, resolver: Resolver, own_names: Collection[str], rng: random.Random
) -> tuple[str, list[str]]:
    """Return the hosts to try for a domain of the hop, and the domain whose they are. Raises as `targets`."""

    async def ordered(name: str) -> tuple[str, list[str]]:
        records = await resolver.mx(name)
        weights = dict(hop.weights)
        return name, delivery_order(name, records, own_names=own_names, rng=rng, weights=weights)

    try:
        return await ordered(domain)
    except MailLoop:
        if not hop.as_primary:
            raise
        return await ordered(hop.as_primary)


def decisive(errors: Sequence[RoutingError | LookupFailed]) -> RoutingError | LookupFailed | None:
    """Return the error to act upon: a temporary one if there is any, for it leaves hope."""
    temporary = [error for error in errors if isinstance(error, LookupFailed)]
    return temporary[0] if temporary else (errors[0] if errors else None)
