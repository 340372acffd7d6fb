"""Following TCP connections through packets that are seen at many interfaces.

Theory of operation. A connection is read in one place alone, the host where its first packet was seen first:
in a lab the client itself. The same packets at all other interfaces are copies. Most packets of a capture
are, and they are told by one look into a dictionary (`halves`, by the flow's octets) and one comparison.
Only a SYN is of interest everywhere: its copies are the path. And at the server's end the bytes are looked
at, in case that the recorder has lost some at the client's.

    SYN                          a new connection, unless its sequence number is that of the one we know: then
                                 sent again (at the first interface once more) or a copy (elsewhere)
    SYN-ACK                      established, once the client has it; where it is seen first, the server is
    RST, ICMP unreachable        refused before the SYN-ACK, reset after it, unless a side was done (FIN)
    anything of no connection    one that was open before the capture began: the higher port is the client's

So a port that is used again makes a new connection.

Source: RFC 9293 §3.5, §3.6; RFC 1122 §4.2.3.9.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import Final, Literal, NamedTuple

from captures import wire
from captures.pcapng import Direction
from captures.points import Crossing, Point
from captures.reassembly import Piece, Stream

End = Literal["open", "closed", "reset", "refused", "unanswered"]

_fields = struct.Struct(">16xH20xIIBB").unpack_from
_QUOTED: Final = 70
"""The size of an ICMP message that quotes IP and TCP as far as the sequence number (RFC 792)."""
_TOO_BIG: Final = 4
"""The ICMP code by which a router asks for smaller packets (RFC 1191): no refusal."""


class _Header(NamedTuple):
    """The fields of a packet in the layout of `wire` that matter here."""

    total: int
    sequence: int
    acknowledged: int
    offset: int
    flags: int


class Half:
    """What one side of a connection sends.

    `place` is where the connection is read, `spare` the server's end, where it may be looked up.
    """

    __slots__ = ("finished", "flow", "heard", "peer", "place", "spare", "stream")

    peer: Half

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.place = flow.place
        self.spare = ""
        self.stream = Stream() if flow.kept else None
        self.heard = False
        self.finished = False

    def begin(self, sequence: int) -> None:
        """Have its bytes begin with this sequence number."""
        if self.stream:
            self.stream.begin(sequence)

    @property
    def pieces(self) -> list[Piece]:
        """The bytes, as far as there is no gap; none where they are not kept."""
        return self.stream.pieces if self.stream else []


class Flow:
    """One connection; `octets` are those that name its client's packets."""

    def __init__(self, octets: bytes, first: Crossing, place: str, *, kept: bool) -> None:
        self.octets = octets
        self.first = first
        self.place = place
        self.kept = kept
        self.frame = self.opened_ns = self.last_frame = self.last_ns = 0
        self.established_ns: int | None = None
        self.isn: int | None = None
        """The SYN's sequence number; None for a connection that was open before the capture began."""
        self.isn_before: int | None = None
        """That of the connection before it with the same ports, whose copies may still be on their way."""
        self.refused = self.reset = False
        self.tries: list[list[Crossing]] = []
        """Where each transmission of the SYN was seen."""
        self.answer: Crossing | None = None
        """Where the SYN-ACK was seen first."""
        self.client, self.server = Half(self), Half(self)
        self.client.peer, self.server.peer = self.server, self.client

    def seen(self, frame: int, time_ns: int) -> None:
        """Take note of a packet seen where the connection is read."""
        if not self.frame:
            self.frame, self.opened_ns = frame, time_ns
        self.last_frame, self.last_ns = frame, time_ns

    @property
    def client_host(self) -> str:
        """The client's host, if its first packet was seen on its way out of there."""
        return self.first.host if self.tries and self.first.direction == "out" else ""

    @property
    def server_host(self) -> str:
        """The server's host, if its SYN-ACK was seen on its way out of there."""
        return self.answer.host if self.answer and self.answer.direction == "out" else ""

    @property
    def crossings(self) -> list[Crossing]:
        """Where the transmission of the SYN that got furthest was seen."""
        return max(self.tries, key=len, default=[self.first])

    @property
    def gap(self) -> bool:
        """Whether bytes are missing, those before the capture began included."""
        streams = [half.stream for half in (self.client, self.server) if half.stream]
        return bool(streams) and (self.isn is None or any(stream.gap for stream in streams))

    @property
    def end(self) -> End:
        """How it ended.

        It is closed when one side has said that it is done: if more comes then, the answer may well be RST.
        """
        if self.isn is not None and self.established_ns is None and not self.server.heard:
            return "refused" if self.refused else "unanswered"
        if self.reset:
            # A SYN-ACK that comes when the client has been told "unreachable" is answered by RST.
            return "refused" if self.refused else "reset"
        return "closed" if self.client.finished or self.server.finished else "open"


class Flows:
    """All TCP connections of a capture, in the order in which they were met."""

    def __init__(self, ports: Collection[int]) -> None:
        """Keep the bytes of connections to a server port among `ports`."""
        self.flows: list[Flow] = []
        self.halves: dict[bytes, Half] = {}
        """By octets 26 to 38 of its packets: the half, of the newest connection, that sends them."""
        self._ports = ports

    def take(self, point: Point, direction: Direction, frame: int, time_ns: int, data: bytes) -> None:
        """Take a packet that is no mere copy: one of this place, of no connection, or with SYN set."""
        header = _Header(*_fields(data))
        half = self.halves.get(data[26:38])
        if header.flags & wire.SYN:
            half = self._synchronize(half, data[26:38], header, point.crossings[direction], point.place)
        elif half is None and not header.flags & wire.RST:
            half = self._begun_before(data[26:38], point.crossings[direction], point.place)
        if half is None or half.place != point.place:
            return
        half.flow.seen(frame, time_ns)
        if header.flags & wire.RST:
            _reset(half)
        else:
            _advance(half, header, frame, time_ns, data)

    def take_spare(self, half: Half, data: bytes) -> None:
        """Take a copy seen at the server's end."""
        if half.stream:
            header = _Header(*_fields(data))
            octets = _octets(header, data)
            if octets:
                half.stream.add_spare(header.sequence, octets)
            if header.flags & wire.FIN:
                half.finished = True

    def unreachable(self, point: Point, frame: int, time_ns: int, data: bytes) -> None:
        """Take an ICMP "destination unreachable"; if it answers a SYN, the connection was refused."""
        if len(data) < _QUOTED or data[35] == _TOO_BIG or data[42] != 0x45 or data[51] != wire.TCP:
            return
        half = self.halves.get(data[54:66])
        if half is None or half.place != point.place:
            return
        if half.flow.isn == int.from_bytes(data[66:70], "big"):
            half.flow.refused |= half.flow.established_ns is None
            half.flow.seen(frame, time_ns)

    def _synchronize(
        self, half: Half | None, octets: bytes, header: _Header, crossing: Crossing, place: str
    ) -> Half | None:
        """Return the half that a packet with SYN belongs to; None if that connection is over."""
        if header.flags & wire.ACK:
            return self._answer(half, octets, header, crossing, place)
        before = half.flow if half else None
        if before and half is before.client and header.sequence == before.isn:
            flow = before
        elif before and header.sequence == before.isn_before:
            return None
        else:
            flow = self._open(octets, crossing, place)
            flow.isn, flow.isn_before = header.sequence, before.isn if before else None
            flow.client.begin(header.sequence + 1)
        # A connection that its SYN-ACK told of may have been met elsewhere first.
        if crossing is flow.first or not flow.tries:
            flow.tries.append([])
        flow.tries[-1].append(crossing)
        return flow.client

    def _answer(
        self, half: Half | None, octets: bytes, header: _Header, crossing: Crossing, place: str
    ) -> Half | None:
        """Likewise for a SYN-ACK, which also tells of a connection whose SYN was not captured."""
        if half is None or half.flow.isn is None:
            flow = self._open(wire.reverse(octets), crossing, place)
            flow.isn = header.acknowledged - 1 & 0xFFFFFFFF
            flow.client.begin(header.acknowledged)
        else:
            flow = half.flow
            if half is flow.client or header.acknowledged != half.flow.isn + 1 & 0xFFFFFFFF:
                return None
        if flow.answer is None:
            flow.answer = crossing
            if place != flow.place:
                flow.client.spare = flow.server.spare = place
        if flow.place == place:
            flow.server.begin(header.sequence + 1)
        return flow.server

    def _begun_before(self, octets: bytes, crossing: Crossing, place: str) -> Half:
        """Return the half that sent a packet of a connection whose opening was not captured."""
        if octets[8:10] >= octets[10:12]:
            return self._open(octets, crossing, place).client
        return self._open(wire.reverse(octets), crossing, place).server

    def _open(self, octets: bytes, crossing: Crossing, place: str) -> Flow:
        kept = int.from_bytes(octets[10:12], "big") in self._ports
        flow = Flow(octets, crossing, place, kept=kept)
        self.flows.append(flow)
        self.halves[octets] = flow.client
        self.halves[wire.reverse(octets)] = flow.server
        return flow


def _reset(half: Half) -> None:
    flow = half.flow
    if flow.isn is not None and half is flow.server and not half.heard:
        flow.refused = True
    elif not (flow.client.finished or flow.server.finished):
        flow.reset = True


def _advance(half: Half, header: _Header, frame: int, time_ns: int, data: bytes) -> None:
    """Take what a packet that was seen where its connection is read says and carries."""
    _, sequence, acknowledged, _, flags = header
    half.heard = True
    if flags & wire.FIN:
        half.finished = True
    if flags & wire.SYN:
        sequence += 1
        if flags & wire.ACK and half.flow.established_ns is None:
            half.flow.established_ns = time_ns
    stream, other = half.stream, half.peer.stream
    if stream is None or other is None:
        return
    if flags & wire.ACK:
        other.acknowledge(time_ns, frame, acknowledged)
    octets = _octets(header, data)
    if octets:
        stream.add(time_ns, frame, sequence, octets)


def _octets(header: _Header, data: bytes) -> bytes:
    """What a segment carries, as far as it was captured."""
    begin = 34 + (header.offset >> 4) * 4
    if begin < wire.SHORTEST_TCP:
        return b""
    # What the link padded lies behind the total length; 0 is one too large to say (segmentation offload).
    return data[begin : 14 + header.total if header.total else len(data)]
