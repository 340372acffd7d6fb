"""`mailbed fault`: what breaks, and how it is mended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailbed.cli import output, targets
from mailbed.cli.arguments import Group, Verb
from mailbed.cli.options import Json, RunningLab, examples, need_verb
from mailbed.errors import MailbedError

if TYPE_CHECKING:
    from mailbed.lab import Fault

EXAMPLES = (
    "mailbed fault add host-down rcpt-mx1",
    "mailbed fault list",
    "mailbed fault clear",
)
app = typer.Typer(cls=Group, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def fault(context: typer.Context) -> None:
    """Break something in a running lab, and mend it."""
    need_verb(context)


@app.command(
    cls=Verb,
    epilog=examples(
        "mailbed fault add host-down rcpt-mx1",
        "mailbed fault add host-down 'corp-*'           a fault for each of them",
        "mailbed fault add link-down core1 core2",
        "mailbed fault add service-down corp-dns resolver",
    ),
)
def add(
    kind: Annotated[
        str,
        typer.Argument(metavar="KIND", help="host-down, link-down or service-down.", show_default=False),
    ],
    target: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGET",
            help="HOST for host-down; A B for link-down; HOST ROLE for service-down. Patterns are allowed.",
            show_default=False,
        ),
    ],
    lab: RunningLab = None,
    json: Json = False,
) -> None:
    """Put faults in force: all that the patterns mean, or none.

    \b
    host-down HOST          power off: its services are killed, its links are down
    link-down A B           the cable between A and B is cut; B may be a network
    service-down HOST ROLE  one service is killed
    """
    from mailbed.lab import Lab

    with Lab.attach(lab) as handle:
        added: list[Fault] = []
        try:
            for each in targets.fault_targets(handle.plan, kind, target):
                # One by one, so that `added` is what is in force whatever happens.
                added += [handle.fault(kind, *each)]
        except MailbedError:
            # All of what was asked for, or none of it.
            for one in reversed(added):
                one.clear()
            raise
    _tell([_described(each) for each in added], "in force", as_json=json)


@app.command("list", cls=Verb, epilog=examples("mailbed fault list", "mailbed fault list --json"))
def list_(lab: RunningLab = None, json: Json = False) -> None:
    """Show the faults in force."""
    from mailbed.lab import Lab

    with Lab.attach(lab) as handle:
        faults = [_described(each) for each in handle.faults()]
    if json:
        output.document({"lab": handle.name, "faults": faults})
    elif faults:
        rows = [(str(each["number"]), each["kind"], " ".join(each["target"])) for each in faults]
        output.table(("NUMBER", "KIND", "TARGET"), rows)
    else:
        output.say("No fault is in force.")


@app.command(cls=Verb, epilog=examples("mailbed fault clear         all of them", "mailbed fault clear 2 3"))
def clear(
    number: Annotated[
        list[int] | None,
        typer.Argument(metavar="NUMBER", help="Which (default: all).", show_default=False),
    ] = None,
    lab: RunningLab = None,
    json: Json = False,
) -> None:
    """Take faults back; return when what they took down serves again."""
    from mailbed.lab import Lab

    with Lab.attach(lab) as handle:
        cleared: list[dict[str, Any]] = []
        for each in number or [0]:
            cleared += handle.clear_fault(each)
    _tell(cleared, "cleared", as_json=json)


def _described(found: Fault) -> dict[str, Any]:
    return {"number": found.number, "kind": found.kind, "target": list(found.target)}


def _tell(faults: list[dict[str, Any]], what: str, *, as_json: bool) -> None:
    if as_json:
        output.document({"faults": faults})
        return
    for each in faults:
        output.say(f"fault {each['number']}: {each['kind']} {' '.join(each['target'])} {what}")
