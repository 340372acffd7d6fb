"""The verbs together, and how a command ends.

    0      it did what was asked          1    it could not
    2      what was asked makes no sense  130, 143, 129    Ctrl-C, SIGTERM, SIGHUP: the lab was taken down

A mistake is one line on standard error, `mailbed: …`, never a traceback; with `--json` it is a document on
standard output, too: {"error": {"kind", "message"}}.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

from mailbed.cli import (
    cache,
    cleaning,
    diagnosis,
    faults,
    filtering,
    inbox,
    journey,
    labs,
    output,
    programs,
    quarantine,
    queue,
    run,
    send,
    zones,
)
from mailbed.cli.arguments import Group, Verb
from mailbed.cli.options import examples, need_verb
from mailbed.errors import MailbedError

app = typer.Typer(
    name="mailbed",
    cls=Group,
    epilog=examples(
        "mailbed run                       one message from alice to bob, and down again",
        "mailbed up                        a lab that stays",
        "mailbed send message.eml --to bob@example.org",
        "mailbed exec alice -- dig mx example.org",
        "mailbed journey                   which way each message went",
        "mailbed down",
    ),
    add_completion=False,
    # Plain help: it starts at once, and reads the same in a pipe.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, verb, lines in (
    ("list", labs.list_, labs.LIST_EXAMPLES),
    ("doctor", diagnosis.doctor, diagnosis.EXAMPLES),
    ("run", run.run, run.EXAMPLES),
    ("up", labs.up, labs.UP_EXAMPLES),
    ("down", labs.down, labs.DOWN_EXAMPLES),
    ("ps", labs.ps, labs.PS_EXAMPLES),
    ("send", send.send, send.EXAMPLES),
    ("journey", journey.journey, journey.EXAMPLES),
):
    app.command(name, cls=Verb, epilog=examples(*lines))(verb)
app.command("exec", cls=Verb, epilog=examples(*programs.EXAMPLES), context_settings=programs.CONTEXT)(
    programs.exec_
)
app.add_typer(faults.app, name="fault", epilog=examples(*faults.EXAMPLES))
app.add_typer(filtering.app, name="filter", epilog=examples(*filtering.EXAMPLES))
app.add_typer(queue.app, name="queue", epilog=examples(*queue.EXAMPLES))
app.add_typer(quarantine.app, name="quarantine", epilog=examples(*quarantine.EXAMPLES))
app.add_typer(cache.app, name="cache", epilog=examples(*cache.EXAMPLES))
app.add_typer(inbox.app, name="inbox", epilog=examples(*inbox.EXAMPLES))
app.add_typer(zones.app, name="zone", epilog=examples(*zones.EXAMPLES))
app.command("clean", cls=Verb, epilog=examples(*cleaning.EXAMPLES))(cleaning.clean)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        output.say(f"mailbed {version('mailbed')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    _wanted: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Emulate the whole journey of an email on one Linux machine."""
    need_verb(context)


def entry() -> NoReturn:
    """Run the command line of this process and end it. Raises: SystemExit when a signal ends it."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)
    status = run_command(sys.argv[1:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        # The reader of a pipe has gone (`mailbed ps | head`): typer says no more then, and neither do we.
        status = 1
    # Nothing is left to tidy up, and the interpreter would take as long for it as for all that it imported.
    os._exit(status)


def run_command(argv: list[str]) -> int:
    """Run one command; return its exit status. Raises: SystemExit when a signal ends it."""
    output.Choice.json = False
    try:
        return int(app(argv, prog_name="mailbed", standalone_mode=False) or 0)
    except MailbedError as error:
        _complain(str(error), type(error).__name__)
        return error.exit_status
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context is not None else ""
        # What asks for a value that is missing may have several lines.
        _complain(" ".join(error.format_message().split()) + hint, "UsageError")
        return error.exit_code
    except typer.Abort:
        return 1
    except OSError as error:
        # What the machine refuses (a full disk, a directory that may not be read) is nobody's bug.
        _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error), "LabError")
        return 1


def _complain(message: str, kind: str) -> None:
    output.note(message)
    if output.Choice.json:
        output.document({"error": {"kind": kind, "message": message}})


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
