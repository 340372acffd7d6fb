"""What every IMAP session of a server is told: whose mail there is, and what it may do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from services.mailbox.folder import Folder


class Accounts(Protocol):
    """Who has mail here."""

    def authenticate(self, name: str, password: str) -> str | None:
        """Return the address of the user who is called so and has that password."""

    def folder(self, user: str) -> Folder:
        """Return a user's INBOX, the same one for each session. Raises: OSError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What sessions are told: `told` takes events (`kind`, fields), `message_limit` is in octets."""

    hostname: str
    host: str
    accounts: Accounts
    tls: bool
    message_limit: int
    told: Callable[..., None] = field(repr=False)
