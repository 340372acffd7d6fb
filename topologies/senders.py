"""Who sends mail for a domain, and what the domain publishes about it: SPF, DKIM and DMARC records.

Theory of operation. Mail for the rest of the world starts where a domain's mailboxes are, since users submit
there and notices come from there, and follows the routes for `*` from host to host:

    holder of the mailboxes ─ route * ─ exchangers of a domain ─ route * ─ … ─ the destination's own MX

A host on that way sends for the domain if what it hands mail to is not the domain's own: the provider who
takes mail from it may be the recipient too. These hosts' addresses are the SPF record (RFC 7208); a mail
server has one in its own name too, for notices, whose reverse-path is null (§2.4).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from topologies.addressing import Addressing
from topologies.plan import Domain, Host, MailServer, Plan

SELECTOR = "lab"
"""The DKIM keys of a run are at `lab._domainkey.DOMAIN`."""

_MAX_STRING = 255

Record = tuple[str, str, str]


def senders(plan: Plan, domain: Domain) -> list[str]:
    """Return the names of the hosts that send mail of this domain to others, in the order of the plan."""
    servers = {host.name: role for host, role in plan.roles() if isinstance(role, MailServer)}
    exchangers = {other.name: other.exchangers for other in plan.domains}
    waiting = [name for name, role in servers.items() if domain.name in role.mailboxes]
    seen, sending = set(waiting), set()
    while waiting:
        name = waiting.pop()
        onwards = _onwards(servers[name])
        if not all(is_within(via, domain.name) for via in onwards) or not onwards:
            sending.add(name)
        found = {exchanger.host for via in onwards for exchanger in exchangers.get(via, ())}
        waiting += sorted(found & set(servers) - seen)
        seen |= found
    return [host.name for host in plan.hosts if host.name in sending]


def signs_for(plan: Plan, host: Host, role: MailServer) -> list[Domain]:
    """Return the domains whose key a mail server has: those it is the MSA of, and the one it lies in.

    The latter is for what it writes itself: notices come from `MAILER-DAEMON@` its own name.
    """
    return [
        domain
        for domain in plan.domains
        if domain.dkim
        and ((role.submission and domain.name in role.mailboxes) or is_within(host.fqdn.lower(), domain.name))
    ]


def records(plan: Plan, addressing: Addressing, keys: Mapping[str, str]) -> Iterator[Record]:
    """Yield owner, type and data of the domains' records; `keys` are the DKIM records, by domain."""
    addresses = {host: str(address) for host, address in addressing.primary().items()}
    for domain in plan.domains:
        if domain.spf:
            own = [f"ip4:{addresses[host]}" for host in senders(plan, domain)]
            yield domain.name, "TXT", quoted(_spf(domain.spf, own))
        if domain.dkim and domain.name in keys:
            yield f"{SELECTOR}._domainkey.{domain.name}", "TXT", quoted(keys[domain.name])
        if domain.dmarc:
            yield f"_dmarc.{domain.name}", "TXT", quoted(_dmarc(plan, domain))
    yield from _servers(plan, addresses)


def _servers(plan: Plan, addresses: Mapping[str, str]) -> Iterator[Record]:
    """A mail server's own name, if a domain that it lies in has an SPF record."""
    named = {domain.name for domain in plan.domains}
    published = [domain.name for domain in plan.domains if domain.spf]
    for host, role in plan.roles():
        name = host.fqdn.lower()
        if isinstance(role, MailServer) and name not in named and any(is_within(name, d) for d in published):
            yield host.fqdn, "TXT", quoted(_spf("-all", [f"ip4:{addresses[host.name]}"]))


def is_within(name: str, domain: str) -> bool:
    """Return whether a name is the domain or lies below it."""
    return name == domain or name.endswith("." + domain)


def quoted(text: str) -> str:
    """Return a TXT record's data: strings of at most 255 octets (RFC 1035 §3.3), which readers join."""
    pieces = [text[at : at + _MAX_STRING] for at in range(0, len(text), _MAX_STRING)]
    escaped = (piece.replace("\\", r"\\").replace('"', r"\"") for piece in pieces)
    return " ".join(f'"{piece}"' for piece in escaped)


def _onwards(role: MailServer) -> list[str]:
    return [via for route in role.routes if route.domain == "*" for via in route.via]


def _spf(wanted: str, own: list[str]) -> str:
    if wanted.startswith("v=spf1"):
        return wanted
    return " ".join(["v=spf1", *own, wanted])


def _dmarc(plan: Plan, domain: Domain) -> str:
    policy, _, share = domain.dmarc.partition(" ")
    tags = ["v=DMARC1", f"p={policy}"]
    if share:
        tags.append(f"pct={share.removesuffix('%')}")
    held = {name for _, role in plan.roles() if isinstance(role, MailServer) for name in role.mailboxes}
    if domain.name in held:
        tags.append(f"rua=mailto:postmaster@{domain.name}")
    return "; ".join(tags)
