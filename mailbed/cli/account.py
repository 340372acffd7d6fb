"""What happened to a message, as the services' events tell it.

Theory of operation. A message is followed by its queue ids: a `relayed` event names the id that the next
server gave it, a `bounced` one that of the notice to the sender. Look-ups and rejections carry no queue id;
those between submission and the last event count (or all later ones, while the message is on its way), which
is exact with one message in flight. What crossed
the wire is another account, read from the capture.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Event = Mapping[str, Any]

_LINKS = {"relayed": "remote_id", "bounced": "bounce_id"}
_OWN = ("accepted", "relayed", "deferred", "bounced", "delivered")
_AROUND = ("lookup", "rejected")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of the account: `ms` since submission, the host, and what it did."""

    ms: float
    host: str
    text: str


def read_events(run: Path) -> list[Event]:
    """Return the events of a run. Raises: OSError."""
    lines = (run / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def account(
    events: Iterable[Event],
    *,
    queue_id: str,
    started: float,
    settled: bool,
    names: Mapping[str, str],
) -> list[Step]:
    """Return what happened to the message of that queue id, in order of time; its submission comes first.

    `names` maps an address to a host; `started` is in seconds since the epoch; `settled` says that nothing is
    to come any more.
    """
    later = sorted((event for event in events if event["time"] >= started), key=lambda event: event["time"])
    ids = _ids(later, queue_id)
    own = [event for event in later if event["kind"] in _OWN and event.get("id") in ids]
    end = own[-1]["time"] if own and settled else float("inf")
    around = [event for event in later if event["kind"] in _AROUND and event["time"] <= end]
    steps = [_submission(later, queue_id)]
    lookups: list[Event] = []
    for event in sorted([*own, *around], key=lambda event: event["time"]):
        if event["kind"] == "lookup":
            lookups.append(event)
            continue
        steps += _looked_up(lookups, started)
        lookups = []
        steps.append(_step(event, started, names))
    return steps + _looked_up(lookups, started)


def _submission(events: Sequence[Event], queue_id: str) -> Step:
    """The beginning, which is told of when it is over."""
    author = next((e["host"] for e in events if e["kind"] == "submitted" and e.get("id") == queue_id), "?")
    server = next((e["host"] for e in events if e["kind"] == "accepted" and e.get("id") == queue_id), "?")
    return Step(ms=0.0, host=str(author), text=f"submits the message to {server}")


def _ids(events: Sequence[Event], queue_id: str) -> set[str]:
    """The queue ids that the message had, one after the other, and those of its bounces."""
    ids = {queue_id}
    while True:
        more = {
            str(event[_LINKS[event["kind"]]])
            for event in events
            if event["kind"] in _LINKS and event.get("id") in ids and event.get(_LINKS[event["kind"]])
        }
        if more <= ids:
            return ids
        ids |= more


def _step(event: Event, started: float, names: Mapping[str, str]) -> Step:
    text = {
        "accepted": _accepted,
        "relayed": _relayed,
        "deferred": _deferred,
        "bounced": _bounced,
        "delivered": _delivered,
        "rejected": _rejected,
    }[event["kind"]](event, names)
    return Step(ms=_ms(event, started), host=str(event["host"]), text=text)


def _accepted(event: Event, names: Mapping[str, str]) -> str:
    client = _name(event.get("client"), names)
    return f"accepted from {client} ({event.get('protocol')}), queue id {event.get('id')}"


def _relayed(event: Event, names: Mapping[str, str]) -> str:
    target = _name(event.get("next_address"), names)
    return f"relayed to {target} for {event.get('recipient')}, queue id there {event.get('remote_id')}"


def _deferred(event: Event, _names: Mapping[str, str]) -> str:
    wait = f"{float(event.get('next_attempt_s', 0)):.3g} s"
    return f"deferred {event.get('recipient')}, next attempt in {wait}: {event.get('reply')}"


def _bounced(event: Event, _names: Mapping[str, str]) -> str:
    notice = f"; the notice has queue id {event['bounce_id']}" if event.get("bounce_id") else ""
    return f"bounced {event.get('recipient')}: {event.get('reply')}{notice}"


def _delivered(event: Event, _names: Mapping[str, str]) -> str:
    return f"delivered to the mailbox {event.get('mailbox')}"


def _rejected(event: Event, names: Mapping[str, str]) -> str:
    return f"rejected {_name(event.get('client'), names)} at {event.get('stage')}: {event.get('reply')}"


def _looked_up(lookups: Sequence[Event], started: float) -> list[Step]:
    """One line for all that a resolver was asked between two other events."""
    steps = []
    for host in dict.fromkeys(str(event["host"]) for event in lookups):
        asked = [event for event in lookups if event["host"] == host]
        queries = sum(int(event.get("queries", 0)) for event in asked)
        said = ", ".join(_question(event) for event in asked)
        sent = "1 query sent" if queries == 1 else f"{queries} queries sent"
        steps.append(Step(ms=_ms(asked[-1], started), host=host, text=f"looked up {said} ({sent})"))
    return steps


def _question(event: Event) -> str:
    answer = "" if event.get("rcode") == "NOERROR" else f" ({event.get('rcode')})"
    return f"{event.get('name')} {event.get('rtype')}{answer}"


def _name(address: object, names: Mapping[str, str]) -> str:
    return names.get(str(address), str(address))


def _ms(event: Event, started: float) -> float:
    return (float(event["time"]) - started) * 1000
