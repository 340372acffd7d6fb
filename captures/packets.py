"""The packets of a capture as scapy sees them.

Reading costs little, dissecting with scapy much (some 5,000 packets/s): choose by `interface` and `where`,
which look at the packet before scapy does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from os import PathLike

# Importing the layers fills `conf.l2types` and tells scapy what runs on which port.
import scapy.layers.all  # noqa: F401
from scapy.config import conf
from scapy.packet import Packet, Raw
from scapy.utils import EDecimal

from captures import pcapng

__all__ = ["Choice", "Packet", "packets", "dissected"]

Choice = Callable[[pcapng.Packet], bool]


def packets(
    path: str | PathLike[str], *, interface: str | None = None, where: Choice | None = None
) -> Iterator[Packet]:
    """Yield the packets of the pcapng file `path`, dissected, in file order.

    With `interface` only those of that capture point, with `where` only those that it returns True for.
    Each has `time` (s, to the nanosecond), `sniffed_on` (the capture point), `wirelen` (bytes), `direction`
    (1 in, 2 out), and the file's comment.
    Raises: captures.errors.NotACapture; OSError.
    """
    with pcapng.open_capture(path) as reader:
        for packet in reader:
            if interface is not None and packet.interface != interface:
                continue
            if where is None or where(packet):
                yield dissected(packet, reader)


def dissected(packet: pcapng.Packet, reader: pcapng.Reader) -> Packet:
    """Return one packet that `reader` yielded as scapy sees it."""
    link_layer = conf.l2types.num2layer.get(reader.linktype(packet.interface), Raw)
    try:
        result: Packet = link_layer(packet.data)
    except Exception:
        # A dissector's bug, or a packet made to confuse one: still a packet, as for scapy's own readers.
        result = Raw(packet.data)
    result.time = EDecimal(packet.time_ns) / 1_000_000_000
    result.sniffed_on = packet.interface
    result.wirelen = packet.length
    result.direction = pcapng.DIRECTIONS.index(packet.direction) or None
    if packet.comment:
        result.comments = [packet.comment.encode()]
    return result
