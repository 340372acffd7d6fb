"""`mailbed zone`: the zones of a running lab, and how they are changed."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailbed.cli import output
from mailbed.cli.arguments import Group, Verb
from mailbed.cli.options import Json, RunningLab, examples, need_verb
from mailbed.errors import LabError, MailbedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailbed.zonehandle import ZoneChange, ZoneServer, ZoneState

EXAMPLES = (
    "mailbed zone list",
    "mailbed zone show example.org",
    "mailbed zone set example.org '@ MX 5 rcpt-mx2'",
    "mailbed zone load example.org my.zone",
)
_OFF = ("down", "dead")
app = typer.Typer(cls=Group, rich_markup_mode=None)

Origin = Annotated[
    str, typer.Argument(metavar="ZONE", help="Such as example.org; the root is `.`.", show_default=False)
]
Records = Annotated[
    list[str],
    typer.Argument(
        metavar="RECORD",
        help="A line of a master file, in quotes; names without a final dot are relative to the zone.",
        show_default=False,
    ),
]
Wait = Annotated[
    float,
    typer.Option("--timeout", metavar="S", min=0, help="How long to wait for secondaries."),
]


@app.callback(invoke_without_command=True)
def zone(context: typer.Context) -> None:
    """Show the zones of a running lab, and change them.

    A change is made to the primary's master file in the run directory, and its serial is raised; the command
    ends when the primary and all secondaries that are up have it.
    """
    need_verb(context)


@app.command("list", cls=Verb, epilog=examples("mailbed zone list", "mailbed zone list --json"))
def list_(lab: RunningLab = None, json: Json = False) -> None:
    """Show every zone: its serial at the primary, and which secondaries have it."""
    from mailbed.lab import Lab

    with Lab.attach(lab) as handle:
        states = handle.zones()
    if json:
        output.document({"lab": handle.name, "zones": [_described(each) for each in states]})
        return
    rows = []
    for each in states:
        primary, *secondaries = each.servers
        serial = str(primary.serial or primary.reason)
        rows.append((each.zone, serial, primary.host, _account(secondaries, primary.serial) or "-"))
    output.table(("ZONE", "SERIAL", "PRIMARY", "SECONDARIES"), rows)


@app.command(cls=Verb, epilog=examples("mailbed zone show example.org", "mailbed zone show . > root.zone"))
def show(origin: Origin, lab: RunningLab = None, json: Json = False) -> None:
    """Show a zone as its primary's master file has it."""
    from mailbed.lab import Lab

    with Lab.attach(lab) as handle:
        found = handle.zone(origin)
        text, state = found.text, found.state
    if json:
        output.document({"lab": handle.name, **_described(state), "text": text})
    else:
        output.say(text.rstrip("\n"))


@app.command(cls=Verb, epilog=examples("mailbed zone add example.org 'www A 198.18.2.80' 'www TXT hello'"))
def add(
    origin: Origin, record: Records, lab: RunningLab = None, timeout: Wait = 10.0, json: Json = False
) -> None:
    """Add records to a zone."""
    _change(origin, lab, timeout, json, add=record)


@app.command(
    cls=Verb,
    epilog=examples(
        "mailbed zone remove example.org 'www A 198.18.2.80'",
        "mailbed zone remove example.org 'www A'     all of that name and type",
        "mailbed zone remove example.org www         all of that name",
    ),
)
def remove(
    origin: Origin, record: Records, lab: RunningLab = None, timeout: Wait = 10.0, json: Json = False
) -> None:
    """Remove records from a zone: whole ones, all of a name and type, or all of a name."""
    _change(origin, lab, timeout, json, remove=record)


@app.command(
    "set",
    cls=Verb,
    epilog=examples(
        "mailbed zone set example.org '@ MX 5 rcpt-mx2'              the only MX from now on",
        "mailbed zone set example.org '@ MX 10 rcpt-mx1' '@ MX 10 rcpt-mx2'",
        "mailbed zone set example.org '@ 60 MX 10 rcpt-mx1'          with a TTL of 60 s",
    ),
)
def set_(
    origin: Origin, record: Records, lab: RunningLab = None, timeout: Wait = 10.0, json: Json = False
) -> None:
    """Put records in place of all those of the same name and type."""
    _change(origin, lab, timeout, json, put=record)


@app.command(cls=Verb, epilog=examples("mailbed zone load example.org my.zone"))
def load(
    origin: Origin,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A master file.", show_default=False)],
    lab: RunningLab = None,
    timeout: Wait = 10.0,
    json: Json = False,
) -> None:
    """Replace a zone by a master file; the serial is raised if it is not newer by itself.

    A file with a mistake in it changes nothing: the error names the line.
    """
    from mailbed.lab import Lab

    with Lab.attach(lab) as handle:
        found = handle.zone(origin)
        found.timeout_s = timeout
        change = found.load(file)
    _tell(change, as_json=json)


@app.command(cls=Verb, epilog=examples("mailbed zone edit example.org", "EDITOR=nano mailbed zone edit ."))
def edit(origin: Origin, lab: RunningLab = None, timeout: Wait = 10.0) -> None:
    """Open a zone in $VISUAL or $EDITOR, and load what is saved."""
    from mailbed.lab import Lab

    with Lab.attach(lab) as handle:
        found = handle.zone(origin)
        found.timeout_s = timeout
        name = "root" if origin == "." else origin
        with tempfile.NamedTemporaryFile("w", prefix=f"{name}-", suffix=".zone", delete=False) as file:
            file.write(found.text)
        path = Path(file.name)
        try:
            _edit(path)
        except MailbedError:
            path.unlink()
            raise
        try:
            change = found.load(path)
        except MailbedError as error:
            raise type(error)(f"{error} (what was written is kept in {path})") from error
        path.unlink()
    _tell(change, as_json=False)


def _edit(path: Path) -> None:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        status = subprocess.run([*shlex.split(editor), str(path)], check=False).returncode
    except OSError as error:
        raise UsageError(f"{editor}: {error.strerror}; set EDITOR") from error
    if status:
        raise LabError(f"{editor} ended with status {status}; nothing was changed")


def _change(
    origin: str,
    lab: str | None,
    timeout_s: float,
    as_json: bool,
    *,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    put: Sequence[str] = (),
) -> None:
    from mailbed.lab import Lab

    with Lab.attach(lab) as handle:
        found = handle.zone(origin)
        found.timeout_s = timeout_s
        if add:
            change = found.add(*add)
        elif remove:
            change = found.remove(*remove)
        else:
            change = found.put(*put)
    _tell(change, as_json=as_json)


def _tell(change: ZoneChange, *, as_json: bool) -> None:
    """Say what came of a change. Exit status 1 if a server did not get it in time, though it could have."""
    if as_json:
        output.document(
            {
                "zone": change.zone,
                "serial": change.serial,
                "changed": change.changed,
                "remembered_s": change.remembered_s,
                "file": str(change.file),
                "servers": [_server(server) for server in change.servers],
            }
        )
    else:
        what = "" if change.changed else " (there was nothing to change)"
        have = [server.host for server in change.servers if server not in change.behind]
        output.say(f"zone {change.zone}: serial {change.serial} at {', '.join(have) or 'nobody'}{what}")
        for server in change.behind:
            output.say(f"zone {change.zone}: not yet at {_lacking(server)}")
        if change.remembered_s:
            output.note(
                f"resolvers may remember for up to {change.remembered_s} s what was before; "
                "`mailbed cache flush HOST` makes them ask again"
            )
    primary, *secondaries = change.servers
    if primary not in change.behind and any(
        server.reason not in _OFF for server in secondaries if server in change.behind
    ):
        raise typer.Exit(1)


def _account(servers: Sequence[ZoneServer], serial: int | None) -> str:
    """Return which secondaries have a serial: named if they are few, counted if they are many."""
    have = [server.host for server in servers if server.serial == serial and serial is not None]
    lacking = [_lacking(server) for server in servers if server.host not in have]
    if len(have) > 3:
        have = [f"{have[0]} … {have[-1]} ({len(have)})"]
    return ", ".join((*have, *lacking))


def _lacking(server: ZoneServer) -> str:
    return f"{server.host} ({f'serial {server.serial}' if server.serial is not None else server.reason})"


def _described(state: ZoneState) -> dict[str, Any]:
    return {
        "zone": state.zone,
        "primary": state.primary,
        "file": str(state.file),
        "servers": [_server(server) for server in state.servers],
    }


def _server(server: ZoneServer) -> dict[str, Any]:
    return {
        "host": server.host,
        "primary": server.primary,
        "serial": server.serial,
        "reason": server.reason,
    }
