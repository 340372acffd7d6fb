"""From what was typed to a Lab that is not started yet: `run` and `up` share it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mailbed.cli import output
from mailbed.errors import UsageError

if TYPE_CHECKING:
    from mailbed.lab import Lab, Progress
    from topologies.plan import Plan


def make_lab(
    topology: str,
    *,
    name: str | None,
    seed: int,
    out: Path | None,
    use: Sequence[str] | None,
    time_scale: float,
    progress: Progress,
) -> Lab:
    """Return the lab, checked. Raises: UsageError, for a plan with one line for each mistake."""
    from mailbed.lab import Lab
    from topologies.errors import PlanError, UnknownTopology

    if time_scale <= 0:
        raise UsageError("--time-scale must be more than 0")
    try:
        return Lab(
            topology,
            name=name,
            seed=seed,
            # A process that leaves this directory may be the one that makes it.
            out=out.absolute() if out is not None else None,
            implementations=implementations(use or ()),
            time_scale=time_scale,
            progress=progress,
        )
    except UsageError as error:
        if isinstance(error.__cause__, UnknownTopology):
            raise UsageError(f"{error}{_near_names(topology)}") from None
        if isinstance(error.__cause__, PlanError):
            raise UsageError("\n  ".join([f"{topology} has mistakes:", *error.__cause__.mistakes])) from None
        raise


def implementations(choices: Sequence[str]) -> dict[str, str]:
    """Return what `--use HOST=IMPL …` asks for, by host. Raises: UsageError."""
    found: dict[str, str] = {}
    for choice in choices:
        host, _, implementation = choice.partition("=")
        if not (host and implementation):
            raise UsageError(f"--use {choice}: write HOST=IMPLEMENTATION, such as a-root=nsd")
        found[host] = implementation
    return found


def service_count(plan: Plan) -> int:
    """Return how many services the plan has: a mail client runs only when there is mail to send."""
    return sum(role.kind != "mail-client" for _, role in plan.roles())


def sizes(plan: Plan) -> str:
    """Return how large a plan is, in words."""
    return f"{output.count(len(plan.hosts), 'host')}, {output.count(service_count(plan), 'service')}"


def tell_left_out(left_out: dict[str, str], tell: Any = output.note) -> None:
    """Say what this kernel lacks and the lab goes without."""
    for sentence in left_out.values():
        tell(sentence)


def _near_names(topology: str) -> str:
    from topologies.catalog import BUILT_IN

    name = topology.partition(":")[0]
    near = difflib.get_close_matches(name, BUILT_IN, n=3, cutoff=0.5)
    if name in BUILT_IN:
        # Its parameters are wrong, and that has been said.
        return ""
    if near:
        return f". Did you mean {' or '.join(near)}?"
    if Path(topology).is_file():
        return f". A plan in a file needs the ending .toml or .py: {topology}"
    return ""
