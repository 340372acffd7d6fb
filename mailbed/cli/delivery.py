"""One message through a running lab: submitted, awaited, and what came of it. `run` and `send` share it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mailbed.cli.messages import Letter
from mailbed.errors import SendFailed

if TYPE_CHECKING:
    from mailbed.lab import Lab
    from mailbed.tracking import Outcome

WORST_FIRST = ("refused", "bounced", "deleted", "quarantined", "deferred", "pending", "delivered")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What came of a message; `started` (seconds since the epoch) is when it was handed to the MUA.

    `reason` is why the submission server did not take it; then there is no queue id and no outcome.
    """

    letter: Letter
    sender: str
    recipients: tuple[str, ...]
    started: float
    reason: str = ""
    number: int = 0
    host: str = ""
    queue_id: str = ""
    reply: str = ""
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @property
    def outcome(self) -> str:
        """The worst of the recipients' outcomes, in the order of WORST_FIRST."""
        if self.reason:
            return "refused"
        return worst([outcome.state for outcome in self.outcomes.values()])

    @property
    def delivered_s(self) -> float | None:
        """Seconds from submission to the last recipient's mailbox; None if one did not get it."""
        if self.outcome != "delivered":
            return None
        return round(max(outcome.time for outcome in self.outcomes.values()) - self.started, 4)

    def document(self, run: Path) -> dict[str, Any]:
        """Return it as JSON values; `mailbox_file` is the message as it lies in a Maildir."""
        found: dict[str, Any] = {
            "message": self.letter.name,
            "size": len(self.letter.content),
            "sender": self.sender,
            "recipients": list(self.recipients),
            "outcome": self.outcome,
            "delivered_s": self.delivered_s,
        }
        if self.reason:
            return {**found, "reason": self.reason, "outcomes": []}
        outcomes = [
            {**asdict(outcome), "mailbox_file": mailbox_file(run, outcome)}
            for outcome in self.outcomes.values()
        ]
        queued = {"number": self.number, "host": self.host, "id": self.queue_id, "reply": self.reply}
        return {**found, **queued, "outcomes": outcomes}


def deliver(
    lab: Lab,
    letter: Letter,
    sender: str,
    recipients: Sequence[str],
    *,
    host: str | None,
    timeout_s: float,
    via: Sequence[str] = (),
    percent: bool = False,
) -> Delivery:
    """Submit a message, or hand it to the first of `via`, and return what came of it in `timeout_s`."""
    started = time.time()
    envelope: dict[str, Any] = {
        "letter": letter,
        "sender": sender,
        "recipients": tuple(recipients),
        "started": started,
    }
    try:
        sent = lab.send(letter.content, sender=sender, to=recipients, host=host, via=via, percent=percent)
    except SendFailed as error:
        return Delivery(**envelope, reason=str(error))
    return Delivery(
        **envelope,
        number=sent.number,
        host=sent.host,
        queue_id=sent.queue_id,
        reply=sent.reply,
        outcomes=sent.wait(timeout_s),
    )


def worst(states: Sequence[str]) -> str:
    """Return the outcome of several: what is not delivered counts, the most final first."""
    return next((state for state in WORST_FIRST if state in states), "pending")


def mailbox_file(run: Path, outcome: Outcome) -> str | None:
    """Return the path of a delivered message, or None."""
    if not outcome.file:
        return None
    return str(run / "hosts" / outcome.host / "mail" / outcome.file)
