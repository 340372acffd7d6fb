"""What an IMAP session is once it is read.

Times are nanoseconds since 1970 and frames the capture's packet numbers, both of the packet that completed
what they stand at.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from captures.conversations import Connection


class Reply(NamedTuple):
    """What the server said in one line, without the tag: `OK done`, or, for a greeting, `OK ready`."""

    text: str
    time_ns: int
    frame: int

    def __str__(self) -> str:
        return self.text


class Exchange(NamedTuple):
    """A command without its tag, fit to be printed and without secrets, and its reply if one was seen."""

    command: str
    time_ns: int
    frame: int
    reply: Reply | None


@dataclass(slots=True, kw_only=True)
class Fetched:
    """The octets of one message that the server sent.

    `item` is what it called them: `BODY[]`, `RFC822`, or `BODY[]<0>` where it was asked for pieces; those
    that follow each other are one. `uid` is None where it was not told. `whole`: the capture has every octet
    that there is; of pieces nobody can tell. `frame` is the packet in which they begin.
    """

    exchange: Exchange
    number: int
    uid: int | None
    item: str
    content: bytes
    whole: bool
    began_ns: int
    frame: int
    ended_ns: int
    last_frame: int


@dataclass(slots=True, kw_only=True)
class Session:
    """One IMAP session; one in which nothing was said has no greeting and no exchanges."""

    connection: Connection
    greeting: Reply | None = None
    tls: Literal["", "opened", "sealed"] = ""
    sealed_reason: str = ""
    """Why TLS could not be opened; what was said inside is then unknown."""
    user: str = ""
    """Who has logged in, where the mechanism tells."""
    exchanges: list[Exchange] = field(default_factory=list)
    fetched: list[Fetched] = field(default_factory=list)
