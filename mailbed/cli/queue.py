"""`mailbed queue`: what waits in the queues of mail servers, and what can be done about it."""

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
    from mailbed.queuehandle import InQueue, LabQueue
    from topologies.plan import Plan

EXAMPLES = (
    "mailbed queue list",
    "mailbed queue show corp-mta1 JBSWY3DPEB",
    "mailbed queue flush 'corp-*'",
    "mailbed queue hold corp-mta1 --domain example.org",
)
app = typer.Typer(cls=Group, rich_markup_mode=None)

Found = dict[str, "list[InQueue]"]

Hosts = Annotated[
    str,
    typer.Argument(
        metavar="HOST",
        help="A host with a mail server; a pattern means each that has one.",
        show_default=False,
    ),
]
AllHosts = Annotated[
    str,
    typer.Argument(
        metavar="HOST", help="A host with a mail server, or a pattern (default: all).", show_default=False
    ),
]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Messages.", show_default=False)]
Domain = Annotated[
    str | None,
    typer.Option(
        "--domain", metavar="DOMAIN", help="What waits for recipients in this domain.", show_default=False
    ),
]
Every = Annotated[bool, typer.Option("--all", help="All that waits there.")]


@app.callback(invoke_without_command=True)
def queue(context: typer.Context) -> None:
    """See what waits in the queues of mail servers; flush, hold, release and remove it."""
    need_verb(context)


@app.command(
    name="list",
    cls=Verb,
    epilog=examples(
        "mailbed queue list                              what waits anywhere",
        "mailbed queue list 'corp-*' --domain example.org",
        "mailbed queue list --run captures/runs/20261124T084126Z-minimal-e204",
    ),
)
def list_(
    host: AllHosts = "*",
    domain: Domain = None,
    run: Run = None,
    lab: RunningLab = None,
    json: Json = False,
) -> None:
    """List what waits: a line for each recipient, with what the last attempt got.

    Of a lab that has ended it is what lies in its run directory.
    """
    name, found = _read(host, run, lab, lambda queue: queue.messages(domain=domain), domain=domain)
    if json:
        _document(name, found)
    elif any(found.values()):
        headings = ("HOST", "ID", "SIZE", "AGE", "SENDER", "RECIPIENT", "TRIES", "NEXT", "LAST REPLY")
        output.table(headings, _rows(found))
    else:
        output.say("Nothing waits.")


@app.command(
    cls=Verb,
    epilog=examples(
        "mailbed queue show corp-mta1 JBSWY3DPEB",
        "mailbed queue show '*' JBSWY3DPEB --json        wherever it is",
    ),
)
def show(
    host: Hosts,
    queue_id: Annotated[str, typer.Argument(metavar="ID", help="The message.", show_default=False)],
    run: Run = None,
    lab: RunningLab = None,
    json: Json = False,
) -> None:
    """Show one message: its envelope, what became of it so far, and its header."""

    def look(queue: LabQueue) -> list[InQueue]:
        return [queue.show(queue_id)] if queue.messages(queue_id) else []

    name, found = _read(host, run, lab, look, ids=[queue_id])
    _check_found(found, [queue_id])
    if json:
        _document(name, found)
        return
    for where, messages in found.items():
        for message in messages:
            _tell(where, message)


@app.command(
    cls=Verb,
    epilog=examples(
        "mailbed queue flush corp-mta1                   all that waits there",
        "mailbed queue flush corp-mta1 JBSWY3DPEB        one message",
        "mailbed queue flush '*' --domain example.org    what waits for example.org",
    ),
)
def flush(
    host: Hosts, ids: Ids = None, domain: Domain = None, lab: RunningLab = None, json: Json = False
) -> None:
    """Have what waits attempted now, not only when its time has come; what is held stays held."""
    chosen = ids or []
    name, found = _change(host, lab, lambda queue: queue.flush(*chosen, domain=domain))
    _check_found(found, chosen, "held, or not")
    _account(name, found, "is attempted now", json=json)


@app.command(
    cls=Verb,
    epilog=examples(
        "mailbed queue hold corp-mta1 JBSWY3DPEB",
        "mailbed queue hold '*' --domain example.org     what waits for example.org",
        "mailbed queue hold corp-hub --all",
    ),
)
def hold(
    host: Hosts,
    ids: Ids = None,
    domain: Domain = None,
    every: Every = False,
    lab: RunningLab = None,
    json: Json = False,
) -> None:
    """Hold messages: they are not attempted until they are released, not after a restart either.

    As in Postfix, what is held does not expire, however old it is. Once released it does, if it is too
    old and the attempt fails.
    """
    chosen = _which(ids, domain, every)
    name, found = _change(host, lab, lambda queue: queue.hold(*chosen, domain=domain, every=every))
    _check_found(found, chosen, "held already, or not")
    _account(name, found, "is held", json=json)


@app.command(
    cls=Verb,
    epilog=examples(
        "mailbed queue release corp-mta1 JBSWY3DPEB",
        "mailbed queue release '*' --all                 all that is held",
    ),
)
def release(
    host: Hosts,
    ids: Ids = None,
    domain: Domain = None,
    every: Every = False,
    lab: RunningLab = None,
    json: Json = False,
) -> None:
    """Release messages that are held: they are attempted at once."""
    chosen = _which(ids, domain, every)
    name, found = _change(host, lab, lambda queue: queue.release(*chosen, domain=domain, every=every))
    _check_found(found, chosen, "not held, or not")
    _account(name, found, "is attempted now", json=json)


@app.command(
    cls=Verb,
    epilog=examples(
        "mailbed queue remove corp-mta1 JBSWY3DPEB",
        "mailbed queue remove corp-mta1 --domain example.org",
        "mailbed queue remove '*' --all",
    ),
)
def remove(
    host: Hosts,
    ids: Ids = None,
    domain: Domain = None,
    every: Every = False,
    lab: RunningLab = None,
    json: Json = False,
) -> None:
    """Remove messages: they are not sent, and nobody is told. It says who will not get them.

    An attempt that is under way is not stopped: what it delivers is delivered.
    """
    chosen = _which(ids, domain, every)
    name, found = _change(host, lab, lambda queue: queue.remove(*chosen, domain=domain, every=every))
    _check_found(found, chosen)
    if json:
        _document(name, found)
        return
    for where, messages in found.items():
        for message in messages:
            to = ", ".join(recipient.address for recipient in message.recipients)
            doubt = " (an attempt was under way: some may)" if message.under_way else ""
            output.say(f"{where}: {message.id} removed; {to} will not get it{doubt}")
    if not any(found.values()):
        output.say("Nothing waits there.")


def _read(
    pattern: str,
    run: str | None,
    lab: str | None,
    look: Callable[[LabQueue], list[InQueue]],
    *,
    ids: Sequence[str] = (),
    domain: str | None = None,
) -> tuple[str, Found]:
    """Return the lab's name, and what is in the queues: of a running lab, or of a run directory."""
    from mailbed import rundir, sandbox
    from mailbed.lab import Lab
    from mailbed.queuehandle import of_run
    from topologies import planfile

    if run is not None and lab is not None:
        raise UsageError("name a run or a lab, not both")
    if run is None and (lab is not None or sandbox.running()):
        with Lab.attach(lab) as handle:
            hosts = targets.mail_servers(handle.plan, pattern)
            return handle.name, {host: look(handle.queue(host)) for host in hosts}
    path = Path(run) if run is not None else rundir.last()
    if path is None:
        raise UsageError("there is no run yet; make one: mailbed run two-companies")
    record = rundir.read_record(path)
    plan: Plan = planfile.loads((path / "plan.toml").read_text(encoding="utf-8"), name=str(path))
    queues = {
        host: of_run(path, host, ids, domain, header=bool(ids))
        for host in targets.mail_servers(plan, pattern)
    }
    return str(record.get("lab", "")), {host: found or [] for host, found in queues.items()}


def _change(pattern: str, lab: str | None, change: Callable[[LabQueue], list[InQueue]]) -> tuple[str, Found]:
    """Change the queues of a running lab; servers that a pattern means and that are down are told of."""
    from mailbed.lab import Lab

    found: Found = {}
    with Lab.attach(lab) as handle:
        hosts = targets.mail_servers(handle.plan, pattern)
        for host in hosts:
            try:
                found[host] = change(handle.queue(host))
            except LabError as error:
                if hosts == [pattern]:
                    raise
                output.note(str(error))
        return handle.name, found


def _which(ids: list[str] | None, domain: str | None, every: bool) -> list[str]:
    """Return the ids; something must be named, so that no slip of the hand means everything."""
    if not (ids or domain or every):
        raise UsageError("say which messages: ID, --domain DOMAIN or --all")
    if every and (ids or domain):
        raise UsageError("--all means all that waits: name no ID and no --domain beside it")
    return ids or []


def _check_found(found: Found, ids: Sequence[str], otherwise: str = "not") -> None:
    seen = {message.id for messages in found.values() for message in messages}
    missing = [queue_id for queue_id in ids if queue_id not in seen]
    if missing:
        where = ", ".join(found) if len(found) < 4 else "any of these hosts"
        done = f"; done for {', '.join(sorted(seen))}" if seen else ""
        raise UsageError(
            f"{', '.join(missing)}: {otherwise} in the queue of {where or 'any host'}{done}"
            " (mailbed queue list shows what is)"
        )


def _account(name: str, found: Found, done: str, *, json: bool) -> None:
    if json:
        _document(name, found)
        return
    for host, messages in found.items():
        for message in messages:
            output.say(f"{host}: {message.id} {done}")
    if not any(found.values()):
        output.say("There is nothing to do.")


def _document(name: str, found: Found) -> None:
    queues: list[dict[str, Any]] = [
        {"host": host, "messages": [_values(message) for message in messages]}
        for host, messages in found.items()
    ]
    output.document({"lab": name, "queues": queues})


def _values(message: InQueue) -> dict[str, Any]:
    values = asdict(message)
    if not message.header:
        del values["header"]
    return values


def _rows(found: Found) -> list[tuple[str, ...]]:
    return [
        (
            host,
            message.id,
            f"{message.size:,}",
            _span(message.age_s),
            f"<{message.sender}>",
            recipient.address,
            str(recipient.attempts),
            _next(message, recipient.next_attempt),
            recipient.reply,
        )
        for host, messages in found.items()
        for message in messages
        for recipient in message.recipients
    ]


def _tell(host: str, message: InQueue) -> None:
    output.say(
        f"{output.strong(message.id)} at {host}, {message.size:,} bytes, from <{message.sender}>, "
        f"{_span(message.age_s)} old"
    )
    for recipient in message.recipients:
        tries = output.count(recipient.attempts, "attempt")
        output.say(f"  to {recipient.address}: {tries}, next: {_next(message, recipient.next_attempt)}")
        if recipient.reply:
            output.say(f"     {recipient.reply}")
    output.say()
    output.say(message.header.rstrip("\n"))


def _next(message: InQueue, when: float) -> str:
    if message.held:
        return "held"
    if message.under_way:
        return "under way"
    ahead = when - (message.arrival + message.age_s)
    return f"in {_span(ahead)}" if ahead > 0 else "due"


def _span(seconds: float) -> str:
    """Return a time in the largest unit that tells something: 4.2 s, 12 min, 3 h, 2 d."""
    for unit, least, per in (("d", 172800, 86400), ("h", 7200, 3600), ("min", 120, 60)):
        if seconds >= least:
            return f"{seconds / per:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
