"""Responses on the wire, as a resolver reads them.

Theory of operation. A response is read in one pass. Names are found by where they begin, since nearly all of
them are pointers to a few: each is put together once, those that the question's name ends in at the start. A
pointer leads backwards only (RFC 1035 §4.1.4), so that reading ends. The data of the few types that resolvers
live on are read here; all others are left to dnslib, whose parser raises many kinds of errors on malformed
input: here they are one.

Behind an answer the other sections are seldom of use: they are stepped over, and read when somebody asks.

Records are grouped into RRsets by the name in lower case. Names in their data keep their spelling.
"""

from __future__ import annotations

import struct

import dnslib

from services.dns import message, names
from services.dns.message import Malformed
from services.dns.names import Name
from services.dns.records import Address, RRset

_HEADER = struct.Struct("!6H")
_RR = struct.Struct("!HHIH")
_TIMES = struct.Struct("!5I")
_MAX_TTL = 2**31 - 1
_MAX_POINTERS = 127  # no name has more labels
_POINTER = 0xC0
_HOSTS: dict[int, type[dnslib.CNAME]] = {
    names.NS: dnslib.NS,
    names.CNAME: dnslib.CNAME,
    names.PTR: dnslib.PTR,
    names.DNAME: dnslib.DNAME,
}


_ERRORS = (
    dnslib.DNSError, dnslib.DNSLabelError, dnslib.BufferError, dnslib.BimapError,
    ValueError, LookupError, TypeError, AttributeError, RecursionError, struct.error,
)  # fmt: skip


def read_response(packet: bytes) -> Response:
    """Return the response that the packet holds.

    Raises: Malformed.
    """
    try:
        return Response(packet)
    except _ERRORS as error:
        raise _malformed(error) from error


def _malformed(error: Exception) -> Malformed:
    return Malformed(f"not a DNS message: {error}")


class Response:
    """A response, its records grouped into RRsets, class IN only; `read_response` makes it."""

    __slots__ = ("_additional", "_authority", "_counts", "_reader", "answer", "flags", "rcode")

    def __init__(self, packet: bytes) -> None:
        _, self.flags, questions, answers, *self._counts = _HEADER.unpack_from(packet)
        reader = self._reader = _Reader(packet)
        for _ in range(questions):
            reader.question()
        self.answer = reader.section(answers)
        self._authority: tuple[RRset, ...] | None = None
        self._additional: tuple[RRset, ...] | None = None
        if self.answer:
            reader.step_over(sum(self._counts))
        else:
            self._read_rest()
        self.rcode = reader.extended << 4 | self.flags & 0xF

    @property
    def authority(self) -> tuple[RRset, ...]:
        """The authority section. Raises: Malformed."""
        return self._authority if self._authority is not None else self._rest()[0]

    @property
    def additional(self) -> tuple[RRset, ...]:
        """The additional section. Raises: Malformed."""
        return self._additional if self._additional is not None else self._rest()[1]

    def _rest(self) -> tuple[tuple[RRset, ...], tuple[RRset, ...]]:
        try:
            return self._read_rest()
        except _ERRORS as error:
            raise _malformed(error) from error

    def _read_rest(self) -> tuple[tuple[RRset, ...], tuple[RRset, ...]]:
        authorities, additionals = self._counts
        authority = self._authority = self._reader.section(authorities)
        additional = self._additional = self._reader.section(additionals)
        return authority, additional


class _Reader:
    """Reads a message from its question on. `extended` are the upper bits of the code (RFC 6891 §6.1.3)."""

    def __init__(self, packet: bytes) -> None:
        self._packet = packet
        self._at = _HEADER.size
        self._names: dict[int, Name] = {}
        self._keys: dict[Name, Name] = {}
        self.extended = 0

    def question(self) -> None:
        """Step over a question. What its name ends in, other names will point to."""
        start = self._at
        name, end = self._name(start)
        self._at = end + 4
        if self._packet[end - 1]:
            return  # it is a pointer itself
        for index, label in enumerate(name):
            self._names[start] = name[index:]
            start += len(label) + 1

    def step_over(self, count: int) -> None:
        """Find out what an OPT record among the next `count` records says, and stay where we are."""
        end = self._at
        for _ in range(count):
            at = message.skip_name(self._packet, end)
            rtype, _, ttl, length = _RR.unpack_from(self._packet, at)
            end = at + _RR.size + length
            if end > len(self._packet):
                raise Malformed("a record ends behind the message")
            if rtype == names.OPT:
                self.extended = self.extended or ttl >> 24

    def section(self, count: int) -> tuple[RRset, ...]:
        """Return the RRsets of the next `count` records."""
        if not count:
            return ()
        packet, known, end = self._packet, self._names, self._at
        groups: dict[tuple[Name, int], tuple[int, list[dnslib.RD]]] = {}
        for _ in range(count):
            owner, at = known.get((packet[end] & ~_POINTER) << 8 | packet[end + 1]), end + 2
            if owner is None or packet[end] < _POINTER:
                owner, at = self._name(end)
            rtype, rclass, ttl, length = _RR.unpack_from(packet, at)
            at += _RR.size
            end = at + length
            if end > len(packet):
                raise Malformed("a record ends behind the message")
            if rtype == names.OPT:
                self.extended = self.extended or ttl >> 24
            elif rclass == names.IN:
                rdata = self._rdata(rtype, at, end)
                if ttl > _MAX_TTL:
                    ttl = 0  # with the most significant bit set it is to be treated as zero (RFC 2181 §8)
                key = (self._key(owner), rtype)
                group = groups.get(key)
                if group is None:
                    groups[key] = (ttl, [rdata])
                else:
                    group[1].append(rdata)
                    if ttl < group[0]:
                        groups[key] = (ttl, group[1])
        self._at = end
        return tuple([RRset(*key, ttl, tuple(rdatas)) for key, (ttl, rdatas) in groups.items()])

    def _key(self, name: Name) -> Name:
        key = self._keys.get(name)
        if key is None:
            key = self._keys[name] = names.lower(name)
        return key

    def _name(self, at: int, pointers: int = 0) -> tuple[Name, int]:
        """Return the name that begins at `at`, and where what follows it begins."""
        packet, start = self._packet, at
        labels = []
        while length := packet[at]:
            if length > 63:
                break
            labels.append(packet[at + 1 : at + 1 + length])
            at += length + 1
        at += 1
        name = tuple(labels)
        if length:
            target = (length & ~_POINTER) << 8 | packet[at]
            if length < _POINTER or target >= start or pointers >= _MAX_POINTERS:
                raise Malformed("a name leads nowhere")
            at += 1
            known = self._names.get(target)
            name += self._name(target, pointers + 1)[0] if known is None else known
        if labels and sum(map(len, name)) + len(name) > 254:
            raise Malformed("a name has at most 255 octets")
        self._names[start] = name
        return name, at

    def _rdata(self, rtype: int, at: int, end: int) -> dnslib.RD:
        packet = self._packet
        if rtype == names.A:
            return Address(packet[at:end])
        if rtype in _HOSTS:
            name, at = self._name(at)
            data: dnslib.RD = _HOSTS[rtype](dnslib.DNSLabel(name))
        elif rtype == names.MX:
            name, after = self._name(at + 2)
            data, at = dnslib.MX(dnslib.DNSLabel(name), packet[at] << 8 | packet[at + 1]), after
        elif rtype == names.SOA:
            mname, at = self._name(at)
            rname, at = self._name(at)
            times = _TIMES.unpack_from(packet, at)
            data, at = dnslib.SOA(dnslib.DNSLabel(mname), dnslib.DNSLabel(rname), times), at + _TIMES.size
        else:
            data, at = self._other(rtype, at, end)
        if at != end:
            raise Malformed("data of a record end elsewhere than it says")
        return data

    def _other(self, rtype: int, at: int, end: int) -> tuple[dnslib.RD, int]:
        buffer = dnslib.DNSBuffer(self._packet)
        buffer.offset = at
        kind: type[dnslib.RD] = dnslib.RDMAP.get(dnslib.QTYPE.get(rtype), dnslib.RD)
        return kind.parse(buffer, end - at), buffer.offset
