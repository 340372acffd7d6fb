"""DNS messages on the wire.

Theory of operation. A server's life is answering the same questions with other ids and other spellings.
So a question is read by hand, and the sections of its answer are encoded once by dnslib behind the
question; the reply is then header + the question as it came + the encoded sections (+ OPT). The compression
pointers in the sections point into the question, which has the same octets in length and order whatever
its spelling, so the spelling is echoed everywhere (draft-vixie-dnsext-dns0x20).

Upstream responses are rare in comparison and are decoded by dnslib, whose parser raises many kinds of
errors on malformed input: `read_response` makes one of them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import dnslib

from services.dns import names
from services.dns.names import Name
from services.dns.records import RRset

PAYLOAD = 1232  # fits every IPv6 link without fragments (DNS flag day 2020)
PLAIN_PAYLOAD = 512  # RFC 1035 §4.2.1
STREAM_PAYLOAD = 65535

QR, AA, TC, RD, RA, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0010
_OPCODE = 0x7800
_DO = 0x8000

_HEADER = struct.Struct("!6H")
_RR = struct.Struct("!HHIH")
_TYPE_CLASS = struct.Struct("!HH")
_MAX_POINTER = 0x3FFF
_MAX_TTL = 2**31 - 1


class Malformed(ValueError):
    """The octets are no DNS message."""


class Edns(NamedTuple):
    """The OPT record of a query (RFC 6891 §6.1.2): `payload` in octets, `do` the DNSSEC bit."""

    payload: int
    version: int
    do: int


class Query(NamedTuple):
    """A query: `question` is its question section as it came, `name` the name on the wire in lower case."""

    ident: int
    flags: int
    question: bytes
    wire: bytes
    rtype: int
    rclass: int
    edns: Edns | None

    @property
    def name(self) -> Name:
        """The name as a key."""
        labels, at = [], 0
        while length := self.wire[at]:
            labels.append(self.wire[at + 1 : at + 1 + length])
            at += 1 + length
        return tuple(labels)


def is_query(packet: bytes) -> bool:
    """Tell whether the packet has a header that asks something: all else gets no reply at all."""
    return len(packet) >= 12 and not packet[2] & 0x80


def opcode(packet: bytes) -> int:
    """Return the opcode of a packet that has a header."""
    return (packet[2] & 0x78) >> 3


def read_query(packet: bytes) -> Query:
    """Return the query that the packet holds.

    Raises: Malformed: a client's error, which deserves FORMERR.
    """
    try:
        ident, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(packet)
        if questions != 1 or answers or authorities:
            raise Malformed("a query has one question and nothing else")
        end = _end_of_name(packet, 12)
        rtype, rclass = _TYPE_CLASS.unpack_from(packet, end)
        edns = _read_additional(packet, end + 4, additionals)
    except (IndexError, struct.error):
        raise Malformed("the message ends too early") from None
    return Query(ident, flags, packet[12 : end + 4], packet[12:end].lower(), rtype, rclass, edns)


def _end_of_name(packet: bytes, at: int) -> int:
    start = at
    while length := packet[at]:
        if length > 63:
            raise Malformed("a name in a query has nothing to be compressed against")
        at += length + 1
    if at - start > 254:
        raise Malformed("a name has at most 255 octets")
    return at + 1


def _read_additional(packet: bytes, at: int, count: int) -> Edns | None:
    """Return the OPT record; others (a TSIG, say) are stepped over."""
    edns = None
    for _ in range(count):
        owner, at = at, _skip_name(packet, at)
        rtype, rclass, ttl, length = _RR.unpack_from(packet, at)
        if rtype == names.OPT:
            if edns is not None or at - owner > 1:
                raise Malformed("one OPT record, at the root")
            edns = Edns(rclass, ttl >> 16 & 0xFF, ttl & _DO)
        at += _RR.size + length
    if at != len(packet):
        raise Malformed("the message does not end where it should")
    return edns


def _skip_name(packet: bytes, at: int) -> int:
    while length := packet[at]:
        if length >= 0xC0:
            return at + 2
        if length > 63:
            raise Malformed("unknown kind of label")
        at += length + 1
    return at + 1


class Encoded(NamedTuple):
    """Sections encoded behind a question of the name's length: how many records each has, and octets."""

    counts: tuple[int, int, int]
    body: bytes


class _Buffer(dnslib.DNSBuffer):
    """dnslib's buffer, which never points to where a pointer of 14 bits cannot reach."""

    def encode_name(self, name: dnslib.DNSLabel | Sequence[bytes]) -> None:
        super().encode_name(name)
        if self.offset > _MAX_POINTER:
            self.names = {suffix: at for suffix, at in self.names.items() if at <= _MAX_POINTER}


def encode(
    name: Name,
    *,
    answer: Iterable[RRset] = (),
    authority: Iterable[RRset] = (),
    additional: Iterable[RRset] = (),
) -> Encoded:
    """Return the sections as they stand in a message behind a question for `name`."""
    buffer = _Buffer()
    buffer.pack("!6H", 0, 0, 1, 0, 0, 0)
    dnslib.DNSQuestion(dnslib.DNSLabel(name)).pack(buffer)
    start = buffer.offset
    counts = tuple(_encode_section(buffer, section) for section in (answer, authority, additional))
    return Encoded((counts[0], counts[1], counts[2]), bytes(buffer.data[start:]))


def _encode_section(buffer: dnslib.DNSBuffer, section: Iterable[RRset]) -> int:
    count = 0
    for rrset in section:
        owner = dnslib.DNSLabel(rrset.owner)
        for rdata in rrset.rdatas:
            dnslib.RR(owner, rrset.rtype, names.IN, rrset.ttl, rdata).pack(buffer)
            count += 1
    return count


def reply(query: Query, rcode: int, flags: int, variants: Sequence[Encoded], *, stream: bool) -> bytes:
    """Return the reply with the first of `variants` that fits, or one with TC set and no records.

    `flags` are added to QR and to what is copied from the query: opcode, RD and CD.
    """
    edns = query.edns
    flags |= QR | query.flags & (_OPCODE | RD | CD)
    if edns is None:
        limit, opt = PLAIN_PAYLOAD, b""
    else:
        limit = min(max(edns.payload, PLAIN_PAYLOAD), PAYLOAD)
        opt = b"\0" + _RR.pack(names.OPT, PAYLOAD, rcode >> 4 << 24 | edns.do, 0)
    if stream:
        limit = STREAM_PAYLOAD
    room = limit - 12 - len(query.question) - len(opt)
    for (answers, authorities, additionals), body in variants:
        if len(body) <= room:
            header = _HEADER.pack(
                query.ident, flags | rcode & 0xF, 1, answers, authorities, additionals + (edns is not None)
            )
            return b"".join((header, query.question, body, opt))
    header = _HEADER.pack(query.ident, flags | TC | rcode & 0xF, 1, 0, 0, int(edns is not None))
    return b"".join((header, query.question, opt))


def bare_reply(packet: bytes, rcode: int) -> bytes:
    """Return a header alone, for a query whose question cannot be or is not worth reading."""
    ident, flags = struct.unpack_from("!HH", packet)
    return _HEADER.pack(ident, QR | flags & (_OPCODE | RD) | rcode, 0, 0, 0, 0)


def write_query(ident: int, spelled: Name, rtype: int, *, recurse: bool, edns: bool) -> bytes:
    """Return a query for the name in the spelling given."""
    question = b"".join(bytes([len(label)]) + label for label in spelled) + b"\0"
    opt = b"\0" + _RR.pack(names.OPT, PAYLOAD, 0, 0) if edns else b""
    header = _HEADER.pack(ident, RD if recurse else 0, 1, 0, 0, int(edns))
    return b"".join((header, question, _TYPE_CLASS.pack(rtype, names.IN), opt))


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A response, its records grouped into RRsets, class IN only."""

    rcode: int
    flags: int
    answer: tuple[RRset, ...]
    authority: tuple[RRset, ...]
    additional: tuple[RRset, ...]


def read_response(packet: bytes) -> Response:
    """Return the response that the packet holds.

    Raises: Malformed.
    """
    try:
        record = dnslib.DNSRecord.parse(packet)
    except (
        dnslib.DNSError, dnslib.DNSLabelError, dnslib.BufferError, dnslib.BimapError,
        ValueError, LookupError, TypeError, AttributeError, RecursionError, struct.error,
    ) as error:  # fmt: skip
        raise Malformed(f"not a DNS message: {error}") from error
    extended = next((rr.edns_rcode for rr in record.ar if rr.rtype == names.OPT), 0)
    return Response(
        rcode=extended << 4 | record.header.rcode,
        flags=record.header.bitmap,
        answer=_group(record.rr),
        authority=_group(record.auth),
        additional=_group(record.ar),
    )


def _group(records: Iterable[dnslib.RR]) -> tuple[RRset, ...]:
    groups: dict[tuple[Name, int], list[dnslib.RR]] = {}
    for rr in records:
        if rr.rtype != names.OPT and rr.rclass == names.IN:
            groups.setdefault((names.lower(rr.rname.label), rr.rtype), []).append(rr)
    return tuple(
        RRset(
            owner=owner,
            rtype=rtype,
            ttl=min(_ttl(rr.ttl) for rr in group),
            rdatas=tuple(rr.rdata for rr in group),
        )
        for (owner, rtype), group in groups.items()
    )


def _ttl(ttl: int) -> int:
    """A TTL with the most significant bit set is to be treated as zero (RFC 2181 §8)."""
    return ttl if ttl <= _MAX_TTL else 0
