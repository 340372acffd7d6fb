"""`mailbed quarantine`: what content filters keep back, and what can be done about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailbed.cli import output, targets
from mailbed.cli.arguments import Group, Verb
from mailbed.cli.options import Json, Run, RunningLab, examples, need_verb
from mailbed.errors import LabError, UsageError

if TYPE_CHECKING:
    from mailbed.quarantinehandle import InQuarantine, LabQuarantine
    from topologies.plan import Plan

EXAMPLES = (
    "mailbed quarantine list",
    "mailbed quarantine show rcpt-filt JBSWY3DPEB",
    "mailbed quarantine release rcpt-filt JBSWY3DPEB",
)
app = typer.Typer(cls=Group, rich_markup_mode=None)

Found = dict[str, "list[InQuarantine]"]

Hosts = Annotated[
    str,
    typer.Argument(
        metavar="HOST",
        help="A host with a content filter; a pattern means each that has one.",
        show_default=False,
    ),
]
AllHosts = Annotated[
    str,
    typer.Argument(
        metavar="HOST",
        help="A host with a content filter, or a pattern (default: all).",
        show_default=False,
    ),
]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Messages.", show_default=False)]
Every = Annotated[bool, typer.Option("--all", help="All that is kept there.")]


@app.callback(invoke_without_command=True)
def quarantine(context: typer.Context) -> None:
    """See what content filters keep back: malware, and what DMARC wants kept; release or delete it."""
    need_verb(context)


@app.command(
    name="list",
    cls=Verb,
    epilog=examples(
        "mailbed quarantine list                         what is kept anywhere",
        "mailbed quarantine list --run captures/runs/20261124T084126Z-two-companies-e204",
    ),
)
def list_(host: AllHosts = "*", run: Run = None, lab: RunningLab = None, json: Json = False) -> None:
    """List what is kept back: from whom, to whom, and why.

    Of a lab that has ended it is what lies in its run directory.
    """
    name, found = _read(host, run, lab)
    if json:
        _document(name, found)
    elif any(found.values()):
        output.table(("HOST", "ID", "SIZE", "SENDER", "RECIPIENTS", "TOLD", "SUBJECT", "WHY"), _rows(found))
    else:
        output.say("Nothing is in quarantine.")


@app.command(
    cls=Verb,
    epilog=examples(
        "mailbed quarantine show rcpt-filt JBSWY3DPEB",
        "mailbed quarantine show '*' JBSWY3DPEB --json   wherever it is",
    ),
)
def show(
    host: Hosts,
    kept_id: Annotated[str, typer.Argument(metavar="ID", help="The message.", show_default=False)],
    run: Run = None,
    lab: RunningLab = None,
    json: Json = False,
) -> None:
    """Show one message: why it is kept back, its envelope, and all of it."""
    name, found = _read(host, run, lab, kept_id)
    _check_found(found, [kept_id])
    if json:
        _document(name, found)
        return
    for where, messages in found.items():
        for kept in messages:
            _tell(where, kept)


@app.command(
    cls=Verb,
    epilog=examples(
        "mailbed quarantine release rcpt-filt JBSWY3DPEB",
        "mailbed quarantine release '*' --all            all that is kept",
    ),
)
def release(
    host: Hosts, ids: Ids = None, every: Every = False, lab: RunningLab = None, json: Json = False
) -> None:
    """Release messages: they are delivered after all, not judged again, and marked in their header."""
    name, found = _change(host, lab, ids, every, lambda held, chosen: held.release(*chosen))
    if json:
        _document(name, found)
        return
    for where, messages in found.items():
        for kept in messages:
            to = ", ".join(kept.recipients)
            output.say(f"{where}: {kept.id} released; it goes on to {to} as {kept.queue_id}")
    _nothing(found)


@app.command(
    cls=Verb,
    epilog=examples(
        "mailbed quarantine delete rcpt-filt JBSWY3DPEB",
        "mailbed quarantine delete '*' --all",
    ),
)
def delete(
    host: Hosts, ids: Ids = None, every: Every = False, lab: RunningLab = None, json: Json = False
) -> None:
    """Delete messages: they are gone for good, and nobody is told."""
    name, found = _change(host, lab, ids, every, lambda held, chosen: held.delete(*chosen))
    if json:
        _document(name, found)
        return
    for where, messages in found.items():
        for kept in messages:
            output.say(f"{where}: {kept.id} deleted; {', '.join(kept.recipients)} will not get it")
    _nothing(found)


def _read(pattern: str, run: str | None, lab: str | None, kept_id: str = "") -> tuple[str, Found]:
    """Return the lab's name, and what is in quarantine: of a running lab, or of a run directory."""
    from mailbed import rundir, sandbox
    from mailbed.lab import Lab
    from mailbed.quarantinehandle import of_run
    from topologies import planfile

    if run is not None and lab is not None:
        raise UsageError("name a run or a lab, not both")
    if run is None and (lab is not None or sandbox.running()):
        with Lab.attach(lab) as handle:
            hosts = targets.content_filters(handle.plan, pattern)
            return handle.name, {host: _look(handle.quarantine(host), kept_id) for host in hosts}
    path = Path(run) if run is not None else rundir.last()
    if path is None:
        raise UsageError("there is no run yet; make one: mailbed run two-companies")
    record = rundir.read_record(path)
    plan: Plan = planfile.loads((path / "plan.toml").read_text(encoding="utf-8"), name=str(path))
    found = {host: of_run(path, host, kept_id) or [] for host in targets.content_filters(plan, pattern)}
    return str(record.get("lab", "")), found


def _look(held: LabQuarantine, kept_id: str) -> list[InQuarantine]:
    if not kept_id:
        return held.messages()
    return [held.show(kept_id)] if kept_id in [kept.id for kept in held.messages()] else []


def _change(
    pattern: str,
    lab: str | None,
    ids: Sequence[str] | None,
    every: bool,
    change: Callable[[LabQuarantine, Sequence[str]], list[InQuarantine]],
) -> tuple[str, Found]:
    """Change the quarantines of a running lab; servers that a pattern means and that are down are told of."""
    from mailbed.lab import Lab

    if bool(ids) is every:
        raise UsageError("say which messages: ID …, or --all for all that is kept there")
    found: Found = {}
    with Lab.attach(lab) as handle:
        hosts = targets.content_filters(handle.plan, pattern)
        for host in hosts:
            held = handle.quarantine(host)
            try:
                found[host] = change(held, ids or [kept.id for kept in held.messages()])
            except LabError as error:
                if hosts == [pattern]:
                    raise
                output.note(str(error))
        _check_found(found, ids or [])
        return handle.name, found


def _check_found(found: Found, ids: Sequence[str]) -> None:
    seen = {kept.id for messages in found.values() for kept in messages}
    missing = [kept_id for kept_id in ids if kept_id not in seen]
    if missing:
        done = f"; done for {', '.join(sorted(seen))}" if seen else ""
        raise UsageError(
            f"{', '.join(missing)}: not in the quarantine of {', '.join(found) or 'any host'}{done}"
            " (mailbed quarantine list shows what is)"
        )


def _nothing(found: Found) -> None:
    if not any(found.values()):
        output.say("Nothing is in quarantine there.")


def _document(name: str, found: Found) -> None:
    quarantines: list[dict[str, Any]] = [
        {"host": host, "messages": [_values(kept) for kept in messages]} for host, messages in found.items()
    ]
    output.document({"lab": name, "quarantines": quarantines})


def _values(kept: InQuarantine) -> dict[str, Any]:
    optional = {"content": kept.content, "queue_id": kept.queue_id}
    return {key: value for key, value in asdict(kept).items() if optional.get(key, True)}


def _rows(found: Found) -> list[tuple[str, ...]]:
    return [
        (
            host,
            kept.id,
            f"{kept.size:,}",
            f"<{kept.sender}>",
            ", ".join(kept.recipients),
            "yes" if kept.told else "no",
            kept.subject,
            kept.reason,
        )
        for host, messages in found.items()
        for kept in messages
    ]


def _tell(host: str, kept: InQuarantine) -> None:
    output.say(f"{output.strong(kept.id)} at {host}, {kept.size:,} bytes: {kept.reason}")
    output.say(
        f"  from <{kept.sender}>, who was {'told' if kept.told else 'not told'}; it came from {kept.client}"
    )
    output.say(f"  to {', '.join(kept.recipients)}")
    output.say()
    output.say(kept.content.rstrip("\n"))
