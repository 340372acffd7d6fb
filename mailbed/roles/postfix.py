"""Postfix in place of our own mail server: as an exchanger, a relay, and where mailboxes lie.

It runs from a configuration, a queue and a data directory below the host's. Its programs take on the user
`postfix`, which has to be there in the lab: as root it is, else subordinate ids are needed; if they lack, the
service says so and ends. What differs from a stock main.cf follows from the plan, or says why. Mailboxes
are where our own server has them. What Postfix would not do as the plan says is refused; the notices
that it writes itself are not signed, and of several next domains it tries the first one first.
"""

from __future__ import annotations

from collections.abc import Sequence

import tomli_w

from mailbed.errors import UsageError
from mailbed.roles.built_in import places
from mailbed.roles.service import Service, World
from topologies.plan import Host, MailServer

_MASTER_PROGRAM = "/usr/lib/postfix/sbin/master"
_MAIN = """\
compatibility_level = 3.6
queue_directory = {directory}/queue
# What users other than root open by its whole path lies here: the run directory may be closed to them.
data_directory = {open}/data
mail_owner = postfix
setgid_group = postdrop
# Its standard output, which becomes events. Postfix follows links of root's alone, and in a lab that was
# started without being root /dev/stdout is somebody else's.
maillog_file = {open}/log
maillog_file_prefixes = {open}
myhostname = {fqdn}
mydestination =
mynetworks = {networks}
relay_domains = {domains}
relayhost = {relayhost}
# texthash: no postmap is needed.
transport_maps = texthash:{directory}/postfix/transport
inet_protocols = ipv4
alias_maps =
virtual_mailbox_domains = {held}
virtual_mailbox_base = {open}/mail
virtual_mailbox_maps = texthash:{open}/postfix/mailboxes
virtual_alias_maps = texthash:{directory}/postfix/aliases
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_minimum_uid = 1000
recipient_delimiter = +
# As our own server's.
message_size_limit = 52428800
virtual_mailbox_limit = 0
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
# Each recipient is logged once it is accepted, under the queue id.
smtpd_delay_open_until_valid_rcpt = no
smtpd_recipient_restrictions = check_recipient_access static:INFO
minimal_backoff_time = {backoff}s
maximal_backoff_time = {longest}s
queue_run_delay = {backoff}s
maximal_queue_lifetime = {lifetime}s
bounce_queue_lifetime = {lifetime}s
"""
_MASTER = """\
smtp inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
discard unix - - n - - discard
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
showq unix n - n - - showq
flush unix n - n 1000? 0 flush
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n n n - 1 postlogd
"""
_QUEUE = "active bounce corrupt defer deferred flush hold incoming maildrop pid private public saved trace"
_MISSING = "postfix is not installed: apt-get install postfix"
_USERS = (
    "postfix needs several users: run mailbed as root, or install uidmap and give yourself "
    "subordinate ids in /etc/subuid and /etc/subgid"
)
_BACKOFF_S, _LONGEST_S, _LIFETIME_S = 300, 4000, 5 * 86400


def mail_server(world: World, host: Host, role: MailServer) -> Service:
    """Return Postfix as a relay or an exchanger. Raises: UsageError: the role asks for more than that."""
    if lacking := _lacking(world, role):
        raise UsageError(f"host {host.name}: postfix does not {lacking} here; the built-in mail server does")
    directory = world.directory(host.name)
    config = {
        "command": [
            "sh",
            "-c",
            _with_directories(host, role.mailboxes),
            "sh",
            *_command(str(directory / "postfix")),
        ],
        "ready": "tcp:25",
        "directory": str(directory),
        "log": str(directory / f"{role.kind}.log"),
        "log_format": "postfix",
    }
    return Service(
        host=host.name,
        role=role.kind,
        module="mailbed.daemon",
        config="mail-server.toml",
        files={
            "postfix/main.cf": _main(world, host, role),
            "postfix/master.cf": _MASTER,
            "postfix/transport": _transport(role),
            "postfix/mailboxes": _mailboxes(world, role),
            "postfix/aliases": _aliases(world, role),
            "mail-server.toml": tomli_w.dumps(config),
        },
    )


def _lacking(world: World, role: MailServer) -> str:
    """What the role asks for that Postfix would pass over without a word; empty if there is nothing."""
    routes = role.routes
    wanted = {
        "serve submission": role.submission,
        "filter content": role.content_filter is not None,
        # It strips source routes, and sends straight to the end of them.
        "follow source routes as an open relay": role.open_relay,
        "put strangers off (greylisting)": role.greylisting,
        "keep mailing lists": any(world.domains[name].lists for name in role.mailboxes),
        "take up TLS with other servers": role.opportunistic_tls,
        "prefer exchangers by weights": any(route.weights for route in routes),
        "change its route when it is the primary (as_primary)": any(route.as_primary for route in routes),
    }
    return next((what for what, asked in wanted.items() if asked), "")


def _with_directories(host: Host, domains: Sequence[str]) -> str:
    """What a shell does first: it looks for what is needed, makes directories, and becomes its arguments."""
    shared = _open(host)
    # virtual(8) makes a Maildir, but not the domain's directory above it.
    wanted = " ".join(
        [
            *(f"{shared}/{part}" for part in ("data", "mail", "postfix")),
            *("mail", *(f"mail/{name}" for name in domains)),
            *(f"queue/{part}" for part in _QUEUE.split()),
        ]
    )
    owned = " ".join(f"queue/{part}" for part in _QUEUE.split() if part != "pid")
    return (
        f"[ -x {_MASTER_PROGRAM} ] || {{ echo '{_MISSING}'; exit 1; }}; "
        f"mkdir -p {wanted}; ln -sfn /proc/self/fd/1 {shared}/log; "
        f"chown postfix {shared}/data {owned} 2>/dev/null || {{ echo '{_USERS}'; exit 1; }}; "
        "chown -R 65534:65534 mail; chmod a+rX postfix postfix/*; "
        # In the host's own mount namespace, so nobody else sees it.
        f'for part in mail postfix; do mount --bind $part {shared}/$part || exit 1; done; exec "$@"'
    )


def _open(host: Host) -> str:
    """Where Postfix's own user finds what is in directories that may be closed to others."""
    return f"/run/postfix-{host.name}"


def _command(configuration: str) -> list[str]:
    return [_MASTER_PROGRAM, "-s", "-c", configuration]


def _main(world: World, host: Host, role: MailServer) -> str:
    networks = ["127.0.0.0/8", *places(world, role.relay_from)]
    default = next((route.via for route in role.routes if route.domain == "*"), ())

    taken = [domain.name for domain in world.taken.get(host.name, ())]

    def scaled(seconds: float) -> int:
        return max(1, round(seconds / world.time_scale))

    return _MAIN.format(
        directory=world.directory(host.name),
        open=_open(host),
        fqdn=host.fqdn,
        networks=", ".join(networks),
        domains=", ".join(name for name in taken if name not in role.mailboxes),
        held=", ".join(dict.fromkeys(role.mailboxes)),
        relayhost=", ".join(default),
        backoff=scaled(_BACKOFF_S),
        longest=scaled(_LONGEST_S),
        lifetime=scaled(_LIFETIME_S),
    )


def _transport(role: MailServer) -> str:
    """One line a domain with a route of its own; the next hops of each are looked up by MX, in order."""
    routes = (route for route in role.routes if route.domain != "*")
    return "".join(f"{route.domain} smtp:{', '.join(route.via)}\n" for route in routes)


def _mailboxes(world: World, role: MailServer) -> str:
    held = [world.domains[name] for name in dict.fromkeys(role.mailboxes)]
    return "".join(
        f"{user.local}@{domain.name} {domain.name}/{user.local}/\n"
        for domain in held
        for user in domain.users
    )


def _aliases(world: World, role: MailServer) -> str:
    held = [world.domains[name] for name in dict.fromkeys(role.mailboxes)]
    lines = []
    for domain in held:
        for alias in domain.aliases:
            to = ", ".join(one if "@" in one else f"{one}@{domain.name}" for one in alias.to)
            lines.append(f"{alias.local}@{domain.name} {to}\n")
    return "".join(lines)
