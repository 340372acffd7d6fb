"""Who talked with whom: the TCP connections and DNS datagrams of a capture.

Theory of operation. A packet stands in the file once for each interface that it crossed. One pass goes over
all of them, with struct and slices alone, and gives each to the one who follows such packets:

    TCP      flows        a connection is read in one place, at its client's end
    UDP      datagrams    each datagram once, with the interfaces that it was seen at
    ICMP     flows        an answer to a SYN
    dropped  drops        what a firewall logged (any protocol)

Most packets are copies, which flows and datagrams reject at a glance. Afterwards addresses become endpoints:
who is behind an address is told by the interface that its packets left from first. That is the truth even
where a name is missing, or an address forged.

Any pcapng can be read. Without directions, hosts' names in interfaces, or other interfaces than one, the
path is short and hosts are known by name or address; the bytes are the same.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, NamedTuple

from captures import wire
from captures.datagrams import Datagrams, Sent
from captures.drops import Protocol, Refusals, Refused
from captures.flows import End, Flow, Flows
from captures.pcapng import Direction, Reader
from captures.points import Point, host_of, path
from captures.reassembly import Piece

__all__ = [
    "read_conversations",
    "Conversations",
    "Connection",
    "Datagram",
    "Drop",
    "Endpoint",
    "Piece",
    "End",
    "PORTS",
]

PORTS: Final = frozenset({25, 53, 143, 465, 587, 993})
"""The server ports of TCP connections that mail and DNS use."""
_DOMAIN: Final = b"\x00\x35"
"""Port 53."""


class Endpoint(NamedTuple):
    """One end of a conversation; hashable.

    `host` is the one whose interface its packets left from first, else the name's first label, else the
    address; `name` is the fully qualified one of the file's name resolution block, "" if there is none.
    """

    address: str
    port: int
    host: str
    name: str


@dataclass(slots=True, kw_only=True)
class Connection:
    """One TCP connection, as it was at `interface`, where its first packet was seen first.

    That is its client's own interface, in a lab. Without a SYN the higher port is taken for the client's.
    Times are in nanoseconds since 1970, frames are counted from 1 (Wireshark's frame.number).
    """

    client: Endpoint
    server: Endpoint
    interface: str
    frame: int
    """The first SYN, or the first packet where the connection was open before."""
    opened_ns: int
    established_ns: int | None
    """When the client had the SYN-ACK."""
    last_ns: int
    last_frame: int
    end: End
    """`closed`: a side said that it is done (FIN); `refused`: RST or ICMP answered the SYN."""
    sent: list[Piece]
    """What the client said; empty for server ports that nobody asked for, like `received`."""
    received: list[Piece]
    gap: bool
    """Bytes are missing in the capture: the first ones, or those where a side's pieces end."""
    path: tuple[str, ...]
    """The hosts that the SYN passed, in order, each once."""
    dropped_by: str = ""
    """The firewall that dropped the SYN, if one did and nobody answered."""


@dataclass(slots=True, kw_only=True)
class Datagram:
    """One UDP datagram from or to port 53, as it was where it was seen first: at its sender's own end."""

    frame: int
    time_ns: int
    source: Endpoint
    destination: Endpoint
    data: bytes
    arrived_ns: int | None
    """When it came in at its destination; None if it was not seen to."""
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """What the firewall `host` dropped: `packets` from a source to a destination (its port 0 without ports).

    The source's port is left out, as 0: each try has another. `frame` is the first packet's.
    """

    host: str
    protocol: Protocol
    source: Endpoint
    destination: Endpoint
    packets: int
    frame: int
    first_ns: int
    last_ns: int


@dataclass(slots=True, kw_only=True)
class Conversations:
    """What a capture holds; connections and datagrams are in the order of time."""

    connections: list[Connection]
    datagrams: list[Datagram]
    drops: list[Drop]
    """What firewalls dropped, in the order of time."""
    names: dict[str, str]
    """FQDN by address."""
    secrets: bytes
    """The TLS key log."""
    packets: int
    fragments: int = 0
    """How many packets were pieces of larger ones: these are not read."""
    first_ns: int
    last_ns: int
    """The times of the earliest and the latest packet; 0 in an empty capture."""
    dropped: int | None
    """How many packets the recorder lost; None if it did not say."""
    cut: bool
    """The file ends within a block: its recorder was killed, or is still at work."""


def read_conversations(reader: Reader, *, ports: Collection[int] = PORTS) -> Conversations:
    """Return what was said in the capture that `reader` has just begun to read.

    Bytes are kept of TCP connections to `ports`; datagrams are those of UDP port 53. Fragments and whatever
    is not IPv4 are passed over.
    Raises: NotACapture, for damage within the file.
    """
    survey = _Survey(reader, ports)
    survey.run()
    hosts = _Hosts(survey, reader)
    dropped = [each.dropped for each in reader.statistics.values() if each.dropped is not None]
    return Conversations(
        connections=sorted(map(hosts.connection, survey.flows.flows), key=lambda each: each.opened_ns),
        datagrams=sorted(map(hosts.datagram, survey.datagrams.sent), key=lambda each: each.time_ns),
        drops=[hosts.drop(refused) for refused in survey.refusals.all()],
        names=dict(reader.names),
        secrets=reader.secrets,
        packets=survey.packets,
        fragments=survey.fragments,
        first_ns=survey.first_ns,
        last_ns=survey.last_ns,
        dropped=sum(dropped) if dropped else None,
        cut=reader.cut,
    )


class _Survey:
    """The one pass over the packets."""

    def __init__(self, reader: Reader, ports: Collection[int]) -> None:
        self.flows = Flows(ports)
        self.datagrams = Datagrams()
        self.refusals = Refusals()
        self.packets = self.fragments = self.first_ns = self.last_ns = 0
        self.points: dict[str, Point] = {}
        self._reader = reader

    def run(self) -> None:
        # This runs for each packet on each wire: names are local, and nothing is called for a mere copy.
        points, halves = self.points, self.flows.halves
        take, take_spare = self.flows.take, self.flows.take_spare
        frame, first_ns, last_ns = 0, None, 0
        for frame, (interface, time_ns, data, _, direction, _) in enumerate(self._reader, 1):
            point = points.get(interface) or self._point(interface)
            if time_ns > last_ns:
                last_ns = time_ns
            if first_ns is None or time_ns < first_ns:
                first_ns = time_ns
            if data[12:15] != wire.PLAIN or point.linktype != wire.ETHERNET:
                data = wire.plain(point.linktype, data)
            if len(data) < wire.SHORTEST:
                continue
            if data[23] != wire.TCP or data[20] & 0x3F or data[21] or point.drops:
                self._other(point, direction, frame, time_ns, data)
            elif len(data) >= wire.SHORTEST_TCP:
                half = halves.get(data[26:38])
                if half is None or half.place == point.place or data[47] & wire.SYN:
                    take(point, direction, frame, time_ns, data)
                elif half.spare == point.place:
                    take_spare(half, data)
        self.packets, self.first_ns, self.last_ns = frame, first_ns or 0, last_ns

    def _other(self, point: Point, direction: Direction, frame: int, time_ns: int, data: bytes) -> None:
        """Take a packet that is no whole TCP segment, or that a firewall dropped."""
        if point.drops:
            self.refusals.take(point.host, frame, time_ns, data)
        elif wire.fragment(data):
            self.fragments += 1
        elif data[23] == wire.UDP:
            if data[36:38] == _DOMAIN or data[34:36] == _DOMAIN:
                self.datagrams.take(point, direction, frame, time_ns, data)
        elif data[23] == wire.ICMP and data[34] == wire.UNREACHABLE:
            self.flows.unreachable(point, frame, time_ns, data)

    def _point(self, interface: str) -> Point:
        point = self.points[interface] = Point(interface, self._reader.linktype(interface))
        return point


class _Hosts:
    """Who is behind each address, so that endpoints can be made."""

    def __init__(self, survey: _Survey, reader: Reader) -> None:
        self._names = reader.names
        self._captured = {host_of(interface.name) for interface in reader.interfaces} - {""}
        self._seen: dict[bytes, str] = {}
        for flow in survey.flows.flows:
            self._sends(flow.octets[:4], flow.client_host)
            self._sends(flow.octets[4:8], flow.server_host)
        for sent in survey.datagrams.sent:
            self._sends(sent.octets[:4], sent.source_host)
        self._refusals = survey.refusals
        self._made: dict[tuple[bytes, bytes, str], Endpoint] = {}

    def connection(self, flow: Flow) -> Connection:
        octets = flow.octets
        client = self._endpoint(octets[:4], octets[8:10], flow.client_host)
        server = self._endpoint(octets[4:8], octets[10:12], flow.server_host)
        return Connection(
            client=client,
            server=server,
            interface=flow.first.interface,
            frame=flow.frame,
            opened_ns=flow.opened_ns,
            established_ns=flow.established_ns,
            last_ns=flow.last_ns,
            last_frame=flow.last_frame,
            end=flow.end,
            sent=flow.client.pieces,
            received=flow.server.pieces,
            gap=flow.gap,
            path=path(flow.crossings, server.host),
            dropped_by=self._refusals.by(octets) if flow.end == "unanswered" else "",
        )

    def drop(self, refused: Refused) -> Drop:
        octets = refused.octets
        return Drop(
            host=refused.host,
            protocol=refused.protocol,
            source=self._endpoint(octets[:4], b"\0\0", ""),
            destination=self._endpoint(octets[4:8], octets[8:10], ""),
            packets=refused.packets,
            frame=refused.frame,
            first_ns=refused.first_ns,
            last_ns=refused.last_ns,
        )

    def datagram(self, sent: Sent) -> Datagram:
        octets = sent.octets
        source = self._endpoint(octets[:4], octets[8:10], sent.source_host)
        destination = self._endpoint(octets[4:8], octets[10:12], "")
        last = sent.crossings[-1]
        # One who was never seen to send may be anywhere: then its last way in is taken for its arrival.
        there = last.host == destination.host or destination.host not in self._captured
        return Datagram(
            frame=sent.frame,
            time_ns=sent.time_ns,
            source=source,
            destination=destination,
            data=sent.data,
            arrived_ns=sent.last_ns if there and last.direction != "out" else None,
            path=path(sent.crossings, destination.host),
        )

    def _sends(self, address: bytes, host: str) -> None:
        if host:
            self._seen.setdefault(address, host)

    def _endpoint(self, address: bytes, port: bytes, host: str) -> Endpoint:
        """The endpoint; `host` is the one that its packets were seen to leave from, "" if they were not."""
        made = self._made.get((address, port, host))
        if made is None:
            text = ".".join(map(str, address))
            name = self._names.get(text, "")
            label = name.split(".")[0]
            # An address may have been forged: a name that is a host's is believed first.
            known = label if label in self._captured else self._seen.get(address)
            made = Endpoint(text, int.from_bytes(port, "big"), host or known or label or text, name)
            self._made[address, port, host] = made
        return made
