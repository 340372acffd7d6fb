"""The envelope: who sends a message to whom and how it must travel, apart from the message itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from services.smtp.address import Address

Body = Literal["7BIT", "8BITMIME"]
Returned = Literal["", "FULL", "HDRS"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a sender asks to be told about one recipient (RFC 3461 §4.1, §4.2).

    `notify` holds NEVER, or some of SUCCESS, FAILURE and DELAY; empty if nothing was said. `orcpt` is the
    original recipient as on the wire: `rfc822;` and an address in xtext; empty if it was not given.
    """

    notify: tuple[str, ...] = ()
    orcpt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One MAIL and its RCPTs: `sender` None is the null reverse-path of bounces (RFC 5321 §4.5.5).

    `ret` and `envid` (in xtext, as on the wire) are the parameters of MAIL, `wishes` those of the RCPTs, by
    recipient (RFC 3461).
    """

    sender: Address | None
    recipients: tuple[Address, ...]
    body: Body = "7BIT"
    smtputf8: bool = False
    ret: Returned = ""
    envid: str = ""
    wishes: Mapping[Address, Wishes] = field(default_factory=dict)

    @property
    def reverse_path(self) -> str:
        """The sender's text, empty for the null reverse-path."""
        return str(self.sender) if self.sender else ""
