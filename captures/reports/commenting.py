"""Comments put on packets within a pcapng stream; every other byte stays as it is.

Theory of operation. Only packets that get a comment are made anew. The stream is walked block by block, by
lengths alone, and what lies between two such packets goes out in one slice:

    in     block block PACKET block block block block PACKET …
    out    └─ slice ─┘ made   └──────── slice ──────┘ made

A block that grows says so in both of its lengths. A section that tells its own length would be wrong then: it
becomes "not known", which the format allows. A packet that has the comment already is left alone, so writing
comments twice is the same as once; what others wrote on a packet stays.

Packets are counted as captures.pcapng.Reader yields them: enhanced and simple ones, from 1, over all
sections. Simple packets have no room for a comment (§4.4). A recorder may be killed at any moment, so a
stream may end within a block: those bytes are passed on.

Source: draft-ietf-opsawg-pcapng §3.1, §3.5, §4.1, §4.3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import BinaryIO, Final

from captures.errors import NotACapture
from captures.pcapng import blocks

_PIECE: Final = 1 << 20
_LONGEST_BLOCK: Final = 1 << 26
_LONGEST_COMMENT: Final = 0xFFFF
_NOT_KNOWN: Final = b"\xff" * 8
_BYTE_ORDERS: Final = {struct.pack(f"{order}I", blocks.BYTE_ORDER_MAGIC): order for order in "<>"}


class Commented:
    """The stream's bytes with comments on some packets; `added` counts those that were not there before."""

    def __init__(self, stream: BinaryIO, comments: Mapping[int, str]) -> None:
        """Read from `stream`, which need not be seekable; `comments` are by packet number, from 1."""
        self.added = 0
        self._stream = stream
        self._comments = comments
        self._numbers = iter(sorted(number for number in comments if number > 0))
        self._wanted = next(self._numbers, 0)
        """The next packet to get a comment; 0 when there is none left."""
        self._packets = 0
        self._passed = 0
        self._use_byte_order("<")

    def __iter__(self) -> Iterator[bytes | memoryview]:
        """Yield the bytes in pieces. Raises: NotACapture, when some of them may be out already."""
        buffer = b""
        while len(buffer) < 4 and (piece := self._stream.read(_PIECE)):
            buffer += piece
        if buffer[:4] != struct.pack("<I", blocks.SECTION_HEADER):
            raise NotACapture("no pcapng file: it does not begin with a section header")
        while self._wanted:
            pieces: list[bytes | memoryview] = []
            done, missing = self._walk(buffer, pieces)
            yield from pieces
            self._passed += done
            more = self._stream.read(max(_PIECE, missing))
            buffer = buffer[done:] + more
            if not more:
                break
        while buffer:
            yield buffer
            buffer = self._stream.read(_PIECE)

    def _walk(self, buffer: bytes, pieces: list[bytes | memoryview]) -> tuple[int, int]:
        """Take the whole blocks of `buffer`, up to the last packet that is wanted.

        Return their size, and how many bytes the next one lacks.
        """
        # This runs for each packet: names are local, and what needs no change is only stepped over.
        view, size, head = memoryview(buffer), len(buffer), self._head
        packets, wanted = self._packets, self._wanted
        start = taken = missing = 0
        while wanted and size - start >= 12:
            kind, total = head(buffer, start)
            if kind == blocks.SECTION_HEADER:
                self._use_byte_order(_BYTE_ORDERS.get(buffer[start + 8 : start + 12], ""), start)
                head = self._head
                total = head(buffer, start)[1]
            end = start + total
            if total < 12 or total & 3 or total > _LONGEST_BLOCK:
                raise self._damage(f"a block of {total} bytes", start)
            if end > size:
                missing = end - size
                break
            if buffer[end - 4 : end] != buffer[start + 4 : start + 8]:
                raise self._damage("a block whose two lengths differ", start)
            if kind == blocks.ENHANCED_PACKET or kind == blocks.SIMPLE_PACKET:
                packets += 1
                changed = packets == wanted
            else:
                changed = kind == blocks.SECTION_HEADER
            if changed:
                pieces += (view[taken:start], self._changed(kind, buffer[start:end], start))
                taken, wanted = end, self._wanted
            start = end
        pieces.append(view[taken:start])
        self._packets = packets
        return start, missing

    def _changed(self, kind: int, block: bytes, start: int) -> bytes:
        """A section header, or the packet that is wanted, as it goes out."""
        if kind == blocks.SECTION_HEADER:
            return block[:16] + _NOT_KNOWN + block[24:]
        comment = self._comments[self._wanted]
        self._wanted = next(self._numbers, 0)
        return block if kind == blocks.SIMPLE_PACKET else self._with_comment(block, comment, start)

    def _with_comment(self, block: bytes, comment: str, start: int) -> bytes:
        try:
            options, end = self._options(block)
        except struct.error:
            raise self._damage("a packet longer than its block", start) from None
        text = comment.encode(errors="replace")[:_LONGEST_COMMENT].decode(errors="ignore").encode()
        if not text or (blocks.OPT_COMMENT, text) in options:
            return block
        self.added += 1
        option = struct.pack(f"{self._order}HH", blocks.OPT_COMMENT, len(text)) + text + bytes(-len(text) % 4)
        # What stands at `end` is the end of the options, if there is one, and the second length.
        body = block[8:end] + option + (block[end:-4] or bytes(4))
        total = struct.pack(f"{self._order}I", 12 + len(body))
        return block[:4] + total + body + total

    def _options(self, block: bytes) -> tuple[list[tuple[int, bytes]], int]:
        """A packet's options, and where they end."""
        size: int = struct.unpack_from(f"{self._order}I", block, 20)[0]
        place = 28 + size + -size % 4
        options = []
        while place < len(block) - 4:
            code, length = struct.unpack_from(f"{self._order}HH", block, place)
            if code == 0:
                break
            options.append((code, block[place + 4 : place + 4 + length]))
            place += 4 + length + -length % 4
        if place > len(block) - 4:
            raise struct.error
        return options, place

    def _use_byte_order(self, order: str, start: int = 0) -> None:
        if not order:
            raise self._damage("a section header without byte-order magic", start)
        self._order = order
        self._head = struct.Struct(f"{order}II").unpack_from

    def _damage(self, what: str, start: int) -> NotACapture:
        return NotACapture(f"damaged pcapng file: {what} at byte {self._passed + start}")
