"""The account of journeys, as `journey`, `run`, `send` and the demo print it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mailbed.cli import output
from mailbed.errors import LabError

if TYPE_CHECKING:
    from captures.journeys import Journey, Journeys
    from mailbed.cli.delivery import Delivery

_DROPS_TOLD = 20
_CHECKED = {
    "received": "Received fields",
    "events": "the services' events",
    "mailbox": "the file in the mailbox",
}


def of_message(found: Journeys, host: str, queue_id: str) -> list[Journey]:
    """Return the journeys of the message that `host` queued under that id, one for each recipient."""
    return [journey for journey in found.journeys if journey.queued == (host, queue_id)]


def tell_delivery(found: Journeys, run: Path, delivery: Delivery) -> None:
    """Say how a message travelled to each of its recipients, and how it ended."""
    journeys = of_message(found, delivery.host, delivery.queue_id) if delivery.queue_id else []
    if journeys:
        tell(journeys, run)
    else:
        to = ", ".join(delivery.recipients)
        output.say(f"{output.strong(f'{delivery.sender} → {to}')}: {delivery.letter.name}")
    if delivery.reason:
        output.say(f"  {output.marked('refused', good=False)}: {delivery.reason}")
    for recipient, outcome in delivery.outcomes.items():
        state = output.marked(outcome.state, good=outcome.state == "delivered")
        if outcome.state == "delivered":
            took = f" after {(outcome.time - delivery.started) * 1000:,.0f} ms"
            output.say(f"  {state} to {recipient}{took}")
        else:
            reply = f": {outcome.reply}" if outcome.reply else ""
            output.say(f"  {state} for {recipient} at {outcome.host}{reply}")


def keep(run: Path, found: Journeys, *, comment: bool) -> None:
    """Leave the journeys in the run directory, or say why not: the account is what was asked for."""
    from mailbed import journeys

    try:
        journeys.save(run, found, comment=comment)
    except LabError as error:
        output.note(str(error))


def tell_gaps(found: Journeys) -> None:
    """Say what the capture lacks, if it lacks anything."""
    if found.dropped:
        lost = output.count(found.dropped, "packet")
        output.note(f"the capture lost {lost}: something may be missing above")
    if found.cut:
        output.note("the capture is cut short: its lab was killed, or still runs")


def tell_drops(found: Journeys) -> None:
    """Say what firewalls dropped, if they dropped anything."""
    from captures.journeys import text

    if found.drops:
        output.say()
    for drop in found.drops[:_DROPS_TOLD]:
        output.say(f"firewall {text.drop_line(drop)}")
    if len(found.drops) > _DROPS_TOLD:
        output.say(f"… and {len(found.drops) - _DROPS_TOLD:,} more (mailbed journey --json: drops)")


def tell(journeys: Sequence[Journey], run: Path | None = None, *, brief: bool = False) -> None:
    """Say what happened on each journey, step by step, and what else agrees or does not."""
    from captures.journeys import text

    place = output.near(run) if run is not None else ""
    for number, found in enumerate(journeys):
        if number:
            output.say()
        output.say(output.strong(text.heading(found)))
        for line in text.lines(found, brief=brief, run=place, letter=output.strong, bad=_bad):
            output.say(line)
        _tell_checks(found)


def _tell_checks(found: Journey) -> None:
    for check in found.checks:
        if not check.agrees:
            output.say(f"  {output.marked('disagreement', good=False)}: {check.detail}")
    if found.checks and all(check.agrees for check in found.checks):
        agreeing = dict.fromkeys(_CHECKED[check.source] for check in found.checks)
        output.say(f"  read from the packets; {_listed(list(agreeing))} agree")


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _bad(text: str) -> str:
    return typer.style(text, fg="red")
