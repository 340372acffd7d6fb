"""Where each message is, told from the services' events.

Theory of operation. Every MTA that takes a message gives it a queue id, and says so in its reply; the
sender repeats that id in its `relayed` event. So a message is a chain of (host, queue id), and each
recipient of it has a chain of its own, since recipients part ways:

    accepted  corp-mta 4F2A            relayed corp-mta 4F2A bob -> rcpt-mx 91C0        delivered rcpt-mx
    91C0 bob

Events of different hosts may come in any order: nothing is concluded before it is asked for. This follows
what services *say*; what crossed the wire is read from the capture (captures).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from captures.paths import same

Place = tuple[str, str]
"""A host and a queue id there."""

FINAL = ("delivered", "bounced", "quarantined", "deleted")

_LONGEST = 200  # a chain of hosts is never longer than the number of hops that a loop is stopped at
_LUCK = {"pending": 0, "deferred": 1, "bounced": 2, "quarantined": 2, "deleted": 2, "delivered": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a message for one recipient.

    `state` is `delivered`, `bounced`, `quarantined`, `deleted`, `refused` (at submission), `deferred` or
    `pending`; `host` where that was; `reply` the last reply that mattered, or why a filter kept it back;
    `path` the hosts that had it, first to last; `file` the path in a Maildir, if delivered; `time` in seconds
    since the epoch of the event that settled it. `told`: the sender was sent a report of what bounced, for
    all that is known.
    """

    recipient: str
    state: str
    host: str
    path: tuple[str, ...]
    reply: str = ""
    file: str = ""
    time: float = 0.0
    told: bool = True

    @property
    def settled(self) -> bool:
        """Nothing more will happen to it."""
        return self.state in (*FINAL, "refused")


class Tracker:
    """Learns from events; answers where a message is."""

    def __init__(self, hosts: Mapping[str, str]) -> None:
        """`hosts` maps an address or a fully qualified name to a host of the plan."""
        self._hosts = {key.lower(): host for key, host in hosts.items()}
        self._last: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._rewritten: dict[tuple[str, str, str], list[str]] = {}

    def learn(self, event: Mapping[str, Any]) -> None:
        """Take note of an event (mailbed.event/1); those that are not about a recipient change nothing."""
        if event["kind"] == "accepted":
            for recipient, reached in event.get("rewritten", {}).items():
                self._rewritten[event["host"], str(event["id"]), same(recipient)] = reached
        if event["kind"] == "quarantine-released":
            self._go_on(event)
        if event["kind"] not in ("relayed", "deferred", *FINAL):
            return
        key = (event["host"], str(event.get("id", "")), same(str(event.get("recipient", ""))))
        known = self._last.get(key)
        if known is None or known["kind"] not in FINAL:
            self._last[key] = dict(event)

    def _go_on(self, event: Mapping[str, Any]) -> None:
        """What is released from quarantine goes on under another id of the same host."""
        host = event["host"]
        self._hosts[host.lower()] = host
        for recipient in event["recipients"]:
            key = (host, str(event["quarantine_id"]), same(recipient))
            self._last[key] = {"kind": "relayed", "next_host": host, "remote_id": event["id"]}

    def outcome(self, place: Place, recipient: str) -> Outcome:
        """Return what became of the message that `place` accepted, for one recipient.

        Where an alias stands for several people it is settled when it is for all of them, and what became of
        the unluckiest of them counts.
        """
        return self._outcome(place, recipient, _LONGEST)

    def _outcome(self, place: Place, recipient: str, hops: int, *, named: bool = True) -> Outcome:
        """`named`: the recipient may be an alias there, and is not one of those that it stands for."""
        host, queue_id = place
        path: list[str] = [host]
        for left in range(hops, 0, -1):
            key = (host, queue_id, same(recipient))
            reached = self._rewritten.get(key, ()) if named or len(path) > 1 else ()
            if reached:
                # Half as far each time: aliases that lead round in a circle of hosts come to an end.
                found = [
                    self._outcome((host, queue_id), one, left // 2, named=same(one) != same(recipient))
                    for one in reached
                ]
                worst = min(found, key=lambda outcome: _LUCK.get(outcome.state, 0))
                return replace(worst, recipient=recipient, path=(*path[:-1], *worst.path))
            event = self._last.get(key)
            if event is None:
                return Outcome(recipient=recipient, state="pending", host=host, path=tuple(path))
            if event["kind"] != "relayed":
                return Outcome(
                    recipient=recipient,
                    state=event["kind"],
                    host=host,
                    path=tuple(path),
                    reply=str(event.get("reply", event.get("reason", ""))),
                    file=str(event.get("file", "")),
                    time=float(event["time"]),
                    told=event.get("bounce_id", event.get("notice_id", "")) is not None,
                )
            host, queue_id = self._next(event)
            path.append(host)
        return Outcome(recipient=recipient, state="pending", host=host, path=tuple(path))

    def _next(self, event: Mapping[str, Any]) -> Place:
        for key in ("next_address", "next_host"):
            host = self._hosts.get(str(event.get(key, "")).lower())
            if host is not None:
                return host, str(event.get("remote_id", ""))
        return str(event.get("next_host", "?")), str(event.get("remote_id", ""))
