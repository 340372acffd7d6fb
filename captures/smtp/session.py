"""What an SMTP session is once it is read.

Times are nanoseconds since 1970 and frames the capture's packet numbers, both of the packet that completed
what they stand at: the last byte of a command line, of a reply's last line, of the end of data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from captures.conversations import Connection

_QUEUED: Final = re.compile(
    r"queued as (\S+)"  # Postfix, Mailbed, amavis
    r"|\bid=(\S+)"  # Exim
    r"|(\S+) Message accepted for delivery",  # Sendmail, OpenSMTPD
    re.IGNORECASE,
)


class Reply(NamedTuple):
    """What the server answered: `text` without the codes, lines joined with a line feed (RFC 5321 §4.2)."""

    code: int
    text: str
    time_ns: int
    frame: int

    def __str__(self) -> str:
        """The reply on one line: `250 2.0.0 Ok: queued as X`."""
        return f"{self.code} {self.text}".rstrip().replace("\n", " ")


class Exchange(NamedTuple):
    """A command, fit to be printed and without secrets, and its reply; None if none was seen.

    `.` stands for the end of data. An empty command is a reply that nobody asked for, such as a 421 to an
    idle client.
    """

    command: str
    time_ns: int
    frame: int
    reply: Reply | None


@dataclass(slots=True, kw_only=True)
class Recipient:
    """One RCPT: a forward-path and what the server said of it."""

    address: str
    parameters: str
    exchange: Exchange

    @property
    def accepted(self) -> bool:
        """Whether the server took the recipient."""
        return _positive(self.exchange.reply)


@dataclass(slots=True, kw_only=True)
class Transaction:
    """From MAIL to the reply to the content, to RSET, or to the end of the session (RFC 5321 §3.3)."""

    sender: str
    """The reverse-path; empty is the null one."""
    parameters: str
    """Those of MAIL, such as `SIZE=1234 BODY=8BITMIME`."""
    mail: Exchange
    recipients: list[Recipient] = field(default_factory=list)
    data: Exchange | None = None
    """DATA and the reply to it, or the first BDAT."""
    content: bytes | None = None
    """The message as the server had it: dots unstuffed, without the final one. None if no byte came."""
    complete: bool = False
    """Whether the end of data was seen."""
    content_ns: int | None = None
    content_frame: int | None = None
    reply: Reply | None = None
    """The one to the end of data, or that broke it off; to the first BDAT that was refused, if one was."""

    @property
    def accepted(self) -> bool:
        """Whether the server took the message over, even if the capture lost a part of it."""
        return _positive(self.reply)

    @property
    def size(self) -> int:
        """The content's length in bytes."""
        return len(self.content or b"")

    @property
    def queue_id(self) -> str:
        """The id that the server gave the message, where the reply names it; else empty."""
        found = _QUEUED.search(self.reply.text) if self.reply is not None and self.accepted else None
        return next(filter(None, found.groups())).rstrip(".,;)") if found else ""


@dataclass(slots=True, kw_only=True)
class Session:
    """One SMTP session; a session in which nothing was said has no greeting and no exchanges."""

    connection: Connection
    greeting: Reply | None = None
    server_name: str = ""
    """The first word of the greeting."""
    helo: str = ""
    """What the client called itself last."""
    extensions: tuple[str, ...] = ()
    """Those of the last EHLO's reply, as announced: `SIZE 52428800`."""
    tls: Literal["", "opened", "sealed"] = ""
    sealed_reason: str = ""
    """Why TLS could not be opened; what was said inside is then unknown."""
    user: str = ""
    """Who has authenticated, where the mechanism tells."""
    exchanges: list[Exchange] = field(default_factory=list)
    transactions: list[Transaction] = field(default_factory=list)
    quit: bool = False


def _positive(reply: Reply | None) -> bool:
    return reply is not None and 200 <= reply.code < 300
