"""Who sent a message, found out at the recipient's filter from what the lab's own DNS publishes."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from mailbed import Lab
from tests.lab.residue import until

ALICE, BOB, MALLORY = "alice@example.com", "bob@example.org", "mallory@mallory.example.net"
LETTER = "From: {author}\nTo: bob@example.org\nSubject: lunch\n\nAt noon?\n"

# Run on a host: it asks the resolver that the host has. The topmost Received is the edge's.
JUDGE = """
import asyncio, json, random, sys, time
from services.filters.authentication import HostResolver, authenticate
client, helo, sender, *trusted = sys.argv[1:]
nameserver = next(line.split()[1] for line in open("/etc/resolv.conf") if line.startswith("nameserver"))
found = asyncio.run(authenticate(
    sys.stdin.buffer.read(), client=client, helo=helo, sender=sender, now=time.time(),
    resolver=HostResolver([nameserver], rng=random.Random(1)), authserv_id="rcpt-filt.example.org",
    trusted_sealers=trusted))
print(json.dumps({
    "spf": found.spf.result, "dkim": [[one.result, one.domain] for one in found.dkim],
    "dmarc": [found.dmarc.result, found.dmarc.disposition], "header": found.header()}))
"""

pytestmark = pytest.mark.topology("two-companies")


def judged(lab: Lab, stored: bytes, edge: str = "rcpt-mx", trusted: tuple[str, ...] = ()) -> dict[str, Any]:
    """What rcpt-filt finds about a delivered message, by the session in which the edge took it.

    It believes the seals of `trusted` domains.
    """
    text = stored.decode("utf-8", "replace")
    taken = re.search(rf"Received: from (\S+) \(\[([0-9.]+)\]\)\r\n\tby {edge}", text)
    sender = re.match(r"Return-Path: <(.*?)>", text)
    assert taken, text
    assert sender, text
    # As the edge had it: without what servers behind it have put on top.
    message = stored[len(text[: taken.start()].encode()) :]
    envelope = (taken[2], taken[1], sender[1])
    result = lab.exec("rcpt-filt", sys.executable, "-c", JUDGE, *envelope, *trusted, stdin=message)
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def delivered(lab: Lab, sender: str, author: str) -> bytes:
    sent = lab.send(LETTER.format(author=author), sender=sender, to=BOB)
    outcome = sent.wait(60)[BOB]
    assert outcome.state == "delivered", outcome
    return (lab.run / "hosts" / outcome.host / "mail" / outcome.file).read_bytes()


def test_alice_is_alice(shared_lab: Lab) -> None:
    """Her company signs; its providers may send for it; so her company's policy is met."""
    found = judged(shared_lab, delivered(shared_lab, ALICE, ALICE))
    assert found["spf"] == "pass"
    assert found["dkim"] == [["pass", "example.com"]]
    assert found["dmarc"] == ["pass", "none"]
    assert found["header"].startswith("Authentication-Results: rcpt-filt.example.org;")


def test_mallory_is_not_alice(shared_lab: Lab) -> None:
    """A letter in her name from somebody else's server does not arrive, as her company wishes."""
    sent = shared_lab.send(LETTER.format(author=ALICE), sender=MALLORY, to=BOB)
    outcome = sent.wait(60)[BOB]
    assert (outcome.state, outcome.host) == ("deleted", "rcpt-filt"), outcome
    events = map(json.loads, (shared_lab.run / "events.jsonl").read_text(encoding="utf-8").splitlines())
    (verdict,) = [event for event in events if event["kind"] == "filtered" and event["action"] == "delete"]
    found = verdict["authentication"]
    assert (found["spf"]["result"], found["dkim"]) == ("none", [])
    assert found["dmarc"] == {"result": "fail", "domain": "example.com", "policy": "reject"}


def test_a_notice_is_its_server_s(shared_lab: Lab) -> None:
    """What alice's company tells bob about his letter is signed too, by whatever way it comes."""
    inbox = shared_lab.maildir(BOB) / "new"
    sent = shared_lab.send(LETTER.format(author=BOB), sender=BOB, to="nobody@example.com")
    (outcome,) = sent.wait(60).values()
    assert outcome.state == "bounced", outcome
    stored = until(lambda: _notices(inbox) or None, 60)
    found = judged(shared_lab, stored[0])
    assert found["dkim"] == [["pass", "example.com"]]
    assert found["dmarc"] == ["pass", "none"]


def _notices(inbox: Path) -> list[bytes]:
    found = [path.read_bytes() for path in inbox.iterdir()] if inbox.is_dir() else []
    return [text for text in found if b"From: MAILER-DAEMON@corp-" in text]
