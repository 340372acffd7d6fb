"""DNS on the wire for tests: messages written as in master files, by dnspython, and captures of them."""

from __future__ import annotations

from dataclasses import dataclass

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from captures.conversations import Connection, Conversations, Datagram, Endpoint, Piece
from captures.lookups import Lookup, Query, read_lookups, read_queries

MS = 1_000_000


def query(question: str, *, ident: int = 1, rd: bool = False) -> bytes:
    """A query for a `NAME TYPE`, with an OPT record."""
    name, rtype = question.split()
    message = dns.message.make_query(_absolute(name), rtype, id=ident, use_edns=0)
    message.flags = dns.flags.Flag(dns.flags.RD if rd else 0)
    return message.to_wire()


def reply(
    question: str,
    *,
    answer: str = "",
    authority: str = "",
    additional: str = "",
    rcode: str = "NOERROR",
    flags: str = "",
    ident: int = 1,
) -> bytes:
    """A reply to it; each line of a section is `OWNER TYPE DATA` with absolute names, and keeps its place."""
    message = dns.message.Message(ident)
    if question:
        name, rtype = question.split()
        message = dns.message.make_query(_absolute(name), rtype, id=ident)
    message.flags = dns.flags.from_text(f"QR {flags}")
    message.set_rcode(dns.rcode.from_text(rcode))
    message.answer, message.authority, message.additional = map(_records, (answer, authority, additional))
    return message.to_wire(max_size=65535)


def _records(lines: str) -> list[dns.rrset.RRset]:
    fields = [line.split(maxsplit=2) for line in lines.strip().splitlines()]
    return [dns.rrset.from_text(owner, 3600, "IN", rtype, data) for owner, rtype, data in fields]


def _absolute(name: str) -> str:
    return name if name == "." else f"{name}."


def endpoint(host: str, port: int = 53) -> Endpoint:
    """One end; its address is the host's name."""
    return Endpoint(address=host, port=port, host=host, name="")


@dataclass(kw_only=True)
class Asked:
    """A question that was put on the wire, so that it can be replied to or repeated."""

    wire: Wire
    client: Endpoint
    server: Endpoint
    question: str
    ident: int

    def reply(
        self,
        ms: float,
        *,
        answer: str = "",
        refer: str = "",
        soa: str = "",
        glue: str = "",
        rcode: str = "NOERROR",
        flags: str = "",
        lost: bool = False,
    ) -> None:
        """The server's reply leaves after `ms`, and is at the client 0.1 ms later."""
        name = self.question.split()[0].rstrip(".")
        if answer:
            answer = f"{name}. {answer}"
        if soa:
            soa = f"{soa}. SOA ns. admin. 1 2 3 4 5"
        packet = reply(
            self.question, answer=answer, authority=refer or soa, additional=glue, rcode=rcode, flags=flags,
            ident=self.ident,
        )  # fmt: skip
        self.wire.send(ms, self.server, self.client, packet, lost=lost)

    def again(self, ms: float, *, lost: bool = False) -> None:
        """The client sends the very same packet again."""
        packet = query(self.question, ident=self.ident, rd=self.server.host.startswith("res"))
        self.wire.send(ms, self.client, self.server, packet, lost=lost)


class Wire:
    """A capture in the making. Hosts whose names begin with `res` are resolvers: they are asked with RD."""

    def __init__(self) -> None:
        self.datagrams: list[Datagram] = []
        self.connections: list[Connection] = []
        self._count = 0

    def ask(
        self,
        ms: float,
        client: str,
        server: str,
        question: str,
        *,
        ident: int = 0,
        port: int = 0,
        lost: bool = False,
    ) -> Asked:
        """A query leaves after `ms`, and is at the server 0.1 ms later."""
        self._count += 1
        asked = Asked(
            wire=self, client=endpoint(client, port or 20000 + self._count), server=endpoint(server),
            question=question, ident=ident or self._count,
        )  # fmt: skip
        asked.again(ms, lost=lost)
        return asked

    def look_up(self, ms: float, question: str, *, client: str = "mta") -> Asked:
        """A host asks its resolver."""
        return self.ask(ms, client, "res", question)

    def send(
        self, ms: float, source: Endpoint, destination: Endpoint, data: bytes, *, lost: bool = False
    ) -> None:
        """A datagram with anything in it."""
        time_ns = round(ms * MS)
        datagram = Datagram(
            frame=len(self.datagrams) + 1, time_ns=time_ns, source=source, destination=destination, data=data,
            arrived_ns=None if lost else time_ns + MS // 10, path=(source.host, destination.host),
        )  # fmt: skip
        self.datagrams.append(datagram)

    def capture(self) -> Conversations:
        """Everything so far, in order of time."""
        return Conversations(
            connections=self.connections, datagrams=sorted(self.datagrams, key=lambda each: each.time_ns),
            drops=[], names={}, secrets=b"", packets=0, fragments=0, first_ns=0, last_ns=0, dropped=0,
            cut=False,
        )  # fmt: skip

    def lookups(self) -> list[Lookup]:
        """The lookups in it."""
        return read_lookups(self.capture())

    def queries(self) -> list[Query]:
        """All its queries."""
        return read_queries(self.capture())


def stream(client: Endpoint, server: Endpoint, *, sent: list[Piece], received: list[Piece]) -> Connection:
    """A TCP connection with these bytes."""
    return Connection(
        client=client, server=server, interface="", path=(client.host, "core1", server.host), frame=1,
        opened_ns=0, established_ns=0, last_ns=0, last_frame=1, end="closed", gap=False,
        sent=sent, received=received,
    )  # fmt: skip


def pieces(ms: float, *messages: bytes, size: int = 5) -> list[Piece]:
    """The messages with their lengths, in small pieces, 1 ms apart."""
    octets = b"".join(len(message).to_bytes(2, "big") + message for message in messages)
    starts = range(0, len(octets), size)
    return [Piece(round((ms + n) * MS), 1000 + n, octets[at : at + size]) for n, at in enumerate(starts)]
