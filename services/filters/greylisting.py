"""Greylisting: who is not known yet is asked to come again, which a mail server does and a spammer seldom.

Theory of operation. A sender is known by three things together: the client's network (/24: a provider's
servers take turns), the reverse-path and the recipient. The first attempt is put off; one that comes again
after `delay_s`, but within `window_s`, is taken, and from then on so is each further one, as long as they are
no more than `memory_s` apart. A network that has come again with `trusted_after` different senders or
recipients is a mail server, and is put off no more.

Pure: the clock is the caller's. What is known lives in memory: a server that starts anew puts strangers off
once more, and loses nothing by it.

Source: E. Harris, "The Next Step in the Spam Control War: Greylisting" (2003); RFC 6647.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

MOST_KNOWN = 100_000

Triplet = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How long to put off and to remember, in seconds."""

    delay_s: float = 300.0
    window_s: float = 2 * 86400.0
    memory_s: float = 35 * 86400.0
    trusted_after: int = 5


@dataclass(slots=True)
class _Known:
    first: float
    last: float
    passed: bool = False


class Greylist:
    """Decides, and remembers whom it has seen: at most MOST_KNOWN, the oldest are forgotten."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._known: OrderedDict[Triplet, _Known] = OrderedDict()
        self._trusted: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def waits(self, client: str, sender: str, recipient: str, now: float) -> float:
        """Return how long (s) this attempt at `now` is put off; 0: it is taken.

        `client` is an IP address; addresses compare without case. The null reverse-path is a sender, too.
        """
        terms, place = self._terms, network(client)
        if self._is_trusted(place, now):
            return 0.0
        triplet = (place, sender.lower(), recipient.lower())
        known = self._known.get(triplet)
        if known is None or now - known.last > (terms.memory_s if known.passed else terms.window_s):
            known = _Known(first=now, last=now)
            self._known[triplet] = known
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        self._known.move_to_end(triplet)
        if not known.passed:
            left = known.first + terms.delay_s - now
            if left > 0:
                return left
            known.passed = True
            self._came_again(place, now)
        known.last = now
        return 0.0

    def _is_trusted(self, place: str, now: float) -> bool:
        count, last = self._trusted.get(place, (0, 0.0))
        if count < self._terms.trusted_after or now - last > self._terms.memory_s:
            return False
        self._trusted[place] = (count, now)
        return True

    def _came_again(self, place: str, now: float) -> None:
        count, last = self._trusted.get(place, (0, now))
        self._trusted[place] = (1 if now - last > self._terms.memory_s else count + 1, now)
        self._trusted.move_to_end(place)
        if len(self._trusted) > MOST_KNOWN:
            self._trusted.popitem(last=False)


def network(client: str) -> str:
    """Return the network that a client's address stands for: /24, or /64 for IPv6."""
    address = ipaddress.ip_address(client)
    length = 24 if address.version == 4 else 64
    return str(ipaddress.ip_network(f"{client}/{length}", strict=False))
