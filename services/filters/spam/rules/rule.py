"""What a rule is: a name, what it adds to the score, what it says, and what of a message makes it apply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.filters.spam.examined import Examined

Check = Callable[[Examined], str | None]
"""Returns the evidence, one line; None or an empty one: the rule does not apply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One criterion: a positive `weight` speaks for spam, a negative one against it."""

    name: str
    weight: float
    description: str
    check: Check


def rule(book: list[Rule], name: str, weight: float, description: str) -> Callable[[Check], Check]:
    """Have the decorated function be a rule in `book`."""

    def added(check: Check) -> Check:
        book.append(Rule(name=name, weight=weight, description=description, check=check))
        return check

    return added


def shown(text: str, limit: int = 100) -> str:
    """Return a text of the message as evidence: one line, printable, no longer than `limit`."""
    line = " ".join(text[: 4 * limit].split())
    line = "".join(char if char.isprintable() else "?" for char in line)
    return line if len(line) <= limit else line[: limit - 1] + "…"
