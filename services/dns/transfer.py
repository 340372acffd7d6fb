"""Zones as a whole: given away, and taken from another server (AXFR).

Theory of operation. A transfer is the zone's records between two copies of its SOA, in as many messages on
one TCP connection as it takes:

    SOA, the apex' other records, everything else, SOA

Giving: `answer` says what a request deserves. The messages are made one after the other while they are sent,
from a zone that does not change any more, whatever becomes of the server's. There are no differences to give:
who asks for them (IXFR, RFC 1995) gets "nothing is new", or the whole zone.

Taking: `Incoming` is fed the messages and says when the zone is complete; what came is the text of a master
file (see `presentation`).

Nothing here opens a socket. Source: RFC 5936; RFC 1995 for IXFR.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from itertools import chain

from services.dns import message, names, serials
from services.dns.message import Malformed, Query
from services.dns.names import Name
from services.dns.presentation import absolute, master_data, read_name
from services.dns.records import RRset
from services.dns.zone import Zone, Zones

AXFR, IXFR = names.TYPES["AXFR"], names.TYPES["IXFR"]
LOOPBACK = IPv4Network("127.0.0.0/8")

_HEADER = struct.Struct("!6H")
_RR = struct.Struct("!HHIH")
_SERIAL = struct.Struct("!I")
_RECORDS_A_MESSAGE = 100
# As far as compression pointers reach. What a single record needs beyond it, it gets.
_BODY = 16_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another server, as configurations write it: `198.41.0.4`, or with a port `127.0.0.1:5300`."""

    address: str
    port: int = 53

    @classmethod
    def read(cls, text: str) -> Peer:
        """Return the peer that a text names. Raises: ValueError."""
        address, colon, port = text.partition(":")
        return cls(address=str(IPv4Address(address)), port=int(port) if colon else 53)


class TransferFailed(Exception):
    """The other server did not give the zone; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may have zones: `networks` each of them, and a zone's `secondaries` (addresses) that one."""

    networks: tuple[IPv4Network, ...] = (LOOPBACK,)
    secondaries: Mapping[Name, frozenset[str]] = field(default_factory=dict)

    def allows(self, origin: Name, client: str) -> bool:
        """Tell whether the address may have the zone."""
        if client in self.secondaries.get(origin, ()):
            return True
        return any(IPv4Address(client) in network for network in self.networks)


def read_ixfr(packet: bytes) -> tuple[Query, int] | None:
    """Return the query that a packet holds and the serial that its client has; None if it is no IXFR.

    An IXFR query is the only one with a record in its authority section (RFC 1995 §3).
    """
    try:
        ident, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(packet)
        _, end = read_name(packet, 12)
        rtype, _ = struct.unpack_from("!HH", packet, end)
        if (questions, answers, authorities, rtype) != (1, 0, 1, IXFR):
            return None
        _, at = read_name(packet, end + 4)
        kind, _, _, length = _RR.unpack_from(packet, at)
        data, rest = at + _RR.size, at + _RR.size + length
        if kind != names.SOA:
            return None
        serial = serial_at(packet, data)
        header = _HEADER.pack(ident, flags, 1, 0, 0, additionals)
        return message.read_query(header + packet[12 : end + 4] + packet[rest:]), serial
    except (Malformed, struct.error):
        return None


def answer(
    zones: Zones, query: Query, client: str, access: Access, *, stream: bool, serial: int | None = None
) -> bytes | Iterator[bytes]:
    """Return the reply to a request for a zone: one message, or all those of a transfer.

    `serial` is the one that the client of an IXFR says it has.
    Source: RFC 5936 §2.2.1 (codes), §4.2 (not by UDP); RFC 1995 §2, §4.
    """
    origin = query.name
    zone = zones.holding(origin, names.SOA)
    if zone is None or zone.origin != origin:
        return _refused(query, names.NOTAUTH, stream)
    if not access.allows(origin, client):
        return _refused(query, names.REFUSED, stream)
    if not zone.served:
        return _refused(query, names.SERVFAIL, stream)
    if query.rtype == IXFR and (not stream or not _is_behind(serial, zone)):
        # By UDP that is also how one says "too large, come by TCP".
        current = message.encode(origin, answer=(zone.soa,))
        return message.reply(query, names.NOERROR, message.AA, current, stream=stream)
    if not stream:
        return _refused(query, names.NOTIMP, stream)
    return messages(zone, query)


def _refused(query: Query, rcode: int, stream: bool) -> bytes:
    return message.reply(query, rcode, 0, message.EMPTY, stream=stream)


def _is_behind(serial: int | None, zone: Zone) -> bool:
    return serial is None or serials.is_newer(zone.serial, serial)


def messages(zone: Zone, query: Query) -> Iterator[bytes]:
    """Yield the messages of a transfer, made one by one. Source: RFC 5936 §2.2."""
    waiting: list[RRset] = []
    for record in _records(zone):
        waiting.append(record)
        if len(waiting) == _RECORDS_A_MESSAGE:
            yield from _fitting(query, waiting)
            waiting = []
    if waiting:
        yield from _fitting(query, waiting)


def _records(zone: Zone) -> Iterator[RRset]:
    """Yield the zone's records in the order of a transfer, each as an RRset of its own."""
    soa = (zone.soa,)
    apex = (rrset for rrset in zone.nodes[zone.origin].values() if rrset.rtype != names.SOA)
    others = (node.values() for name, node in zone.nodes.items() if name != zone.origin)
    for rrset in chain(soa, apex, chain.from_iterable(others), soa):
        for rdata in rrset.rdatas:
            yield RRset(owner=rrset.owner, rtype=rrset.rtype, ttl=rrset.ttl, rdatas=(rdata,))


def _fitting(query: Query, records: list[RRset]) -> Iterator[bytes]:
    """Yield one message with these records, or several if they are large."""
    encoded = message.encode(query.name, answer=records)
    if len(encoded.body) > _BODY and len(records) > 1:
        half = len(records) // 2
        yield from _fitting(query, records[:half])
        yield from _fitting(query, records[half:])
    else:
        yield message.reply(query, names.NOERROR, message.AA, encoded, stream=True)


class Incoming:
    """A transfer that comes in: `feed` takes its messages; `text` is the zone when it is complete."""

    def __init__(self, ident: int, origin: Name) -> None:
        """`ident` is the request's id, `origin` the zone's apex in lower case."""
        self._ident = ident
        self._origin = origin
        self._lines: list[str] = []
        self._first: str | None = None
        self.serial = 0
        self.octets = 0
        self.messages = 0
        self.complete = False

    @property
    def records(self) -> int:
        """How many records came, the closing SOA not counted."""
        return len(self._lines)

    @property
    def text(self) -> str:
        """The zone as a master file with absolute names."""
        return "".join(f"{line}\n" for line in self._lines)

    def feed(self, packet: bytes) -> bool:
        """Take the next message; tell whether the zone is complete.

        Raises: TransferFailed: it is refused, is no part of this transfer, or is malformed.
        """
        self.octets += len(packet)
        self.messages += 1
        try:
            at, count = self._header(packet)
            for _ in range(count):
                at = self._record(packet, at)
        except (Malformed, struct.error, IndexError) as error:
            raise TransferFailed(f"a malformed message: {error}") from error
        if not self._lines:
            raise TransferFailed("a message without records")
        return self.complete

    def _header(self, packet: bytes) -> tuple[int, int]:
        """Return where the answer section begins, and how many records it has."""
        ident, flags, questions, answers, _, _ = _HEADER.unpack_from(packet)
        if ident != self._ident or not flags & message.QR:
            raise TransferFailed("a message that is no reply to the request")
        rcode = flags & 0xF
        if rcode:
            raise TransferFailed(names.rcode_text(rcode))
        if flags & message.TC:
            raise TransferFailed("a truncated message")
        at = 12
        for _ in range(questions):
            _, end = read_name(packet, at)
            at = end + 4
        return at, answers

    def _record(self, packet: bytes, at: int) -> int:
        spelled, at = read_name(packet, at)
        rtype, rclass, ttl, length = _RR.unpack_from(packet, at)
        at += _RR.size
        owner = names.lower(spelled)
        if rclass != names.IN or not names.is_below(owner, self._origin):
            raise TransferFailed(f"{names.to_text(owner)} lies outside the zone")
        if self.complete:
            raise TransferFailed("records after the closing SOA")
        data = master_data(packet, at, length, rtype)
        if rtype == names.SOA or self._first is None:
            # Compressed against another name it may have that one's spelling.
            self._soa(packet, at, rtype, owner, data.lower())
        if not self.complete:
            self._lines.append(f"{absolute(owner)} {ttl} {data}")
        return int(at + length)

    def _soa(self, packet: bytes, at: int, rtype: int, owner: Name, data: str) -> None:
        """Note the SOA that opens the transfer or the one that closes it (RFC 5936 §2.2)."""
        if rtype != names.SOA or owner != self._origin:
            raise TransferFailed("it does not begin with the zone's SOA")
        if self._first is None:
            self._first = data
            self.serial = serial_at(packet, at)
        elif data == self._first:
            self.complete = True
        else:
            # The zone changed on the way; what came is neither the old one nor the new one.
            raise TransferFailed("it ends with another SOA than it began with")


def read_serial(packet: bytes, ident: int, origin: Name) -> int | None:
    """Return the serial that a reply to a query for the zone's SOA tells; None if it is no such reply.

    Raises: TransferFailed: it is the reply, but one without authority or an error.
    """
    try:
        found, flags, questions, answers, _, _ = _HEADER.unpack_from(packet)
        asked, at = read_name(packet, 12)
        if found != ident or not flags & message.QR or questions != 1 or names.lower(asked) != origin:
            return None
        if flags & 0xF:
            raise TransferFailed(names.rcode_text(flags & 0xF))
        at += 4
        for _ in range(answers):
            _, at = read_name(packet, at)
            rtype, _, _, length = _RR.unpack_from(packet, at)
            at += _RR.size
            if rtype == names.SOA and flags & message.AA:
                return serial_at(packet, at)
            at += length
    except (Malformed, struct.error):
        return None
    raise TransferFailed("it has no authority over the zone")


def serial_at(packet: bytes, at: int) -> int:
    """Return the serial of the SOA data that begin at an offset."""
    _, at = read_name(packet, at)
    _, at = read_name(packet, at)
    serial: int
    (serial,) = _SERIAL.unpack_from(packet, at)
    return serial


def request(ident: int, origin: Name, rtype: int) -> bytes:
    """Return a query about the zone to another of its servers: SOA or AXFR."""
    question = message.question(names.to_wire(origin), rtype)
    return message.write_query(ident, question, recurse=False, edns=False)
