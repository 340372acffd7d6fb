"""Packets of a capture as scapy sees them."""

from __future__ import annotations

from pathlib import Path

import pytest
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from captures import pcapng
from captures.packets import packets

QUESTION = bytes(
    Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    / IP(src="198.18.0.1", dst="198.18.0.2")
    / UDP(sport=1053, dport=53)
    / DNS(qd=DNSQR(qname="example.org", qtype="MX"))
)
TIME_NS = 1_795_000_000_123_456_789


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "network.pcapng"
    blocks = [
        pcapng.section_header(),
        pcapng.interface("corp-dns-eth0"),
        pcapng.interface("core1-eth0"),
        pcapng.interface("odd", linktype=147),
        pcapng.packet(0, TIME_NS, QUESTION, len(QUESTION), "out", "E: MX lookup of example.org"),
        pcapng.packet(1, TIME_NS + 1, QUESTION[:40], len(QUESTION), "in"),
        pcapng.packet(2, TIME_NS + 2, b"private", 7),
    ]
    path.write_bytes(b"".join(blocks))
    return path


def test_a_packet_is_dissected_and_keeps_what_the_file_says(capture: Path) -> None:
    """Layers, time to the nanosecond, capture point, size on the wire, direction and comment."""
    packet = next(packets(capture))
    assert packet[DNS].qd[0].qname == b"example.org."
    assert int(packet.time * 1_000_000_000) == TIME_NS
    assert packet.sniffed_on == "corp-dns-eth0"
    assert packet.wirelen == len(QUESTION)
    assert packet.direction == 2
    assert packet.comment == b"E: MX lookup of example.org"


def test_packets_of_one_interface(capture: Path) -> None:
    """`interface` leaves the others out."""
    assert [packet.sniffed_on for packet in packets(capture, interface="core1-eth0")] == ["core1-eth0"]
    assert list(packets(capture, interface="core9-eth0")) == []


def test_packets_of_choice(capture: Path) -> None:
    """`where` sees the packet as the file has it, before scapy does."""
    chosen = packets(capture, where=lambda packet: len(packet.data) < packet.length)
    assert [packet.direction for packet in chosen] == [1]


def test_an_unknown_link_layer_is_raw(capture: Path) -> None:
    """What scapy cannot dissect comes as bytes."""
    (packet,) = packets(capture, interface="odd")
    assert packet == Raw(b"private")
