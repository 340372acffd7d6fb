"""`mailbed journey`: the way of each message, read from the packets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailbed.cli import output
from mailbed.cli.options import Json
from mailbed.cli.telling import keep, tell, tell_drops, tell_gaps
from mailbed.errors import LabError, UsageError

if TYPE_CHECKING:
    from captures.journeys import Journey, Journeys

EXAMPLES = (
    "mailbed journey                              the running lab's, or the last run's",
    "mailbed journey captures/runs/20261124T…     of a run",
    "mailbed journey --message 3 --brief          one of many, without what each server said",
    "mailbed journey any.pcapng --json | jq -r '.journeys[].path | join(\" > \")'",
)
_TOLD_IN_FULL = 4
"""More journeys than that become a table; `--message` tells one of them."""


def journey(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="A run directory, or a pcapng file (default: the running lab's, else the last run).",
            show_default=False,
        ),
    ] = None,
    message: Annotated[
        list[int] | None,
        typer.Option("--message", metavar="N", help="Only the journey of that number.", show_default=False),
    ] = None,
    brief: Annotated[
        bool, typer.Option("--brief", help="Without what servers said and repeated failures.")
    ] = False,
    save: Annotated[
        bool,
        typer.Option(
            "--save/--no-save",
            help="Leave journeys.json, journey.html and packet comments in the run directory.",
        ),
    ] = True,
    lab: Annotated[
        str | None,
        typer.Option("--lab", metavar="NAME", help="Of that running lab.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Tell the way of each message, as the captured packets show it.

    Every server that was tried, what was said about the recipient, and each DNS lookup with every server that
    was asked. The letters: A submission, B the sender's server, C the company's network, D queues, E the
    Internet, F the recipient's network, G the mailbox.
    """
    from mailbed import journeys

    place, alive = _place(run, lab)
    if place.is_file():
        found = journeys.read_capture(place)
    else:
        found = journeys.read(place)
        if save:
            keep(place, found, comment=not alive)
    chosen = _chosen(found, message)
    if json:
        from captures.journeys import document

        output.document(document(chosen))
    else:
        _tell(chosen, place, brief=brief, in_full=bool(message))


def _place(run: str | None, lab: str | None) -> tuple[Path, bool]:
    """What is to be read, and whether its lab still runs; what was on the wire is in the file then."""
    from mailbed import rundir, sandbox
    from mailbed.lab import Lab

    if run is not None and lab is not None:
        raise UsageError("name a run or a lab, not both")
    if run is not None:
        path = Path(run)
        if not path.exists():
            raise UsageError(f"there is no {run}")
        return path, not path.is_file() and rundir.may_run(path, rundir.read_record(path))
    if lab is not None or len(sandbox.running()) == 1:
        with Lab.attach(lab) as handle:
            handle.sync()
            return handle.run, True
    last = rundir.last()
    if last is None:
        raise UsageError("there is no run yet; make one: mailbed run two-companies")
    return last, rundir.may_run(last, rundir.read_record(last))


def _chosen(found: Journeys, numbers: Sequence[int] | None) -> Journeys:
    import dataclasses

    if not numbers:
        return found
    known = {journey.number: journey for journey in found.journeys}
    for number in numbers:
        if number not in known:
            raise LabError(f"there is no journey {number}; there are {len(known)}")
    return dataclasses.replace(found, journeys=tuple(known[number] for number in numbers))


def _tell(found: Journeys, place: Path, *, brief: bool, in_full: bool) -> None:
    if not found.journeys:
        output.say(f"No mail crossed: {output.count(found.packets, 'packet')} in {output.near(place)}.")
    elif in_full or len(found.journeys) <= _TOLD_IN_FULL:
        tell(found.journeys, place if place.is_dir() else None, brief=brief)
    else:
        _table(found.journeys)
        output.say()
        output.say("One of them in full: mailbed journey --message N")
    tell_drops(found)
    tell_gaps(found)
    if place.is_dir() and found.journeys:
        output.say()
        output.say(f"As a page: {output.near(place / 'journey.html')}")


def _table(journeys: Sequence[Journey]) -> None:
    from captures.journeys.steps import duration

    output.table(
        ("N", "STATE", "TOOK", "FROM", "TO", "PATH"),
        [
            (
                str(found.number),
                output.marked(found.end.state, good=found.end.state == "delivered"),
                duration(found.end.time_ns - found.started_ns),
                found.sender or "<>",
                found.recipient,
                " → ".join(found.path),
            )
            for found in journeys
        ],
    )
