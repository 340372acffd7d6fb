"""Options and arguments that several verbs have, and the examples in their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mailbed.cli import output
from topologies import DEFAULT

Json = Annotated[
    bool,
    typer.Option("--json", help="One JSON document on standard output.", callback=output.choose_json),
]
RunningLab = Annotated[
    str | None,
    typer.Option(
        "--lab", metavar="NAME", help="Which running lab (default: the only one).", show_default=False
    ),
]
Run = Annotated[
    str | None,
    typer.Option(
        "--run",
        metavar="DIR",
        help="A run directory (default: the running lab, else the last run).",
        show_default=False,
    ),
]
Topology = Annotated[
    str,
    typer.Argument(
        metavar="TOPOLOGY",
        help="A built-in topology (mailbed list), also internet:DOMAINS=30, or a file: plan.toml, plan.py "
        f"(default: {DEFAULT}).",
        show_default=False,
    ),
]
NewLab = Annotated[
    str | None,
    typer.Option(
        "--lab", metavar="NAME", help="What to call the lab (default: as its topology).", show_default=False
    ),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Drives every random choice.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="The run directory, empty or new (default: captures/runs/…).",
        show_default=False,
    ),
]
Use = Annotated[
    list[str] | None,
    typer.Option(
        "--use",
        metavar="HOST=IMPL",
        help="Who does a host's job there, such as a-root=nsd.",
        show_default=False,
    ),
]
TimeScale = Annotated[
    float,
    typer.Option("--time-scale", metavar="X", help="Divides retry, warning and expiry times."),
]
Sender = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="ADDRESS",
        help="The sender; without --host, one who has a mail client (default: the first).",
        show_default=False,
    ),
]
Recipients = Annotated[
    list[str] | None,
    typer.Option(
        "--to",
        metavar="ADDRESS",
        help="A recipient (default: the first user of another domain).",
        show_default=False,
    ),
]
Timeout = Annotated[
    float, typer.Option("--timeout", metavar="S", min=0, help="How long to wait for a message's outcome.")
]


def need_verb(context: typer.Context) -> None:
    """Show the help of a command that is nothing without a verb, where there is none: a usage error."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


def examples(*lines: str) -> str:
    """Return the end of a verb's help: examples, one a line, kept as they are."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
