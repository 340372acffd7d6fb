"""False positives and false negatives, and what is behind them.

A *false positive* is ham that was not passed, a *false negative* anything else that was. Behind a false
positive are the filter's reason, if the score did not decide, or the rules that counted most; behind a false
negative the rules that spoke for it, or that too few spoke against it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mailbed.scoring.outcome import Judged

_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How many of `count` messages of a category were misjudged, and why: causes, and how often each."""

    category: str
    is_ham: bool
    count: int
    wrong: int
    causes: tuple[tuple[str, int], ...] = ()

    @property
    def share(self) -> float:
        """The misjudged part, 0 to 1."""
        return self.wrong / self.count if self.count else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What one engine came to."""

    engine: str
    rates: tuple[Rate, ...]

    @property
    def false_positives(self) -> float:
        """The part of all ham that was not passed."""
        return _share(rate for rate in self.rates if rate.is_ham)

    @property
    def false_negatives(self) -> float:
        """The part of everything else that was."""
        return _share(rate for rate in self.rates if not rate.is_ham)


def scores(engine: str, messages: Sequence[Judged]) -> Scores:
    """Return the rates by category, in the order in which the categories come."""
    rates = []
    for category in dict.fromkeys(message.category for message in messages):
        here = [message for message in messages if message.category == category]
        wrong = [message for message in here if message.is_wrong]
        causes = Counter(cause for message in wrong for cause in causes_of(message))
        rates.append(
            Rate(
                category=category,
                is_ham=here[0].is_ham,
                count=len(here),
                wrong=len(wrong),
                causes=tuple(causes.most_common()),
            )
        )
    return Scores(engine=engine, rates=tuple(rates))


def causes_of(message: Judged) -> list[str]:
    """Return what is behind a misjudgement: names of rules, or the filter's reason; never empty."""
    against = [rule for rule in message.rules if rule.weight > 0]
    in_favour = [rule for rule in message.rules if rule.weight < 0]
    if message.action == "pass":
        named = [rule.name for rule in sorted(in_favour, key=lambda rule: rule.weight)[:_NAMED]]
        return named or (["too few rules"] if against else ["no rule"])
    if message.action == "delete" and against:
        return [rule.name for rule in sorted(against, key=lambda rule: -rule.weight)[:_NAMED]]
    return [message.reason or message.action]


def _share(rates: Iterable[Rate]) -> float:
    counted = list(rates)
    total = sum(rate.count for rate in counted)
    return sum(rate.wrong for rate in counted) / total if total else 0.0
