"""The weights of the rules that apply, added up."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from services.filters.spam.examined import Examined
from services.filters.spam.rules import RULES, Rule
from services.filters.spam.rules.rule import shown
from services.filters.verdict import Fired

_log = logging.getLogger("services.filters.spam")

REQUIRED = 5.0

_BAYES = (
    (0.01, "BAYES_00", -1.9),
    (0.05, "BAYES_01", -1.0),
    (0.20, "BAYES_05", -0.5),
    (0.40, "BAYES_20", -0.1),
    (0.60, "BAYES_40", 0.1),
    (0.80, "BAYES_60", 1.0),
    (0.95, "BAYES_80", 2.0),
    (0.99, "BAYES_95", 3.0),
    (1.01, "BAYES_99", 3.8),
)
"""Below this probability: a rule's name, from which per cent on it applies, and its weight."""

DESCRIPTIONS = {rule.name: rule.description for rule in RULES} | {
    name: f"Taught words: it is spam with a probability of {name[-2:]} to {limit * 100:.0f} %"
    for limit, name, _ in _BAYES
}
"""What each rule says, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What was found: the rules that `fired`, the gravest first, and their sum."""

    score: float
    required: float
    fired: tuple[Fired, ...]

    @property
    def is_spam(self) -> bool:
        """Whether the score is at least what is required."""
        return self.score >= self.required


def judge(examined: Examined, *, required: float = REQUIRED, rules: Sequence[Rule] = RULES) -> Judgement:
    """Return the judgement on a message, by the rules and, where it was taught, the classifier."""
    fired = [found for rule in rules if (found := _apply(rule, examined)) is not None]
    taught = _taught(examined)
    if taught is not None:
        fired.append(taught)
    fired.sort(key=lambda each: -each.weight)
    # To the tenth, as it is told: who adds up what is told comes to the same.
    return Judgement(
        score=round(sum(each.weight for each in fired), 1), required=required, fired=tuple(fired)
    )


def _apply(rule: Rule, examined: Examined) -> Fired | None:
    try:
        evidence = rule.check(examined)
    except Exception:
        # A mistake in one rule must not let a message pass unjudged, nor stop it.
        _log.exception("rule %s", rule.name)
        return None
    return Fired(name=rule.name, weight=rule.weight, evidence=evidence) if evidence else None


def _taught(examined: Examined) -> Fired | None:
    taught = examined.taught
    if taught is None:
        return None
    for limit, name, weight in _BAYES:
        if taught.probability < limit:
            evidence = f"{taught.probability:.4f}"
            if taught.spammy:
                evidence += f"; spam: {' '.join(taught.spammy)}"
            if taught.hammy:
                evidence += f"; ham: {' '.join(taught.hammy)}"
            return Fired(name=name, weight=weight, evidence=shown(evidence, 200))
    return None
