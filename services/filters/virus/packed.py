"""What gzip, bzip2 and xz have packed, and what packs the members of a zip: expanded piece by piece.

Sizes are what comes out, counted while it does, so the budget ends what grows too much before it is there.
Streams that follow each other are one file; a broken one counts as far as it goes.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What an archive holds: `encrypted` tells that `data` cannot be read."""

    name: str
    data: bytes
    encrypted: bool = False


class Decompressor(Protocol):
    """What bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


class Zlib:
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


def gzip(data: bytes, budget: Budget) -> Iterator[Member]:
    """Yield what gzip has packed (RFC 1952)."""
    return _streams(data, budget, partial(Zlib, 31))


def bzip2(data: bytes, budget: Budget) -> Iterator[Member]:
    """Yield what bzip2 has packed."""
    return _streams(data, budget, bz2.BZ2Decompressor)


def xz(data: bytes, budget: Budget) -> Iterator[Member]:
    """Yield what xz has packed; what takes more than 64 MB of memory to unpack is not read."""
    return _streams(data, budget, partial(lzma.LZMADecompressor, memlimit=_LZMA_MEMORY))


def _streams(data: bytes, budget: Budget, new: Callable[[], Decompressor]) -> Iterator[Member]:
    """Yield what streams that follow each other expand to, together: so do programs that unpack them."""
    found, at = [], 0
    while at < len(data):
        piece, end = expand(data, at, new(), budget)
        if not piece and end in (at, len(data)):
            break
        found.append(piece)
        at = end
    yield Member(name="", data=b"".join(found))


def expand(data: bytes, start: int, stream: Decompressor, budget: Budget) -> tuple[bytes, int]:
    """Return what the stream there expands to, as far as it can be read, and where it ends.

    Raises: LimitExceeded.
    """
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
