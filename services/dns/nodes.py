"""The names of a zone and their RRsets, in little memory.

Theory of operation. As objects a record takes two kilobytes, and a zone may have a hundred thousand. So each
name is kept as its octets on the wire, and its records beside it as octets too, RRset by RRset:

    type, TTL, kind, number of records, then each record's length and data, names in them in full

`kind` tells which of dnslib's classes the data had. To whoever reads it, the zone is a mapping from names to
mappings from types to RRsets, made anew each time: a server remembers its answers (see `ready`), so its zones
are read seldom.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence

import dnslib

from services.dns.names import Name, from_wire, to_wire
from services.dns.records import RRset, Uncompressed, octets

_HEAD = struct.Struct("!HIBH")
_LENGTH = struct.Struct("!H")


class Nodes(Mapping[Name, Mapping[int, RRset]]):
    """The RRsets of each name from `origin` down; names that only have others below them have none.

    `octets` is what is kept, by name on the wire.
    """

    def __init__(self, rrsets: Iterable[RRset], origin: Name) -> None:
        self._kinds: list[type[dnslib.RD]] = []
        self.octets: dict[bytes, bytes] = {}
        for rrset in rrsets:
            owner = to_wire(rrset.owner)
            self.octets[owner] = self.octets.get(owner, b"") + self._write(rrset)
            for start in range(1, len(rrset.owner) - len(origin) + 1):
                self.octets.setdefault(to_wire(rrset.owner[start:]), b"")

    def __getitem__(self, name: Name) -> Node:
        return Node(name, self.octets[to_wire(name)], self._kinds)

    def __iter__(self) -> Iterator[Name]:
        return map(from_wire, self.octets)

    def __len__(self) -> int:
        return len(self.octets)

    def _write(self, rrset: RRset) -> bytes:
        kind = type(rrset.rdatas[0])
        if kind not in self._kinds:
            self._kinds.append(kind)
        parts = [_HEAD.pack(rrset.rtype, rrset.ttl, self._kinds.index(kind), len(rrset.rdatas))]
        for rdata in rrset.rdatas:
            data = octets(rdata)
            parts += [_LENGTH.pack(len(data)), data]
        return b"".join(parts)


class Node(Mapping[int, RRset]):
    """The RRsets of one name by type, in the order in which they came."""

    __slots__ = ("_at", "_kinds", "_name", "_octets")

    def __init__(self, name: Name, octets: bytes, kinds: Sequence[type[dnslib.RD]]) -> None:
        self._name = name
        self._octets = octets
        self._kinds = kinds
        self._at = dict(_types(octets))

    def __getitem__(self, rtype: int) -> RRset:
        at = self._at[rtype]
        _, ttl, kind, count = _HEAD.unpack_from(self._octets, at)
        at += _HEAD.size
        rdatas = []
        for _ in range(count):
            (length,) = _LENGTH.unpack_from(self._octets, at)
            at += 2
            rdatas.append(self._kinds[kind].parse(Uncompressed(self._octets[at : at + length]), length))
            at += length
        return RRset(owner=self._name, rtype=rtype, ttl=ttl, rdatas=tuple(rdatas))

    def __iter__(self) -> Iterator[int]:
        return iter(self._at)

    def __len__(self) -> int:
        return len(self._at)


def _types(octets: bytes) -> Iterator[tuple[int, int]]:
    """Yield the type of each RRset and where it begins."""
    at = 0
    while at < len(octets):
        rtype, _, _, count = _HEAD.unpack_from(octets, at)
        yield rtype, at
        at += _HEAD.size
        for _ in range(count):
            at += 2 + int.from_bytes(octets[at : at + 2], "big")
