"""The headers of a packet, brought to one layout.

Theory of operation. Nearly every packet is Ethernet without tags and IPv4 without options, so that each field
has a fixed place and a reader may compare slices instead of parsing:

    12  ethertype, and with it version and header length: b"\\x08\\x00\\x45"
    16  total length        18  identification      20  flags and fragment offset     23  protocol
    26  source address      30  destination address
    34  source port         36  destination port                       (26 to 38 name the flow, one way)
    38  TCP: sequence       42  acknowledgement     46  data offset    47  flags
    38  UDP: length         40  checksum            42  data
    34  ICMP: type          35  code                42  the packet that it is about

Whatever else carries IPv4 (VLAN tags, raw IP, Linux cooked, IP options) is rewritten to look like that by
`plain`; what does not carry it is empty. So there is one way to read a packet, and the rare kinds alone pay
for being rare. Lengths that a packet claims are not believed here: a captured packet may be cut anywhere.

Source: RFC 791 §3.1; RFC 768; RFC 9293 §3.1; RFC 792; www.tcpdump.org/linktypes.html.
"""

from __future__ import annotations

from typing import Final

PLAIN: Final = b"\x08\x00\x45"
"""Octets 12 to 15 of a packet in the layout: IPv4 in Ethernet, its header 20 octets long."""
SHORTEST: Final = 42
"""Below this size, in octets, a packet in the layout says nothing of its ports."""
SHORTEST_TCP: Final = 54

ICMP: Final = 1
TCP: Final = 6
UDP: Final = 17
UNREACHABLE: Final = 3
"""ICMP: the destination cannot be reached."""

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
ACK: Final = 0x10

ETHERNET: Final = 1
RAW: Final = 101
COOKED: Final = 113
RAW_IPV4: Final = 228
COOKED_2: Final = 276

_IPV4: Final = b"\x08\x00"
_TAGS: Final = (b"\x81\x00", b"\x88\xa8", b"\x91\x00")
"""What stands in the ethertype's place before a VLAN tag (802.1Q, 802.1ad, and what was used before it)."""
_NO_ADDRESSES: Final = bytes(12)


def plain(linktype: int, data: bytes) -> bytes:
    """Return the packet in the layout above; b"" if it is no IPv4 packet or of a link that is not known.

    Ethernet addresses are zero where the link has none.
    """
    place = _ipv4(linktype, data)
    if place is None or len(data) < place + 20 or data[place] >> 4 != 4:
        return b""
    header = (data[place] & 0x0F) * 4
    addresses = data[:12] if linktype == ETHERNET else _NO_ADDRESSES
    if header == 20:
        return addresses + _IPV4 + data[place:]
    if header < 20:
        return b""
    # A total length of 0 stands for a packet too large to say (segmentation offload): it stays.
    total = int.from_bytes(data[place + 2 : place + 4], "big")
    length = max(0, total - (header - 20)).to_bytes(2, "big")
    fixed = b"\x45" + data[place + 1 : place + 2] + length + data[place + 4 : place + 20]
    return addresses + _IPV4 + fixed + data[place + header :]


def fragment(data: bytes) -> bool:
    """Tell whether a packet in the layout is one piece of a larger one (RFC 791 §3.2)."""
    return bool(data[20] & 0x3F or data[21])


def reverse(flow: bytes) -> bytes:
    """Return the octets 26 to 38 of the packets that go the other way."""
    return flow[4:8] + flow[:4] + flow[10:] + flow[8:10]


def _ipv4(linktype: int, data: bytes) -> int | None:
    """Where the IPv4 header begins."""
    if linktype == ETHERNET:
        place = 12
        while data[place : place + 2] in _TAGS:
            place += 4
        return place + 2 if data[place : place + 2] == _IPV4 else None
    if linktype in (RAW, RAW_IPV4):
        return 0
    if linktype == COOKED:
        return 16 if data[14:16] == _IPV4 else None
    if linktype == COOKED_2:
        return 20 if data[:2] == _IPV4 else None
    return None
