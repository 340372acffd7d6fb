"""The mistakes of a plan that concern mail: servers, clients, domains and who holds their mailboxes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property

from topologies.plan import (
    Command,
    Domain,
    Exchanger,
    Host,
    ImapServer,
    MailClient,
    MailingList,
    MailRoute,
    MailServer,
    Plan,
)

# The atoms of RFC 5321 §4.1.2, without the quoted form, and of RFC 6531 §3.3: beyond ASCII, everything.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+"
_SPF = re.compile(r"[-~?+]all|v=spf1( [!-~]+)*")
_DMARC = re.compile(r"(none|quarantine|reject)( (100|[1-9]?[0-9])%)?")
_LIST = re.compile(r"[A-Za-z0-9_-]{1,40}(\.[A-Za-z0-9_-]{1,40})*")
_LOCAL_PART = re.compile(rf"{_ATOM}(\.{_ATOM})*")


def mistakes(plan: Plan) -> Iterator[str]:
    """Yield a sentence for each mistake."""
    known = _Known(plan)
    for host, role in plan.roles():
        if isinstance(role, MailServer):
            yield from _mail_server(known, f"host {host.name}", role)
        elif isinstance(role, ImapServer):
            yield from _imap_server(host)
        elif isinstance(role, MailClient):
            yield from _mail_client(known, f"host {host.name}", role)
    for domain in plan.domains:
        yield from _domain(known, domain)


class _Known:
    """What the checks ask of the plan again and again, made once."""

    def __init__(self, plan: Plan) -> None:
        self.hosts = {host.name: host for host in plan.hosts}
        self.places = {*self.hosts, *(network.name for network in plan.networks)}
        self.domains = {domain.name for domain in plan.domains}
        self.users = {f"{user.local}@{domain.name}" for domain in plan.domains for user in domain.users}
        # As servers compare them: local parts without case, `+detail` cut off.
        self.people = {user.lower() for user in self.users}
        self.aliases = {
            f"{alias.local}@{domain.name}".lower(): [_whole(one, domain) for one in alias.to]
            for domain in plan.domains
            for alias in domain.aliases
        }
        self.exchangers = {
            domain.name: {exchanger.host for exchanger in domain.exchangers} for domain in plan.domains
        }
        self._roles = list(plan.roles())

    @cached_property
    def submission(self) -> set[str]:
        """Hosts that users submit to."""
        return {host.name for host, role in self._roles if isinstance(role, MailServer) and role.submission}

    @cached_property
    def takes_mail(self) -> set[str]:
        """Hosts that may be an MX: a command may be a mail server."""
        return {host.name for host, role in self._roles if isinstance(role, MailServer | Command)}

    @cached_property
    def holders(self) -> dict[str, list[str]]:
        """By domain, the hosts that hold its mailboxes."""
        found: dict[str, list[str]] = {}
        for host, role in self._roles:
            for domain in dict.fromkeys(role.mailboxes if isinstance(role, MailServer) else ()):
                found.setdefault(domain, []).append(host.name)
        return found

    @cached_property
    def by_fqdn(self) -> dict[str, Host]:
        return {host.fqdn.lower(): host for host in self.hosts.values()}


def _mail_server(known: _Known, where: str, role: MailServer) -> Iterator[str]:
    for domain in role.mailboxes:
        if domain not in known.domains:
            yield f"{where} holds mailboxes of {domain}, which is no domain of the plan"
    for route in role.routes:
        yield from _route(known, f"{where}: its route for {route.domain}", route)
    for place in role.relay_from:
        if place not in known.places:
            yield f"{where}: relay_from names {place}, which is no host or network"
    for name in role.content_filter.border if role.content_filter else ():
        if name not in known.takes_mail:
            yield f"{where}: the border of its content filter names {name}, which is no mail server"


def _route(known: _Known, what: str, route: MailRoute) -> Iterator[str]:
    via = (*route.via, *filter(None, [route.as_primary]))
    exchangers = {exchanger for name in via for exchanger in known.exchangers.get(name, ())}
    for host, weight in route.weights.items():
        if host not in exchangers:
            yield f"{what} gives a weight to {host}, which is no exchanger of {' or '.join(via)}"
        if weight < 1:
            yield f"{what} gives {host} the weight {weight}; it is 1 or more"


def _imap_server(host: Host) -> Iterator[str]:
    if not any(isinstance(role, MailServer) and role.mailboxes for role in host.roles):
        yield f"host {host.name} has an IMAP server, but no mail server that holds mailboxes"


def _mail_client(known: _Known, where: str, role: MailClient) -> Iterator[str]:
    if role.user not in known.users:
        yield f"{where}: there is no user {role.user}"
    if role.server not in known.submission:
        yield f"{where} submits to {role.server}, which is no mail server with submission"


def _domain(known: _Known, domain: Domain) -> Iterator[str]:
    what = f"domain {domain.name}"
    if not domain.exchangers and not domain.implicit:
        yield f"{what} has no MX: name its exchangers, or say implicit = true"
    if domain.exchangers and domain.implicit:
        yield f"{what} is implicit and has exchangers: it cannot be both"
    if domain.transit and (domain.users or domain.aliases or domain.lists or domain.name in known.holders):
        yield f"{what} is for transit, so it has no users and nobody holds its mailboxes"
    yield from _published(what, domain)
    for exchanger in domain.exchangers:
        yield from _exchanger(known, what, exchanger)
    # That such a host is there at all is for check_dns to say.
    host = known.by_fqdn.get(domain.name) if domain.implicit else None
    if host is not None and host.name not in known.takes_mail:
        yield f"{what} is implicit, but its host {host.name} is no mail server"
    holders = known.holders.get(domain.name, [])
    if len(holders) > 1:
        yield f"{what} has two primaries: {' and '.join(holders)} both hold its mailboxes"
    named = "users" if domain.users else "aliases" if domain.aliases else "lists" if domain.lists else ""
    if named and not holders:
        yield f"{what} has {named}, but no mail server holds its mailboxes"
    yield from _users(what, domain)
    yield from _aliases(known, what, domain)
    yield from _lists(known, what, domain)


def _published(what: str, domain: Domain) -> Iterator[str]:
    if domain.spf and not _SPF.fullmatch(domain.spf):
        yield f"{what}: spf {domain.spf!r} is neither -all, ~all, ?all or +all nor a record (v=spf1 …)"
    if domain.dmarc and not _DMARC.fullmatch(domain.dmarc):
        yield f"{what}: dmarc {domain.dmarc!r} is not none, quarantine or reject, or such as 'reject 50%'"


def _users(what: str, domain: Domain) -> Iterator[str]:
    # Our servers compare local parts without case, as nearly all do.
    for local, times in Counter(user.local.lower() for user in domain.users).items():
        if not (_LOCAL_PART.fullmatch(local) and local.isprintable()):
            yield f"{what}: user {local!r} is no local part of an address"
        if times > 1:
            yield f"{what}: user {local} is there {times} times"


def _aliases(known: _Known, what: str, domain: Domain) -> Iterator[str]:
    for local, times in Counter(alias.local.lower() for alias in domain.aliases).items():
        if times > 1:
            yield f"{what}: alias {local} is there {times} times"
    for alias in domain.aliases:
        if not (_LOCAL_PART.fullmatch(alias.local) and alias.local.isprintable()):
            yield f"{what}: alias {alias.local!r} is no local part of an address"
        if not alias.to:
            yield f"{what}: alias {alias.local} leads to nobody"
        own = f"{alias.local}@{domain.name}".lower()
        for one in map(_whole, alias.to, [domain] * len(alias.to)):
            if one not in known.people and one not in known.aliases and not one.startswith("postmaster@"):
                yield f"{what}: alias {alias.local} leads to {one}, where there is nobody"
            elif one in known.aliases and own not in known.people and own in _led_to(known, one):
                yield f"{what}: alias {alias.local} leads back to itself through {one}"


def _lists(known: _Known, what: str, domain: Domain) -> Iterator[str]:
    for local, times in Counter(settings.local.lower() for settings in domain.lists).items():
        if times > 1:
            yield f"{what}: list {local} is there {times} times"
        if {f"{local}@{domain.name}".lower()} & (known.people | set(known.aliases)):
            yield f"{what}: list {local} is a user or an alias, too"
    for settings in domain.lists:
        yield from _list(f"{what}: list {settings.local}", settings, domain)


def _list(where: str, settings: MailingList, domain: Domain) -> Iterator[str]:
    if not _LIST.fullmatch(settings.local):
        yield f"{where} has a name that is not letters, digits, dots, hyphens and underscores"
    for member in (*settings.members, *filter(None, [settings.owner])):
        local, _, name = member.rpartition("@") if "@" in member else (member, "", domain.name)
        if not (_LOCAL_PART.fullmatch(local) and member.isascii() and name):
            yield f"{where} names {member!r}, which is no address that a list can send to"
    if settings.posting not in ("members", "anyone"):
        yield f"{where}: posting is {settings.posting!r}, not 'members' or 'anyone'"
    if settings.bounce_limit < 1:
        yield f"{where}: bounce_limit is {settings.bounce_limit}; it is 1 or more"
    if settings.seal and not domain.dkim:
        yield f"{where} seals, for which the domain needs a key: say dkim = true"


def _whole(address: str, domain: Domain) -> str:
    """The address that an alias names, as servers compare it."""
    local, _, name = (address if "@" in address else f"{address}@{domain.name}").lower().rpartition("@")
    return f"{local.partition('+')[0] or local}@{name}"


def _led_to(known: _Known, address: str) -> set[str]:
    """The addresses that aliases lead to from this one, and itself."""
    found, due = set[str](), [address]
    while due:
        one = due.pop()
        if one not in found:
            found.add(one)
            due += known.aliases.get(one, []) if one not in known.people else []
    return found


def _exchanger(known: _Known, what: str, exchanger: Exchanger) -> Iterator[str]:
    if exchanger.host not in known.hosts:
        yield f"{what}: its MX names the host {exchanger.host}, which is not there"
    elif exchanger.host not in known.takes_mail:
        yield f"{what}: its MX {exchanger.host} is no mail server"
    if not 0 <= exchanger.preference <= 65535:
        yield f"{what}: preference {exchanger.preference} of {exchanger.host} lies outside 0 to 65535"
