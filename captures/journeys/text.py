"""The account of a journey as lines of text."""

from __future__ import annotations

from collections.abc import Callable

from captures.conversations import Drop, Endpoint
from captures.journeys.model import Journey
from captures.journeys.steps import Told, steps

Style = Callable[[str], str]

_INDENT = 17


def lines(
    journey: Journey, *, brief: bool = False, run: str = "", letter: Style = str, bad: Style = str
) -> list[str]:
    """Return the account, one string a line; `brief` leaves out what each server said, and
    attempts that came to the same as those before and after.

    The mailbox's file is told with the run directory `run` before it. `letter` and `bad` may mark a step's
    letter and what went wrong, as for a terminal.
    """
    told = steps(journey, run=run, thin=brief)
    width = max(len(step.host) for step in told)
    return [text for step in told for text in _step(step, journey.started_ns, width, brief, letter, bad)]


def heading(journey: Journey) -> str:
    """Return what a journey is about, in one line."""
    sender = journey.sender or "<>"
    subject = f": {journey.subject}" if journey.subject else ""
    about = (
        f", which reports on journey {journey.about}: {journey.action}" if journey.about is not None else ""
    )
    size = f"{'' if journey.whole else 'at least '}{journey.size:,} bytes"
    if not (journey.whole or journey.size):
        size = "size unknown"
    return f"{journey.number}. {sender} → {journey.recipient}{subject}, {size}{about}"


def drop_line(drop: Drop) -> str:
    """Return what a firewall dropped, as `rcpt-fw dropped: port 143 from 198.18.20.12 (mallory) to …`."""
    port = drop.destination.port
    what = f"port {port}" if port else drop.protocol or "packets"
    over = f" ({drop.protocol})" if port and drop.protocol != "tcp" else ""
    count = f"{drop.packets:,} packet{'' if drop.packets == 1 else 's'}"
    return f"{drop.host} dropped: {what}{over} from {_who(drop.source)} to {_who(drop.destination)}, {count}"


def _who(endpoint: Endpoint) -> str:
    known = endpoint.host != endpoint.address
    return f"{endpoint.address} ({endpoint.host})" if known else endpoint.address


def _step(told: Told, start_ns: int, width: int, brief: bool, letter: Style, bad: Style) -> list[str]:
    ms = (told.time_ns - start_ns) / 1e6
    text = told.text if told.good else bad(told.text)
    found = [f"  {letter(told.letter)} {ms:9,.1f} ms  {told.host:{width}}  {text}"]
    if brief and told.good:
        return found
    who = max((len(name) for name, _ in told.lines), default=0)
    indent = " " * (_INDENT + width + 2)
    return found + [f"{indent}{name:{who}}  {said}" for name, said in told.lines]
