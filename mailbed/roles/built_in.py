"""Our own name servers, resolvers, mail servers and mail clients."""

from __future__ import annotations

from typing import Any

import tomli_w

from mailbed.roles import imap, peers
from mailbed.roles.service import Service, World
from topologies.plan import (
    ROOT,
    ContentFilter,
    Domain,
    Host,
    MailClient,
    MailingList,
    MailRoute,
    MailServer,
    NameServer,
    Resolver,
)
from topologies.senders import SELECTOR, signs_for


def name_server(world: World, host: Host, role: NameServer) -> Service:
    """Return an authoritative server for the role's zones."""
    files = zone_files(world, role)
    config = {
        "nsid": host.name,
        "seed": world.seed,
        "host": host.name,
        "time_scale": world.time_scale,
        "zones": {origin: zone_path(origin) for origin in role.zones},
        "primaries": peers.primaries(world, role),
        "secondaries": peers.secondaries(world, host, role),
        "known": peers.known(world, host, role),
    }
    return Service(
        host=host.name,
        role=role.kind,
        module="services.dns.authoritative",
        config="name-server.toml",
        files={**files, "name-server.toml": tomli_w.dumps(config)},
    )


def zone_path(origin: str) -> str:
    """Return where a zone's master file lies below the host's directory."""
    return f"zones/{'root' if origin == ROOT else origin}.zone"


def zone_files(world: World, role: NameServer) -> dict[str, str]:
    """Return the master files of the role's zones, by path: a secondary has a copy from the start."""
    return {zone_path(origin): world.zones[origin] for origin in role.zones}


def resolver(world: World, host: Host, role: Resolver) -> Service:
    """Return a caching resolver that starts from the plan's root hints."""
    config = {"hints": "root.hints", "seed": world.seed, "host": host.name}
    return Service(
        host=host.name,
        role=role.kind,
        module="services.dns.recursive",
        config="resolver.toml",
        files={"resolver.toml": tomli_w.dumps(config), "root.hints": world.hints},
    )


def mail_server(world: World, host: Host, role: MailServer) -> Service:
    """Return an MTA, which is MSA and MDA too if the role says so."""
    held = [world.domains[name] for name in dict.fromkeys(role.mailboxes)]
    relayed = [domain for domain in world.taken.get(host.name, ()) if domain not in held]
    config: dict[str, Any] = {
        "hostname": host.fqdn,
        "host": host.name,
        "seed": world.seed,
        "spool": "spool",
        "mailboxes": "mail",
        "nameservers": [world.nameserver(host)],
        "time_scale": world.time_scale,
        "relay_from": ["0.0.0.0/0"] if role.open_relay else places(world, role.relay_from),
        "domains": [{"name": domain.name, "kind": "local"} for domain in held]
        + [{"name": domain.name, "kind": "relay"} for domain in relayed],
        "users": [
            {"address": f"{user.local}@{domain.name}", "password": user.secret}
            for domain in held
            for user in domain.users
        ],
        "aliases": [
            {
                "address": f"{alias.local}@{domain.name}",
                "to": [_at(domain, one) for one in alias.to],
            }
            for domain in held
            for alias in domain.aliases
        ],
        "routes": [_route(world, route) for route in role.routes],
        "opportunistic_tls": role.opportunistic_tls,
        "source_routes": role.open_relay,
        **({"greylist_delay_s": 300.0} if role.greylisting else {}),
    }
    signing = [domain.name for domain in signs_for(world.plan, host, role) if domain.name in world.keys]
    config["lists"] = [_list(domain, one) for domain in held for one in domain.lists]
    config["signing"] = [
        {"domain": name, "selector": SELECTOR, "key": f"dkim/{name}.pem"} for name in signing
    ]
    if role.content_filter:
        config["content_filter"] = _content_filter(world, host, role, role.content_filter)
    tls = role.submission or role.opportunistic_tls
    if role.submission:
        config["submission_port"] = 587
    if tls:
        config["tls"] = {
            "cert": str(world.tls / f"{host.fqdn}.pem"),
            "key": str(world.tls / f"{host.fqdn}.key"),
            "keylog": str(world.tls / "keys.log"),
        }
    return Service(
        host=host.name,
        role=role.kind,
        module="services.smtp.filtering" if role.content_filter else "services.smtp.mta",
        config="mail-server.toml",
        files={"mail-server.toml": tomli_w.dumps(config)},
        secrets={f"dkim/{name}.pem": world.keys[name].private for name in signing},
        certificate=tls,
    )


def _route(world: World, route: MailRoute) -> dict[str, Any]:
    # DNS gives MX records no weight: whoever sends has it from the plan, by the hosts' names in DNS.
    weights = {world.plan.host(name).fqdn: weight for name, weight in route.weights.items()}
    more = {"weights": weights, "as_primary": route.as_primary}
    return {
        "domain": route.domain,
        "via": list(route.via),
        **{key: value for key, value in more.items() if value},
    }


def _list(domain: Domain, settings: MailingList) -> dict[str, Any]:
    return {
        "address": f"{settings.local}@{domain.name}",
        "members": [_at(domain, one) for one in settings.members],
        "owner": _at(domain, settings.owner),
        "posting": settings.posting,
        "tag": settings.tag,
        "footer": settings.footer,
        "rewrite_from": settings.rewrite_from,
        "seal": settings.seal,
        "bounce_limit": settings.bounce_limit,
    }


def _at(domain: Domain, name: str) -> str:
    """The address of a local part of the domain; what is an address stays so."""
    return name if "@" in name or not name else f"{name}@{domain.name}"


def _content_filter(world: World, host: Host, role: MailServer, told: ContentFilter) -> dict[str, Any]:
    """The filter asks the engines that its host has, on the loopback."""
    engines = {one.kind for one in host.roles}
    config: dict[str, Any] = {
        "authserv_id": host.fqdn,
        "border": [str(one.address.ip) for name in told.border for one in world.addressing.of(name)],
        "inside": places(world, role.relay_from),
        "report_interval_s": told.report_interval_s,
        "trusted_sealers": list(told.trusted_sealers),
    }
    lacking = {f"{name}_port": 0 for name in ("virus", "spam") if f"{name}-engine" not in engines}
    return config | lacking


def places(world: World, names: tuple[str, ...]) -> list[str]:
    """Return the subnets of networks and the addresses of hosts, as prefixes."""
    subnets = {network.name: network.subnet for network in world.plan.networks}
    found = [subnets[name] for name in names if name in subnets]
    for name in names:
        if name not in subnets:
            found += [f"{interface.address.ip}/32" for interface in world.addressing.of(name)]
    return found


def mail_client(world: World, host: Host, role: MailClient) -> Service:
    """Return the settings of a MUA; it runs only while it submits (mailbed.submission)."""
    local, _, name = role.user.rpartition("@")
    user = next(user for user in world.domains[name].users if user.local == local)
    config = {
        "server": world.plan.host(role.server).fqdn,
        "username": role.user,
        "password": user.secret,
        "ca_file": str(world.tls / "ca.pem"),
        "keylog": str(world.tls / "keys.log"),
        "hostname": host.fqdn,
    }
    store = imap.store(world.plan, name)
    if store is not None:
        config["imap_server"] = store.fqdn
    return Service(
        host=host.name,
        role=role.kind,
        module=None,
        config="mail-client.toml",
        files={"mail-client.toml": tomli_w.dumps(config)},
    )
