"""Who may send what to whom through this server.

Theory of operation. RFC 5321 §3.6.2 and RFC 6409 §4, §6.1 leave the decisions to the site. Here:

    a recipient at a local domain           taken if the mailbox exists, else 550 5.1.1
    at a domain that is relayed for         taken
    anywhere, from a client that may relay  taken: its network is named, or it has authenticated
    anything else                           550 5.7.1 relaying denied

An authenticated sender must be who they say: 553 5.7.1. `postmaster` exists at every local domain
and at the host's own name (RFC 5321 §4.5.1).

A policy answers with the reply that refuses, or with None: no objection.
"""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass

from services.smtp.address import Address
from services.smtp.config import MtaConfig, Network, User
from services.smtp.replies import Reply


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
            if self.is_local(name) and ((user and user.mailbox) or name.local == "postmaster"):
                return Mailbox(domain=name.domain, user=name.local)
        return None

    def authenticate(self, name: str, password: str) -> User | None:
        """Return the user whose address is `name` and whose password is `password`."""
        local, _, domain = name.rpartition("@")
        user = self._users.get(Address(local=local, domain=domain).canonical)
        known = user.password if user else ""
        matches = hmac.compare_digest(known.encode(), password.encode("utf-8", "surrogateescape"))
        return user if known and matches else None


class Policy:
    """What this host takes from whom."""

    def __init__(self, directory: Directory, relay_from: tuple[Network, ...]) -> None:
        self._directory = directory
        self._relay_from = relay_from

    def sender(self, sender: Address | None, *, user: User | None) -> Reply | None:
        """Refuse an authenticated user's message in somebody else's name (RFC 6409 §6.1)."""
        if user is None or sender is None or sender.without_detail == user.address.without_detail:
            return None
        return Reply(553, "5.7.1", f"<{sender}> is not an address of {user.address}")

    def recipient(self, recipient: Address, *, client: str, user: User | None) -> Reply | None:
        """Refuse a recipient who does not exist here or to whom this client may not relay."""
        if self._directory.is_local(recipient):
            if self._directory.mailbox(recipient):
                return None
            return Reply(550, "5.1.1", f"<{recipient}>: no such user here")
        if self._directory.is_relayed(recipient) or user or self._may_relay(client):
            return None
        return Reply(550, "5.7.1", f"<{recipient}>: relaying denied")

    def _may_relay(self, client: str) -> bool:
        address = ipaddress.ip_address(client)
        return any(address in network for network in self._relay_from)
