"""What firewalls dropped: as the kernel tells it, and as it is read from a capture."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.droplog import packets
from captures.journeys import text
from tests.unit.captures.wires import ACK, CLIENT, ISN, SERVER, SYN, Seen, Wire, client, datagram, server

NAMES = {CLIENT: "mallory.example.net", SERVER: "mx.example.org"}
OUT: Seen = ("mallory-eth0", "out")
IN: Seen = ("fw-eth0", "in")
DROP: Seen = ("fw:drop", "in")
THERE: Seen = ("mx-eth0", "in")


def walled() -> Wire:
    """A capture with a firewall's log, whose packets have no Ethernet header in a lab; here all have one."""
    return Wire("mallory-eth0", "fw-eth0", "fw:drop", "mx-eth0", names=NAMES)


def test_drops_are_counted_by_who_wanted_what() -> None:
    """Two tries are one thing that was dropped; another protocol is another. The wire has no such packets."""
    capture = walled()
    for _ in range(2):
        capture.cross(client(SYN, ISN, ack=0), OUT, IN, DROP)
    capture.cross(datagram(), OUT, IN, DROP)
    found = capture.read()
    assert [
        (drop.host, drop.protocol, drop.destination.port, drop.packets, drop.frame) for drop in found.drops
    ] == [
        ("fw", "tcp", 25, 2, 3),
        ("fw", "udp", 53, 1, 9),
    ]
    assert (found.drops[0].source.host, found.drops[0].destination.host) == ("mallory", "mx")
    (connection,) = found.connections
    assert (connection.end, connection.path, connection.dropped_by) == ("unanswered", ("mallory", "fw"), "fw")
    assert found.datagrams[0].path == ("mallory", "fw")
    assert text.drop_line(found.drops[0]) == (
        "fw dropped: port 25 from 198.18.0.1 (mallory) to 198.18.0.2 (mx), 2 packets"
    )
    assert "port 53 (udp)" in text.drop_line(found.drops[1])


def test_what_got_through_later_was_not_dropped() -> None:
    """A connection whose first SYN was dropped and whose second one was answered is an open connection."""
    capture = walled()
    capture.cross(client(SYN, ISN, ack=0), OUT, IN, DROP)
    capture.cross(client(SYN, ISN, ack=0), OUT, IN, THERE)
    capture.cross(server(SYN | ACK), ("mx-eth0", "out"), ("fw-eth0", "out"), ("mallory-eth0", "in"))
    (connection,) = capture.read().connections
    assert (connection.end, connection.dropped_by) == ("open", "")


def attribute(kind: int, value: bytes) -> bytes:
    """A netlink attribute."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def logged(payload: bytes, number: int | None = None, kind: int = 0x400) -> bytes:
    """A message as the kernel logs a packet."""
    body = struct.pack("=BBH", socket.AF_INET, 0, socket.htons(1)) + attribute(10, b"fw\0")
    body += attribute(9, payload)
    if number is not None:
        body += attribute(12, number.to_bytes(4, "big"))
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body + bytes(-len(body) % 4)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(logged(b"packet", 7), [(7, b"packet")], id="a packet and its number"),
        pytest.param(logged(b"packets"), [(None, b"packets")], id="without a number"),
        pytest.param(logged(b"one", 1) + logged(b"two", 2), [(1, b"one"), (2, b"two")], id="two at once"),
        pytest.param(logged(b"other", 1, kind=2), [], id="another message"),
        pytest.param(logged(b"packet", 7)[:30], [], id="cut off"),
        pytest.param(b"", [], id="nothing"),
    ],
)
def test_logged_packets(data: bytes, expected: list[tuple[int | None, bytes]]) -> None:
    """Packets and their numbers are taken out of the kernel's messages."""
    assert list(packets(data)) == expected


@given(st.binary(max_size=200), st.integers(0, 200))
def test_whatever_comes_is_survived(noise: bytes, cut: int) -> None:
    """No message makes reading fail, however it was cut."""
    for data in (noise, logged(noise, 1)[:cut], logged(noise, 1) + noise):
        assert all(isinstance(payload, bytes) for _, payload in packets(data))
