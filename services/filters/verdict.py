"""What a content filter decides about a message, and on account of what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["pass", "quarantine", "delete"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """A rule that applied: its name, what it adds to the score, and what in the message made it apply."""

    name: str
    weight: float
    evidence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is to be done with a message and why: `reason` is one line for people.

    `score` is the spam engine's, None where it was not asked (malware is not judged twice); `virus` is the
    name of what was found, empty if nothing was.
    """

    action: Action
    reason: str = ""
    score: float | None = None
    rules: tuple[Fired, ...] = ()
    virus: str = ""
