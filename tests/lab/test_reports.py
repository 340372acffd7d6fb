"""A destination that is dead for days: warning, expiry and bounce, in the time of a lab."""

from __future__ import annotations

import email
import email.policy
import json
from email.message import EmailMessage, Message

import pytest

from captures.journeys import Journey
from mailbed import Lab
from mailbed.cli.telling import of_message
from tests.lab.residue import until

ALICE, BOB = "alice@example.com", "bob@example.org"
SCALE = 100_000
"""Four hours are 0.14 s, five days 4.3 s."""

pytestmark = pytest.mark.topology("company", time_scale=SCALE)


def reports(lab: Lab) -> dict[str, EmailMessage]:
    """The reports in alice's mailbox, by their action."""
    directory = lab.maildir(ALICE) / "new"
    files = sorted(directory.iterdir()) if directory.is_dir() else []
    found = [email.message_from_bytes(file.read_bytes(), policy=email.policy.SMTP) for file in files]
    assert len({action(report) for report in found}) == len(found), "each is sent once"
    return {action(report): report for report in found}


def action(report: EmailMessage) -> str:
    assert report["Return-Path"] == "<>"
    return str(fields(report)[1]["Action"])


def fields(report: EmailMessage) -> list[Message]:
    status = next(part for part in report.walk() if part.get_content_type() == "message/delivery-status")
    return [block for block in status.get_payload() if isinstance(block, Message)]


def text(report: EmailMessage) -> str:
    body = report.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def test_five_days(lab: Lab) -> None:
    """The sender is warned once and told in the end; the message's journey names both reports."""
    with lab.fault("service-down", "isp-a1", "mail-server"):
        sent = lab.send("Subject: hello\n\nHello Bob\n", sender=ALICE, to=BOB)
        assert sent.wait(120)[BOB].state == "bounced"
        found = until(lambda: mail if len(mail := reports(lab)) == 2 else None, 60)

    warning, bounce = found["delayed"], found["failed"]
    assert "This is a warning only" in text(warning)
    assert "It will not be tried again" in text(bounce)
    assert "The message was: hello" in text(bounce)
    for report in (warning, bounce):
        whole, each = fields(report)
        assert whole["Reporting-MTA"] == "dns; corp-mta1.example.com"
        assert (each["Final-Recipient"], each["Status"][:2]) == (f"rfc822; {BOB}", "4.")

    events = [json.loads(line) for line in (lab.run / "events.jsonl").read_text().splitlines()]
    tried = [event for event in events if event["kind"] == "deferred" and event["host"] == "corp-mta1"]
    assert len(tried) > 5
    assert [event["warning"] for event in tried].count(True) == 1
    assert json.loads((lab.run / "run.json").read_text())["time_scale"] == SCALE

    (journey,) = of_message(lab.journeys(), sent.host, sent.queue_id)
    assert (journey.end.state, journey.end.host) == ("bounced", "corp-mta1")
    assert [notice.action for notice in journey.notices] == ["delayed", "failed"]
    by_number: dict[int, Journey] = {one.number: one for one in lab.journeys().journeys}
    for notice in journey.notices:
        told = by_number[notice.journey]
        assert (told.about, told.action, told.recipient) == (journey.number, notice.action, ALICE)
        assert told.path[-3:] == ("corp-mta1", "corp-hub", "corp-msa")
