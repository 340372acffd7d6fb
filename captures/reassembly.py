"""One direction of a TCP connection as a stream: each byte once, in order.

Theory of operation. A segment is

    the next one        appended
    old, or partly so   a retransmission: what is new of it is appended
    early               kept aside until the bytes before it come; most often these are on their way

Sequence numbers are of 32 bits and wrap (RFC 9293 §3.4): each is taken for the one nearest to the next
expected, and counted on without bound. Nothing in flight is further ahead than the largest window, 1 GiB
(RFC 7323 §2.2): what is, comes from another connection or was forged, and is no gap.

A recorder may lose packets, so that bytes are missing here that did cross the wire. It is certain when the
other side acknowledges them. Then they are taken from the spare segments, which were seen elsewhere on the
way; where nobody has seen them either there is a gap, and the stream ends before it.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Final, NamedTuple

_HALF: Final = 1 << 31
_ALL: Final = (1 << 32) - 1
_LARGEST_WINDOW: Final = 1 << 30


class Piece(NamedTuple):
    """Bytes that one side sent, in stream order, each byte of the stream in one piece alone.

    Time and frame number (from 1) are those of the packet with which the bytes could be read: their own,
    when they came early, of the one that filled the hole before them. So both never decrease.
    """

    time_ns: int
    frame: int
    data: bytes


class Stream:
    """What one side sent."""

    __slots__ = ("_acknowledged", "_early", "_next", "_spare", "pieces")

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self._next: int | None = None
        self._acknowledged = 0
        self._early: list[tuple[int, bytes]] = []
        self._spare: list[tuple[int, bytes]] = []

    def begin(self, sequence: int) -> None:
        """Have the stream begin with the byte of this sequence number, unless it has begun."""
        if self._next is None:
            self._next = sequence

    def add(self, time_ns: int, frame: int, sequence: int, data: bytes) -> None:
        """Take a segment; the first one of a stream that has not begun is its beginning."""
        if self._next is None:
            self._next = sequence
        ahead = _distance(self._next, sequence)
        if ahead > 0:
            if ahead <= _LARGEST_WINDOW:
                heappush(self._early, (self._next + ahead, data))
            return
        if ahead:
            data = data[-ahead:]
        if data:
            self.pieces.append(Piece(time_ns, frame, data))
            self._next += len(data)
            if self._early:
                self._fill(time_ns, frame)

    def add_spare(self, sequence: int, data: bytes) -> None:
        """Keep a segment that was seen elsewhere until it is known not to be missing here."""
        following = self._next
        if following is None:
            return
        ahead = _distance(following, sequence)
        if -len(data) < ahead <= _LARGEST_WINDOW:
            heappush(self._spare, (following + ahead, data))
        while self._spare and self._spare[0][0] + len(self._spare[0][1]) <= following:
            heappop(self._spare)

    def acknowledge(self, time_ns: int, frame: int, sequence: int) -> None:
        """Take note that the other side has all bytes before this sequence number."""
        if self._next is None:
            return
        ahead = _distance(self._next, sequence)
        if 0 < ahead <= _LARGEST_WINDOW:
            self._acknowledged = max(self._acknowledged, self._next + ahead)
            while self._spare and self._spare[0][0] < self._acknowledged:
                heappush(self._early, heappop(self._spare))
            self._fill(time_ns, frame)

    @property
    def gap(self) -> bool:
        """Whether bytes were sent that no packet shows: the pieces end before them."""
        # One more is acknowledged than there are bytes when the stream was ended.
        return bool(self._early) or (self._next is not None and self._acknowledged > self._next + 1)

    def _fill(self, time_ns: int, frame: int) -> None:
        """Append what came early and is not early any more."""
        early = self._early
        following = self._next or 0
        while early and early[0][0] <= following:
            begin, data = heappop(early)
            rest = data[following - begin :]
            if rest:
                self.pieces.append(Piece(time_ns, frame, rest))
                following += len(rest)
        self._next = following


def _distance(origin: int, sequence: int) -> int:
    """How far ahead of `origin` the nearest number is that ends in these 32 bits; negative: behind."""
    return ((sequence - origin + _HALF) & _ALL) - _HALF
