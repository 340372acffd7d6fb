"""Which hosts a pattern means. HOST takes shell patterns: `corp-*`, `[ab]-root`, `*`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from itertools import product
from typing import TYPE_CHECKING

from mailbed.errors import UsageError

if TYPE_CHECKING:
    from topologies.plan import Plan


# So many are named in an error; of more, the likeliest.
_FEW = 24
_ALIKE = 0.6
_HARDLY_ALIKE = 0.4


def hosts(plan: Plan, pattern: str) -> list[str]:
    """Return the hosts of the plan that a pattern means, in the plan's order. Raises: UsageError."""
    names = [host.name for host in plan.hosts]
    return _matching(names, pattern, f"host {pattern} in {plan.name}")


def resolvers(plan: Plan, pattern: str) -> list[str]:
    """Return the hosts with a resolver that a pattern means. Raises: UsageError if it means none."""
    having = [host.name for host, role in plan.roles() if role.kind == "resolver"]
    found = [name for name in hosts(plan, pattern) if name in having]
    if not found:
        there = ", ".join(having) or "none"
        raise UsageError(f"no host {pattern} in {plan.name} has a resolver; those that have: {there}")
    return found


def mail_servers(plan: Plan, pattern: str) -> list[str]:
    """Return the hosts with a mail server that a pattern means. Raises: UsageError if it means none.

    A pattern leaves out other programs than Mailbed's own, which cannot be asked; a name does not.
    """
    having = {host.name: role.implementation for host, role in plan.roles() if role.kind == "mail-server"}
    found = [name for name in hosts(plan, pattern) if name in having]
    if not found:
        there = ", ".join(having) or "none"
        raise UsageError(f"no host {pattern} in {plan.name} has a mail server; those that have: {there}")
    ours = [name for name in found if having[name] == "built-in"]
    return found if found == [pattern] else ours


def content_filters(plan: Plan, pattern: str) -> list[str]:
    """Return the hosts with a content filter that a pattern means. Raises: UsageError if it means none."""
    having = [host.name for host, role in plan.roles() if getattr(role, "content_filter", None)]
    found = [name for name in hosts(plan, pattern) if name in having]
    if not found:
        there = ", ".join(having) or "none"
        raise UsageError(f"no host {pattern} in {plan.name} has a content filter; those that have: {there}")
    return found


def fault_targets(plan: Plan, kind: str, arguments: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the targets that the arguments of `fault add KIND` mean, patterns filled in.

    A kind that nobody knows, and a wrong number of arguments, are for the lab to refuse.
    Raises: UsageError if a pattern means nothing.
    """
    if kind == "host-down":
        # Several hosts may be named: each is a fault of its own.
        found = [name for argument in arguments for name in hosts(plan, argument)]
        return [(name,) for name in dict.fromkeys(found)] or [()]
    if kind == "service-down" and len(arguments) == 2:
        return _services(plan, *arguments)
    if kind == "link-down" and len(arguments) == 2:
        return _links(plan, *arguments)
    return [tuple(arguments)]


def _services(plan: Plan, host: str, role: str) -> list[tuple[str, ...]]:
    chosen = hosts(plan, host)
    # A mail client is a role, but nothing that runs and could be killed.
    running = [(found.name, each.kind) for found, each in plan.roles() if each.kind != "mail-client"]
    here = [(name, kind) for name, kind in running if name in chosen and fnmatchcase(kind, role)]
    if not here:
        roles = ", ".join(dict.fromkeys(kind for name, kind in running if name in chosen))
        raise UsageError(f"no service {role} on {host}; there is {roles or 'none'}")
    return list(dict.fromkeys(here))


def _links(plan: Plan, a: str, b: str) -> list[tuple[str, ...]]:
    names = [host.name for host in plan.hosts] + [network.name for network in plan.networks]
    ends = [_matching(names, pattern, f"host or network {pattern} in {plan.name}") for pattern in (a, b)]
    linked = {frozenset((link.a, link.b)) for link in plan.links}
    found = [pair for pair in product(*ends) if frozenset(pair) in linked]
    if not found:
        raise UsageError(f"there is no link between {a} and {b} in {plan.name}")
    return list(found)


def _matching(names: Iterable[str], pattern: str, what: str) -> list[str]:
    names = list(names)
    found = [name for name in names if fnmatchcase(name, pattern)]
    if not found:
        raise UsageError(f"there is no {what}; {_hint(names, pattern)}")
    return found


def _hint(names: Sequence[str], pattern: str) -> str:
    """What may have been meant, and how all names are listed where they are many."""
    few = len(names) <= _FEW
    near = difflib.get_close_matches(
        pattern, names, n=2 if few else 3, cutoff=_ALIKE if few else _HARDLY_ALIKE
    )
    if few:
        return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
    listed = f"mailbed exec '*' hostname lists all {len(names)}"
    return f"did you mean {' or '.join(near)}? {listed}" if near else listed
