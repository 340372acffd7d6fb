"""`mailbed inbox`: a mailbox, read over IMAP on its user's host."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailbed.cli import output
from mailbed.cli.arguments import Group, Verb
from mailbed.cli.options import Json, examples, need_verb
from mailbed.errors import LabError, UsageError

if TYPE_CHECKING:
    from mailbed.inbox import Inbox, Mail

EXAMPLES = (
    "mailbed inbox list bob@example.org",
    "mailbed inbox show bob@example.org --raw > message.eml",
)
app = typer.Typer(cls=Group, rich_markup_mode=None)

Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="Whose mailbox.", show_default=False)]
Run = Annotated[
    str | None,
    typer.Option(
        "--run",
        metavar="DIR",
        help="Of a run that has ended (default: the running lab, else the last run).",
        show_default=False,
    ),
]
LabName = Annotated[
    str | None, typer.Option("--lab", metavar="NAME", help="Of that running lab.", show_default=False)
]
Wait = Annotated[
    float | None,
    typer.Option("--wait", metavar="S", min=0, help="Wait so long for a new message.", show_default=False),
]
MarkRead = Annotated[bool, typer.Option("--mark-read", help="Afterwards they are read.")]
Delete = Annotated[bool, typer.Option("--delete", help="Afterwards they are gone.")]


@app.callback(invoke_without_command=True)
def inbox(context: typer.Context) -> None:
    """Read a mailbox over IMAP, from its user's host.

    What is fetched crosses the emulated network and is in the capture; the
    journey shows it as step G. Where the lab has ended, or the
    user has no mail client, the Maildir is read instead, and that is said.
    """
    need_verb(context)


@app.command(
    "list",
    cls=Verb,
    epilog=examples(
        "mailbed inbox list bob@example.org",
        "mailbed inbox list bob@example.org --wait 60        the next that arrives",
        "mailbed inbox list bob@example.org --json | jq -r '.messages[].subject'",
    ),
)
def list_(
    address: Address, wait: Wait = None, run: Run = None, lab: LabName = None, json: Json = False
) -> None:
    """List what is in a mailbox; that changes nothing in it. N marks what is not read yet."""
    with ExitStack() as stack:
        box = _opened(stack, address, run, lab)
        found = box.messages() if wait is None else box.wait(wait)
        if json:
            output.document(_document(box, found))
            return
        _tell_source(box)
        if not found:
            output.say(f"The mailbox of {box.address} is empty.")
            return
        rows = [
            (str(mail.uid), "" if mail.seen else "N", str(mail.size), mail.date, mail.sender, mail.subject)
            for mail in found
        ]
        output.table(("UID", "", "SIZE", "DATE", "FROM", "SUBJECT"), rows)


@app.command(
    cls=Verb,
    epilog=examples(
        "mailbed inbox show bob@example.org                  the last one",
        "mailbed inbox show bob@example.org 3 --raw          its octets, as they were delivered",
        "mailbed inbox show bob@example.org 3 --delete",
        "mailbed inbox show bob@example.org --wait 60 --mark-read",
    ),
)
def show(
    address: Address,
    uid: Annotated[
        int | None, typer.Argument(metavar="UID", help="Which one (default: the last).", show_default=False)
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The octets as delivered, and nothing else.")] = False,
    mark_read: MarkRead = False,
    delete: Delete = False,
    wait: Wait = None,
    run: Run = None,
    lab: LabName = None,
    json: Json = False,
) -> None:
    """Fetch a message and show it. That it was read is kept only with --mark-read."""
    if wait is not None and uid is not None:
        raise UsageError("a message that is awaited has no UID yet: name it or wait for it, not both")
    if raw and json:
        raise UsageError("--raw and --json exclude each other")
    with ExitStack() as stack:
        box = _opened(stack, address, run, lab)
        mail = _one(box, uid, wait=wait, mark_read=mark_read, delete=delete)
        content = mail.content or b""
        if json:
            output.document(_document(box, [mail]))
        elif raw:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        else:
            _tell_source(box)
            # Line ends as a terminal has them; nothing that would command it.
            text = content.decode("utf-8", "replace").replace("\r\n", "\n")
            output.say("".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text))


def _one(box: Inbox, uid: int | None, *, wait: float | None, mark_read: bool, delete: bool) -> Mail:
    if wait is not None:
        mail = box.wait(wait)[-1]
        if mark_read:
            box.mark_read(mail.uid)
        if delete:
            box.delete(mail.uid)
        return mail
    if uid is None:
        there = box.messages()
        if not there:
            raise LabError(f"the mailbox of {box.address} is empty")
        uid = there[-1].uid
    return box.read(uid, mark_read=mark_read, delete=delete)[0]


def _opened(stack: ExitStack, address: str, run: str | None, lab: str | None) -> Inbox:
    from mailbed import rundir, sandbox
    from mailbed.inbox import Inbox
    from mailbed.lab import Lab
    from topologies import planfile

    if run is not None and lab is not None:
        raise UsageError("name a run or a lab, not both")
    if run is None and (lab is not None or sandbox.running()):
        return stack.enter_context(Lab.attach(lab)).inbox(address)
    place = Path(run) if run is not None else rundir.last()
    if place is None:
        raise UsageError("there is no run yet; make one: mailbed up")
    file = place / "plan.toml"
    if not file.is_file():
        raise UsageError(f"{place} is no run directory: it has no plan.toml")
    return Inbox(planfile.loads(file.read_text(encoding="utf-8")), place, address, lab=None)


def _tell_source(box: Inbox) -> None:
    if box.source == "maildir":
        output.note(f"no mail client fetched this: it is read from {output.near(box.directory)}")


def _document(box: Inbox, found: list[Mail]) -> dict[str, Any]:
    return {
        "mailbox": box.address,
        "source": box.source,
        "host": box.host,
        "messages": [_message(mail) for mail in found],
    }


def _message(mail: Mail) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "uid": mail.uid,
        "flags": list(mail.flags),
        "arrival": mail.arrival,
        "size": mail.size,
        "from": mail.sender,
        "to": mail.to,
        "subject": mail.subject,
        "date": mail.date,
        "message_id": mail.message_id,
    }
    if mail.content is not None:
        # Any octets: those that are no UTF-8 are surrogates, which Python takes back (surrogateescape).
        fields["content"] = mail.content.decode("utf-8", "surrogateescape")
    return fields
