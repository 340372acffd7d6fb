"""Reading a pcapng file, our own or anybody's.

Theory of operation. The reader walks block by block through a buffer that it refills in large pieces, and
yields packets; what the other blocks tell (interfaces, names, secrets, statistics) is collected on the way
and complete when the packets are. Both byte orders, several sections in one file, every time resolution and
unknown blocks are read as the format asks (§3.2, §4).

A recorder may be killed at any moment, so a file may end within a block. That is no error: the packets before
it are as good as ever. `cut` tells that it happened, and `end` where the last whole block ends. Damage
*within* the file is an error, for nothing behind it can be trusted.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from typing import BinaryIO, Final, NamedTuple

from captures.errors import NotACapture
from captures.pcapng import blocks
from captures.pcapng.blocks import DIRECTIONS, Direction

_PIECE: Final = 1 << 20
_LONGEST_BLOCK: Final = 1 << 26
"""Longer than any block that a capture tool writes: a length above it is damage, not data."""


class Packet(NamedTuple):
    """One packet: `data` is what was captured of the `length` bytes on the wire."""

    interface: str
    time_ns: int
    data: bytes
    length: int
    direction: Direction
    comment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """An interface as described: `units` of its packets' time stamps make a second."""

    name: str
    description: str
    linktype: int
    snaplen: int
    units: int
    offset_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What the recorder said of an interface at the end; None where it did not say."""

    received: int | None
    dropped: int | None
    start_ns: int | None
    end_ns: int | None


class Reader:
    """Iterating yields the packets in file order; the attributes grow with the blocks that were passed."""

    def __init__(self, stream: BinaryIO) -> None:
        """Read from `stream`, which need not be seekable.

        Raises: NotACapture when the stream does not begin with a section header.
        """
        self.interfaces: list[Interface] = []
        self.statistics: dict[str, Statistics] = {}
        self.names: dict[str, str] = {}
        self.secrets = b""
        self.application = ""
        self.cut = False
        """After the last packet: the file ends within a block."""
        self.end = 0
        """After the last packet: where the last whole block ends, in bytes."""
        self._stream = stream
        self._section: list[Interface] = []
        self._linktypes: dict[str, int] = {}
        self._other: dict[int, Callable[[bytes], None]] = {}
        self._use_byte_order("<")
        self._buffer = stream.read(_PIECE)
        if (
            self._buffer[:4] != struct.pack("<I", blocks.SECTION_HEADER)[: len(self._buffer)]
            or not self._buffer
        ):
            raise NotACapture("no pcapng file: it does not begin with a section header")

    def __iter__(self) -> Iterator[Packet]:
        """Yield each packet. Raises: NotACapture for damage within the file."""
        for kind, body in self._blocks():
            if kind == blocks.ENHANCED_PACKET:
                yield self._packet(body)
            elif kind == blocks.SIMPLE_PACKET:
                yield self._simple_packet(body)
            elif kind in self._other:
                try:
                    self._other[kind](body)
                except (struct.error, ValueError, IndexError) as error:
                    raise self._damage(f"block of type {kind}: {error}") from error

    def linktype(self, interface: str) -> int:
        """Return the link type of the interface of this name that was described last (1 is Ethernet)."""
        return self._linktypes[interface]

    def _blocks(self) -> Iterator[tuple[int, bytes]]:
        """Yield type and body of each whole block, refilling the buffer as needed."""
        start = 0
        while True:
            buffer = self._buffer
            if len(buffer) - start < 12 and not self._refill(start, 12):
                break
            if buffer is not self._buffer:
                buffer, start = self._buffer, 0
            kind, total = self._head(buffer, start)
            if kind == blocks.SECTION_HEADER:
                self._use_byte_order(self._byte_order(buffer[start + 8 : start + 12]))
                kind, total = self._head(buffer, start)
            if total < 12 or total % 4 or total > _LONGEST_BLOCK:
                raise self._damage(f"a block of {total} bytes")
            if len(buffer) - start < total:
                if not self._refill(start, total):
                    break
                buffer, start = self._buffer, 0
            if buffer[start + total - 4 : start + total] != buffer[start + 4 : start + 8]:
                raise self._damage("a block whose two lengths differ")
            yield kind, buffer[start + 8 : start + total - 4]
            start += total
            self.end += total

    def _refill(self, start: int, wanted: int) -> bool:
        """Have `wanted` bytes from `start` on at the buffer's beginning; False when the file ends first."""
        pieces, size = [self._buffer[start:]], len(self._buffer) - start
        while size < wanted:
            piece = self._stream.read(_PIECE)
            if not piece:
                self.cut = size > 0
                return False
            pieces.append(piece)
            size += len(piece)
        self._buffer = b"".join(pieces)
        return True

    def _byte_order(self, magic: bytes) -> str:
        for order in "<>":
            if magic == struct.pack(f"{order}I", blocks.BYTE_ORDER_MAGIC):
                return order
        raise self._damage("a section header without byte-order magic")

    def _use_byte_order(self, order: str) -> None:
        self._order = order
        self._head = struct.Struct(f"{order}II").unpack_from
        self._packet_head = struct.Struct(f"{order}5I").unpack_from
        self._flags = struct.Struct(f"{order}HHI").unpack
        self._other = {
            blocks.SECTION_HEADER: self._section_header,
            blocks.INTERFACE_DESCRIPTION: self._interface_description,
            blocks.NAME_RESOLUTION: self._name_resolution,
            blocks.DECRYPTION_SECRETS: self._decryption_secrets,
            blocks.INTERFACE_STATISTICS: self._interface_statistics,
        }

    def _damage(self, what: str) -> NotACapture:
        return NotACapture(f"damaged pcapng file: {what} at byte {self.end}")

    def _packet(self, body: bytes) -> Packet:
        try:
            number, high, low, size, length = self._packet_head(body)
            interface = self._section[number]
        except (struct.error, IndexError) as error:
            raise self._damage("a packet of an interface that was not described") from error
        options = 20 + size + -size % 4
        if options > len(body):
            raise self._damage("a packet longer than its block")
        direction: Direction = ""
        comment = ""
        rest = body[options:]
        if len(rest) == 12 and rest[8:] == b"\0\0\0\0" and self._flags(rest[:8])[:2] == (blocks.EPB_FLAGS, 4):
            direction = _direction(self._flags(rest[:8])[2])
        elif rest:
            direction, comment = self._packet_options(rest)
        time_ns = self._time_ns(interface, high << 32 | low)
        return Packet(interface.name, time_ns, body[20 : 20 + size], length, direction, comment)

    def _packet_options(self, rest: bytes) -> tuple[Direction, str]:
        options = self._options(rest)
        flags = self._number(options.get(blocks.EPB_FLAGS)) or 0
        return _direction(flags), _text(options.get(blocks.OPT_COMMENT))

    def _simple_packet(self, body: bytes) -> Packet:
        """A simple packet belongs to the first interface and has no time (§4.4)."""
        if len(body) < 4 or not self._section:
            raise self._damage("a packet of an interface that was not described")
        length: int = struct.unpack_from(f"{self._order}I", body)[0]
        size = min(length, self._section[0].snaplen or length, len(body) - 4)
        return Packet(self._section[0].name, 0, body[4 : 4 + size], length, "", "")

    def _section_header(self, body: bytes) -> None:
        self._section = []
        self.application = _text(self._options(body[16:]).get(blocks.SHB_USERAPPL))

    def _interface_description(self, body: bytes) -> None:
        linktype, _, snaplen = struct.unpack_from(f"{self._order}HHI", body)
        options = self._options(body[8:])
        resolution = options.get(blocks.IF_TSRESOL, b"\x06")[0]
        offset = options.get(blocks.IF_TSOFFSET)
        interface = Interface(
            name=_text(options.get(blocks.IF_NAME)) or f"interface {len(self._section)}",
            description=_text(options.get(blocks.IF_DESCRIPTION)),
            linktype=linktype,
            snaplen=snaplen,
            units=1 << (resolution & 0x7F) if resolution & 0x80 else 10**resolution,
            offset_s=struct.unpack(f"{self._order}q", offset)[0] if offset else 0,
        )
        self._section.append(interface)
        self._linktypes[interface.name] = linktype
        self.interfaces.append(interface)

    def _name_resolution(self, body: bytes) -> None:
        for kind, value in self._records(body):
            size = {blocks.NRB_IPV4: 4, blocks.NRB_IPV6: 16}.get(kind)
            if size:
                address = str(ipaddress.ip_address(value[:size]))
                self.names[address] = _text(value[size:].split(b"\0")[0])

    def _decryption_secrets(self, body: bytes) -> None:
        kind, size = struct.unpack_from(f"{self._order}II", body)
        if kind == blocks.TLS_KEY_LOG:
            self.secrets += body[8 : 8 + size]

    def _interface_statistics(self, body: bytes) -> None:
        interface = self._section[struct.unpack_from(f"{self._order}I", body)[0]]
        options = self._options(body[12:])
        times = []
        for code in (blocks.ISB_STARTTIME, blocks.ISB_ENDTIME):
            value = options.get(code)
            high, low = struct.unpack(f"{self._order}II", value) if value else (0, 0)
            times.append(self._time_ns(interface, high << 32 | low) if value else None)
        self.statistics[interface.name] = Statistics(
            received=self._number(options.get(blocks.ISB_IFRECV)),
            dropped=self._number(options.get(blocks.ISB_IFDROP)),
            start_ns=times[0],
            end_ns=times[1],
        )

    def _time_ns(self, interface: Interface, stamp: int) -> int:
        if interface.units == 1_000_000_000:
            return stamp + interface.offset_s * 1_000_000_000
        return stamp * 1_000_000_000 // interface.units + interface.offset_s * 1_000_000_000

    def _options(self, data: bytes) -> dict[int, bytes]:
        """The options by code; of one that is repeated, the first."""
        options: dict[int, bytes] = {}
        for code, value in self._records(data):
            options.setdefault(code, value)
        return options

    def _records(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        start = 0
        while len(data) - start >= 4:
            code, size = struct.unpack_from(f"{self._order}HH", data, start)
            if code == 0:
                return
            if start + 4 + size > len(data):
                raise self._damage("an option longer than its block")
            yield code, data[start + 4 : start + 4 + size]
            start += 4 + size + -size % 4

    def _number(self, value: bytes | None) -> int | None:
        return int.from_bytes(value, "little" if self._order == "<" else "big") if value else None


@contextmanager
def open_capture(path: str | PathLike[str]) -> Iterator[Reader]:
    """Yield a reader of the file, which is closed afterwards.

    Raises: NotACapture, naming the file; OSError.
    """
    with open(path, "rb", buffering=0) as stream:
        try:
            yield Reader(stream)
        except NotACapture as error:
            raise NotACapture(f"{path}: {error}") from None


def _text(value: bytes | None) -> str:
    return value.decode(errors="replace") if value else ""


def _direction(flags: int) -> Direction:
    number = flags & 3
    return DIRECTIONS[number] if number < len(DIRECTIONS) else ""
