"""What is asked of DNS about a message's origin, and what came of it.

Theory of operation. A block list of addresses has a name for each address that it lists, its octets reversed
below the list's own name; one of domains has a name for each domain (RFC 5782 §2.1, §3.1). The address that a
name has tells why it is listed:

    127.0.0.2, .3        it sends unwanted mail
    127.0.0.4 to .9      it lets others send through it: an open relay, a proxy, a machine taken over
    127.0.0.10, .11      it is no mail server, its network says
    127.255.255.x        an error of whoever asks; it tells nothing

A list that holds 127.0.0.1 or the domain INVALID holds everything (a parked name, a resolver that makes
answers up), and is not believed (RFC 5782 §5). What nobody answered is not known, and that is not a no.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Literal

MOST_HOSTS = 20
MOST_HOPS = 5

Reason = Literal["sender", "relay", "policy"]
Where = Literal["entry", "claimed", "url"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """`about` (an address, a domain) stands on the block list `zone`; `text` is what the list says of it."""

    zone: str
    about: str
    where: Where
    reason: Reason
    text: str = ""

    @property
    def evidence(self) -> str:
        """The listing in one line."""
        return f"{self.about} is on {self.zone}" + (f": {self.text}" if self.text else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What DNS said; None where nobody answered, or nothing was asked.

    `reverse` are the names of the client's address, `confirmed` those that have it; `helo` are the addresses
    of the name that it gave; `sender_exists` and `author_exists`: the domain of the reverse-path, and that of
    From, has exchangers or an address.
    """

    reverse: tuple[str, ...] | None = None
    confirmed: tuple[str, ...] | None = None
    helo: tuple[str, ...] | None = None
    sender_exists: bool | None = None
    author_exists: bool | None = None
    listings: tuple[Listing, ...] = ()


def address_name(address: str, zone: str) -> str:
    """Return the name that an address has on a list if it is listed (RFC 5782 §2.1, §2.4)."""
    pointer = ipaddress.ip_address(address).reverse_pointer
    return f"{pointer.rpartition('.')[0].rpartition('.')[0]}.{zone}"


def reason(codes: tuple[str, ...]) -> Reason | None:
    """Return the gravest reason that a name's addresses on a list stand for, None if they list nothing."""
    numbers = [int(code.rpartition(".")[2]) for code in codes if code.startswith("127.0.0.")]
    if any(number in (2, 3) for number in numbers):
        return "sender"
    if any(4 <= number <= 9 for number in numbers):
        return "relay"
    if any(number in (10, 11) for number in numbers):
        return "policy"
    # Any other address of the range lists it too, and each list has codes of its own (RFC 5782 §2.3).
    return "sender" if any(number > 11 for number in numbers) else None
