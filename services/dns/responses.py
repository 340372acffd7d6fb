"""Responses on the wire, as a resolver reads them.

Theory of operation. A response is read in one pass. Names are found by where they begin, since nearly all of
them are pointers to a few: each is put together once. A pointer leads backwards only (RFC 1035 §4.1.4), so
that reading ends. The data of the few types that resolvers live on are read here; all others are left to
dnslib, whose parser raises many kinds of errors on malformed input: here they are one.

Records are grouped into RRsets by the name in lower case. Names in their data keep their spelling.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import dnslib

from services.dns import names
from services.dns.message import Malformed
from services.dns.names import Name
from services.dns.records import RRset

_HEADER = struct.Struct("!6H")
_RR = struct.Struct("!HHIH")
_TIMES = struct.Struct("!5I")
_MAX_TTL = 2**31 - 1
_MAX_POINTERS = 127  # no name has more labels
_HOSTS: dict[int, type[dnslib.CNAME]] = {
    names.NS: dnslib.NS,
    names.CNAME: dnslib.CNAME,
    names.PTR: dnslib.PTR,
    names.DNAME: dnslib.DNAME,
}


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
        _, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(packet)
        reader = _Reader(packet)
        for _ in range(questions):
            reader.question()
        answer = reader.section(answers)
        authority = reader.section(authorities)
        additional = reader.section(additionals)
    except (
        dnslib.DNSError, dnslib.DNSLabelError, dnslib.BufferError, dnslib.BimapError,
        ValueError, LookupError, TypeError, AttributeError, RecursionError, struct.error,
    ) as error:  # fmt: skip
        raise Malformed(f"not a DNS message: {error}") from error
    return Response(
        rcode=reader.extended << 4 | flags & 0xF,
        flags=flags,
        answer=answer,
        authority=authority,
        additional=additional,
    )


class _Reader:
    """Reads a message from its question on. `extended` are the upper bits of the code (RFC 6891 §6.1.3)."""

    def __init__(self, packet: bytes) -> None:
        self._packet = packet
        self._at = _HEADER.size
        self._names: dict[int, Name] = {}
        self._keys: dict[Name, Name] = {}
        self.extended = 0

    def question(self) -> None:
        """Step over a question."""
        _, self._at = self._name(self._at)
        self._at += 4

    def section(self, count: int) -> tuple[RRset, ...]:
        """Return the RRsets of the next `count` records."""
        if not count:
            return ()
        groups: dict[tuple[Name, int], tuple[list[int], list[dnslib.RD]]] = {}
        for _ in range(count):
            owner, at = self._name(self._at)
            rtype, rclass, ttl, length = _RR.unpack_from(self._packet, at)
            at += _RR.size
            self._at = at + length
            if self._at > len(self._packet):
                raise Malformed("a record ends behind the message")
            if rtype == names.OPT:
                self.extended = self.extended or ttl >> 24
            elif rclass == names.IN:
                key = (self._key(owner), rtype)
                group = groups.get(key)
                if group is None:
                    group = groups[key] = ([], [])
                # One with the most significant bit set is to be treated as zero (RFC 2181 §8).
                group[0].append(ttl if ttl <= _MAX_TTL else 0)
                group[1].append(self._rdata(rtype, at, self._at))
        return tuple(
            [
                RRset(owner=owner, rtype=rtype, ttl=min(ttls), rdatas=tuple(rdatas))
                for (owner, rtype), (ttls, rdatas) in groups.items()
            ]
        )

    def _key(self, name: Name) -> Name:
        key = self._keys.get(name)
        if key is None:
            key = self._keys[name] = names.lower(name)
        return key

    def _name(self, at: int, pointers: int = 0) -> tuple[Name, int]:
        """Return the name that begins at `at`, and where what follows it begins."""
        packet, start = self._packet, at
        if packet[at] >= 0xC0:
            # Nearly all of them.
            known = self._names.get((packet[at] & 0x3F) << 8 | packet[at + 1])
            if known is not None:
                return known, at + 2
        labels = []
        while length := packet[at]:
            if length > 63:
                break
            labels.append(packet[at + 1 : at + 1 + length])
            at += length + 1
        at += 1
        name = tuple(labels)
        if length:
            target = (length & 0x3F) << 8 | packet[at]
            if length < 0xC0 or target >= start or pointers >= _MAX_POINTERS:
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
            return dnslib.A(tuple(packet[at:end]))
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
