"""The rules of a firewall, as nftables reads them, derived from the plan.

Theory of operation. A firewall is a router whose plan says what may begin where. Each such permission
becomes rules of the forward chain, in the plan's order, with the interfaces ("legs") and addresses that the
source and the destination have:

    a network       its leg, if it has one here, and its subnet: nobody may come in by another leg in its name
    a host          its addresses, and the leg of its network
    outside         the legs that lead to other routers
    any             whatever

What has begun may go on (connection tracking), errors that belong to it included. All else jumps to
`refused`, where it is counted, logged and dropped. The log goes to an NFLOG group, from which the recorder
takes it into the capture; no more than so many packets a second, so that a flood is not written twice.

To the firewall itself may come what belongs to its own connections, and pings.

Source: nft(8).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from topologies.addressing import Addressing, Port
from topologies.plan import Allow, Host, Plan

OUTSIDE = "outside"
ANY = "any"
LOG_GROUP = 1  # the one that captures.droplog reads
LOGGED_A_SECOND = 100
SERVICES = {
    "dns": "meta l4proto { tcp, udp } th dport 53",
    "smtp": "tcp dport 25",
    "submission": "tcp dport 587",
    "imap": "tcp dport { 143, 993 }",
    "ping": "icmp type echo-request",
}
"""What a service's first packet looks like."""

_PORT = re.compile(r"(tcp|udp)/([0-9]{1,5})")


def service_match(service: str) -> str | None:
    """Return the expression that a service's first packet matches; None if there is no such service."""
    if service in SERVICES:
        return SERVICES[service]
    found = _PORT.fullmatch(service)
    return f"{found[1]} dport {int(found[2])}" if found and 0 < int(found[2]) < 65536 else None


def ruleset(plan: Plan, addressing: Addressing, host: Host, *, log: bool = True) -> str:
    """Return the rules of `host`, which has a firewall, as a file that `nft -f` loads.

    Without `log` what is refused is counted and dropped alone.
    """
    return _Rules(plan, addressing, host).text(log)


class _Rules:
    def __init__(self, plan: Plan, addressing: Addressing, host: Host) -> None:
        self._plan = plan
        self._addressing = addressing
        self._host = host
        self._subnets = {network.name: network.subnet for network in plan.networks}
        self._legs: dict[str, list[str]] = {OUTSIDE: []}
        for interface in addressing.of(host.name):
            ends = addressing.ends(interface.link)
            network = next((end.network for end in ends if isinstance(end, Port)), OUTSIDE)
            self._legs.setdefault(network, []).append(interface.name)

    def text(self, log: bool) -> str:
        allowed = self._host.firewall.allow if self._host.firewall else ()
        legs = (f"{network} by {', '.join(names)}" for network, names in self._legs.items() if names)
        lines = [
            f"# The firewall of {self._host.name}, derived from the plan {self._plan.name}.",
            f"# Its legs: {'; '.join(legs)}.",
            "",
            "table inet firewall {",
        ]
        for number, allow in enumerate(allowed, start=1):
            if allow.per_minute:
                lines += [
                    f"    set begun_{number} {{",
                    "        type ipv4_addr",
                    "        flags dynamic, timeout",
                    "        timeout 2m",
                    "    }",
                    "",
                ]
        lines += [
            "    chain forward {",
            "        type filter hook forward priority filter; policy drop;",
            '        ct state established,related counter accept comment "what has begun"',
        ]
        for number, allow in enumerate(allowed, start=1):
            lines += (f"        {rule}" for rule in self._rules(number, allow))
        lines += [
            "        jump refused",
            "    }",
            "",
            "    chain input {",
            "        type filter hook input priority filter; policy drop;",
            '        iif "lo" accept',
            "        ct state established,related accept",
            "        icmp type echo-request accept",
            "        jump refused",
            "    }",
            "",
            "    chain refused {",
        ]
        if log:
            limit = f"limit rate {LOGGED_A_SECOND}/second burst {2 * LOGGED_A_SECOND} packets"
            lines.append(
                f'        {limit} log prefix "{self._host.name}" group {LOG_GROUP} counter comment "logged"'
            )
        lines += ['        counter drop comment "dropped"', "    }", "}"]
        return "\n".join(lines) + "\n"

    def _rules(self, number: int, allow: Allow) -> Iterator[str]:
        comment = f"{' '.join(allow.source)} to {' '.join(allow.to)}: {' '.join(allow.services)}"
        destinations = list(self._places(allow.to, "o", "daddr"))
        for source in self._places(allow.source, "i", "saddr"):
            for destination in destinations:
                for service in allow.services:
                    match = " ".join(part for part in (source, destination, service_match(service)) if part)
                    if allow.per_minute:
                        over = f"limit rate over {allow.per_minute}/minute burst {allow.per_minute} packets"
                        beyond = f"update @begun_{number} {{ ip saddr {over} }} jump refused"
                        yield f'{match} {beyond} comment "too many: {comment}"'
                    yield f'{match} counter accept comment "{comment}"'

    def _places(self, names: Sequence[str], way: str, end: str) -> Iterator[str]:
        """Expressions for where packets come from or go to: those of one leg together."""
        by_leg: dict[tuple[str, ...], list[str]] = {}
        for name in names:
            if name == ANY:
                by_leg[()] = []
            elif name == OUTSIDE:
                by_leg[tuple(self._legs[OUTSIDE])] = []
            elif name in self._subnets:
                by_leg.setdefault(tuple(self._legs.get(name, ())), []).append(self._subnets[name])
            else:
                for leg, address in self._addresses(name):
                    by_leg.setdefault(leg, []).append(address)
        for leg, addresses in by_leg.items():
            parts = []
            if leg:
                devices = [f'"{device}"' for device in leg]
                parts.append(f"{way}ifname {_set(devices)}")
            if addresses:
                parts.append(f"ip {end} {_set(addresses)}")
            yield " ".join(parts)

    def _addresses(self, name: str) -> Iterator[tuple[tuple[str, ...], str]]:
        """The addresses of a host, each with the leg by which it is reached from here."""
        for interface in self._addressing.of(name):
            ends = self._addressing.ends(interface.link)
            network = next((end.network for end in ends if isinstance(end, Port)), OUTSIDE)
            leg = self._legs.get(network, self._legs[OUTSIDE])
            yield tuple(leg), str(interface.address.ip)


def _set(values: Iterable[str]) -> str:
    found = list(dict.fromkeys(values))
    return found[0] if len(found) == 1 else f"{{ {', '.join(found)} }}"
