"""What firewalls dropped: the packets of capture points named `HOST:drop`, counted by who wanted what.

Theory of operation. The recorder writes each packet that a firewall refuses and logs once more, at a capture
point of its own. Those are no packets on a wire: they are kept from all who follow conversations, and counted
here. A SYN that was sent three times is one thing that was refused, and three packets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from captures import wire

Protocol = Literal["tcp", "udp", "icmp", ""]
_PROTOCOLS: dict[int, Protocol] = {wire.TCP: "tcp", wire.UDP: "udp", wire.ICMP: "icmp"}


@dataclass(slots=True)
class Refused:
    """Packets that the firewall `host` dropped; `octets` are source, destination and the destination's port.

    `frame` is the first of them, from 1; times are in nanoseconds since 1970.
    """

    host: str
    protocol: Protocol
    octets: bytes
    frame: int
    first_ns: int
    last_ns: int
    packets: int = 1


class Refusals:
    """Everything that was dropped, in the order of the first packets."""

    def __init__(self) -> None:
        self._refused: dict[tuple[str, int, bytes], Refused] = {}
        self._flows: dict[bytes, str] = {}

    def take(self, host: str, frame: int, time_ns: int, data: bytes) -> None:
        """Count a packet in the layout of `wire` that the firewall `host` dropped."""
        number = data[23]
        ports = number in (wire.TCP, wire.UDP) and not data[20] & 0x1F and not data[21]
        wanted = data[26:34] + (data[36:38] if ports else b"\0\0")
        known = self._refused.get((host, number, wanted))
        if known is None:
            self._refused[host, number, wanted] = Refused(
                host, _PROTOCOLS.get(number, ""), wanted, frame, time_ns, time_ns
            )
        else:
            known.packets += 1
            known.last_ns = max(known.last_ns, time_ns)
        if number == wire.TCP and ports:
            self._flows.setdefault(data[26:38], host)

    def by(self, flow: bytes) -> str:
        """Return the firewall that dropped packets of a TCP flow; "" if none did."""
        return self._flows.get(flow, "")

    def all(self) -> list[Refused]:
        """Return what was dropped, the earliest first."""
        return sorted(self._refused.values(), key=lambda each: each.first_ns)
