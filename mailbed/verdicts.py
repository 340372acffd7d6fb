"""What content filters made of messages, told from their events: no packet shows it.

A filter judges a message that its host has under a queue id; the journey has the same id from the reply to
DATA.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from captures.journeys import Journey, Rule, Verdict


class Verdicts:
    """Learns from events; adds to journeys what was decided on their way."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Verdict] = {}

    def learn(self, event: Mapping[str, Any]) -> None:
        """Take note of an event (mailbed.event/1), if a filter tells a verdict."""
        if event["kind"] == "filtered":
            self._found[event["host"], str(event["id"])] = _verdict(event)

    def added(self, journey: Journey) -> Journey:
        """Return the journey with the verdicts of the hosts that had the message, in that order."""
        places = [(hop.server.host, hop.queue_id) for hop in journey.hops if hop.accepted and hop.server]
        found = [self._found[place] for place in places if place in self._found]
        return dataclasses.replace(journey, verdicts=tuple(found))


def _verdict(event: Mapping[str, Any]) -> Verdict:
    score = event.get("score")
    return Verdict(
        host=str(event["host"]),
        time_ns=round(float(event["time"]) * 1e9),
        action=str(event["action"]),
        reason=str(event.get("reason", "")),
        virus=str(event.get("virus", "")),
        score=None if score is None else float(score),
        rules=tuple(
            Rule(name=str(rule["name"]), weight=float(rule["weight"]), evidence=str(rule["evidence"]))
            for rule in event.get("rules", ())
        ),
        authentication=tuple(_results(event.get("authentication", {}))),
    )


def _results(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A line for each method: the result, whom it speaks of, and the policy."""
    if not found:
        return []
    signatures = [f"{one['result']} {one['domain']}".strip() for one in found["dkim"]]
    dmarc = found["dmarc"]
    policy = f" (policy {dmarc['policy']})" if dmarc["policy"] else ""
    return [
        ("spf", f"{found['spf']['result']} {found['spf']['domain']}".strip()),
        ("dkim", ", ".join(signatures) or "none"),
        ("dmarc", f"{dmarc['result']} {dmarc['domain']}".strip() + policy),
        ("arc", str(found["arc"])),
    ]
