"""The pcapng file: `blocks` makes its blocks, `reader` reads them.

Source: draft-ietf-opsawg-pcapng (PCAP Next Generation Capture File Format).
"""

from __future__ import annotations

from captures.pcapng.blocks import (
    DIRECTIONS,
    Direction,
    interface,
    name_resolution,
    packet,
    packet_interface,
    secrets,
    section_header,
    statistics,
)
from captures.pcapng.reader import Interface, Packet, Reader, Statistics, open_capture

__all__ = [
    "section_header",
    "interface",
    "name_resolution",
    "secrets",
    "packet",
    "packet_interface",
    "statistics",
    "Direction",
    "DIRECTIONS",
    "open_capture",
    "Reader",
    "Packet",
    "Interface",
    "Statistics",
]
