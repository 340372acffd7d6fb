"""What a testbed consists of: frozen data that touches no kernel, no file and no clock.

Theory of operation. A plan says who is there and who is connected to whom; everything that follows
from it (interface names, addresses, routes, zone files, MX records, reverse zones) is derived, so that
nobody writes an address twice:

    networks + links  ->  addressing  ->  routes                     (addressing, routing)
    zones + domains + addressing      ->  zone files, root hints     (zonedata)
    roles + all of these              ->  the services' configuration (mailbed.roles)

Names are the key of everything: a host's `name` is what people type and what its interfaces are called
(`NAME-eth0`), its `fqdn` is what DNS knows it by. Domains and zones are written without a final dot; the
root zone is `.`.

Example, two hosts on one network::

    Plan(
        name="pair",
        networks=(Network(name="lan", subnet="198.18.1.0/24"),),
        hosts=(Host(name="a", fqdn="a.example.org"), Host(name="b", fqdn="b.example.org")),
        links=(Link(a="a", b="lan"), Link(a="b", b="lan")),
        ...
    )
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

ROOT = "."
NAME_LIMIT = 10
"""Longest name of a host or a network: with `-eth9` it still fits Linux's 15 characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A LAN: one Linux bridge; every host linked to it gets an address of `subnet` (CIDR)."""

    name: str
    subnet: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A cable from host `a` to `b`, a network or another host.

    `rate_mbit` (megabit/s), `delay_ms` (one way) and `loss_percent` hold in each direction. `address` fixes
    the address of `a`; without it, it is derived. Two hosts that are linked directly share a /31 (RFC 3021).
    """

    a: str
    b: str
    rate_mbit: float | None = None
    delay_ms: float | None = None
    loss_percent: float | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What a host does: one process each. `implementation` chooses who does it (mailbed.roles lists them)."""

    kind: ClassVar[str] = ""

    implementation: str = "built-in"


@dataclass(frozen=True, slots=True, kw_only=True)
class NameServer(Role):
    """Authoritative for zones: as `primary`, which every zone has exactly one of, or as `secondary`."""

    kind: ClassVar[str] = "name-server"

    primary: tuple[str, ...] = ()
    secondary: tuple[str, ...] = ()

    @property
    def zones(self) -> tuple[str, ...]:
        return self.primary + self.secondary


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolver(Role):
    """A caching recursive resolver, for the hosts that name it as theirs."""

    kind: ClassVar[str] = "resolver"


@dataclass(frozen=True, slots=True, kw_only=True)
class MailRoute:
    """Mail for `domain` (`*`: any other) goes to the exchangers of a domain in `via`, never to a named host.

    Of several domains the first to try is chosen by the seed, the others follow when it does not answer. Of
    exchangers of equal preference, which DNS does not tell apart, one with `weights` 3 (by host) comes first
    three times as often as one of weight 1, which the others have. Where this host itself is the most
    preferred exchanger, mail goes to those of `as_primary`: so DNS alone makes a backup the primary.
    """

    domain: str
    via: tuple[str, ...]
    weights: dict[str, int] = field(default_factory=dict)
    as_primary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentFilter:
    """Has a mail server judge each message before it goes on, by the engines that are roles of its host.

    `border` are the hosts that take mail from outside and hand it to this one: so it knows who brought it.
    What comes from the places in the server's `relay_from` is looked through for malware only. Domains that
    sent mail are told every `report_interval_s` seconds what was made of it (DMARC), if they want to be.
    ARC seals of `trusted_sealers` (domains) are believed.
    """

    border: tuple[str, ...] = ()
    report_interval_s: float = 86400.0
    trusted_sealers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer(Role):
    """An MTA; with `submission` an MSA on port 587 too; with `mailboxes` the MDA of those domains.

    It accepts mail for the domains whose MX it is; clients on the hosts and networks of `relay_from` may
    send anywhere through it, and so may everybody if it is an `open_relay`. With `opportunistic_tls` it
    offers STARTTLS to other servers, and takes it up where they offer it. With a `content_filter` nothing
    goes on unjudged. With `greylisting` strangers are put off for five minutes at first.
    """

    kind: ClassVar[str] = "mail-server"

    submission: bool = False
    mailboxes: tuple[str, ...] = ()
    relay_from: tuple[str, ...] = ()
    open_relay: bool = False
    opportunistic_tls: bool = False
    routes: tuple[MailRoute, ...] = ()
    content_filter: ContentFilter | None = None
    greylisting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ImapServer(Role):
    """Lets users read their mail: those whose mailboxes the mail server on the same host holds."""

    kind: ClassVar[str] = "imap-server"


@dataclass(frozen=True, slots=True, kw_only=True)
class MailClient(Role):
    """The MUA of `user` (an address), who submits through the host `server` when there is mail to send.

    The mail is read where the user's mailbox lies, if there is an IMAP server.
    """

    kind: ClassVar[str] = "mail-client"

    user: str
    server: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VirusEngine(Role):
    """Tells malware, on the host's own loopback (clamd's protocol, port 3310).

    `signatures` maps a file's name (NAME.hdb, .hsb or .ndb, as ClamAV has them) to its text; EICAR is always
    known. With `block_encrypted` an archive that needs a password is a finding.
    """

    kind: ClassVar[str] = "virus-engine"

    signatures: dict[str, str] = field(default_factory=dict)
    block_encrypted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SpamEngine(Role):
    """Tells unwanted mail, on the host's own loopback (spamd's protocol, port 783).

    A message that scores `required` or more is spam. `block_lists` are zones that list addresses,
    `url_block_lists` zones that list domains (RFC 5782). Servers that the host's mail server relays for are
    trusted: what their Received fields say is true.
    """

    kind: ClassVar[str] = "spam-engine"

    required: float = 5.0
    block_lists: tuple[str, ...] = ()
    url_block_lists: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Role):
    """Any program of the user's as a service.

    `files` maps a path below the host's directory to its text; `${NAME}`, `${FQDN}`, `${ADDRESS}` and
    `${DIR}` (the directory) are filled in, there and in `command`. `ready` says how one sees that it serves:
    `tcp:PORT` (accepts on the host's loopback), `log:REGEX` (a line of its output) or `started`.
    """

    kind: ClassVar[str] = "command"

    name: str
    command: tuple[str, ...]
    files: dict[str, str] = field(default_factory=dict)
    ready: str = "started"


@dataclass(frozen=True, slots=True, kw_only=True)
class Allow:
    """What a firewall lets begin from `source` to `to`: hosts, networks, `outside` or `any`.

    `services` are `dns`, `smtp`, `submission`, `imap`, `ping`, or a protocol and a port (`tcp/8080`).
    `per_minute` limits how many connections one address may begin; what is beyond that is refused.
    """

    source: tuple[str, ...]
    to: tuple[str, ...]
    services: tuple[str, ...]
    per_minute: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Firewall:
    """What a router lets pass: what `allow` names, and replies to it. All else is dropped, and logged.

    Its *legs* are its links: those to networks, and `outside` for those to other routers.
    """

    allow: tuple[Allow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine: `router` forwards between its links, as far as its `firewall` allows.

    `resolver` names the host whose resolver it asks.
    """

    name: str
    fqdn: str
    roles: tuple[Role, ...] = ()
    router: bool = False
    firewall: Firewall | None = None
    resolver: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A DNS zone: its NS, address and MX records are derived; `records` are more master-file lines.

    `ttl` (seconds) holds for every derived record. Reverse zones (`…in-addr.arpa`) are zones like any other:
    the PTR records of the addresses below them are derived.
    """

    origin: str
    ttl: int = 3600
    records: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchanger:
    """One MX record of a domain: `host` takes mail for it; lower `preference` is tried earlier."""

    host: str
    preference: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person with a mailbox, `local@DOMAIN`. Without `password` it is `local` again: labs are closed."""

    local: str
    password: str = ""

    @property
    def secret(self) -> str:
        return self.password or self.local


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """Mail for `local@DOMAIN` goes to each of `to`: local parts of the same domain, or addresses of any."""

    local: str
    to: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MailingList:
    """A list at `local@DOMAIN`, run by who holds the domain's mailboxes; mail to it goes to its `members`.

    Members are local parts of the same domain, or addresses of any; they also come and go by mail to
    `local-subscribe` and `local-unsubscribe`. `posting` says who may write to it: its members, or `anyone`. A
    subject `tag` and a `footer` break the author's DKIM signature. Against that, the list becomes the author
    (`rewrite_from`), or vouches for the author (`seal`: ARC).
    """

    local: str
    members: tuple[str, ...] = ()
    owner: str = ""
    posting: str = "members"
    tag: bool = True
    footer: bool = True
    rewrite_from: bool = False
    seal: bool = False
    bounce_limit: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A mail domain. Without exchangers it is `implicit`: its address takes its mail (RFC 5321 §5.1).

    A `transit` domain is a next hop for routes: nobody has an address there, and its exchangers take no mail
    for it.

    What it publishes about its senders: `spf` says what of hosts that do not send for it (`-all`, `~all`,
    `?all`; those that do are derived), or is a whole record (`v=spf1 …`); with `dkim` its servers sign, with
    a key made for each run; `dmarc` is its policy (`none`, `quarantine`, `reject`), or for some of its
    messages (`reject 50%`). Empty: no such record.
    """

    name: str
    exchangers: tuple[Exchanger, ...] = ()
    users: tuple[User, ...] = ()
    aliases: tuple[Alias, ...] = ()
    lists: tuple[MailingList, ...] = ()
    implicit: bool = False
    transit: bool = False
    spf: str = ""
    dkim: bool = False
    dmarc: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A whole testbed.

    `require` names features without which it refuses to start (`netem`, `htb`, `openvswitch`, `nftables`).
    `switch` is what a network is made of: `bridge` or `openvswitch`. Links between two hosts draw their
    addresses from `transit` (CIDR).
    """

    name: str
    title: str = ""
    networks: tuple[Network, ...] = ()
    hosts: tuple[Host, ...] = ()
    links: tuple[Link, ...] = ()
    zones: tuple[Zone, ...] = ()
    domains: tuple[Domain, ...] = ()
    require: tuple[str, ...] = ()
    switch: str = "bridge"
    transit: str = "198.19.0.0/16"

    def host(self, name: str) -> Host:
        """Return the host of that name. Raises: KeyError."""
        return self._hosts[name]

    def roles(self) -> Iterator[tuple[Host, Role]]:
        """Yield every role with its host, in the order of the plan."""
        for host in self.hosts:
            for role in host.roles:
                yield host, role

    def servers_of(self, origin: str) -> list[Host]:
        """Return the hosts that serve a zone, its primary first."""
        return list(self._servers.get(origin, ()))

    # Large plans are asked for each of their hosts and zones, so what answers is made once.
    @cached_property
    def _hosts(self) -> dict[str, Host]:
        # Of two hosts of one name, which `check` finds, the first counts.
        return {host.name: host for host in reversed(self.hosts)}

    @cached_property
    def _servers(self) -> dict[str, list[Host]]:
        servers: dict[str, list[Host]] = {}
        roles = [(host, role) for host, role in self.roles() if isinstance(role, NameServer)]
        for host, role in roles:
            for origin in dict.fromkeys(role.primary):
                servers.setdefault(origin, []).append(host)
        for host, role in roles:
            for origin in dict.fromkeys(role.secondary):
                servers.setdefault(origin, []).append(host)
        return servers


ROLES: dict[str, type[Role]] = {
    role.kind: role
    for role in (NameServer, Resolver, MailServer, ImapServer, MailClient, Command, VirusEngine, SpamEngine)
}
"""The roles by the name that plan files use."""
