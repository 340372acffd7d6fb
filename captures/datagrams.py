"""Telling the datagrams of a capture from their copies.

Theory of operation. A router changes nothing of a datagram but its time to live and the IP checksum. So the
rest of the headers, with UDP's checksum and the first octets of the data (in DNS the message's id), names a
datagram wherever it is seen. A client that asks again may send the very same octets: what is seen once more
where it was seen first is another datagram. Copies belong to the newest of those: the time after which
clients ask again is longer than a way through the network.

Source: RFC 1812 §5.3.1; RFC 768.
"""

from __future__ import annotations

from captures import wire
from captures.pcapng import Direction
from captures.points import Crossing, Point


class Sent:
    """One datagram on its way; its first crossing is the sender's, in a lab."""

    __slots__ = ("crossings", "data", "frame", "last_ns", "octets", "time_ns")

    def __init__(self, octets: bytes, data: bytes, first: Crossing, frame: int, time_ns: int) -> None:
        self.octets = octets
        self.data = data
        self.crossings = [first]
        self.frame = frame
        self.time_ns = self.last_ns = time_ns

    @property
    def source_host(self) -> str:
        """The sender's host, if the datagram was seen on its way out of there first."""
        return self.crossings[0].host if self.crossings[0].direction == "out" else ""


class Datagrams:
    """All datagrams that were taken, in the order in which they were met."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self._newest: dict[bytes, Sent] = {}

    def take(self, point: Point, direction: Direction, frame: int, time_ns: int, data: bytes) -> None:
        """Take a UDP packet in the layout of `wire`."""
        crossing = point.crossings[direction]
        name = data[26:46] + data[18:20]
        sent = self._newest.get(name)
        if sent is None or crossing is sent.crossings[0]:
            # What the link padded lies behind UDP's own length.
            end = 34 + int.from_bytes(data[38:40], "big")
            sent = Sent(data[26:38], data[wire.SHORTEST : end], crossing, frame, time_ns)
            self._newest[name] = sent
            self.sent.append(sent)
        else:
            sent.crossings.append(crossing)
            sent.last_ns = time_ns
