"""What a capture holds, interface by interface, and what it lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from captures.pcapng import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceSummary:
    """One interface: `dropped` counts packets that are missing; None when the recorder could not say."""

    name: str
    packets: int
    bytes: int
    dropped: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A whole capture: `cut` when the file ends within a block; times are None when it has no packets."""

    interfaces: tuple[InterfaceSummary, ...]
    first_ns: int | None
    last_ns: int | None
    cut: bool

    @property
    def packets(self) -> int:
        """Packets of all interfaces; one that crosses a link counts at each captured end."""
        return sum(interface.packets for interface in self.interfaces)

    @property
    def dropped(self) -> int | None:
        """Packets missing at all interfaces; None when one of them does not say."""
        counts = [interface.dropped for interface in self.interfaces]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None


def summarise(reader: Reader) -> Summary:
    """Return what the capture holds; `reader` has been read to its end.

    Bytes are counted as they were on the wire. Raises: captures.errors.NotACapture.
    """
    packets, sizes = Counter[str](), Counter[str]()
    first_ns = last_ns = None
    for name, time_ns, _, length, _, _ in reader:
        packets[name] += 1
        sizes[name] += length
        if first_ns is None or last_ns is None:
            first_ns = last_ns = time_ns
        elif time_ns > last_ns:
            last_ns = time_ns
        elif time_ns < first_ns:
            first_ns = time_ns
    names = dict.fromkeys(interface.name for interface in reader.interfaces)
    return Summary(
        interfaces=tuple(
            InterfaceSummary(
                name=name, packets=packets[name], bytes=sizes[name], dropped=_dropped(reader, name)
            )
            for name in names
        ),
        first_ns=first_ns,
        last_ns=last_ns,
        cut=reader.cut,
    )


def _dropped(reader: Reader, name: str) -> int | None:
    statistics = reader.statistics.get(name)
    return statistics.dropped if statistics else None
