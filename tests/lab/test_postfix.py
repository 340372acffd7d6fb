"""Postfix among our own mail servers: as the recipient's exchanger, as relays, and where mailboxes lie."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator

import pytest

from captures.journeys import Journey
from mailbed import Lab, SentMessage
from mailbed.cli.telling import of_message
from mailbed.errors import StartFailed
from mailbed.pytest_plugin import LabFactory
from tests.lab.residue import until

TEXT = "Subject: hello\n\nHello Bob\n"
ALICE, BOB, NOBODY = "alice@example.com", "bob@example.org", "nobody@example.org"
RELAYS = ("isp-b1", "isp-b2", "isp-c1")
POSTFIX = ("rcpt-mx1", "lab-mx", *RELAYS)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab | None]:
    """The lab of the module; None for a user who may not start it, for want of subordinate ids."""
    assert shutil.which("postfix", path="/usr/sbin:/usr/bin"), "Postfix is not installed"
    factory = LabFactory(tmp_path_factory.mktemp("postfix"))
    try:
        yield factory("two-companies", implementations=dict.fromkeys(POSTFIX, "postfix"), time_scale=600)
    except StartFailed as error:
        if os.geteuid() == 0 or "subordinate ids" not in str(error):
            raise
        yield None
    finally:
        factory.close()


def sent_and_settled(lab: Lab, to: str) -> tuple[SentMessage, Journey]:
    """A message of alice's that has come to its end, and its journey, which nothing contradicts."""
    sent = lab.send(TEXT, to=to, sender=ALICE)
    assert sent.wait()[to].state in ("delivered", "bounced")
    (journey,) = of_message(lab.journeys(), sent.host, sent.queue_id)
    assert [check.detail for check in journey.checks if not check.agrees] == []
    assert {"received", "events"} <= {check.source for check in journey.checks}
    return sent, journey


def told(lab: Lab, host: str, kind: str) -> list[dict[str, object]]:
    events = map(json.loads, (lab.run / "events.jsonl").read_text().splitlines())
    return [event for event in events if (event["host"], event["kind"]) == (host, kind)]


def test_a_relay_and_an_exchanger(lab: Lab | None) -> None:
    """The packets show a message go through both; its lookups are Postfix's own, its events agree."""
    if lab is None:
        return
    sent, journey = sent_and_settled(lab, BOB)
    (relay,) = set(journey.path) & set(RELAYS)
    at = journey.path.index(relay)
    assert journey.path[at + 1] == "rcpt-mx1"
    assert journey.path == ("alice", *sent.wait()[BOB].path)
    for host, asked in ((relay, "example.org"), ("rcpt-mx1", "filter.example.org")):
        hop = next(hop for hop in journey.hops if hop.client.host == host)
        assert (asked, "MX") in [(lookup.query.name, lookup.query.type) for lookup in hop.lookups]
        (event,) = (one for one in told(lab, host, "relayed") if one["recipient"] == BOB)
        assert hop.server
        assert (event["next_address"], event["remote_id"]) == (hop.server.address, hop.queue_id)


def test_mailboxes(lab: Lab | None) -> None:
    """Postfix files mail where our own server does, and the outcome is delivered."""
    if lab is None:
        return
    frank = "frank@lab.example.org"
    _, journey = sent_and_settled(lab, frank)
    assert (journey.end.state, journey.end.host) == ("delivered", "lab-mx")
    # It belongs to another user, so it is read in the lab.
    found = lab.exec("lab-mx", "sh", "-c", f"cat '{lab.maildir(frank)}'/new/*").stdout
    assert found.count("Delivered-To: ") == 1
    assert "\nHello Bob\n" in found


@pytest.mark.parametrize("to", [NOBODY, "nobody@lab.example.org"])
def test_an_unknown_user_bounces(lab: Lab | None, to: str) -> None:
    """Who is refused by Postfix, or behind it, is told to the sender in a report that arrives."""
    if lab is None:
        return
    sent, journey = sent_and_settled(lab, to)
    assert journey.end.state == "bounced"
    assert journey.end.reply.startswith("550 5.1.1 ")

    def reported() -> Journey | None:
        found = lab.journeys().journeys
        (lost,) = (one for one in found if one.queued == (sent.host, sent.queue_id))
        told = [one for one in found if one.about == lost.number and one.end.state == "delivered"]
        return told[0] if told else None

    report = until(reported, 60)
    assert (report.sender, report.recipient, report.action) == ("", ALICE, "failed")


def test_a_refusal_for_now_defers(lab: Lab | None) -> None:
    """While the next hop is down Postfix keeps the message and says so; afterwards it arrives."""
    if lab is None:
        return
    with lab.fault("service-down", "rcpt-filt", "mail-server"):
        sent = lab.send(TEXT, to=BOB, sender=ALICE)
        (deferred, *_) = until(lambda: told(lab, "rcpt-mx1", "deferred") or None, 60)
    assert deferred["recipient"] == BOB
    assert "refused" in str(deferred["reply"])
    assert sent.wait()[BOB].state == "delivered"
    (journey,) = of_message(lab.journeys(), sent.host, sent.queue_id)
    tried = [hop.reached for hop in journey.hops if hop.client.host == "rcpt-mx1"]
    assert tried[0] == "unreachable"
    assert tried[-1] == "accepted"
