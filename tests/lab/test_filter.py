"""The content filter in a lab: what goes through it, what it keeps, and what happens when its parts die."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from captures.journeys import Journey
from mailbed import Lab, SentMessage
from mailbed.cli import app
from mailbed.pytest_plugin import LabFactory
from mailbed.queuehandle import InQueue
from tests.lab.residue import until
from topologies import catalog
from topologies.plan import Host, MailServer, Plan, Role

ALICE, BOB = "alice@example.com", "bob@example.org"
MALLORY = "mallory@mallory.example.net"
EICAR = r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
FILTER = "rcpt-filt"


def plan() -> Plan:
    """`two-companies`, whose filter reports to domains every ten seconds."""
    found = catalog.load("two-companies")
    return replace(found, hosts=tuple(map(hasty, found.hosts)))


def hasty(host: Host) -> Host:
    return replace(host, roles=tuple(map(reporting, host.roles)))


def reporting(role: Role) -> Role:
    if not isinstance(role, MailServer) or not role.content_filter:
        return role
    return replace(role, content_filter=replace(role.content_filter, report_interval_s=10))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The lab of the module."""
    factory = LabFactory(tmp_path_factory.mktemp("filter"))
    try:
        yield factory(plan())
    finally:
        factory.close()


def letter(body: str = "At noon?", author: str = ALICE, number: int = 0) -> str:
    return f"From: {author}\nTo: {BOB}\nSubject: lunch\nX-Number: {number}\n\n{body}\n"


def state(sent: SentMessage) -> str:
    return sent.wait(60)[BOB].state


def events(lab: Lab, kind: str) -> list[dict[str, Any]]:
    lines = (lab.run / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == kind]


def journey(lab: Lab, sender: str) -> Journey:
    """The last one of a sender's messages to bob."""
    return [one for one in lab.journeys().journeys if (one.sender, one.recipient) == (sender, BOB)][-1]


def mailbox(lab: Lab, address: str) -> list[bytes]:
    """What lies in a mailbox, read or not."""
    return [path.read_bytes() for part in ("new", "cur") for path in (lab.maildir(address) / part).glob("*")]


def shell(lab: Lab, capsys: pytest.CaptureFixture[str], *argv: str, status: int = 0) -> str:
    """Run `mailbed quarantine …` on the lab; return what it says."""
    assert app.run_command(["quarantine", argv[0], "--lab", lab.name, *argv[1:]]) == status
    said = capsys.readouterr()
    return said.err if status else said.out


def test_malware(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Malware is quarantined, its sender is told, the journey shows it; released, it is delivered, marked."""
    sent = lab.send(letter(EICAR), sender=ALICE, to=BOB)
    outcome = sent.wait(60)[BOB]
    assert (outcome.state, outcome.host) == ("quarantined", FILTER)
    assert outcome.reply.startswith("it holds Eicar")
    (kept,) = lab.quarantine(FILTER).messages()
    assert (kept.sender, kept.recipients, kept.told) == (ALICE, (BOB,), True)

    def told() -> list[bytes]:
        return [text for text in mailbox(lab, ALICE) if b"kept in quarantine" in text]

    (notice,) = until(lambda: told() or None, 60)
    assert notice.startswith(b"Return-Path: <>\r\n")
    assert b"Auto-Submitted: auto-replied" in notice
    assert EICAR.encode() not in notice
    found = journey(lab, ALICE)
    assert (found.end.state, found.end.host) == ("quarantined", FILTER)
    assert found.end.notice is not None
    assert [(verdict.host, verdict.action) for verdict in found.verdicts] == [(FILTER, "quarantine")]
    assert all(check.agrees for check in found.checks)

    assert "it holds Eicar" in shell(lab, capsys, "list")
    assert EICAR in shell(lab, capsys, "show", FILTER, kept.id)
    assert "NONE: not in the quarantine" in shell(lab, capsys, "delete", FILTER, "NONE", status=2)
    assert "say which messages" in shell(lab, capsys, "release", FILTER, status=2)
    assert f"{kept.id} released" in shell(lab, capsys, "release", FILTER, kept.id)
    assert state(sent) == "delivered"
    (got,) = [text for text in mailbox(lab, BOB) if EICAR.encode() in text]
    assert b"\r\nX-Quarantine-Released: by rcpt-filt.example.org id " in got
    assert lab.quarantine(FILTER).messages() == []
    assert all(check.agrees for check in journey(lab, ALICE).checks)


def test_spam(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Spam is deleted, its sender is not told, and the journey shows the score and every rule that fired."""
    before = len(mailbox(lab, ALICE))
    assert state(lab.send(letter(GTUBE), sender=ALICE, to=BOB)) == "deleted"
    found = journey(lab, ALICE)
    assert (found.end.state, found.end.host, found.end.notice) == ("deleted", FILTER, None)
    (verdict,) = found.verdicts
    assert verdict.score is not None
    assert verdict.score > 100
    assert round(sum(rule.weight for rule in verdict.rules), 1) == round(verdict.score, 1)
    assert "GTUBE" in [rule.name for rule in verdict.rules]
    assert app.run_command(["journey", "--lab", lab.name]) == 0
    said = capsys.readouterr().out
    assert "deletes it: spam score" in said
    assert all(rule.name in said for rule in verdict.rules)
    assert len(mailbox(lab, ALICE)) == before


def test_forged_verdicts(lab: Lab) -> None:
    """What strangers say a filter has found is gone; what ours has found stands on top."""
    forged = (
        "X-Spam-Status: No, score=-100 required=5\nX-Spam-Flag: NO\n"
        "Authentication-Results: rcpt-filt.example.org; dmarc=pass header.from=bank.example\n"
    )
    sent = lab.send(forged + letter(), sender=ALICE, to=BOB)
    outcome = sent.wait(60)[BOB]
    assert outcome.state == "delivered"
    got = (lab.run / "hosts" / outcome.host / "mail" / outcome.file).read_bytes()
    assert b"score=-100" not in got
    assert b"X-Spam-Flag" not in got
    assert b"bank.example" not in got
    assert got.count(b"X-Spam-Status: No, score=") == 1
    assert got.count(b"Authentication-Results: rcpt-filt.example.org;") == 1


def test_on_its_way_out(lab: Lab) -> None:
    """Malware that somebody inside sends does not leave, and they are told."""
    sent = lab.send(letter(EICAR, author=BOB), sender=BOB, to=ALICE)
    assert sent.wait(60)[ALICE].state == "quarantined"
    until(lambda: [text for text in mailbox(lab, BOB) if b"kept in quarantine" in text] or None, 60)
    (kept,) = lab.quarantine(FILTER).messages()
    assert lab.quarantine(FILTER).delete(kept.id) == [kept]


def test_a_forged_author(lab: Lab) -> None:
    """What claims to be from a domain that rejects it is deleted; nobody is told; the journey says why."""
    before = len(mailbox(lab, ALICE)), len(mailbox(lab, MALLORY))
    sent = lab.send(letter(), sender=MALLORY, to=BOB)
    assert state(sent) == "deleted"
    found = journey(lab, MALLORY)
    assert found.end.state == "deleted"
    (verdict,) = found.verdicts
    assert dict(verdict.authentication)["dmarc"] == "fail example.com (policy reject)"
    assert "asks to reject" in verdict.reason
    assert (len(mailbox(lab, ALICE)), len(mailbox(lab, MALLORY))) == before


def test_reports_of_dmarc(lab: Lab) -> None:
    """The author's domain is told by mail what was made of mail in its name."""
    assert state(lab.send(letter(), sender=ALICE, to=BOB)) == "delivered"
    (found,) = until(
        lambda: (
            [one for one in events(lab, "aggregate-report") if one["domain"] == "example.com"][:1] or None
        ),
        60,
    )
    outcome = until(
        lambda: (
            [
                one
                for one in lab.follow(FILTER, found["id"], found["recipients"], 30).values()
                if one.state == "delivered"
            ]
            or None
        ),
        60,
    )[0]
    text = (lab.run / "hosts" / outcome.host / "mail" / outcome.file).read_bytes()
    assert b"Report Domain: example.com" in text
    assert b"application/gzip" in text


@pytest.mark.parametrize("engine", ["virus-engine", "spam-engine"])
def test_an_engine_is_down(lab: Lab, engine: str) -> None:
    """Without one of its engines the filter passes nothing on and loses nothing; with it all goes on."""
    with lab.fault("service-down", FILTER, engine):
        sent = lab.send(letter(), sender=ALICE, to=BOB)

        def waits() -> list[InQueue]:
            found = lab.queue(FILTER).messages()
            return [message for message in found if name in message.recipients[0].reply]

        name = engine.replace("-", " ")
        (waiting,) = until(lambda: waits() or None, 60)
        reply = waiting.recipients[0].reply
        assert reply.startswith(f"451 4.7.1 not judged: the {name} cannot be asked: Connection refused")
        told = until(lambda: [one for one in events(lab, "deferred") if one["id"] == waiting.id] or None, 60)
        assert (told[0]["host"], told[0]["reply"]) == (FILTER, reply)
        assert until(lambda: state_now(sent) == "deferred" or None, 60)
    lab.queue(FILTER).flush()
    assert state(sent) == "delivered"


def state_now(sent: SentMessage) -> str:
    return sent.wait(0)[BOB].state


@pytest.mark.parametrize("kills", [3, pytest.param(40, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_the_filter_is_killed(lab: Lab, kills: int) -> None:
    """Whenever it is killed, what is clean arrives, malware lies in quarantine, and none gets through.

    Each kill repeats a delivery or a notice at most for what was under way.
    """
    rng = random.Random(kills)
    base = 1000 * kills
    count = 8 * kills
    reported = len(events(lab, "reported"))
    for number in range(count):
        body = EICAR if number % 2 else "At noon?"
        lab.send(letter(body, number=base + number), sender=ALICE, to=BOB)
        if number % 8 == 7:
            time.sleep(rng.uniform(0.0, 0.3))
            with lab.fault("service-down", FILTER, "mail-server"):
                time.sleep(rng.uniform(0.0, 0.1))
    wanted = {base + number for number in range(count)}
    servers = [host.name for host, role in lab.plan.roles() if role.kind == "mail-server"]

    def idle() -> bool | None:
        for host in servers:
            lab.queue(host).flush()
        return None if any(lab.queue(host).messages() for host in servers) else True

    until(idle, 120)
    arrived = numbers(mailbox(lab, BOB), wanted)
    kept = numbers(contents(lab), wanted)
    assert set(arrived) == {number for number in wanted if number % 2 == 0}
    assert sorted(kept) == sorted(number for number in wanted if number % 2)
    assert len(arrived) - len(set(arrived)) <= 8 * kills
    notices = len(events(lab, "reported")) - reported
    assert count // 2 - kills <= notices <= count // 2 + 8 * kills
    for message in lab.quarantine(FILTER).messages():
        lab.quarantine(FILTER).delete(message.id)


def contents(lab: Lab) -> list[bytes]:
    directory: Path = lab.run / "hosts" / FILTER / "quarantine"
    return [path.read_bytes() for path in directory.glob("*.eml")]


def numbers(messages: list[bytes], wanted: set[int]) -> list[int]:
    found = [int(number[1]) for text in messages if (number := re.search(rb"X-Number: (\d+)", text))]
    return [number for number in found if number in wanted]
