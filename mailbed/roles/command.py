"""Any program of the user's as a service: its files and its command line are filled in from the plan."""

from __future__ import annotations

from string import Template

import tomli_w

from mailbed.errors import UsageError
from mailbed.roles.service import Service, World
from topologies.plan import Command, Host


def command(world: World, host: Host, role: Command) -> Service:
    """Return a service that runs the role's command. Raises: UsageError for an unknown placeholder."""
    values = {
        "NAME": host.name,
        "FQDN": host.fqdn,
        "ADDRESS": world.addresses[host.name],
        "DIR": str(world.directory(host.name)),
    }

    def fill(text: str, where: str) -> str:
        try:
            return Template(text).substitute(values)
        except (KeyError, ValueError) as error:
            known = ", ".join(f"${{{name}}}" for name in values)
            raise UsageError(
                f"host {host.name}: {where} of {role.name}: {error} is no placeholder; there are {known} "
                "(write $$ for a dollar sign)"
            ) from None

    config = {
        "command": [fill(part, "command") for part in role.command],
        "ready": role.ready,
        "directory": str(world.directory(host.name)),
        "log": str(world.directory(host.name) / f"{role.name}.log"),
    }
    files = {path: fill(text, path) for path, text in role.files.items()}
    return Service(
        host=host.name,
        role=role.name,
        module="mailbed.daemon",
        config=f"{role.name}.toml",
        files={**files, f"{role.name}.toml": tomli_w.dumps(config)},
    )
