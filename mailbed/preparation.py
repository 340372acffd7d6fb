"""What the owner of a lab writes before it starts: the run's record, and all that the services load."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

from mailbed import dkim, roles, rundir, tls
from mailbed.roles.service import Service, World
from topologies import firewall


def new_record(world: World, lab: str, now: datetime.datetime) -> dict[str, Any]:
    """Return run.json as it begins (mailbed.run/1)."""
    return {
        "schema": rundir.SCHEMA,
        "state": "starting",
        "lab": lab,
        "topology": world.plan.name,
        "hosts": len(world.plan.hosts),
        "seed": world.seed,
        "time_scale": world.time_scale,
        "started": now.timestamp(),
        "versions": rundir.versions(),
        "timing": {},
    }


def write_services(world: World, now: datetime.datetime) -> list[Service]:
    """Write configurations, zones, /etc files, keys and certificates; return what is to run.

    Raises: UsageError, OSError.
    """
    services = roles.services(replace(world, keys=dkim.make(world.plan)))
    for host in world.plan.hosts:
        _write_etc(world, host.name)
    for service in services:
        for name, text in {**service.files, **service.secrets}.items():
            path = world.directory(service.host) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name in service.secrets:
                path.touch(mode=0o600)
            path.write_text(text, encoding="utf-8")
    names = [world.plan.host(service.host).fqdn for service in services if service.certificate]
    tls.make(world.tls, dict.fromkeys(names), now=now)
    return services


def entries(world: World, services: list[Service]) -> list[dict[str, str]]:
    """Return what the supervisor is told of the services that run by themselves."""
    return [
        {
            "host": service.host,
            "role": service.role,
            "module": service.module,
            "config": str(world.directory(service.host) / service.config),
            "log": str(world.directory(service.host) / service.log),
        }
        for service in services
        if service.module is not None
    ]


def _write_etc(world: World, name: str) -> None:
    """Write a host's own /etc/hosts, hostname and resolv.conf, and the rules of a firewall."""
    host = world.plan.host(name)
    directory = world.directory(name) / "etc"
    directory.mkdir(parents=True, exist_ok=True)
    own = f"{world.addresses[name]}\t{host.fqdn} {name}"
    (directory / "hosts").write_text(f"127.0.0.1\tlocalhost\n{own}\n", encoding="utf-8")
    (directory / "hostname").write_text(f"{name}\n", encoding="utf-8")
    server = world.nameserver(host)
    search = host.fqdn.partition(".")[2]
    lines = f"search {search}\nnameserver {server}\n" if server else "# no resolver\n"
    (directory / "resolv.conf").write_text(lines, encoding="utf-8")
    if host.firewall is not None:
        rules = firewall.ruleset(world.plan, world.addressing, host)
        (directory / "nftables.conf").write_text(rules, encoding="utf-8")
