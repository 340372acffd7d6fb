"""What is known of a message's journey: the hops it took, the lookups behind each, and its end.

Theory of operation. A journey is told for one message and one recipient. It is a row of hops in the order of
time; a hop is one server that was tried, whether or not it took the message:

    alice ──submission──► corp-msa ──► corp-hub ──► corp-mta1 ──x isp-b1     (a hop that failed)
                                                              └──► isp-b2 ──► …

What is true of every host between two hops (how long the message waited there) stands in the hop that left
it. Times are nanoseconds since 1970, `frame` numbers count the packets of the capture from 1, as Wireshark
does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from captures.conversations import Drop
from captures.imap import Exchange as ImapExchange
from captures.imap import Reply as ImapReply
from captures.lookups import Lookup
from captures.smtp import Exchange, Reply

Step = Literal["A", "B", "C", "D", "E", "F", "G"]
"""The letters of the journey: see STEPS."""

STEPS: dict[Step, str] = {
    "A": "the sender submits",
    "B": "the sender's server accepts it",
    "C": "through the company's network",
    "D": "in a queue",
    "E": "across the Internet",
    "F": "through the recipient's network",
    "G": "in the recipient's mailbox",
}

Reached = Literal["accepted", "deferred", "refused", "unreachable", "unroutable", "broken"]
"""How a hop ended.

`accepted` (2xx to the end of data), `deferred` (4xx), `refused` (5xx), `unreachable` (no connection, or no
greeting that welcomes), `unroutable` (DNS named no server to try), `broken` (the session, or the capture,
ended without a reply).
"""

State = Literal["delivered", "kept", "deferred", "bounced", "quarantined", "deleted", "refused", "unknown"]
"""How a journey ended, as far as the capture goes.

`delivered`: a server of the recipient's own organisation took it and passed it on to nobody. `kept`:
another server did. `deferred`: the last attempt failed, and may be made again. `bounced`: it failed, and a
notice went to the sender. `quarantined`, `deleted`: a content filter kept it back, as its host tells, for
no packet shows it. `refused`: it failed for good, and no notice was seen. `unknown`: the capture
breaks off.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A host: `host` as the lab calls it, `name` as DNS does (may be empty), `address` as dotted quad."""

    host: str
    name: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A session as the wire shows it: its TCP connection, and what was said before the message's own part.

    `path` names the hosts that the first packet crossed, both ends included. `tls` is empty, `opened` or
    `sealed`. `ended` is how the connection did: `open`, `closed`, `reset`, `refused`, `unanswered`.
    `interface` is the capture point it was read at, `frame` and `last_frame` its first and last packet
    there. `dropped_by` is the firewall that dropped the first packet, if nobody answered for that.
    """

    client_port: int
    port: int
    interface: str
    frame: int
    last_frame: int
    opened_ns: int
    connected_ns: int | None
    ended: str
    path: tuple[str, ...]
    greeting: Reply | None
    helo: str
    tls: str
    sealed_reason: str
    user: str
    dropped_by: str = ""
    opening: tuple[Exchange, ...] = ()
    """What was said before the first MAIL: EHLO, STARTTLS, AUTH."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One server that was tried for the message, or, with `server` None, none that could be.

    `began_ns` is when the client first did something for it: a lookup or the connection. `waited_ns` is how
    long nothing was done before: since the client had the message or, if it tries `again`, since its attempt
    before (None at the submission). `sender` is the reverse-path and `recipients` the number of forward-paths
    of the envelope; `dialogue` holds MAIL, the RCPT of this recipient and DATA with their replies, `reply` is
    the decisive one; `queue_id` names the message at the server. `size` is how many octets of the message the
    capture has, and `whole` whether these are all: a session may break, or the capture lack packets.
    """

    step: Step
    client: Place
    server: Place | None
    reached: Reached
    began_ns: int
    ended_ns: int
    waited_ns: int | None
    again: bool = False
    lookups: tuple[Lookup, ...] = ()
    attempt: Attempt | None = None
    sender: str = ""
    recipients: int = 0
    dialogue: tuple[Exchange, ...] = ()
    reply: Reply | None = None
    queue_id: str = ""
    size: int | None = None
    whole: bool = False

    @property
    def accepted(self) -> bool:
        return self.reached == "accepted"

    @property
    def open(self) -> bool:
        """The session stood without a reply when the capture ended."""
        attempt = self.attempt
        standing = attempt is not None and attempt.ended == "open" and attempt.connected_ns is not None
        return standing and self.reply is None

    @property
    def submission(self) -> bool:
        return self.step == "A"


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Where the journey ended, when, and with which reply; `notice` is the number of the notice's journey."""

    state: State
    host: str
    time_ns: int
    reply: str = ""
    notice: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What something beside the packets says of the way: whether it agrees with them, and how not."""

    source: Literal["received", "events", "mailbox"]
    agrees: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A notice to the sender: the number of its journey, and what it reports (RFC 3464 §2.3.3)."""

    journey: int
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule of a spam engine that fired: what it adds to the score, and on account of what."""

    name: str
    weight: float
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a content filter on the way decided, as its host tells (no packet shows it).

    `action` is pass, quarantine or delete; `virus` is empty and `score` None where nothing was found or
    asked; `authentication` has a line for each method: its name, and its result.
    """

    host: str
    time_ns: int
    action: str
    reason: str
    virus: str
    score: float | None
    rules: tuple[Rule, ...]
    authentication: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """An IMAP session in which a message was fetched, as the wire shows it.

    Connection and TLS are told as in `Attempt`. `opening` is what was said before the first FETCH, `exchange`
    the command that brought the message, and its reply; `number` and `uid` are what the server called it by,
    `item` is how it called its octets (`BODY[]`), which lie in the packets from `first_frame` to
    `message_frame`.
    """

    client_port: int
    port: int
    interface: str
    frame: int
    last_frame: int
    opened_ns: int
    connected_ns: int | None
    ended: str
    path: tuple[str, ...]
    greeting: ImapReply | None
    tls: str
    sealed_reason: str
    opening: tuple[ImapExchange, ...]
    exchange: ImapExchange
    number: int
    uid: int | None
    item: str
    first_frame: int
    message_ns: int
    message_frame: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """The message was read: `user` fetched it from the mail store `server`, with a mail program on `client`.

    `size` is how many of its octets were sent, `whole` whether that was all. Where the capture has no packets
    of it, `session` is None, and all this is what the server's event tells.
    """

    client: Place
    server: Place
    user: str
    began_ns: int
    ended_ns: int
    size: int
    whole: bool
    session: Reading | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """One message's way to one recipient, and the `notices` to the sender that report on it.

    If it is a notice itself, `about` is the number of the journey that it reports on, and `action` what it
    reports: failed, delayed, delivered, relayed, expanded.
    """

    number: int
    message_id: str
    subject: str
    sender: str
    recipient: str
    size: int
    hops: tuple[Hop, ...]
    end: End
    about: int | None = None
    action: str = ""
    notices: tuple[Notice, ...] = ()
    checks: tuple[Check, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    mailbox_file: str = ""
    fetches: tuple[Fetch, ...] = ()

    @property
    def started_ns(self) -> int:
        return self.hops[0].began_ns

    @property
    def whole(self) -> bool:
        """Whether `size` is that of the whole message: the capture has all of it as it came in."""
        return any(hop.whole and hop.size == self.size for hop in self.hops)

    @property
    def queued(self) -> tuple[str, str] | None:
        """The first server that took the message, and its queue id there; None if none did."""
        return next(
            ((hop.server.host, hop.queue_id) for hop in self.hops if hop.accepted and hop.server), None
        )

    @property
    def handed_in(self) -> Hop | None:
        """The hop by which the sender's own server came to have the message, if the capture shows that."""
        first = next((hop for hop in self.hops if hop.accepted), None)
        return first if first and first.step in ("A", "C") else None

    @property
    def path(self) -> tuple[str, ...]:
        """The hosts that had the message, the sender's first."""
        return (
            self.hops[0].client.host,
            *(hop.server.host for hop in self.hops if hop.accepted and hop.server),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Journeys:
    """All journeys of a capture, in the order of their beginnings; `dropped` is None if nobody counted.

    `drops` is what firewalls dropped, be it mail or not.
    """

    journeys: tuple[Journey, ...]
    drops: tuple[Drop, ...] = ()
    packets: int
    dropped: int | None
    cut: bool
    first_ns: int | None
    last_ns: int | None
