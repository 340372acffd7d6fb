"""The way a message came, as its Received fields tell it, and from where on they can be believed.

Theory of operation. Each server puts its field on top (RFC 5321 §4.4). The topmost are our own; going down,
each names a client, and as long as that is one of ours the next field is one of ours too. The first client
that is not ours is the one that handed the message in: its address is certain, since our server saw it.
All that it brought along, the fields below included, is its word.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MOST_HOPS = 60
_FROM = re.compile(r"from\s+(\S{1,255})", re.IGNORECASE)
_BY = re.compile(r"\bby\s+(\S{1,255})", re.IGNORECASE)
_ADDRESS = re.compile(r"\[(?:IPv6:)?([0-9A-Fa-f:.]{3,45})\]", re.IGNORECASE)
_REVERSE = re.compile(r"\(([A-Za-z0-9._-]{1,255})\s+\[")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One Received field: who said `helo` from `address`, to the server `by`; `time` in s since 1970.

    `address` is None if there is none, or none that exists; then it is as `written`.
    """

    helo: str = ""
    address: str | None = None
    written: str = ""
    reverse: str = ""
    by: str = ""
    time: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """`ours` saw what they tell; `entry` is the hop into our servers, `claimed` are the fields below it."""

    ours: tuple[Hop, ...]
    entry: Hop | None
    claimed: tuple[Hop, ...]

    @property
    def arrival(self) -> float | None:
        """When our topmost server took the message, s since 1970."""
        first = self.ours[0] if self.ours else self.entry
        return first.time if first else None


def read(fields: Sequence[str], trusted: Sequence[Network]) -> Trace:
    """Return the trace in the values of the Received fields, topmost first."""
    hops = [hop(value) for value in fields[:MOST_HOPS]]
    for number, one in enumerate(hops):
        if one.address is None and one.written:
            return Trace(ours=tuple(hops[:number]), entry=one, claimed=tuple(hops[number + 1 :]))
        if one.address is not None and not is_in(one.address, trusted):
            return Trace(ours=tuple(hops[:number]), entry=one, claimed=tuple(hops[number + 1 :]))
    return Trace(ours=tuple(hops), entry=None, claimed=())


def hop(value: str) -> Hop:
    """Return what one Received field says; whatever is missing is empty."""
    text, _, date = value[:2000].rpartition(";")
    text = text or value[:2000]
    by = _BY.search(text)
    before = text[: by.start()] if by else text
    address, helo, reverse = _ADDRESS.search(before), _FROM.match(before), _REVERSE.search(before)
    written = address[1] if address else ""
    return Hop(
        helo=helo[1].strip("[]").lower() if helo else "",
        address=normal(written),
        written=written,
        reverse=reverse[1].lower() if reverse else "",
        by=by[1].lower().rstrip(";") if by else "",
        time=seconds(date),
    )


def normal(address: str) -> str | None:
    """Return an IP address as it is usually written, None if it is none."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return None


def is_in(address: str, networks: Sequence[Network]) -> bool:
    """Return whether an address lies in one of the networks."""
    number = ipaddress.ip_address(address)
    return any(number in network for network in networks)


def seconds(date: str) -> float | None:
    """Return an RFC 5322 date in seconds since 1970, None if it cannot be read."""
    try:
        parsed = parsedate_tz(date.strip()[:100])
        return float(mktime_tz(parsed)) if parsed else None
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
