"""The configuration of a mail server, read from TOML.

    hostname = "mx.example.org"          # its name in greetings, EHLO and Received
    host = "rcpt-mx1"                    # the lab's name of the host (default: hostname)
    listen = ["0.0.0.0"]
    smtp_port = 25                       # 0: none
    submission_port = 587                # 0 or absent: none; needs [tls]
    remote_port = 25                     # where other servers listen
    spool = "spool"                      # the durable queue
    mailboxes = "mail"                   # Maildirs: mail/DOMAIN/USER/
    list_journals = "lists"              # who is on the mailing lists
    nameservers = ["10.1.0.53"]
    nameserver_port = 53
    seed = 1
    relay_from = ["10.1.0.0/24"]         # clients who may relay anywhere
    time_scale = 1.0                     # retry intervals and expiry are divided by this
    size_limit = 52428800                # bytes
    connect_timeout_s = 30.0             # for the connection and for the greeting
    command_timeout_s = 300.0            # for every other reply
    destination_concurrency = 10         # messages under way to one destination at a time
    session_limit = 400                  # sessions at a time on each port; one more is told to come again
    client_session_limit = 100           # of these from one address
    recipient_limit = 1000               # recipients of one message
    error_limit = 100                    # refused commands since the last message, then a session ends
    line_limit = 1048576                 # octets of a line in a message
    greylist_delay_s = 0.0               # strangers are put off for so long, divided by time_scale; 0: none
    source_routes = false                # go where the sender says: @host:user@domain, user%domain@here
    opportunistic_tls = false            # take up TLS with servers that offer it; needs [tls]
    [tls]                                # PEM files; the key log is appended to in NSS format
    cert = "cert.pem"
    key = "key.pem"
    keylog = "keys.log"
    [[domains]]
    name = "example.org"
    kind = "local"                       # local: mailboxes are here; relay: taken from anyone and passed on
    [[users]]
    address = "bob@example.org"
    password = "secret"                  # empty or absent: may not submit
    mailbox = true
    [[aliases]]
    address = "info@example.org"         # at a local domain
    to = ["bob@example.org", "alice@example.com"]
    [[routes]]
    domain = "*"                         # or a domain; the most specific one is taken
    via = "isp-a.example.net"            # a domain, looked up by MX; of a list, one is chosen by seed
    weights = {"mx1.example.net" = 3}    # among exchangers of equal preference; others have 1
    as_primary = ""                      # a domain, for where this host is the best exchanger of `via`
    [[signing]]                          # DKIM: mail from this domain, and from those below it, is signed
    domain = "example.org"
    selector = "lab"
    key = "dkim/example.org.pem"         # PEM, RSA or Ed25519
    [content_filter]                     # absent: none; with it, nothing is sent on before it was judged
    authserv_id = "mx.example.org"       # its name in Authentication-Results (default: hostname)
    quarantine = "quarantine"            # what is kept back
    reports = "dmarc"                    # what DMARC's aggregate reports are made of
    border = ["198.18.2.10"]             # hosts of ours that take mail from outside and pass it on here
    inside = ["10.2.0.0/24"]             # whose mail is looked through for malware only
    virus_port = 3310                    # clamd's protocol on the loopback; 0: no such engine
    spam_port = 783                      # spamd's; 0: no such engine
    engine_timeout_s = 60.0
    report_interval_s = 86400.0          # between aggregate reports; divided by time_scale
    trusted_sealers = []                 # domains whose ARC seals are believed
    [[lists]]                            # a mailing list at a local domain (services.lists)
    address = "friends@example.org"
    title = "Friends"                    # default: the part before the @
    members = ["bob@example.org"]        # from its first start on; who comes and goes is in its journal
    owner = "bob@example.org"            # default: postmaster of the domain
    posting = "members"                  # who may write to it; or anyone
    tag = true                           # posts get [Friends] in the subject
    footer = true                        # and a text at the end
    rewrite_from = false                 # the list becomes the author
    seal = false                         # the list vouches for the author (ARC); needs a key in [[signing]]
    bounce_limit = 5                     # bounces in a row after which a member gets nothing

Relative paths are relative to the file's directory. A key that is not named here is a mistake.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from services.errors import ConfigError
from services.lists.settings import BOUNCE_WINDOW_S, COOKIE_LIFE_S, MailingList
from services.smtp.address import Address, canonical_domain
from services.smtp.retry import RetryPolicy
from services.smtp.table import NETWORKS, Network, Table, check_types


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """PEM files of the server's certificate chain and key; `keylog` is appended to (NSS format)."""

    cert: Path
    key: Path
    keylog: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A domain that this server takes mail for from anyone."""

    name: str
    kind: Literal["local", "relay"]


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Someone with an account here; without `password` they cannot submit."""

    address: Address
    password: str = field(default="", repr=False)
    mailbox: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """The private key (PEM) of a domain; the public one is in DNS at `selector._domainkey.domain`."""

    domain: str
    selector: str
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """Mail for `address` goes to each of `to`, here or elsewhere."""

    address: Address
    to: tuple[Address, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Mail for `domain` (`*`: any other) goes to the MX of one of the `via` domains.

    Of exchangers of equal preference one of weight 3 comes first three times as often as one of weight 1,
    which is everyone's who has no weight here. Where this host is the most preferred exchanger itself, mail
    goes to those of `as_primary`; without that it loops.
    """

    domain: str
    via: tuple[str, ...]
    weights: tuple[tuple[str, int], ...] = ()
    as_primary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentFilter:
    """Who judges messages before they go on, and what is known about where they come from."""

    authserv_id: str
    quarantine: Path
    reports: Path
    border: tuple[str, ...] = ()
    inside: tuple[Network, ...] = ()
    virus_port: int = 3310
    spam_port: int = 783
    engine_timeout_s: float = 60.0
    report_interval_s: float = 86400.0
    trusted_sealers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_types(self, _MEMBERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class MtaConfig:
    """What one mail server does; see the module for the meaning of each value.

    Raises: ConfigError for a value of another type.
    """

    hostname: str
    host: str
    spool: Path
    mailboxes: Path
    listen: tuple[str, ...] = ("0.0.0.0",)
    smtp_port: int = 25
    submission_port: int = 0
    remote_port: int = 25
    nameservers: tuple[str, ...] = ()
    nameserver_port: int = 53
    seed: int = 1
    relay_from: tuple[Network, ...] = ()
    time_scale: float = 1.0
    size_limit: int = 50 * 1024 * 1024
    connect_timeout_s: float = 30.0
    command_timeout_s: float = 300.0
    destination_concurrency: int = 10
    session_limit: int = 400
    client_session_limit: int = 100
    recipient_limit: int = 1000
    error_limit: int = 100
    line_limit: int = 1024 * 1024
    source_routes: bool = False
    greylist_delay_s: float = 0.0
    tls: TlsConfig | None = None
    opportunistic_tls: bool = False
    domains: tuple[Domain, ...] = ()
    users: tuple[User, ...] = ()
    aliases: tuple[Alias, ...] = ()
    routes: tuple[Route, ...] = ()
    signing: tuple[Signing, ...] = ()
    content_filter: ContentFilter | None = None
    lists: tuple[MailingList, ...] = ()
    list_journals: Path = Path("lists")

    def __post_init__(self) -> None:
        check_types(self, _MEMBERS)

    @property
    def retry(self) -> RetryPolicy:
        """When deferred mail is tried again."""
        return RetryPolicy(time_scale=self.time_scale)


_MEMBERS: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "Network": NETWORKS,
    "Domain": Domain,
    "User": User,
    "Alias": Alias,
    "Route": Route,
    "Signing": Signing,
    "MailingList": MailingList,
}
"""What the tuples of a configuration have in them, as annotations call it."""


def load(path: Path) -> MtaConfig:
    """Return the configuration in the TOML file `path`.

    Raises: ConfigError, which names the file and the key.
    """
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from error
    return _mta(Table(str(path), values, path.parent))


def _mta(table: Table) -> MtaConfig:
    hostname = table.text("hostname")
    time_scale = table.positive("time_scale", 1.0)
    config = MtaConfig(
        hostname=hostname,
        host=table.text("host", hostname),
        listen=table.texts("listen", ["0.0.0.0"]),
        smtp_port=table.whole("smtp_port", 25, 0, 65535),
        submission_port=table.whole("submission_port", 0, 0, 65535),
        remote_port=table.whole("remote_port", 25, 1, 65535),
        spool=table.path("spool", "spool"),
        mailboxes=table.path("mailboxes", "mail"),
        nameservers=table.texts("nameservers", []),
        nameserver_port=table.whole("nameserver_port", 53, 1, 65535),
        seed=table.whole("seed", 1),
        relay_from=tuple(map(table.network, table.texts("relay_from", []))),
        time_scale=time_scale,
        size_limit=table.whole("size_limit", 50 * 1024 * 1024, 1),
        connect_timeout_s=table.positive("connect_timeout_s", 30.0),
        command_timeout_s=table.positive("command_timeout_s", 300.0),
        destination_concurrency=table.whole("destination_concurrency", 10, 1),
        session_limit=table.whole("session_limit", 400, 1),
        client_session_limit=table.whole("client_session_limit", 100, 1),
        recipient_limit=table.whole("recipient_limit", 1000, 1),
        error_limit=table.whole("error_limit", 100, 1),
        line_limit=table.whole("line_limit", 1024 * 1024, 1000),  # the least: RFC 5321 §4.5.3.1.6
        greylist_delay_s=table.not_negative("greylist_delay_s", 0.0),
        source_routes=table.take("source_routes", bool, default=False),
        tls=next(map(_tls, table.tables("tls", single=True)), None),
        opportunistic_tls=table.take("opportunistic_tls", bool, default=False),
        domains=tuple(map(_domain, table.tables("domains"))),
        users=tuple(map(_user, table.tables("users"))),
        aliases=tuple(map(_alias, table.tables("aliases"))),
        routes=tuple(map(_route, table.tables("routes"))),
        signing=tuple(map(_signing, table.tables("signing"))),
        content_filter=next(
            (_content_filter(each, hostname) for each in table.tables("content_filter", single=True)), None
        ),
        lists=tuple(_list(one, time_scale) for one in table.tables("lists")),
        list_journals=table.path("list_journals", "lists"),
    )
    table.no_more_keys()
    if config.submission_port and not config.tls:
        raise table.error("submission_port", "needs [tls]: passwords never travel in the clear")
    if config.opportunistic_tls and not config.tls:
        raise table.error("opportunistic_tls", "needs [tls], whose key log the sessions' secrets go to")
    return config


def _tls(table: Table) -> TlsConfig:
    keylog = table.path("keylog", "")
    config = TlsConfig(
        cert=table.path("cert"),
        key=table.path("key"),
        keylog=keylog if keylog != table.base else None,
    )
    table.no_more_keys()
    return config


def _domain(table: Table) -> Domain:
    kind = table.text("kind")
    if kind not in ("local", "relay"):
        raise table.error("kind", f"is {kind!r}, not 'local' or 'relay'")
    domain = Domain(name=canonical_domain(table.text("name")), kind="local" if kind == "local" else "relay")
    table.no_more_keys()
    return domain


def _user(table: Table) -> User:
    user = User(
        address=table.address("address", table.text("address")),
        password=table.text("password", ""),
        mailbox=table.take("mailbox", bool, default=True),
    )
    table.no_more_keys()
    return user


def _alias(table: Table) -> Alias:
    address, to = table.address("address", table.text("address")), table.texts("to")
    if not to:
        raise table.error("to", "names nobody")
    table.no_more_keys()
    return Alias(address=address, to=tuple(table.address("to", one) for one in to))


def _route(table: Table) -> Route:
    via = table.texts("via") if table.holds("via", list) else (table.text("via"),)
    if not via:
        raise table.error("via", "names no domain")
    route = Route(
        domain=canonical_domain(table.text("domain")),
        via=tuple(map(canonical_domain, via)),
        weights=table.weights("weights"),
        as_primary=canonical_domain(table.text("as_primary", "")),
    )
    table.no_more_keys()
    return route


def _signing(table: Table) -> Signing:
    signing = Signing(
        domain=canonical_domain(table.text("domain")),
        selector=table.text("selector"),
        key=table.path("key"),
    )
    table.no_more_keys()
    return signing


def _content_filter(table: Table, hostname: str) -> ContentFilter:
    content_filter = ContentFilter(
        authserv_id=table.text("authserv_id", hostname),
        quarantine=table.path("quarantine", "quarantine"),
        reports=table.path("reports", "dmarc"),
        border=table.texts("border", []),
        inside=tuple(table.network(text, "inside") for text in table.texts("inside", [])),
        virus_port=table.whole("virus_port", 3310, 0, 65535),
        spam_port=table.whole("spam_port", 783, 0, 65535),
        engine_timeout_s=table.positive("engine_timeout_s", 60.0),
        report_interval_s=table.positive("report_interval_s", 86400.0),
        trusted_sealers=tuple(map(canonical_domain, table.texts("trusted_sealers", []))),
    )
    table.no_more_keys()
    return content_filter


def _list(table: Table, time_scale: float) -> MailingList:
    address = table.address("address", table.text("address")).canonical
    posting = table.text("posting", "members")
    if posting not in ("members", "anyone"):
        raise table.error("posting", f"is {posting!r}, not 'members' or 'anyone'")
    settings = MailingList(
        address=str(address),
        title=table.text("title", address.local),
        members=tuple(str(table.address("members", one)) for one in table.texts("members", [])),
        owner=str(table.address("owner", owner)) if (owner := table.text("owner", "")) else "",
        posting="anyone" if posting == "anyone" else "members",
        tag=table.take("tag", bool, default=True),
        footer=table.take("footer", bool, default=True),
        rewrite_from=table.take("rewrite_from", bool, default=False),
        seal=table.take("seal", bool, default=False),
        bounce_limit=table.whole("bounce_limit", 5, 1),
        bounce_window_s=BOUNCE_WINDOW_S / time_scale,
        cookie_life_s=COOKIE_LIFE_S / time_scale,
    )
    table.no_more_keys()
    return settings
