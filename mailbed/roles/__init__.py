"""From a plan's roles to what runs on the hosts: the one interface that every implementation serves.

Theory of operation. A role says *what* a host does, its implementation *who* does it. An implementation is
a function that takes the derived world, a host and its role, and returns a `Service`: files to write below
the host's directory, a Python module that serves (ours, or `mailbed.daemon`, which runs a foreign program),
and the configuration it loads. Who starts services needs to know no more than that. To add one, write
such a function and name it in IMPLEMENTATIONS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mailbed.errors import UsageError
from mailbed.roles import bind, built_in, command, imap, nsd, postfix, spam, unbound, virus
from mailbed.roles.service import Service, World
from topologies.plan import Host, Plan, Role

Implementation = Callable[[World, Host, Any], Service]

IMPLEMENTATIONS: dict[tuple[str, str], Implementation] = {
    ("name-server", "built-in"): built_in.name_server,
    ("name-server", "bind"): bind.name_server,
    ("name-server", "nsd"): nsd.name_server,
    ("resolver", "built-in"): built_in.resolver,
    ("resolver", "bind"): bind.resolver,
    ("resolver", "unbound"): unbound.resolver,
    ("mail-server", "built-in"): built_in.mail_server,
    ("mail-server", "postfix"): postfix.mail_server,
    ("imap-server", "built-in"): imap.imap_server,
    ("mail-client", "built-in"): built_in.mail_client,
    ("spam-engine", "built-in"): spam.built_in,
    ("spam-engine", "spamassassin"): spam.spamassassin,
    ("virus-engine", "built-in"): virus.built_in,
    ("virus-engine", "clamav"): virus.clamav,
    ("command", "built-in"): command.command,
}


def services(world: World) -> list[Service]:
    """Return what is to run, in the order of the plan. Raises: UsageError for an unknown implementation."""
    return [_service(world, host, role) for host, role in world.plan.roles()]


def _service(world: World, host: Host, role: Role) -> Service:
    implementation = IMPLEMENTATIONS.get((role.kind, role.implementation))
    if implementation is None:
        known = [name for kind, name in IMPLEMENTATIONS if kind == role.kind]
        raise UsageError(
            f"host {host.name}: nobody called {role.implementation!r} implements {role.kind}; "
            f"there is {', '.join(known)}"
        )
    return implementation(world, host, role)


def substitute(plan: Plan, choices: dict[str, str]) -> Plan:
    """Return the plan with other implementations: `choices` maps HOST to a name such as `nsd`.

    It is given to the first of the host's roles that has an implementation of that name. Raises: UsageError.
    """
    import dataclasses

    known = {host.name for host in plan.hosts}
    for name in choices:
        if name not in known:
            raise UsageError(f"there is no host {name} in {plan.name}")

    def changed(host: Host) -> Host:
        wanted = choices.get(host.name)
        if wanted is None:
            return host
        for number, role in enumerate(host.roles):
            if (role.kind, wanted) in IMPLEMENTATIONS:
                roles = list(host.roles)
                roles[number] = dataclasses.replace(role, implementation=wanted)
                return dataclasses.replace(host, roles=tuple(roles))
        raise UsageError(f"host {host.name} has no role that {wanted!r} implements")

    return dataclasses.replace(plan, hosts=tuple(changed(host) for host in plan.hosts))
