"""The blocks of a pcapng file, each as bytes.

Theory of operation. A file is a row of blocks; each is

    type, total length, body padded to 32 bits, total length once more

so that a reader skips what it does not know and sees at once where a file was cut. Order matters:

    section header          first; it tells the byte order, which is little-endian here
    interface description   before the first packet of that interface; packets name it by its place, from 0
    name resolution         anywhere
    decryption secrets      before the packets that they open, or a one-pass reader cannot use them
    enhanced packet         one a packet; time stamps are in nanoseconds here
    interface statistics    last: what was received and dropped

Everything is a pure function from values to bytes. `packet` runs for each packet on the wire and is written
for speed: the part of a block that depends on its size and direction alone is made once.

Source: draft-ietf-opsawg-pcapng §4.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal, get_args

SECTION_HEADER: Final = 0x0A0D0D0A
INTERFACE_DESCRIPTION: Final = 1
SIMPLE_PACKET: Final = 3
NAME_RESOLUTION: Final = 4
INTERFACE_STATISTICS: Final = 5
ENHANCED_PACKET: Final = 6
DECRYPTION_SECRETS: Final = 10

BYTE_ORDER_MAGIC: Final = 0x1A2B3C4D
TLS_KEY_LOG: Final = 0x544C534B
ETHERNET: Final = 1

OPT_COMMENT: Final = 1
SHB_HARDWARE: Final = 2
SHB_OS: Final = 3
SHB_USERAPPL: Final = 4
IF_NAME: Final = 2
IF_DESCRIPTION: Final = 3
IF_TSRESOL: Final = 9
IF_TSOFFSET: Final = 14
EPB_FLAGS: Final = 2
ISB_STARTTIME: Final = 2
ISB_ENDTIME: Final = 3
ISB_IFRECV: Final = 4
ISB_IFDROP: Final = 5
ISB_USRDELIV: Final = 8
NRB_IPV4: Final = 1
NRB_IPV6: Final = 2

_LONGEST_OPTION: Final = 0xFFFF

Direction = Literal["", "in", "out"]
"""Which way a packet crossed its interface: into the host, out of it, or not known."""

DIRECTIONS: Final[tuple[Direction, ...]] = get_args(Direction)
"""The directions by their number in epb_flags (§4.3.1)."""

_packet_head = struct.Struct("<7I").pack
_packet_interface = struct.Struct("<8xI").unpack_from
_join = b"".join


def section_header(*, hardware: str = "", system: str = "", application: str = "") -> bytes:
    """Return the block that opens a file; the texts say on what, under what and by what it was captured."""
    texts = ((SHB_HARDWARE, hardware), (SHB_OS, system), (SHB_USERAPPL, application))
    # The section's length is not known while it is being written: -1 (§4.1).
    body = struct.pack("<IHHq", BYTE_ORDER_MAGIC, 1, 0, -1)
    return _block(SECTION_HEADER, body + _options(*_texts(*texts)))


def interface(name: str, *, description: str = "", snaplen: int = 0, linktype: int = ETHERNET) -> bytes:
    """Return the description of the next interface, whose packets' times are in nanoseconds.

    `snaplen` 0 means that packets are captured whole.
    """
    body = struct.pack("<HHI", linktype, 0, snaplen)
    options = [*_texts((IF_NAME, name), (IF_DESCRIPTION, description)), (IF_TSRESOL, b"\x09")]
    return _block(INTERFACE_DESCRIPTION, body + _options(*options))


def name_resolution(names: Mapping[str, str]) -> bytes:
    """Return the block that gives each address of `names` (IPv4 or IPv6, as text) its host name."""
    records = []
    for text, name in names.items():
        address = ipaddress.ip_address(text)
        kind = NRB_IPV4 if address.version == 4 else NRB_IPV6
        records.append(_option(kind, address.packed + name.encode() + b"\0"))
    return _block(NAME_RESOLUTION, b"".join(records) + _END_OF_OPTIONS)


def secrets(key_log: bytes) -> bytes:
    """Return the block that opens the TLS sessions whose lines stand in `key_log` (NSS key log format)."""
    return _block(DECRYPTION_SECRETS, struct.pack("<II", TLS_KEY_LOG, len(key_log)) + _padded(key_log))


def packet(
    interface: int, time_ns: int, data: bytes, length: int, direction: Direction = "", comment: str = ""
) -> bytes:
    """Return the block of one packet.

    `interface` is the interface's place among the descriptions, from 0; `time_ns` counts from 1970;
    `length` is the size on the wire, of which `data` may be the first part only.
    """
    size = len(data)
    total, tail = _packet_tail(size, direction) if not comment else _commented_tail(size, direction, comment)
    head = _packet_head(ENHANCED_PACKET, total, interface, time_ns >> 32, time_ns & 0xFFFFFFFF, size, length)
    return _join((head, data, tail))


def packet_interface(block: bytes) -> int | None:
    """Return the interface that a block made by `packet` belongs to; None for any other block."""
    if int.from_bytes(block[:4], "little") != ENHANCED_PACKET:
        return None
    number: int = _packet_interface(block)[0]
    return number


def statistics(
    interface: int, time_ns: int, *, start_ns: int, end_ns: int, received: int, dropped: int
) -> bytes:
    """Return the block that says what an interface saw from `start_ns` to `end_ns`.

    `received` counts all packets, also the `dropped` ones, which are not in the file.
    """
    body = struct.pack("<III", interface, *_time(time_ns))
    options = (
        (ISB_STARTTIME, struct.pack("<II", *_time(start_ns))),
        (ISB_ENDTIME, struct.pack("<II", *_time(end_ns))),
        (ISB_IFRECV, struct.pack("<Q", received)),
        (ISB_IFDROP, struct.pack("<Q", dropped)),
        (ISB_USRDELIV, struct.pack("<Q", max(0, received - dropped))),
    )
    return _block(INTERFACE_STATISTICS, body + _options(*options))


@lru_cache(maxsize=8192)
def _packet_tail(size: int, direction: Direction) -> tuple[int, bytes]:
    """Total length of a packet's block, and all that follows its data."""
    return _tail(size, [(EPB_FLAGS, struct.pack("<I", DIRECTIONS.index(direction)))] if direction else [])


def _commented_tail(size: int, direction: Direction, comment: str) -> tuple[int, bytes]:
    flags = [(EPB_FLAGS, struct.pack("<I", DIRECTIONS.index(direction)))] if direction else []
    return _tail(size, [*_texts((OPT_COMMENT, comment)), *flags])


def _tail(size: int, options: list[tuple[int, bytes]]) -> tuple[int, bytes]:
    rest = bytes(-size % 4) + _options(*options)
    total = 28 + size + len(rest) + 4
    return total, rest + struct.pack("<I", total)


def _block(kind: int, body: bytes) -> bytes:
    total = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + total + body + total


_END_OF_OPTIONS: Final = bytes(4)


def _options(*options: tuple[int, bytes]) -> bytes:
    return b"".join(_option(code, value) for code, value in options) + _END_OF_OPTIONS if options else b""


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _texts(*texts: tuple[int, str]) -> list[tuple[int, bytes]]:
    """The options for those texts that are not empty; one that is too long is cut between characters."""
    return [
        (code, text.encode()[:_LONGEST_OPTION].decode(errors="ignore").encode())
        for code, text in texts
        if text
    ]


def _padded(value: bytes) -> bytes:
    return value + bytes(-len(value) % 4)


def _time(time_ns: int) -> tuple[int, int]:
    """A time stamp as the file has it: the upper half first, in either byte order (§4.3)."""
    return time_ns >> 32, time_ns & 0xFFFFFFFF
