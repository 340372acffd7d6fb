"""`mailbed filter`: how a spam engine is taught, and how well it then judges."""

from __future__ import annotations

import json as codec
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mailbed.cli import output, scoring
from mailbed.cli.arguments import Group, Verb
from mailbed.cli.options import Json, RunningLab, examples, need_verb
from mailbed.errors import LabError, UsageError

EXAMPLES = ("mailbed filter train rcpt-filt --spam spam/ --ham ham/", *scoring.EXAMPLES[:1])
app = typer.Typer(cls=Group, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def filter_(context: typer.Context) -> None:
    """Teach the spam engines of a lab, and count what they misjudge."""
    need_verb(context)


app.command(cls=Verb, epilog=examples(*scoring.EXAMPLES))(scoring.score)


@app.command(
    cls=Verb,
    epilog=examples(
        "mailbed filter train rcpt-filt --spam spam/ --ham ham/",
        "mailbed filter train rcpt-filt --ham ~/Maildir/cur      more of one kind",
        "mailbed filter train rcpt-filt --spam spam/ --json",
    ),
)
def train(
    host: Annotated[
        str, typer.Argument(metavar="HOST", help="A host with a spam engine.", show_default=False)
    ],
    spam: Annotated[
        Path | None, typer.Option("--spam", metavar="DIR", help="Messages that are spam.", show_default=False)
    ] = None,
    ham: Annotated[
        Path | None, typer.Option("--ham", metavar="DIR", help="Messages that are not.", show_default=False)
    ] = None,
    lab: RunningLab = None,
    json: Json = False,
) -> None:
    """Teach a spam engine: every file in the directories, and below them, is a message.

    Mailbed's own engine and SpamAssassin learn alike. They tell nothing before they have seen 20 messages of
    each kind. A message that is known changes nothing; one that was taught as the other kind is corrected.
    """
    from mailbed.lab import Lab

    given = {kind: directory.absolute() for kind, directory in (("spam", spam), ("ham", ham)) if directory}
    if not given:
        raise UsageError("there is nothing to learn from: name --spam DIR, --ham DIR or both")
    for directory in given.values():
        if not directory.is_dir():
            raise UsageError(f"{directory} is no directory")
    with Lab.attach(lab) as handle:
        having = [one.name for one, role in handle.plan.roles() if role.kind == "spam-engine"]
        if host not in having:
            there = ", ".join(having) or "none"
            raise UsageError(
                f"no host {host} in {handle.plan.name} has a spam engine; those that have: {there}"
            )
        counts = _taught(handle.exec(host, *_command(given)))
        if json:
            output.document({"lab": handle.name, "host": host, "taught": counts})
            return
    for kind, count in counts.items():
        if kind in given:
            output.say(f"{kind}: {output.count(count['messages'], 'message')}, {count['new']} of them new")


def _command(given: dict[str, Path]) -> list[str]:
    named = [text for kind, directory in given.items() for text in (f"--{kind}", str(directory))]
    return [sys.executable, "-m", "services.filters.spam", "--train", "--json", *named]


def _taught(result: Any) -> dict[str, dict[str, int]]:
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines() or [f"status {result.returncode}"]
        raise LabError(lines[-1].partition(": ")[2] or lines[-1])
    counts: dict[str, dict[str, int]] = codec.loads(result.stdout)
    return counts
