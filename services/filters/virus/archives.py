"""What archives hold: zip, tar, and what gzip, bzip2 and xz have packed, read by hand.

Theory of operation. The standard library's readers believe what an archive says of itself: its directory,
sizes, names. Here only the data count. Names are for the report alone (`../../etc/passwd` is one like any
other: nothing is ever written), sizes are what comes out, counted while it does, and the budget ends what
grows too much.

    zip      from one local header to the next, directory or not, and wherever the directory points besides
    tar      from header to header, in blocks of 512 octets
    packed   one stream after the other; a broken one counts as far as it goes

What is not read here (rar, 7z, other methods of zip) is only looked at as it is.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from services.filters.virus.limits import MIB, Budget

_PIECE = MIB
_FED = 1 << 16
_LZMA_MEMORY = 64 * MIB
_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_LOCAL_LENGTH, _CENTRAL_LENGTH = 30, 46
_ENCRYPTED, _SIZE_FOLLOWS = 0x1, 0x8
_DEFLATED, _BZIP2 = 8, 12
_NEWEST, _LAST_METHOD = 63, 99
_BLOCK = 512
_TAR_DATA = b"\x00" + b"01234567SDg"  # all kinds whose data may be somebody's file
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What an archive holds: `encrypted` tells that `data` cannot be read."""

    name: str
    data: bytes
    encrypted: bool = False


class _Decompressor(Protocol):
    """What bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


class _Zlib:
    """zlib as the others are: it keeps what it has been given and has not taken yet."""

    def __init__(self, wbits: int) -> None:
        self._stream = zlib.decompressobj(wbits)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        return not self._stream.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int = _PIECE) -> bytes:
        return self._stream.decompress(self._stream.unconsumed_tail + data, max_length)


Opener = Callable[[bytes, Budget], Iterator[Member]]


def opener(data: bytes) -> tuple[str, Opener] | None:
    """Return the format that data have, by what they hold, and what opens it; None if it is no archive."""
    if data.startswith(b"\x1f\x8b"):
        return "gzip", _gzip
    if data.startswith(b"BZh") and data[4:10] in (b"\x31\x41\x59\x26\x53\x59", b"\x17\x72\x45\x38\x50\x90"):
        return "bzip2", _bzip2
    if data.startswith(b"\xfd7zXZ\x00"):
        return "xz", _xz
    if data[257:262] == b"ustar":
        return "tar", _tar
    if data.startswith((_LOCAL, b"PK00PK\x03\x04")) or _END in data[-66_000:]:
        return "zip", _zip
    return None


def _gzip(data: bytes, budget: Budget) -> Iterator[Member]:
    return _streams(data, budget, partial(_Zlib, 31))


def _bzip2(data: bytes, budget: Budget) -> Iterator[Member]:
    return _streams(data, budget, bz2.BZ2Decompressor)


def _xz(data: bytes, budget: Budget) -> Iterator[Member]:
    return _streams(data, budget, partial(lzma.LZMADecompressor, memlimit=_LZMA_MEMORY))


def _streams(data: bytes, budget: Budget, new: Callable[[], _Decompressor]) -> Iterator[Member]:
    """Yield what streams that follow each other expand to, together: so do programs that unpack them."""
    found, at = [], 0
    while at < len(data):
        piece, end = _expand(data, at, new(), budget)
        if not piece and end in (at, len(data)):
            break
        found.append(piece)
        at = end
    yield Member(name="", data=b"".join(found))


def _expand(data: bytes, start: int, stream: _Decompressor, budget: Budget) -> tuple[bytes, int]:
    """Return what the stream there expands to, as far as it can be read, and where it ends."""
    found: list[bytes] = []
    size, at = 0, start
    while not stream.eof:
        given = data[at : at + _FED] if stream.needs_input else b""
        at += len(given)
        try:
            piece = stream.decompress(given, _PIECE)
        except (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError):
            return b"".join(found), len(data)
        if not piece and not given and not stream.eof:
            # All of it was given, and nothing comes any more: the end lacks.
            return b"".join(found), len(data)
        size += len(piece)
        budget.spend(len(piece), expanded=size, packed=at - start)
        found.append(piece)
    return b"".join(found), at - len(stream.unused_data)


def _tar(data: bytes, budget: Budget) -> Iterator[Member]:
    at = 0
    while at + _BLOCK <= len(data):
        header = data[at : at + _BLOCK]
        budget.tick()
        size = _tar_size(header[124:136])
        at += _BLOCK
        if header[156:157] in _TAR_DATA and size:
            name = header[:100].rstrip(b"\0").decode("utf-8", "replace")
            found = data[at : at + size]
            budget.spend(len(found), expanded=len(found), packed=len(found))
            yield Member(name=name, data=found)
        at += -(-size // _BLOCK) * _BLOCK


def _tar_size(field: bytes) -> int:
    """A size in octal digits, or in binary with the first bit set; 0 for one that makes no sense."""
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    try:
        return max(int(field.strip(b" \0") or b"0", 8), 0)
    except ValueError:
        return 0


def _zip(data: bytes, budget: Budget) -> Iterator[Member]:
    pending = _listed(data)
    at = data.find(_LOCAL)
    while at >= 0:
        budget.tick()
        pending.discard(at)
        member, end = _zip_member(data, at, budget)
        if member is not None:
            yield member
        at = data.find(_LOCAL, end)
    # What the directory names but lies in another member.
    for start in sorted(pending):
        if data.startswith(_LOCAL, start):
            member, _ = _zip_member(data, start, budget)
            if member is not None:
                yield member


def _listed(data: bytes) -> set[int]:
    """The places of local headers that the directory names."""
    found: set[int] = set()
    at = data.find(_CENTRAL)
    while 0 <= at <= len(data) - _CENTRAL_LENGTH:
        found.add(int.from_bytes(data[at + 42 : at + 46], "little"))
        at = data.find(_CENTRAL, at + _CENTRAL_LENGTH)
    return found


def _zip_member(data: bytes, at: int, budget: Budget) -> tuple[Member | None, int]:
    """Return the member whose local header is there, if it can be read, and where to look on."""
    header = data[at : at + _LOCAL_LENGTH]
    if len(header) < _LOCAL_LENGTH:
        return None, len(data)
    version, flags, method = (int.from_bytes(header[place : place + 2], "little") for place in (4, 6, 8))
    if version & 0xFF > _NEWEST or method > _LAST_METHOD:
        # Four octets that are there by chance.
        return None, at + len(_LOCAL)
    size = int.from_bytes(header[18:22], "little")
    length, extra = (int.from_bytes(header[place : place + 2], "little") for place in (26, 28))
    name = data[at + _LOCAL_LENGTH : at + _LOCAL_LENGTH + length].decode("utf-8", "replace")[:_LONGEST_NAME]
    start = at + _LOCAL_LENGTH + length + extra
    if flags & _ENCRYPTED:
        return Member(name=name, data=b"", encrypted=True), start + size
    if name.endswith("/") and not size:
        return None, start
    if method in (_DEFLATED, _BZIP2):
        stream = _Zlib(-15) if method == _DEFLATED else bz2.BZ2Decompressor()
        found, end = _expand(data, start, stream, budget)
        # The end of a broken one is not known: then the next may begin anywhere.
        return Member(name=name, data=found), end if stream.eof else start
    if flags & _SIZE_FOLLOWS and not size:
        end = data.find(b"PK\x07\x08", start)
        size = (end if end >= 0 else len(data)) - start
    found = data[start : start + size]
    budget.spend(len(found), expanded=len(found), packed=len(found))
    return Member(name=name, data=found), start + len(found)
