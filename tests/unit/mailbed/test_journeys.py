"""Journeys from the packets, held against what events and mailboxes say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from captures.journeys import Journey, Journeys, document
from captures.journeys.reading import journeys
from captures.journeys.steps import steps
from mailbed.errors import LabError
from mailbed.journeys import checked, read, read_capture
from mailbed.tracking import Tracker
from mailbed.verdicts import Verdicts
from tests.unit.captures.mail import BOB, HOSTS, Wire, message

FILE = "example.org/bob/new/1.Q2.rcpt-mx1"


@pytest.fixture
def journey() -> Journey:
    """From alice over corp-msa to rcpt-mx1."""
    wire = Wire()
    wire.sends("alice", "corp-msa", port=587, content=message(), queued="Q1")
    wire.sends("corp-msa", "rcpt-mx1", content=message(("corp-msa", "Q1")), queued="Q2")
    (found,) = journeys(wire.sessions, wire.lookups)
    return found


def tracker(*last: dict[str, object], to: str = "rcpt-mx1") -> Tracker:
    """Events of corp-msa's relaying, and of what the next host did."""
    known = Tracker({name: host for host, (_, name) in HOSTS.items()})
    relayed = {"kind": "relayed", "host": "corp-msa", "id": "Q1", "recipient": BOB, "time": 1.0}
    known.learn({**relayed, "next_host": HOSTS[to][1], "remote_id": "Q2"})
    for event in last:
        known.learn({"host": to, "id": "Q2", "recipient": BOB, "time": 2.0, **event})
    return known


def filed(run: Path, content: bytes) -> None:
    path = run / "hosts" / "rcpt-mx1" / "mail" / FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


def test_agreement(journey: Journey, tmp_path: Path) -> None:
    """Events and mailbox that tell of the same servers agree, and the mailbox's file is named."""
    filed(tmp_path, b"Return-Path: <>\r\n" + message(("rcpt-mx1", "Q2"), ("corp-msa", "Q1")))
    found = checked(journey, tracker({"kind": "delivered", "file": FILE}), tmp_path)
    assert [(check.source, check.agrees) for check in found.checks] == [
        ("received", True),
        ("events", True),
        ("mailbox", True),
    ]
    assert found.mailbox_file == f"hosts/rcpt-mx1/mail/{FILE}"
    assert (found.end.state, found.end.time_ns) == ("delivered", 2_000_000_000)


def test_a_server_that_names_no_file(journey: Journey, tmp_path: Path) -> None:
    """A delivery that tells no file, as Postfix's, is one all the same; there is no mailbox to look into."""
    found = checked(journey, tracker({"kind": "delivered", "file": ""}), tmp_path)
    assert [(check.source, check.agrees) for check in found.checks] == [("received", True), ("events", True)]
    assert (found.end.state, found.mailbox_file) == ("delivered", "")


def test_events_of_another_way(journey: Journey, tmp_path: Path) -> None:
    """Events that name another host than the packets disagree; the packets' word stays."""
    found = checked(journey, tracker({"kind": "delivered", "file": FILE}, to="rcpt-mx2"), tmp_path)
    (check,) = [check for check in found.checks if check.source == "events"]
    assert not check.agrees
    assert "rcpt-mx2" in check.detail
    assert found.path == journey.path


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (None, "kept"),
        ({"kind": "bounced", "reply": "550 5.1.1 gone"}, "bounced"),
        ({"kind": "bounced", "reply": "550 5.1.1 gone", "bounce_id": None}, "refused"),
        ({"kind": "deferred", "reply": "451 4.3.1 full"}, "deferred"),
        ({"kind": "quarantined", "reason": "it holds Eicar", "notice_id": "N1"}, "quarantined"),
        ({"kind": "deleted", "reason": "spam score 15, 5 required"}, "deleted"),
    ],
)
def test_what_no_packet_shows(
    journey: Journey, tmp_path: Path, event: dict[str, object] | None, state: str
) -> None:
    """A message that the last host took, and did not file, is not called delivered."""
    assert journey.end.state == "delivered"
    found = checked(journey, tracker(*([event] if event else [])), tmp_path)
    assert found.end.state == state


@pytest.mark.parametrize("content", [None, message(("rcpt-mx2", "Q2"), ("corp-msa", "Q1"))])
def test_mailbox_that_disagrees(journey: Journey, tmp_path: Path, content: bytes | None) -> None:
    """A file in the mailbox that is not there, or passed another server, disagrees."""
    if content is not None:
        filed(tmp_path, content)
    found = checked(journey, tracker({"kind": "delivered", "file": FILE}), tmp_path)
    assert [check.source for check in found.checks if not check.agrees] == ["mailbox"]


def test_what_cannot_be_read(tmp_path: Path) -> None:
    """No capture, or a file that is none, is an error that names the file."""
    with pytest.raises(LabError, match=r"network\.pcapng"):
        read(tmp_path)
    (tmp_path / "text.pcapng").write_bytes(b"hello")
    with pytest.raises(LabError, match=r"text\.pcapng"):
        read_capture(tmp_path / "text.pcapng")


def test_what_a_filter_made_of_it(journey: Journey) -> None:
    """A verdict is told by the host that the message was with, behind its coming there."""
    verdicts = Verdicts()
    rule = {"name": "GTUBE", "weight": 1000, "evidence": "BODY: test"}
    told: dict[str, object] = {
        "spf": {"result": "pass", "domain": "example.com"},
        "dkim": [],
        "dmarc": {"result": "fail", "domain": "example.com", "policy": "reject"},
        "arc": "none",
    }
    event = {"kind": "filtered", "time": 9e9, "action": "delete", "reason": "spam score 1000", "score": 1000}
    host, queue_id = (
        journey.hops[-1].server.host if journey.hops[-1].server else "",
        journey.hops[-1].queue_id,
    )
    verdicts.learn({**event, "host": host, "id": queue_id, "rules": [rule], "authentication": told})
    verdicts.learn({**event, "host": "elsewhere", "id": queue_id})
    found = verdicts.added(journey)
    (verdict,) = found.verdicts
    assert (verdict.host, verdict.action, verdict.score) == (host, "delete", 1000)
    (step,) = [step for step in steps(found) if step.text == "deletes it: spam score 1000"]
    assert steps(found)[-2] == step
    assert step.lines == (
        ("spf", "pass example.com"),
        ("dkim", "none"),
        ("dmarc", "fail example.com (policy reject)"),
        ("arc", "none"),
        ("GTUBE", "+1000.0  BODY: test"),
    )
    (written,) = document(Journeys(**values(found)))["journeys"][0]["verdicts"]
    assert written["rules"] == [rule]
    assert written["authentication"]["dmarc"] == "fail example.com (policy reject)"


def values(journey: Journey) -> dict[str, Any]:
    return {
        "journeys": (journey,),
        "packets": 1,
        "dropped": 0,
        "cut": False,
        "first_ns": 0,
        "last_ns": 1,
    }


def test_events_that_lag(journey: Journey, tmp_path: Path) -> None:
    """Events that have told the beginning of the way so far do not disagree with the packets."""
    found = checked(journey, Tracker({}), tmp_path)
    assert found.path[1:] == ("corp-msa", "rcpt-mx1")
    assert [check.source for check in found.checks] == ["received"]
