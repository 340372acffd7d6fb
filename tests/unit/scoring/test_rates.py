"""False positives and false negatives, the rules behind them, and their picture."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from mailbed.scoring.outcome import Judged, Rule
from mailbed.scoring.picture import page, picture
from mailbed.scoring.rates import causes_of, scores


def message(category: str, action: str, *rules: tuple[str, float], reason: str = "") -> Judged:
    return Judged(
        path=f"testing/{category}/1.eml",
        category=category,
        is_ham=category == "personal",
        action=action,
        reason=reason,
        score=sum(weight for _, weight in rules),
        rules=tuple(Rule(name=name, weight=weight) for name, weight in rules),
    )


MESSAGES = [
    message("personal", "pass"),
    message("personal", "pass"),
    message("personal", "delete", ("A", 1.0), ("B", 4.5), ("C", -1.0), ("D", 0.5), ("E", 0.1)),
    message("personal", "quarantine", ("A", 1.0), reason="DMARC"),
    message("spam", "delete", ("B", 6.0)),
    message("spam", "quarantine"),
    message("spam", "refused"),
    message("spam", "pass", ("A", 1.0), ("C", -1.9)),
    message("spam", "pass", ("A", 1.0)),
]


def test_rates_by_category() -> None:
    """Ham must pass; of all else nothing may, whatever is done with it."""
    found = scores("e", MESSAGES)
    assert [(rate.category, rate.wrong, rate.count) for rate in found.rates] == [
        ("personal", 2, 4),
        ("spam", 2, 5),
    ]
    assert (found.false_positives, found.false_negatives) == (0.5, 0.4)


def test_the_rules_behind_a_misjudgement() -> None:
    """What weighed most, on the wrong side; or the filter's own reason."""
    assert causes_of(MESSAGES[2]) == ["B", "A", "D"]
    assert causes_of(MESSAGES[3]) == ["DMARC"]
    assert causes_of(MESSAGES[7]) == ["C"]
    assert causes_of(MESSAGES[8]) == ["too few rules"]
    assert dict(scores("e", MESSAGES).rates[0].causes) == {"A": 1, "B": 1, "D": 1, "DMARC": 1}


def test_nothing_judged_is_no_rate() -> None:
    """And no division by nothing."""
    assert scores("e", []).false_positives == 0.0


def test_the_picture_has_a_bar_for_each_category_and_engine() -> None:
    """As long as the rate is high; it is well-formed, and names with signs in them do no harm."""
    found = [scores("one", MESSAGES), scores("<two>", MESSAGES[:2] + MESSAGES[4:6])]
    root = ElementTree.fromstring(picture(found))  # noqa: S314  (our own text)
    titles = [title.text for title in root.iter("{http://www.w3.org/2000/svg}title")]
    assert titles == ["one: 2 of 4", "<two>: 0 of 2", "one: 2 of 5", "<two>: 0 of 2"]
    widths = [float(width) for width in re.findall(r'width="([\d.]+)" height="13"', picture(found))]
    assert widths == [260.0, 1.0, 208.0, 1.0]
    assert "DMARC (1)" in page(found)
