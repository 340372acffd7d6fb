"""Where a message entered the organisation, read from the fields that its own servers added.

Theory of operation. The topmost `Received` field is this host's own: it names the client that handed the
message over. If that is one of the organisation's border hosts (its MX), the next field is that host's, and
names *its* client; and so on, until a client is none of ours. What stands below was written by strangers,
and is not read.

    Received: from rcpt-mx1.example.org ([198.18.2.10]) by rcpt-filt…   a border host: look further
    Received: from isp-b1.example.net ([198.18.11.10]) by rcpt-mx1…     the client from outside
    Received: …                                                         whatever its sender wants to say
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from services.filters.header import header_length, values

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_FROM = re.compile(rb"from\s+(\S+)\s+\((?:[^()\[\]]*)\[(?:IPv6:)?([0-9A-Fa-f:.]+)\]\)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who handed a message to the organisation: address, HELO, and whether that is one of its own hosts."""

    client: str
    helo: str
    inside: bool


def origin(message: bytes, *, border: Collection[str], inside: Sequence[Network]) -> Origin:
    """Return who brought a message whose topmost Received field this host wrote.

    `border` are the addresses of the hosts that take mail from outside; what they write themselves (a notice)
    is from inside. A message without that field is written by this host.
    """
    last: Origin | None = None
    for value in values(message, "Received"):
        found = _FROM.match(value)
        if not found:
            break
        client, helo = found[2].decode(), found[1].decode("utf-8", "replace")
        ours = client in border
        last = Origin(client=client, helo=helo, inside=ours or _is_inside(client, inside))
        if not ours:
            break
    return last or Origin(client="127.0.0.1", helo="localhost", inside=True)


def with_reverse_name(message: bytes, client: str, name: str) -> bytes:
    """Return the message as if the server that took it from `client` had noted the client's name in DNS.

    Spam engines read it there, as Postfix writes it: `from HELO (NAME [ADDRESS])`.
    """
    noted = re.compile(rb"\((\[(?:IPv6:)?" + re.escape(client.encode()) + rb"\]\))", re.IGNORECASE)
    length = header_length(message)
    # The first is in a field of our own servers: nobody else's stand above it.
    return noted.sub(rb"(" + name.encode() + rb" \1", message[:length], count=1) + message[length:]


def _is_inside(client: str, inside: Sequence[Network]) -> bool:
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return False
    return address.is_loopback or any(address in network for network in inside)
