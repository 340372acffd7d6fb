"""What became of each message of a trial, from the lab's events."""

from __future__ import annotations

from typing import Any

import pytest

from mailbed.scoring.outcome import Traces, judged

HOSTS = {"mx.example.org": "mx", "filter.example.org": "filter", "lists.example.net": "lists"}
BOB = "bob@example.org"


def relayed(host: str, queue_id: str, next_host: str, remote_id: str) -> dict[str, Any]:
    return {"kind": "relayed", "host": host, "id": queue_id, "next_host": next_host, "remote_id": remote_id}


def filtered(queue_id: str, action: str = "pass") -> dict[str, Any]:
    rules = [{"name": "R", "weight": 2.5, "evidence": "x"}]
    verdict = {"action": action, "reason": "", "score": 2.5, "rules": rules}
    return {"kind": "filtered", "host": "filter", "id": queue_id, **verdict}


WAY = [relayed("a", "1", "mx.example.org", "2"), relayed("mx", "2", "filter.example.org", "3")]


def test_a_message_is_followed_to_the_filter() -> None:
    """From host to host, by the ids that they gave."""
    found = Traces([*WAY, filtered("3", "delete"), filtered("4")], HOSTS).verdict(("a", "1"), BOB)
    assert isinstance(found, dict)
    verdict = judged("p", "spam", is_ham=False, found=found)
    assert (verdict.action, verdict.score, verdict.is_wrong) == ("delete", 2.5, False)
    assert [(rule.name, rule.weight) for rule in verdict.rules] == [("R", 2.5)]


def test_of_a_list_s_copies_the_reader_s_counts() -> None:
    """Others' copies go elsewhere."""
    copies = {"kind": "list", "host": "lists", "id": "1", "copies": {"alice@example.com": "5", BOB: "6"}}
    events = [
        relayed("a", "0", "lists.example.net", "1"),
        copies,
        relayed("lists", "5", "filter.example.org", "8"),
        relayed("lists", "6", "filter.example.org", "9"),
        filtered("8"),
        filtered("9", "quarantine"),
    ]
    found = Traces(events, HOSTS).verdict(("a", "0"), BOB)
    assert isinstance(found, dict)
    assert found["action"] == "quarantine"


def test_what_is_refused_before_is_told_by_its_reply() -> None:
    """It never came to the filter, so ham was lost and spam was stopped."""
    events = [WAY[0], {"kind": "bounced", "host": "mx", "id": "2", "reply": "550 no"}]
    found = Traces(events, HOSTS).verdict(("a", "1"), BOB)
    assert found == "550 no"
    assert judged("p", "list", is_ham=True, found=found).is_wrong
    assert not judged("p", "spam", is_ham=False, found=found).is_wrong


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([], id="not handed on yet"),
        pytest.param(WAY, id="not judged yet"),
        pytest.param([*WAY, relayed("filter", "3", "mx.example.org", "2")], id="in a circle"),
    ],
)
def test_what_is_under_way_has_no_verdict(events: list[dict[str, Any]]) -> None:
    """It is asked again later."""
    assert Traces(events, HOSTS).verdict(("a", "1"), BOB) is None
