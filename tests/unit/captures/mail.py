"""Mail traffic to test with, as the readers of SMTP and DNS would hand it over: each thing said takes 1 ms.

wire = Wire()
wire.asks("mta", "example.org", "MX", "10 mx.example.org.")
wire.sends("mta", "mx", to="bob@example.org", content=message(("mta", "Q1")), queued="Q2")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from captures.conversations import Connection, End, Endpoint
from captures.dns import Message, Record
from captures.lookups import Lookup, Outcome, Query
from captures.smtp import Exchange, Recipient, Reply, Session, Transaction

HOSTS = {
    "alice": ("10.1.0.10", "alice.example.com"),
    "corp-msa": ("10.1.0.12", "corp-msa.example.com"),
    "corp-mta1": ("198.18.1.10", "corp-mta1.example.com"),
    "corp-mta2": ("198.18.1.11", "corp-mta2.example.com"),
    "corp-dns": ("198.18.1.12", "corp-dns.example.com"),
    "isp-a1": ("198.18.10.10", "isp-a1.example.net"),
    "rcpt-mx1": ("198.18.2.10", "rcpt-mx1.example.org"),
    "rcpt-mx2": ("198.18.2.11", "rcpt-mx2.example.org"),
    "rcpt-mda": ("10.2.0.10", "rcpt-mda.example.org"),
}
ALICE, BOB = "alice@example.com", "bob@example.org"
MS = 1_000_000


def message(
    *received: tuple[str, str], message_id: str = "<1@example.com>", body: bytes = b"Hello\r\n"
) -> bytes:
    """Return a message that these hosts queued under these ids, the last one first."""
    lines = [f"Received: by {HOSTS[host][1]} with ESMTP id {queue_id}; now" for host, queue_id in received]
    lines += [f"Message-ID: {message_id}", "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=", "", ""]
    return "\r\n".join(lines).encode() + body


def notice(
    about: str, recipient: str, *, message_id: str = "<2@example.org>", action: str = "failed"
) -> bytes:
    """Return a delivery status notification that returns the header of the message `about` (RFC 3464)."""
    lines = [f"Message-ID: {message_id}", "Subject: Undelivered", "", "--b", ""]
    lines += [f"Final-Recipient: rfc822; {recipient}", f"Action: {action}", "", "--b", ""]
    return "\r\n".join([*lines, f"Message-ID: {about}", "--b--", ""]).encode()


class Wire:
    """A clock, and what has been said by it."""

    def __init__(self) -> None:
        self.now = 0
        self.frame = 0
        self.sessions: list[Session] = []
        self.lookups: list[Lookup] = []

    def tick(self, ms: int = 1) -> int:
        self.now += ms * MS
        self.frame += 1
        return self.now

    def reply(self, text: str) -> Reply:
        code, _, rest = text.partition(" ")
        return Reply(int(code), rest, self.tick(), self.frame)

    def exchange(self, command: str, text: str | None) -> Exchange:
        time_ns, frame = self.tick(), self.frame
        return Exchange(command, time_ns, frame, None if text is None else self.reply(text))

    def connection(self, client: str, server: str, port: int = 25, end: End = "closed") -> Connection:
        opened = self.tick()
        return Connection(
            client=endpoint(client, 40000 + self.frame),
            server=endpoint(server, port),
            interface=f"{client}-eth0",
            frame=self.frame,
            opened_ns=opened,
            established_ns=None if end in ("refused", "unanswered") else self.tick(),
            last_ns=self.now,
            last_frame=self.frame,
            end=end,
            sent=[],
            received=[],
            gap=False,
            path=(client, server),
        )

    def sends(
        self,
        client: str,
        server: str,
        *,
        content: bytes,
        to: str | Sequence[str] = BOB,
        sender: str = ALICE,
        queued: str = "",
        port: int = 25,
        mail: str = "250 2.1.0 Ok",
        rcpt: Mapping[str, str] | str = "250 2.1.5 Ok",
        end_of_data: str | None = "",
        session: Session | None = None,
    ) -> Session:
        """One transaction, on a connection of its own or on that of `session`; return the session."""
        if session is None:
            connection = self.connection(client, server, port)
            session = Session(connection=connection, greeting=self.reply(f"220 {HOSTS[server][1]} ESMTP"))
            session.helo, session.server_name = HOSTS[client][1], HOSTS[server][1]
            session.user = sender if port == 587 else ""
            self.sessions.append(session)
        said = self.exchange(f"MAIL FROM:<{sender}>", mail)
        transaction = Transaction(sender=sender, parameters="", mail=said)
        session.transactions.append(transaction)
        for address in [to] if isinstance(to, str) else to:
            reply = rcpt if isinstance(rcpt, str) else rcpt.get(address, "250 2.1.5 Ok")
            said = self.exchange(f"RCPT TO:<{address}>", reply)
            transaction.recipients.append(Recipient(address=address, parameters="", exchange=said))
        if mail.startswith("250") and any(entry.accepted for entry in transaction.recipients):
            transaction.data = self.exchange("DATA", "354 go on")
            transaction.content, transaction.complete = content, True
            transaction.content_ns = self.tick()
            if end_of_data is not None:
                transaction.reply = self.reply(end_of_data or f"250 2.0.0 Ok: queued as {queued}")
        session.connection.last_ns = self.tick()
        return session

    def fails(self, client: str, server: str, end: End = "refused", *replies: str) -> Session:
        """A connection on which no mail is sent: a greeting and an answer to EHLO, as far as it comes."""
        session = Session(connection=self.connection(client, server, end=end))
        for place, text in enumerate(reply for reply in replies if reply):
            if place:
                session.exchanges.append(self.exchange(f"EHLO {HOSTS[client][1]}", text))
            else:
                session.greeting = self.reply(text)
        session.connection.last_ns = self.tick()
        self.sessions.append(session)
        return session

    def finds(self, client: str, domain: str, *servers: str) -> None:
        """The lookups of a domain's MX, which are these hosts in order, and of the first one's address."""
        names = [HOSTS[server][1] for server in servers]
        self.asks(client, domain, "MX", *(f"{10 * n} {name}." for n, name in enumerate(names, 1)))
        self.asks(client, names[0], "A", HOSTS[servers[0]][0])

    def asks(self, client: str, name: str, rtype: str, *answers: str, rcode: str = "NOERROR") -> Lookup:
        """A lookup that the resolver answers from its cache, or with no `rcode` not at all."""
        time_ns = self.tick()
        reply = Message(
            id=1,
            response=True,
            authoritative=False,
            truncated=False,
            recursion_desired=True,
            recursion_available=True,
            opcode="QUERY",
            rcode=rcode,
            name=name,
            type=rtype,
            answers=tuple(Record(name, rtype, 60, text) for text in answers),
            authority=(),
            additional=(),
        )
        query = Query(
            client=endpoint(client, 5353),
            server=endpoint("corp-dns", 53),
            transport="udp",
            name=name,
            type=rtype,
            time_ns=time_ns,
            frame=self.frame,
            arrived_ns=time_ns,
            answered_ns=self.tick() if rcode else None,
            answer_frame=self.frame if rcode else None,
            reply=reply if rcode else None,
            outcome=_outcome(rcode, answers),
            zone="",
            said=", ".join(answers) or rcode or "no answer",
            path=(client, "corp-dns"),
            recursive=True,
        )
        self.lookups.append(Lookup(query=query, upstream=[]))
        return self.lookups[-1]


def _outcome(rcode: str, answers: Sequence[str]) -> Outcome:
    if rcode in ("", "NXDOMAIN"):
        return "nxdomain" if rcode else "timeout"
    return "answer" if answers else "nodata"


def endpoint(host: str, port: int) -> Endpoint:
    address, name = HOSTS[host]
    return Endpoint(address, port, host, name)
