"""One packet in each dress that it may wear; all are read the same."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures import wire
from tests.unit.captures.wires import CLIENT, SERVER, ethernet, ip

TCP = struct.pack(">HHIIBBHHH", 40000, 25, 1, 2, 5 << 4, wire.ACK, 100, 0, 0) + b"QUIT\r\n"
PACKET = ip(CLIENT, SERVER, wire.TCP, TCP)
PLAIN = ethernet(PACKET)
NO_ADDRESSES = bytes(12) + PLAIN[12:]
VLAN, OUTER = b"\x81\x00\x00\x07", b"\x88\xa8\x00\x08"
COOKED = struct.pack(">HHH8sH", 4, 1, 6, bytes(8), 0x0800)
COOKED_2 = struct.pack(">HHIHBB8s", 0x0800, 0, 3, 1, 4, 6, bytes(8))


@pytest.mark.parametrize(
    ("linktype", "data", "expected"),
    [
        pytest.param(wire.ETHERNET, PLAIN, PLAIN, id="Ethernet"),
        pytest.param(wire.ETHERNET, ethernet(PACKET, VLAN), PLAIN, id="a VLAN tag"),
        pytest.param(wire.ETHERNET, ethernet(PACKET, OUTER + VLAN), PLAIN, id="two tags"),
        pytest.param(
            wire.ETHERNET,
            ethernet(ip(CLIENT, SERVER, wire.TCP, TCP, options=b"\x94\x04\0\0")),
            PLAIN,
            id="IP options",
        ),
        pytest.param(wire.RAW, PACKET, NO_ADDRESSES, id="raw IP"),
        pytest.param(wire.RAW_IPV4, PACKET, NO_ADDRESSES, id="raw IPv4"),
        pytest.param(wire.COOKED, COOKED + PACKET, NO_ADDRESSES, id="Linux cooked"),
        pytest.param(wire.COOKED_2, COOKED_2 + PACKET, NO_ADDRESSES, id="Linux cooked, second version"),
        pytest.param(wire.ETHERNET, bytes(12) + b"\x08\x06" + bytes(28), b"", id="ARP"),
        pytest.param(wire.ETHERNET, bytes(12) + b"\x86\xdd" + bytes(60), b"", id="IPv6"),
        pytest.param(wire.RAW, b"\x60" + bytes(60), b"", id="raw IPv6"),
        pytest.param(wire.RAW, b"\x44" + PACKET[1:], b"", id="a header shorter than any"),
        pytest.param(wire.ETHERNET, PLAIN[:30], b"", id="cut within the IP header"),
        pytest.param(0, b"\2\0\0\0" + PACKET, b"", id="a loopback device's own link type"),
        pytest.param(105, PLAIN, b"", id="an unknown link type"),
    ],
)
def test_every_dress_comes_off(linktype: int, data: bytes, expected: bytes) -> None:
    """IPv4 is brought to one layout from every link that is known; all else is empty."""
    assert wire.plain(linktype, data) == expected


def test_the_layout_is_where_the_table_says() -> None:
    """The fields of a packet in the layout have the places that the module's docstring gives."""
    assert PLAIN[12:15] == wire.PLAIN
    assert PLAIN[23] == wire.TCP
    assert struct.unpack_from(">4s4sHHIIBB", PLAIN, 26) == (
        bytes([198, 18, 0, 1]), bytes([198, 18, 0, 2]), 40000, 25, 1, 2, 5 << 4, wire.ACK
    )  # fmt: skip


def test_the_way_back() -> None:
    """The octets of a flow reversed are those of the packets that come back."""
    back = ethernet(ip(SERVER, CLIENT, wire.TCP, TCP[2:4] + TCP[:2] + TCP[4:]))
    assert wire.reverse(PLAIN[26:38]) == back[26:38]


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        pytest.param(0x0000, False, id="whole"),
        pytest.param(0x4000, False, id="whole, and not to be divided"),
        pytest.param(0x2000, True, id="the first fragment"),
        pytest.param(0x2001, True, id="one in the middle"),
        pytest.param(0x1F00, True, id="the last one"),
    ],
)
def test_fragments(field: int, expected: bool) -> None:
    """A packet is a fragment if more follow it or it is not the first."""
    assert wire.fragment(ethernet(ip(CLIENT, SERVER, wire.UDP, bytes(8), fragment=field))) is expected


@given(st.sampled_from([0, 1, 101, 113, 228, 276]), st.binary(max_size=80))
def test_any_octets_are_taken(linktype: int, data: bytes) -> None:
    """Whatever was captured is either in the layout afterwards or empty."""
    result = wire.plain(linktype, data)
    assert result == b"" or (result[12:15] == wire.PLAIN and len(result) >= 34)
