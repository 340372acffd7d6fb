"""In which order the servers of one zone are tried for one question.

Theory of operation. First each address that is known, then those of servers that have to be looked up,
one at a time; then again those that kept silent, as the query or its reply may have been lost. A server
that answered something useless, or whose host is unreachable, is not asked again. Among equals the choice
is by round-trip time and by lot (see `servers`), unless one of them is being asked the same already.

Addresses that are nobody's (0.0.0.0/8, multicast, reserved) and the loopback ones, behind which is the
resolver itself, are left out, whoever names them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from services.dns import names
from services.dns.asking import Failure
from services.dns.names import Name
from services.dns.replies import Delegation
from services.dns.servers import Servers
from services.dns.streams import Bits

_MAX_TRIES = 3


def is_asked(address: str, *, loopback: bool) -> bool:
    """Tell whether queries are sent to such an IPv4 address."""
    first = int(address.partition(".")[0])
    return 0 < first < 224 and (loopback or first != 127)


class NobodyLeft(Exception):
    """Every server of the zone has been tried in vain; the message says what each of them did."""


class Roster:
    """The servers of a delegation, as one question goes through them.

    `may_search` allows to look up addresses that no glue tells, `loopback` to ask on this host.
    """

    def __init__(self, delegation: Delegation, *, may_search: bool, loopback: bool = False) -> None:
        self._zone = delegation.zone
        self._loopback = loopback
        self._alive: list[str] = []
        for known in delegation.addresses.values():
            self.found(known)
        self._tries: dict[str, int] = {}
        self._outcomes: dict[str, str] = {}
        # A server inside the zone could only be looked up with the zone's own help.
        self._unknown = sorted(
            [
                host
                for host in delegation.servers
                if host not in delegation.addresses
                and may_search
                and not names.is_below(host, delegation.zone)
            ]
        )

    def next_address(self, servers: Servers, rng: Bits, asked: Callable[[str], bool]) -> str | None:
        """Return the address to ask next, or None if first another server has to be looked up.

        `asked` tells whether an address is being asked the same at this time. Raises: NobodyLeft.
        """
        tries = self._tries
        fewest = min([tries.get(address, 0) for address in self._alive], default=_MAX_TRIES)
        if fewest and self._unknown:
            return None
        if fewest >= _MAX_TRIES:
            raise NobodyLeft(self._summary())
        candidates = [address for address in self._alive if tries.get(address, 0) == fewest]
        shared = next(filter(asked, candidates), None)
        address = servers.choose(candidates, rng) if shared is None else shared
        tries[address] = fewest + 1
        return address

    def next_host(self, rng: Bits) -> Name:
        """Return the name of the server to look up next."""
        return self._unknown.pop(rng.getrandbits(32) % len(self._unknown))

    def found(self, addresses: Iterable[str]) -> None:
        """Take up the addresses of a server."""
        for address in addresses:
            if address not in self._alive and is_asked(address, loopback=self._loopback):
                self._alive.append(address)

    def search_no_more(self) -> None:
        """Do with the addresses that are known."""
        self._unknown.clear()

    def tries(self, address: str) -> int:
        """Return how often the address has been asked."""
        return self._tries.get(address, 0)

    def failed(self, address: str, failure: Failure) -> None:
        """Take note that no reply came; silence alone is worth another try."""
        self._outcomes[address] = failure.value
        if failure is not Failure.TIMEOUT:
            self._alive.remove(address)

    def useless(self, address: str, why: str) -> None:
        """Take note that the server answered, but not what it should."""
        self._outcomes[address] = why
        self._alive.remove(address)

    def _summary(self) -> str:
        outcomes = ", ".join(f"{address} {why}" for address, why in self._outcomes.items())
        return f"{names.to_text(self._zone)}: {outcomes or 'no address of a server is known'}"
