"""Our own IMAP server, on the Maildirs that the mail server of the same host delivers to."""

from __future__ import annotations

from typing import Any

import tomli_w

from mailbed.roles.service import Service, World
from topologies.plan import Host, ImapServer, MailServer, Plan


def imap_server(world: World, host: Host, role: ImapServer) -> Service:
    """Return an IMAP server for the users whose mailboxes the host holds."""
    config: dict[str, Any] = {
        "hostname": host.fqdn,
        "host": host.name,
        "mailboxes": "mail",
        "tls": {
            "cert": str(world.tls / f"{host.fqdn}.pem"),
            "key": str(world.tls / f"{host.fqdn}.key"),
            "keylog": str(world.tls / "keys.log"),
        },
        "users": [
            {"address": f"{user.local}@{name}", "password": user.secret}
            for name in _held(host)
            for user in world.domains[name].users
        ],
    }
    return Service(
        host=host.name,
        role=role.kind,
        module="services.imap.server",
        config="imap-server.toml",
        files={"imap-server.toml": tomli_w.dumps(config)},
        certificate=True,
    )


def store(plan: Plan, domain: str) -> Host | None:
    """Return the host where users of a domain read their mail over IMAP, if there is one."""
    for host in plan.hosts:
        if domain in _held(host) and any(isinstance(role, ImapServer) for role in host.roles):
            return host
    return None


def _held(host: Host) -> list[str]:
    roles = [role for role in host.roles if isinstance(role, MailServer)]
    return list(dict.fromkeys(name for role in roles for name in role.mailboxes))
