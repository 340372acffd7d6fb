"""Who handed it to us, and the way that it claims to have come."""

from __future__ import annotations

import ipaddress
import re
from itertools import pairwise

from services.filters.spam.examined import Examined
from services.filters.spam.findings import Listing, Reason, Where
from services.filters.spam.rules.rule import Rule, rule, shown
from services.filters.spam.trace import Hop
from services.filters.spam.urls import registered

RULES: list[Rule] = []

_MANY_HOPS = 15
_HOUR = 3600.0
_DYNAMIC = re.compile(
    r"(?:^|[.-])(?:dhcp|dyn(?:amic|ip)?|dsl|adsl|vdsl|cable|dial(?:up|in)?|ppp|pool|cust(?:omer)?)\d*(?:[.-]|$)"
)
_LOCAL = ("localhost", "localdomain", "local", "internal", "lan", "invalid")


def _listed(message: Examined, where: Where, *reasons: Reason) -> str | None:
    found = [each for each in message.findings.listings if each.where == where and each.reason in reasons]
    return shown("; ".join(dict.fromkeys(map(_evidence, found))), 200) if found else None


def _evidence(listing: Listing) -> str:
    return listing.evidence


@rule(RULES, "BL_SOURCE", 3.2, "The client is on a block list: it sends unwanted mail")
def bl_source(message: Examined) -> str | None:
    return _listed(message, "entry", "sender")


@rule(RULES, "BL_RELAY", 2.5, "The client is on a block list: it lets others send through it")
def bl_relay(message: Examined) -> str | None:
    return _listed(message, "entry", "relay")


@rule(RULES, "BL_POLICY", 1.5, "The client is on a block list: its network says that it is no mail server")
def bl_policy(message: Examined) -> str | None:
    return _listed(message, "entry", "policy")


@rule(RULES, "BL_BEFORE", 1.2, "A server that it came through before is on a block list")
def bl_before(message: Examined) -> str | None:
    return _listed(message, "claimed", "sender", "relay")


@rule(RULES, "NO_REVERSE_NAME", 1.2, "The client's address has no name")
def no_reverse_name(message: Examined) -> str | None:
    entry = message.trace.entry
    return entry.address if entry and message.findings.reverse == () else None


@rule(RULES, "REVERSE_NAME_FORGED", 1.0, "The client's address has a name that does not have this address")
def reverse_name_forged(message: Examined) -> str | None:
    names = message.findings.reverse
    return shown(", ".join(names)) if names and message.findings.confirmed == () else None


@rule(RULES, "REVERSE_NAME_DYNAMIC", 1.0, "The client's name is that of a subscriber's line, not of a server")
def reverse_name_dynamic(message: Examined) -> str | None:
    entry = message.trace.entry
    if entry is None or entry.address is None or "." not in entry.address:
        return None
    octets = entry.address.split(".")
    for name in message.findings.reverse or ():
        numbered = sum(octet in re.split(r"\D+", name) for octet in octets) >= 3
        if numbered or _DYNAMIC.search(name):
            return shown(name)
    return None


@rule(RULES, "HELO_IS_ADDRESS", 0.9, "The client gave an address for its name")
def helo_is_address(message: Examined) -> str | None:
    entry = message.trace.entry
    return (
        entry.helo if entry and re.fullmatch(r"[\d.]+|(?:ipv6:)?[0-9a-f]*:[0-9a-f:.]*", entry.helo) else None
    )


@rule(RULES, "HELO_NOT_QUALIFIED", 1.0, "The client gave a name that is no name in the Internet")
def helo_not_qualified(message: Examined) -> str | None:
    entry = message.trace.entry
    if entry is None or not entry.helo or helo_is_address(message):
        return None
    last = entry.helo.rpartition(".")[2]
    return shown(entry.helo) if "." not in entry.helo or last in _LOCAL else None


@rule(RULES, "HELO_UNKNOWN", 0.9, "The client gave a name that does not exist")
def helo_unknown(message: Examined) -> str | None:
    entry = message.trace.entry
    if entry is None or helo_is_address(message) or helo_not_qualified(message):
        return None
    return shown(entry.helo) if message.findings.helo == () else None


@rule(
    RULES,
    "HELO_OF_OTHERS",
    0.6,
    "The client gave a name that has other addresses, and its own name is another",
)
def helo_of_others(message: Examined) -> str | None:
    entry, addresses = message.trace.entry, message.findings.helo
    if entry is None or not addresses or entry.address in addresses:
        return None
    names = message.findings.confirmed or ()
    if any(registered(name) == registered(entry.helo) for name in names):
        return None
    return shown(f"{entry.helo} is {', '.join(addresses[:3])}, the client {entry.address}")


@rule(RULES, "HELO_IS_OURS", 2.5, "The client gave the name of one of our own servers or domains")
def helo_is_ours(message: Examined) -> str | None:
    entry = message.trace.entry
    return shown(entry.helo) if entry and entry.helo in message.site.names else None


@rule(
    RULES, "SENDER_UNREACHABLE", 2.0, "The domain of the reverse-path takes no mail: no report could go there"
)
def sender_unreachable(message: Examined) -> str | None:
    return shown(message.sender or "") if message.findings.sender_exists is False else None


@rule(RULES, "AUTHOR_UNREACHABLE", 1.6, "The author's domain takes no mail: nobody could reply")
def author_unreachable(message: Examined) -> str | None:
    return shown(message.author[1]) if message.findings.author_exists is False else None


@rule(
    RULES,
    "OURS_FROM_OUTSIDE",
    0.5,
    "The author's domain is ours, but a stranger handed it in, and nobody vouches",
)
def ours_from_outside(message: Examined) -> str | None:
    if message.trace.entry is None or message.author_domain not in message.site.names:
        return None
    return None if message.results.first("dmarc", "pass") else shown(message.author[1])


@rule(
    RULES, "RECEIVED_FORGED", 1.4, "A Received field names another server than the next one had as its client"
)
def received_forged(message: Examined) -> str | None:
    hops = [hop for hop in (message.trace.entry, *message.trace.claimed) if hop is not None]
    for above, below in pairwise(hops):
        if below.by and "." in below.by and above.helo and not _same_server(above, below.by):
            return shown(f"by {below.by}, then from {above.helo} [{above.written}]")
    return None


def _same_server(above: Hop, by: str) -> bool:
    names = [name for name in (above.helo, above.reverse) if "." in name]
    if not names or by in (above.written, above.helo):
        # A name that is none cannot be compared.
        return True
    return any(registered(name) == registered(by) for name in names)


@rule(RULES, "RECEIVED_IMPOSSIBLE", 1.6, "A Received field has an address that cannot exist")
def received_impossible(message: Examined) -> str | None:
    for hop in message.trace.claimed:
        if hop.written and hop.address is None:
            return shown(hop.written)
        if hop.address is not None:
            number = ipaddress.ip_address(hop.address)
            if (
                number.is_multicast
                or number.is_unspecified
                or (number.version == 4 and int(number) >> 28 == 15)
            ):
                return shown(hop.address)
    return None


@rule(RULES, "RECEIVED_BACKWARDS", 0.8, "By its Received fields it arrived before it was sent on")
def received_backwards(message: Examined) -> str | None:
    entry = message.trace.entry
    times = [hop.time for hop in (entry, *message.trace.claimed) if hop and hop.time is not None]
    for later, earlier in pairwise(times):
        if earlier - later > _HOUR:
            return f"{(earlier - later) / _HOUR:.1f} hours"
    return None


@rule(RULES, "MANY_HOPS", 0.5, "It has come through very many servers")
def many_hops(message: Examined) -> str | None:
    count = len(message.values("Received"))
    return f"{count} Received fields" if count > _MANY_HOPS else None
