"""One side's bytes of a connection, read from front to back, with the time and frame of every position."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal, Protocol

from captures.conversations import Piece
from captures.errors import Sealed
from captures.tls import Secrets, open_tls


class Stream:
    """The joined pieces; `position` is how far they have been read."""

    __slots__ = ("_ends", "_pieces", "data", "position")

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self.data = b"".join([piece.data for piece in pieces])
        self._ends = list(accumulate([len(piece.data) for piece in pieces]))
        self.position = 0

    def line(self) -> bytes | None:
        """Return the next line without its end, CRLF or bare LF; None when no whole line is left."""
        start = self.position
        end = self.data.find(b"\n", start)
        if end < 0:
            # What is left is no line, and need not be searched again.
            self.position = len(self.data)
            return None
        self.position = end + 1
        return self.data[start : end - 1 if self.data[end - 1 : end] == b"\r" and end > start else end]

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer at the end."""
        start = self.position
        self.position = min(start + size, len(self.data))
        return self.data[start : self.position]

    @property
    def exhausted(self) -> bool:
        """Whether everything has been read."""
        return self.position >= len(self.data)

    def mark(self) -> tuple[int, int]:
        """Return time and frame of the last byte read; something must have been."""
        piece = self._pieces[bisect_left(self._ends, self.position)]
        return piece.time_ns, piece.frame

    def pieces_from(self, start: int) -> list[Piece]:
        """Return the bytes from `start` on as pieces."""
        index = bisect_left(self._ends, start + 1)
        pieces = list(self._pieces[index:])
        if pieces:
            first = pieces[0]
            skipped = start - (self._ends[index] - len(first.data))
            pieces[0] = first._replace(data=first.data[skipped:])
        return pieces

    def piece_starting_with(self, prefix: bytes) -> int | None:
        """Return where the first piece not before `position` begins that begins with `prefix`."""
        if self.data.startswith(prefix, self.position):
            return self.position
        index = bisect_left(self._ends, self.position)
        starts = (start for start in self._ends[index:] if self.data.startswith(prefix, start))
        return next(starts, None)


class Secured(Protocol):
    """A session, which tells whether its TLS could be opened and, if not, why."""

    tls: Literal["", "opened", "sealed"]
    sealed_reason: str


def open_streams(
    session: Secured, sent: Sequence[Piece], received: Sequence[Piece], secrets: bytes | Secrets
) -> tuple[Stream, Stream] | None:
    """Return the streams inside TLS, None if it stays sealed; the session tells which."""
    try:
        opened = open_tls(sent, received, secrets)
    except Sealed as error:
        session.tls, session.sealed_reason = "sealed", str(error)
        return None
    session.tls = "opened"
    return Stream(opened.sent), Stream(opened.received)
