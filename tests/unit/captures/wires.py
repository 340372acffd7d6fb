"""Packets made by hand, and captures made of them."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable

from captures import pcapng, wire
from captures.conversations import PORTS, Conversations, Piece, read_conversations
from captures.pcapng import Direction, Reader

CLIENT, SERVER = "198.18.0.1", "198.18.0.2"
START_NS = 1_795_000_000_000_000_000
SYN, ACK, FIN, RST, PSH = wire.SYN, wire.ACK, wire.FIN, wire.RST, 0x08
ISN, SERVER_ISN = 1000, 5000
Seen = tuple[str, Direction]
"""An interface, and which way a packet crossed it."""


def packed(address: str) -> bytes:
    """The four octets of an address."""
    return bytes(map(int, address.split(".")))


def ip(
    source: str,
    destination: str,
    protocol: int,
    payload: bytes,
    *,
    ident: int = 7,
    fragment: int = 0x4000,
    options: bytes = b"",
) -> bytes:
    """An IPv4 packet, from its header on."""
    words = 5 + len(options) // 4
    total = 4 * words + len(payload)
    head = struct.pack(">BBHHHBBH", 0x40 | words, 0, total, ident, fragment, 64, protocol, 0)
    return head + packed(source) + packed(destination) + options + payload


def ethernet(packet: bytes, tags: bytes = b"") -> bytes:
    """An IPv4 packet in Ethernet, VLAN tags before it."""
    return bytes(range(12)) + tags + b"\x08\x00" + packet


def segment(
    source: str = CLIENT,
    destination: str = SERVER,
    *,
    ports: tuple[int, int] = (40000, 25),
    flags: int = ACK,
    seq: int = ISN + 1,
    ack: int = SERVER_ISN + 1,
    data: bytes = b"",
    ident: int = 7,
) -> bytes:
    """A TCP segment in IPv4 in Ethernet, with the usual options."""
    options = b"\x01\x01\x08\x0a" + bytes(8)
    head = struct.pack(">HHIIBBHHH", *ports, seq % 2**32, ack % 2**32, 8 << 4, flags, 65535, 0, 0)
    return ethernet(ip(source, destination, wire.TCP, head + options + data, ident=ident))


def client(
    flags: int = ACK, seq: int = ISN + 1, data: bytes = b"", ack: int = SERVER_ISN + 1, ident: int = 7
) -> bytes:
    """A segment of the client."""
    return segment(flags=flags, seq=seq, ack=ack, data=data, ident=ident)


def server(
    flags: int = ACK, seq: int = SERVER_ISN + 1, data: bytes = b"", ack: int = ISN + 1, ident: int = 7
) -> bytes:
    """A segment of the server."""
    return segment(SERVER, CLIENT, ports=(25, 40000), flags=flags, seq=seq, ack=ack, data=data, ident=ident)


def opening() -> list[bytes]:
    """The three segments that open the connection."""
    return [client(SYN, ISN, ack=0), server(SYN | ACK, SERVER_ISN), client()]


def datagram(
    source: str = CLIENT,
    destination: str = SERVER,
    *,
    ports: tuple[int, int] = (40000, 53),
    data: bytes = b"\x12\x34\x01\x00question",
    ident: int = 7,
) -> bytes:
    """A UDP datagram in IPv4 in Ethernet."""
    # A checksum that depends on the data as the real one does.
    head = struct.pack(">HHHH", *ports, 8 + len(data), sum(data) & 0xFFFF)
    return ethernet(ip(source, destination, wire.UDP, head + data, ident=ident))


class Wire:
    """A capture in the making, at these interfaces; packets follow each other by one microsecond."""

    def __init__(self, *interfaces: str, linktype: int = 1, names: dict[str, str] | None = None) -> None:
        self.interfaces = interfaces
        self.packets = 0
        self._blocks = [pcapng.section_header()]
        self._blocks += [pcapng.interface(name, linktype=linktype) for name in interfaces]
        self._blocks.append(pcapng.name_resolution(names or {}))

    def cross(self, frame: bytes, *way: Seen, snaplen: int = 65535) -> Wire:
        """Have the packet seen at each of these interfaces in turn."""
        for interface, direction in way:
            self.packets += 1
            time_ns = START_NS + self.packets * 1000
            number = self.interfaces.index(interface)
            self._blocks.append(pcapng.packet(number, time_ns, frame[:snaplen], len(frame), direction))
        return self

    def add(self, block: bytes) -> Wire:
        """Append a block of another kind."""
        self._blocks.append(block)
        return self

    def bytes(self) -> bytes:
        """The file."""
        return b"".join(self._blocks)

    def read(self, *, ports: frozenset[int] = PORTS) -> Conversations:
        """What is read from it."""
        return read_conversations(Reader(io.BytesIO(self.bytes())), ports=ports)


def at_one_interface(frames: Iterable[bytes], *, linktype: int = 1, snaplen: int = 65535) -> Conversations:
    """What is read from these packets as a sniffer at one interface writes them: no directions, no names."""
    capture = Wire("eth0", linktype=linktype)
    for frame in frames:
        capture.cross(frame, ("eth0", ""), snaplen=snaplen)
    return capture.read()


def said(pieces: Iterable[Piece]) -> bytes:
    """The bytes of a stream."""
    return b"".join(piece.data for piece in pieces)
