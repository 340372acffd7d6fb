"""What a resolver knows about the servers it asks: how fast, how reliable, in which manner.

Theory of operation. Each address has a smoothed round-trip time. All servers within a band of the fastest
count as equally near, and the choice among them is a random stream's: the load of a busy zone is shared,
and a small change of a delay does not change who is asked. A server not asked yet is taken for one just
inside the band. A time-out doubles the estimate, which puts a dead server outside the band; after a minute
without news the estimate is forgotten and the server gets another chance.

Source: the band and the initial value are Unbound's (its documentation, "server selection").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.dns.streams import Bits

BAND_S = 0.4
_UNKNOWN_S = 0.376
_CEILING_S = 120.0
_FORGET_S = 60.0
_WEIGHT = 0.125  # RFC 6298 §2's smoothing
_MAX_SERVERS = 10_000


@dataclass(slots=True)
class _Server:
    rtt_s: float = _UNKNOWN_S
    asked: bool = False
    edns: bool = True
    stream: bool = False
    heard: float = 0.0


class Servers:
    """Statistics by address. The clock is passed in: seconds that only grow."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._servers: dict[str, _Server] = {}

    def choose(self, addresses: Sequence[str], rng: Bits) -> str:
        """Return one of the addresses: a random one of those within the band of the fastest."""
        if len(addresses) == 1:
            return addresses[0]
        times = [self.rtt_s(address) for address in addresses]
        limit = min(times) + BAND_S
        # Sorted, so that the choice depends on the stream and not on the order of a response.
        near = sorted([address for address, rtt_s in zip(addresses, times, strict=True) if rtt_s <= limit])
        return near[rng.getrandbits(32) % len(near)]

    def rtt_s(self, address: str) -> float:
        """Return the smoothed round-trip time in seconds, or the guess for an unknown server."""
        server = self._known(address)
        return server.rtt_s if server is not None else _UNKNOWN_S

    def uses_edns(self, address: str) -> bool:
        """Tell whether the server is asked with an OPT record."""
        server = self._known(address)
        return server is None or server.edns

    def uses_stream(self, address: str) -> bool:
        """Tell whether the server is asked over TCP from the start."""
        server = self._known(address)
        return server is not None and server.stream

    def answered(self, address: str, rtt_s: float) -> None:
        """Take note of a reply that came after `rtt_s` seconds."""
        server = self._note(address)
        # The first reply, and one after time-outs, says more than the estimate does.
        first = not server.asked or server.rtt_s > _UNKNOWN_S + BAND_S
        server.rtt_s = rtt_s if first else server.rtt_s + _WEIGHT * (rtt_s - server.rtt_s)
        server.asked = True

    def timed_out(self, address: str) -> None:
        """Take note that no reply came: the server is out of the band of any that answers."""
        server = self._note(address)
        server.rtt_s = min(max(2 * server.rtt_s, _UNKNOWN_S + 2 * BAND_S), _CEILING_S)

    def without_edns(self, address: str) -> None:
        """Take note that the server does not know EDNS (RFC 6891 §7)."""
        self._note(address).edns = False

    def respells(self, address: str) -> None:
        """Take note that the server's replies by UDP are not in the letters of the query."""
        self._note(address).stream = True

    def _known(self, address: str) -> _Server | None:
        server = self._servers.get(address)
        if server is not None and server.heard + _FORGET_S <= self._clock():
            del self._servers[address]
            return None
        return server

    def _note(self, address: str) -> _Server:
        server = self._known(address)
        if server is None:
            if len(self._servers) >= _MAX_SERVERS:
                self._servers.clear()
            server = self._servers[address] = _Server()
        server.heard = self._clock()
        return server
