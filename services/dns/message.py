"""DNS messages on the wire.

Theory of operation. A server's life is answering the same questions with other ids and other spellings.
So a question is read by hand, and the sections of its answer are encoded once by dnslib behind the
question; the reply is then header + the question as it came + the encoded sections (+ OPT). The compression
pointers in the sections point into the question, which has the same octets in length and order whatever
its spelling, so the spelling is echoed everywhere (draft-vixie-dnsext-dns0x20).

What does not fit is left out by RRsets, the least important first, as NSD does it: see `Part`. TC is set only
if something is missing that the client needs.

Responses that others give to us are read in `responses`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

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
_OPTION = struct.Struct("!HH")
_NSID, _EDE = 3, 15
MAX_NSID = 128
_MAX_OPT = 11 + 4 + MAX_NSID + 6
_OWN_OPT = b"\0" + _RR.pack(names.OPT, PAYLOAD, 0, 0)
_TYPE_CLASS = struct.Struct("!HH")
_MAX_POINTER = 0x3FFF
_POINTER = 0xC0
_ANSWER, _AUTHORITY, _IPV4, _IPV6 = range(4)


class Malformed(ValueError):
    """The octets are no DNS message."""


class Edns(NamedTuple):
    """The OPT record of a query (RFC 6891 §6.1.2): `payload` in octets, `do` the DNSSEC bit.

    `nsid` tells whether the server is asked for its identifier (RFC 5001).
    """

    payload: int
    version: int
    do: int
    nsid: bool = False


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
        owner, at = at, skip_name(packet, at)
        rtype, rclass, ttl, length = _RR.unpack_from(packet, at)
        if rtype == names.OPT:
            if edns is not None or at - owner > 1:
                raise Malformed("one OPT record, at the root")
            version = ttl >> 16 & 0xFF
            nsid = bool(length) and not version and _asks_nsid(packet, at + _RR.size, length)
            edns = Edns(rclass, version, ttl & _DO, nsid)
        at += _RR.size + length
    if at != len(packet):
        raise Malformed("the message does not end where it should")
    return edns


def _asks_nsid(packet: bytes, at: int, length: int) -> bool:
    """Step through the options of an OPT record; unknown ones are ignored (RFC 6891 §6.1.2)."""
    end, found = at + length, False
    while at < end:
        code, size = _OPTION.unpack_from(packet, at)
        found |= code == _NSID
        at += _OPTION.size + size
    if at != end:
        raise Malformed("the options end elsewhere than their record")
    return bool(found)


def skip_name(packet: bytes, at: int) -> int:
    """Return where what follows the name begins. Raises: Malformed, IndexError."""
    while length := packet[at]:
        if length >= 0xC0:
            return at + 2
        if length > 63:
            raise Malformed("unknown kind of label")
        at += length + 1
    return at + 1


class Part(NamedTuple):
    """What of an encoded body stays or goes together: an RRset, which ends where the next begins.

    Parts stand in the order of their importance, which `section` tells: answer, authority, IPv4 and IPv6
    addresses. Without a `needed` one the response is truncated.
    """

    end: int
    section: int
    records: int
    needed: bool


class Encoded(NamedTuple):
    """Sections encoded behind a question of the name's length: how many records each has, and octets.

    `parts` are for bodies that might not fit; without them it is all or nothing.
    """

    counts: tuple[int, int, int]
    body: bytes
    parts: tuple[Part, ...] = ()


EMPTY: Final = Encoded((0, 0, 0), b"")


class _Buffer(dnslib.DNSBuffer):
    """dnslib's buffer, with names that point only to where a pointer of 14 bits can reach."""

    def encode_name(self, name: dnslib.DNSLabel | Sequence[bytes]) -> None:
        labels = name.label if isinstance(name, dnslib.DNSLabel) else tuple(name)
        known, data = self.names, self.data
        while labels:
            at = known.get(labels)
            if at is not None:
                data += (_POINTER << 8 | at).to_bytes(2)
                break
            if len(labels[0]) > 63:
                raise dnslib.DNSLabelError("a label has at most 63 octets")
            if len(data) <= _MAX_POINTER:
                known[labels] = len(data)
            data.append(len(labels[0]))
            data += labels[0]
            labels = labels[1:]
        else:
            data.append(0)
        self.offset = len(data)


def encode(
    name: Name,
    *,
    answer: Iterable[RRset] = (),
    authority: Iterable[RRset] = (),
    servers: Iterable[RRset] = (),
    glue: Iterable[RRset] = (),
    additional: Iterable[RRset] = (),
) -> Encoded:
    """Return the sections as they stand in a message behind a question for `name`.

    `servers` are for the authority section and `additional` for the additional one, in both where there is
    room. Of the hosts in `glue` and `additional` the IPv4 addresses come first.
    """
    buffer = _Buffer()
    buffer.append(bytes(_HEADER.size))
    buffer.encode_name(name)
    buffer.append(bytes(_TYPE_CLASS.size))
    start = buffer.offset
    ordered = [(rrset, _ANSWER, True) for rrset in answer]
    ordered += [(rrset, _AUTHORITY, True) for rrset in authority]
    ordered += [(rrset, _AUTHORITY, False) for rrset in servers]
    hosts = [(rrset, True) for rrset in glue] + [(rrset, False) for rrset in additional]
    ordered += [(rrset, _IPV4, needed) for rrset, needed in hosts if rrset.rtype == names.A]
    ordered += [(rrset, _IPV6, needed) for rrset, needed in hosts if rrset.rtype != names.A]
    counts, parts = [0, 0, 0], []
    for rrset, section, is_needed in ordered:
        _encode_rrset(buffer, rrset)
        counts[min(section, _IPV4)] += len(rrset.rdatas)
        parts.append(Part(buffer.offset - start, section, len(rrset.rdatas), is_needed))
    body = bytes(buffer.data[start:])
    fits_anyway = start + 4 + len(body) + _MAX_OPT <= PLAIN_PAYLOAD
    return Encoded((counts[0], counts[1], counts[2]), body, () if fits_anyway else tuple(parts))


def _encode_rrset(buffer: dnslib.DNSBuffer, rrset: RRset) -> None:
    for rdata in rrset.rdatas:
        buffer.encode_name(rrset.owner)
        buffer.append(_RR.pack(rrset.rtype, names.IN, rrset.ttl, 0))
        start = buffer.offset
        rdata.pack(buffer)
        buffer.data[start - 2 : start] = (buffer.offset - start).to_bytes(2)


def reply(
    query: Query, rcode: int, flags: int, encoded: Encoded, *, stream: bool, options: bytes = b""
) -> bytes:
    """Return the reply with as much of `encoded` as fits, TC set if anything that is needed does not.

    `flags` are added to QR and to what is copied from the query: opcode and RD. `options` are for the OPT
    record, if the query has one.
    """
    edns = query.edns
    flags |= QR | query.flags & (_OPCODE | RD)
    if edns is None:
        limit, opt = PLAIN_PAYLOAD, b""
    else:
        limit = min(max(edns.payload, PLAIN_PAYLOAD), PAYLOAD)
        opt = b"\0" + _RR.pack(names.OPT, PAYLOAD, rcode >> 4 << 24 | edns.do, len(options)) + options
    if stream:
        limit = STREAM_PAYLOAD
    room = limit - 12 - len(query.question) - len(opt)
    counts, body, _ = encoded
    if len(body) > room:
        counts, body, is_truncated = _as_fits(encoded, room)
        flags |= TC if is_truncated else 0
    header = _HEADER.pack(
        query.ident, flags | rcode & 0xF, 1, counts[0], counts[1], counts[2] + (edns is not None)
    )
    return b"".join((header, query.question, body, opt))


def _as_fits(encoded: Encoded, room: int) -> tuple[tuple[int, int, int], bytes, bool]:
    """Return counts and octets of the parts that fit, and whether one is missing that is needed.

    After a part that does not fit no other section begins; of the addresses other ones may still fit. But a
    name that is spelled out there would stand where no pointer expects it, so there all ends too.
    """
    counts, kept = [0, 0, 0], []
    size = start = 0
    missing: list[Part] = []
    for index, part in enumerate(encoded.parts):
        is_spelled = encoded.body[start] < _POINTER
        if missing and (part.section != missing[-1].section or part.section < _IPV4 or is_spelled):
            missing += encoded.parts[index:]
            break
        if size + part.end - start <= room:
            kept.append(encoded.body[start : part.end])
            size += part.end - start
            counts[min(part.section, _IPV4)] += part.records
        else:
            missing.append(part)
        start = part.end
    is_truncated = not encoded.parts or any(part.needed for part in missing)
    return (counts[0], counts[1], counts[2]), b"".join(kept), is_truncated


def nsid(identifier: str) -> bytes:
    """Return the option in which a server tells what it is called (RFC 5001). Raises: ValueError."""
    octets = identifier.encode()
    if len(octets) > MAX_NSID:
        raise ValueError(f"an identifier has at most {MAX_NSID} octets")
    return _OPTION.pack(_NSID, len(octets)) + octets


def extended_error(code: int) -> bytes:
    """Return the option that tells more about an error (RFC 8914)."""
    return _OPTION.pack(_EDE, 2) + code.to_bytes(2, "big")


def bare_reply(packet: bytes, rcode: int) -> bytes:
    """Return a header alone, for a query whose question cannot be or is not worth reading."""
    ident, flags = struct.unpack_from("!HH", packet)
    return _HEADER.pack(ident, QR | flags & (_OPCODE | RD) | rcode, 0, 0, 0, 0)


def question(wire: bytes, rtype: int) -> bytes:
    """Return the question section that asks about a name on the wire."""
    return wire + _TYPE_CLASS.pack(rtype, names.IN)


def write_query(ident: int, question: bytes, *, recurse: bool, edns: bool) -> bytes:
    """Return a query with this question section."""
    header = _HEADER.pack(ident, RD if recurse else 0, 1, 0, 0, edns)
    return b"".join((header, question, _OWN_OPT if edns else b""))
