"""The envelope: who sends a message to whom and how it must travel, apart from the message itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from services.smtp.address import Address

Body = Literal["7BIT", "8BITMIME"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One MAIL and its RCPTs: `sender` None is the null reverse-path of bounces (RFC 5321 §4.5.5)."""

    sender: Address | None
    recipients: tuple[Address, ...]
    body: Body = "7BIT"
    smtputf8: bool = False

    @property
    def reverse_path(self) -> str:
        """The sender's text, empty for the null reverse-path."""
        return str(self.sender) if self.sender else ""
