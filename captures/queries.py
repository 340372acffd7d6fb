"""Which questions were put to which DNS servers, and what came back.

Theory of operation. A reply belongs to the question between the same two ends, or on the same TCP connection,
that has the same id, name and type and still waits for one (RFC 5452 §9.1). Whatever does not fit is passed
over: a second reply, or a forged one.

    the same packet again    a retransmission: still one query
    another server           another query, even for the same question

Replies count from when they arrive: a question that the client repeats while the reply is on its way is still
the same one, and a reply that was lost answers nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import Literal

from captures.conversations import Connection, Conversations, Datagram, Endpoint, Piece
from captures.dns import Message, read_message
from captures.errors import Malformed
from captures.responses import Outcome, interpret

_PORT = 53
_HEADER_SIZE = 12
_QR = 0x80


@dataclass(slots=True, kw_only=True)
class Query:
    """A question that one host put to one server, and what came back.

    `name` is in lower case without final dot (`.` for the root). Times are in ns since 1970, and None if it
    never happened. `path` are the hosts that the question crossed.
    """

    client: Endpoint
    server: Endpoint
    transport: Literal["udp", "tcp"]
    name: str
    type: str
    recursive: bool
    """RD is set: a client's question to a resolver, which is to find the answer."""
    time_ns: int
    """When the client sent it, first."""
    frame: int
    arrived_ns: int | None
    """When it reached the server."""
    replied_ns: int | None = None
    """When the server sent its reply."""
    answered_ns: int | None = None
    """When the client had the reply."""
    answer_frame: int | None = None
    gave_up_ns: int | None = None
    """When the client, without an answer, asked again or gave up, as far as that can be told."""
    reply: Message | None = None
    outcome: Outcome = "timeout"
    zone: str = ""
    """The zone delegated (referral), or the one whose SOA says that there is none (nodata, nxdomain)."""
    said: str = "no answer"
    """What came back, in a few words."""
    path: tuple[str, ...] = ()
    retries: int = 0
    """How often the same packet was sent again."""

    def give_up(self, time_ns: int) -> None:
        """Note that the client waited no longer; only the first time counts, and only without an answer."""
        if self.outcome == "timeout" and self.gave_up_ns is None:
            self.gave_up_ns = time_ns
            self.said = _silence(self)


def read_queries(conversations: Conversations) -> list[Query]:
    """Return every question that was asked, in order of time; messages that are no questions are left out."""
    queries = _by_udp(conversations.datagrams)
    for connection in conversations.connections:
        if connection.server.port == _PORT:
            queries += _by_tcp(connection)
    queries.sort(key=_when)
    return queries


_when = attrgetter("time_ns", "frame")


def _by_udp(datagrams: Sequence[Datagram]) -> list[Query]:
    # Where nothing was ever seen to arrive there was no capture: then nothing is known of losses.
    captured = {each.destination.address for each in datagrams if each.arrived_ns is not None}
    pairing = _Pairing("udp")
    for datagram in datagrams:
        arrived = datagram.arrived_ns
        if arrived is None and datagram.destination.address not in captured:
            arrived = datagram.time_ns
        pairing.take(datagram, arrived)
    return pairing.queries


def _by_tcp(connection: Connection) -> list[Query]:
    """Each message of the connection is taken as if it had been a datagram (RFC 7766 §8)."""
    client, server = connection.client, connection.server
    said = [(piece, client, server) for piece in _messages(connection.sent)]
    said += [(piece, server, client) for piece in _messages(connection.received)]
    said.sort(key=itemgetter(0))
    pairing = _Pairing("tcp")
    for (time_ns, frame, data), source, destination in said:
        datagram = Datagram(
            frame=frame,
            time_ns=time_ns,
            source=source,
            destination=destination,
            data=data,
            arrived_ns=time_ns,
            path=connection.path,
        )
        pairing.take(datagram, time_ns)
    return pairing.queries


def _messages(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Yield each message of a stream without its length, with the time and frame of its last octet."""
    held = bytearray()
    for time_ns, frame, data in pieces:
        held += data
        at = 0
        while len(held) - at >= 2:
            end = at + 2 + int.from_bytes(held[at : at + 2], "big")
            if end > len(held):
                break
            yield Piece(time_ns, frame, bytes(held[at + 2 : end]))
            at = end
        del held[:at]


class _Pairing:
    """The questions so far, and the last one with each id between two ends: a reply belongs to that one."""

    def __init__(self, transport: Literal["udp", "tcp"]) -> None:
        self.queries: list[Query] = []
        self._transport = transport
        self._last: dict[tuple[object, ...], Query] = {}

    def take(self, datagram: Datagram, arrived_ns: int | None) -> None:
        """Take the next message, in the order in which they were sent; None: it was lost."""
        data = datagram.data
        if len(data) < _HEADER_SIZE:
            return
        try:
            message = read_message(data)
        except Malformed:
            # Its id can be read: the client, too, got something that it could make no use of.
            message = None
        if data[2] & _QR:
            self._answer(datagram, message, arrived_ns)
        elif message is not None and message.opcode == "QUERY" and message.type:
            self._ask(datagram, message, arrived_ns)

    def _ask(self, datagram: Datagram, message: Message, arrived_ns: int | None) -> None:
        key = _key(datagram.source, datagram.destination, datagram.data)
        last = self._last.get(key)
        if last is not None and _asks_again(last, message, datagram.time_ns):
            last.retries += 1
            last.arrived_ns = arrived_ns if last.arrived_ns is None else last.arrived_ns
            last.said = _silence(last) if last.outcome == "timeout" else last.said
            return
        query = self._last[key] = Query(
            client=datagram.source,
            server=datagram.destination,
            transport=self._transport,
            name=message.name,
            type=message.type,
            recursive=message.recursion_desired,
            time_ns=datagram.time_ns,
            frame=datagram.frame,
            arrived_ns=arrived_ns,
            path=datagram.path,
        )
        query.said = _silence(query)
        self.queries.append(query)

    def _answer(self, datagram: Datagram, message: Message | None, arrived_ns: int | None) -> None:
        query = self._last.get(_key(datagram.destination, datagram.source, datagram.data))
        if query is None or query.answered_ns is not None or not _fits(message, query):
            return
        query.replied_ns = datagram.time_ns
        if arrived_ns is None:
            query.said = _silence(query)
            return
        query.answered_ns = arrived_ns
        query.answer_frame = datagram.frame
        query.reply = message
        if message is None:
            query.outcome, query.said = "error", "a reply that cannot be read"
        else:
            query.outcome, query.zone, query.said = interpret(query.name, query.type, message)


def _key(client: Endpoint, server: Endpoint, data: bytes) -> tuple[object, ...]:
    return client.port, client.address, server.port, server.address, data[:2]


def _asks_again(query: Query, message: Message, time_ns: int) -> bool:
    """Tell whether the message is the same question, from a client that had no answer to it yet."""
    if (message.name, message.type) != (query.name, query.type):
        return False
    return query.answered_ns is None or time_ns < query.answered_ns


def _fits(message: Message | None, query: Query) -> bool:
    """Servers that refuse to read a question may leave it out of the reply."""
    return message is None or not message.type or (message.type == query.type and message.name == query.name)


def _silence(query: Query) -> str:
    """What there is to say of a query without an answer."""
    said = "no answer"
    if query.gave_up_ns is not None:
        said += f" within {_duration(query.gave_up_ns - query.time_ns)}"
    if query.retries:
        said += f" to {query.retries + 1} tries"
    if query.arrived_ns is None:
        return f"{said} (the query was lost)"
    return said if query.replied_ns is None else f"{said} (the reply was lost)"


def _duration(ns: int) -> str:
    number, unit = (ns / 1e9, "s") if ns >= 999_500_000 else (ns / 1e6, "ms")
    return f"{number:.{1 if number < 9.95 else 0}f} {unit}".replace(".0 ", " ")
