"""`mailbed send`: a message through a running lab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mailbed.cli import messages, output
from mailbed.cli.delivery import Delivery, deliver
from mailbed.cli.options import Json, Recipients, RunningLab, Sender, Timeout
from mailbed.cli.telling import tell_delivery, tell_gaps
from mailbed.errors import UsageError

if TYPE_CHECKING:
    from mailbed.lab import Lab

EXAMPLES = (
    "mailbed send                                     a sample message",
    "mailbed send letter.eml --from alice@example.com --to bob@example.org",
    "mailbed send letter.eml --host alice --from ceo@example.com    refused: she is alice",
    "mailbed send --host mallory --from ceo@example.com --to bob@example.org --via open-1,open-2",
    "python -m mailbed.sample --attachment 1000000 | mailbed send - --no-wait",
)


File = Annotated[
    str | None,
    typer.Argument(
        metavar="FILE", help="A message; - is standard input (default: a sample).", show_default=False
    ),
]
Host = Annotated[
    str | None,
    typer.Option(
        "--host",
        metavar="HOST",
        help="Whose mail client submits it (default: the sender's).",
        show_default=False,
    ),
]
Via = Annotated[
    list[str] | None,
    typer.Option(
        "--via",
        metavar="HOSTS",
        help="Not submitted, but handed to the first of these servers and relayed by the others: "
        "open-1,open-2. HOST sends it, in the name of whoever is named by --from.",
        show_default=False,
    ),
]
Percent = Annotated[
    bool,
    typer.Option(
        "--percent",
        help="With --via: bob%example.org@open-1, not an RFC 821 source route.",
        show_default=False,
    ),
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for what comes of it.")]


def send(
    file: File = None,
    sender: Sender = None,
    to: Recipients = None,
    host: Host = None,
    via: Via = None,
    percent: Percent = False,
    wait: Wait = True,
    timeout: Timeout = 60.0,
    lab: RunningLab = None,
    json: Json = False,
) -> None:
    """Send a message through a running lab.

    It is submitted on its sender's host, and what came of it is told.
    The exit status is 0 if it was delivered to every recipient; with --no-wait, if the submission server
    took it.
    """
    from mailbed.lab import Lab

    servers = [name for names in via or () for name in names.split(",") if name]
    if percent and not servers:
        raise UsageError("--percent says how --via is written: name the servers with --via")
    letter = messages.read_message(file) if file is not None else None
    with Lab.attach(lab) as handle:
        author, readers = messages.envelope(handle.plan, sender, to, host)
        letter = letter or messages.sample(author, readers, handle.seed)
        with output.Progress() as progress:
            progress.show(f"waiting for what comes of {letter.name}")
            delivery = deliver(
                handle,
                letter,
                author,
                readers,
                host=host,
                timeout_s=timeout if wait else 0.0,
                via=servers,
                percent=percent,
            )
        if json:
            output.document({"lab": handle.name, **delivery.document(handle.run)})
        else:
            _tell(handle, delivery, wait=wait)
    taken = not delivery.reason and "refused" not in [each.state for each in delivery.outcomes.values()]
    raise typer.Exit(0 if (delivery.outcome == "delivered" if wait else taken) else 1)


def _tell(handle: Lab, delivery: Delivery, *, wait: bool) -> None:
    """Say how the message travelled; where nobody waits for that, what the server said that took it."""
    if wait or delivery.reason:
        found = handle.journeys()
        tell_delivery(found, handle.run, delivery)
        tell_gaps(found)
    else:
        output.say(f"message {delivery.number}: {delivery.host} said: {delivery.reply}")
