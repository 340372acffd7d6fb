"""`mailbed clean`: the run directories of labs that have ended.

Theory of operation. Only what lies directly in the directory of runs and holds a run.json of ours is looked
at; links are not followed. A run is left alone while its lab may be running: a lab of this user says so
itself; of another user's it is known that a lab of that name exists. What a lab's daemons wrote as
subordinate users can be removed only by who is root over these: `rm` in a user namespace of our own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from mailbed.cli import output
from mailbed.cli.options import Json
from mailbed.errors import LabError

EXAMPLES = (
    "mailbed clean                          show what would go, and ask",
    "mailbed clean --keep 5 --yes",
    "mailbed clean --older-than 7 --yes     days",
)
_DAY_S = 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run directory: when it `started` (seconds since the epoch), and its size in bytes on disk."""

    path: Path
    topology: str
    state: str
    started: float
    size: int = 0


def clean(
    keep: Annotated[int, typer.Option("--keep", metavar="N", min=0, help="Keep the newest N.")] = 0,
    older_than: Annotated[
        float, typer.Option("--older-than", metavar="DAYS", min=0, help="Only what is older than that.")
    ] = 0.0,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Remove the run directories of labs that have ended.

    Running labs are never touched. Runs are looked for in captures/runs, or in the directory that
    MAILBED_RUNS names.
    """
    from mailbed import rundir

    base = rundir.default_base()
    chosen = select(finished(base), keep=keep, older_than_s=older_than * _DAY_S, now=time.time())
    if not json:
        _show(chosen, base)
    removed = chosen if chosen and (yes or _agreed(as_json=json)) else []
    for run in removed:
        remove(run.path)
    if json:
        left = [run for run in chosen if run not in removed]
        output.document({"removed": _described(removed), "would_remove": _described(left)})
    elif removed:
        freed = sum(run.size for run in removed)
        output.say(f"{output.count(len(removed), 'run')} removed, {freed / 2**20:,.1f} MiB")


def select(runs: Iterable[Run], *, keep: int, older_than_s: float, now: float) -> list[Run]:
    """Return the runs to remove, oldest first: all but the newest `keep`, and none younger than that."""
    ordered = sorted(runs, key=lambda run: (run.started, run.path.name))
    candidates = ordered[: max(len(ordered) - keep, 0)]
    return [run for run in candidates if now - run.started >= older_than_s]


def finished(base: Path) -> list[Run]:
    """Return the runs in a directory whose labs have ended. Raises: OSError."""
    from mailbed import rundir
    from mailbed.cli.labs import running

    in_use = {Path(lab["run"]).resolve() for lab in running()}
    found = []
    for path in sorted(base.iterdir()) if base.is_dir() else []:
        if path.is_symlink() or not path.is_dir() or path.resolve() in in_use:
            continue
        try:
            record = rundir.read_record(path)
        except LabError:
            continue
        state = str(record.get("state", ""))
        if record.get("schema") == rundir.SCHEMA and not rundir.may_run(path, record):
            found.append(
                Run(
                    path=path,
                    topology=str(record.get("topology", "")),
                    # Its owner was killed, and could not say so.
                    state="died" if state in rundir.UNFINISHED else state,
                    started=float(record.get("started", 0.0)),
                    size=_size(path),
                )
            )
    return found


def remove(path: Path) -> None:
    """Return when the directory is gone. Raises: LabError."""
    shutil.rmtree(path, ignore_errors=True)
    if not path.exists():
        return
    command = ["unshare", "--user", "--map-root-user", "--map-auto", "rm", "-rf", "--", str(path)]
    try:
        result = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise LabError(f"{path} cannot be removed: unshare is not installed") from None
    if result.returncode or path.exists():
        said = result.stderr.strip().splitlines()
        raise LabError(f"{path} cannot be removed: {said[-1] if said else 'permission denied'}")


def _size(path: Path) -> int:
    total = 0
    for directory, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(os.path.join(directory, name)).st_blocks * 512
            except OSError:
                # A subordinate user's, or gone since: the sum is for orientation.
                continue
    return total


def _agreed(*, as_json: bool) -> bool:
    import sys

    if as_json or not sys.stdin.isatty():
        if not as_json:
            output.say("Nothing was removed: say --yes to remove them.")
        return False
    return typer.confirm("Remove them?")


def _show(runs: Sequence[Run], base: Path) -> None:
    if not runs:
        output.say(f"There is nothing to remove in {output.near(base)}.")
        return
    rows = [
        (
            time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started)),
            run.state,
            f"{run.size / 2**20:.1f} MiB",
            output.near(run.path),
        )
        for run in runs
    ]
    output.table(("STARTED", "STATE", "SIZE", "RUN DIRECTORY"), rows)


def _described(runs: Sequence[Run]) -> list[dict[str, Any]]:
    return [
        {"run": str(run.path), "topology": run.topology, "state": run.state, "bytes": run.size}
        for run in runs
    ]
