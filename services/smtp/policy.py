"""Who may send what to whom through this server.

Theory of operation. RFC 5321 §3.6.2 and RFC 6409 §4, §6.1 leave the decisions to the site. Here:

    a recipient at a local domain           taken if the mailbox exists, else 550 5.1.1
    at a domain that is relayed for         taken
    anywhere, from a client that may relay  taken: its network is named, or it has authenticated
    anything else                           550 5.7.1 relaying denied

A source route (`@host:user@domain`) is ignored, as RFC 5321 §3.6.1 has it, and a local part that names a
further host (`user%domain@here`) is nobody's: for strangers both end at the table above. An open relay of the
old kind honours both (RFC 821 §3.6, RFC 1123 §5.2.16): that is how senders choose the way of their mail.

An authenticated sender must be who they say: 553 5.7.1. `postmaster` exists at every local domain
and at the host's own name (RFC 5321 §4.5.1).

A policy answers with the reply that refuses, or with None: no objection.
"""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass, replace
from functools import lru_cache

from services.lists.settings import PURPOSES
from services.smtp.address import Address, canonical, canonical_domain, parse_address
from services.smtp.config import MtaConfig, User
from services.smtp.errors import BadAddress
from services.smtp.replies import Reply
from services.smtp.table import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """A mailbox on this host, by the names of its directories."""

    domain: str
    user: str


class Directory:
    """The accounts and domains of this host, as the configuration names them."""

    def __init__(self, config: MtaConfig) -> None:
        self._local = {domain.name for domain in config.domains if domain.kind == "local"}
        self._relayed = {domain.name for domain in config.domains if domain.kind == "relay"}
        self._postmaster = Address(local="postmaster", domain=config.hostname).canonical
        self._users = {user.address.canonical: user for user in config.users}
        self._lists = {
            parse_address(settings.at(purpose)).canonical for settings in config.lists for purpose in PURPOSES
        }
        self._aliases = {alias.address.canonical: alias.to for alias in config.aliases}

    def is_local(self, address: Address) -> bool:
        """The address's domain has its mailboxes here; so does this host's own postmaster."""
        name = address.canonical
        return name.domain in self._local or name == self._postmaster

    def is_relayed(self, address: Address) -> bool:
        """Mail for the address's domain is taken from anyone and passed on."""
        return address.canonical.domain in self._relayed

    def mailbox(self, address: Address) -> Mailbox | None:
        """Return the mailbox of a local address, its detail ignored; None if there is none."""
        for name in (address.canonical, address.without_detail):
            user = self._users.get(name)
            known = (user and user.mailbox) or name in self._lists or name.local == "postmaster"
            if self.is_local(name) and known:
                return Mailbox(domain=name.domain, user=name.local)
        return None

    def reached(self, address: Address) -> tuple[Address, ...]:
        """Return whom a local address reaches: itself if it is a mailbox, or those an alias stands for.

        An alias may lead to further ones, and elsewhere; nobody is reached twice. Empty: no such user.
        """
        aliases = self._aliases and (
            self._aliases.get(address.canonical) or self._aliases.get(address.without_detail)
        )
        if not aliases:
            return (address,) if self.mailbox(address) else ()
        found: dict[Address, None] = {}
        self._follow(address, set(), found)
        return tuple(found)

    def _follow(self, address: Address, seen: set[Address], found: dict[Address, None]) -> None:
        name = address.canonical
        targets = self._aliases.get(name) or self._aliases.get(address.without_detail)
        if targets and name not in seen:
            for target in targets:
                self._follow(target, seen | {name}, found)
        elif not self.is_local(address) or self.mailbox(address):
            found[address] = None

    def authenticate(self, name: str, password: str) -> User | None:
        """Return the user whose address is `name` and whose password is `password`."""
        local, _, domain = name.rpartition("@")
        user = self._users.get(canonical(local, domain))
        known = user.password if user else ""
        matches = hmac.compare_digest(known.encode(), password.encode("utf-8", "surrogateescape"))
        return user if known and matches else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Who is connected: from `address`, to `here`; who is `trusted` may relay anywhere."""

    address: str
    here: str = ""
    trusted: bool = False


class Policy:
    """What this host takes from whom; with `source_routes` it goes where the sender says, as in RFC 821."""

    def __init__(
        self,
        directory: Directory,
        relay_from: tuple[Network, ...],
        *,
        hostname: str,
        source_routes: bool = False,
    ) -> None:
        self._directory = directory
        self._relay_from = relay_from
        self._known = lru_cache(maxsize=1024)(self._look_up)
        self._hostname = canonical_domain(hostname)
        self._source_routes = source_routes

    def client(self, address: str, *, here: str = "") -> Client:
        """Return what is known of a client by the addresses of its connection."""
        return self._known(address, here)

    def _look_up(self, address: str, here: str) -> Client:
        number = ipaddress.ip_address(address)
        trusted = any(number in network for network in self._relay_from)
        return Client(address=address, here=here, trusted=trusted)

    def authenticate(self, name: str, password: str) -> User | None:
        """Return the user whose address is `name` and whose password is `password`."""
        return self._directory.authenticate(name, password)

    def sender(self, sender: Address | None, *, user: User | None) -> Reply | None:
        """Refuse an authenticated user's message in somebody else's name (RFC 6409 §6.1).

        An alias that leads to them is theirs too.
        """
        if user is None or sender is None or sender.without_detail == user.address.without_detail:
            return None
        own = user.address.canonical
        if any(one.canonical == own for one in self._directory.reached(sender)):
            return None
        return Reply(553, "5.7.1", f"<{sender}> is not an address of {user.address}")

    def recipients(
        self, recipient: Address, *, client: Client, user: User | None
    ) -> tuple[Address, ...] | Reply:
        """Return the addresses that a recipient stands for here, or the reply that refuses.

        It refuses who does not exist here, and to whom this client may not relay.
        """
        if self._source_routes:
            address = self._routed(recipient, client)
        else:
            address = replace(recipient, route=()) if recipient.route else recipient
        trusted = user is not None or client.trusted
        if not address.route and self._directory.is_local(address):
            found = self._directory.reached(address)
            if not found and (trusted or not _leads_on(address)):
                return Reply(550, "5.1.1", f"<{recipient}>: no such user here")
            return found or _denied(recipient)
        if trusted or (self._directory.is_relayed(address) and not address.route and not _leads_on(address)):
            return (address,)
        return _denied(recipient)

    def _routed(self, recipient: Address, client: Client) -> Address:
        """Return the address as the next host is to see it: this host is no longer a part of it."""
        route = recipient.route
        while route and self._is_here(route[0], client):
            route = route[1:]
        address = replace(recipient, route=route)
        # user%domain@here: the last `%` becomes an `@` (RFC 1123 §5.2.16).
        while not route and self._is_here(address.domain, client) and "%" in address.local:
            local, _, domain = address.local.rpartition("%")
            try:
                address = parse_address(f"{local}@{domain}")
            except BadAddress:
                break
        return address

    def _is_here(self, domain: str, client: Client) -> bool:
        return canonical_domain(domain) in (self._hostname, f"[{client.here}]")


def _leads_on(address: Address) -> bool:
    """The local part names a further host, as in `user%domain` and `host!user` (RFC 1123 §5.2.16)."""
    return any(sign in address.local for sign in "%!@")


def _denied(recipient: Address) -> Reply:
    return Reply(550, "5.7.1", f"<{recipient}>: relaying denied")
