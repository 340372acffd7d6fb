"""The queues of a lab as an administrator sees them, and how long messages wait in them."""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mailbed import Lab, SentMessage
from mailbed.cli import app
from mailbed.errors import SendFailed, UsageError
from mailbed.pytest_plugin import LabFactory
from mailbed.queuehandle import InQueue
from tests.lab.residue import until
from topologies import minimal

ALICE, BOB, DAVE = "alice@example.com", "bob@example.org", "dave@example.org"
TEXT = "Subject: hello\n\nHello Bob\n"

pytestmark = pytest.mark.topology("minimal")


class Shell:
    """`mailbed queue …` on a lab: what it prints, as JSON."""

    def __init__(self, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
        self._lab = lab
        self._capsys = capsys

    def text(self, *argv: str, status: int = 0) -> str:
        assert app.run_command(["queue", argv[0], "--lab", self._lab.name, *argv[1:]]) == status
        captured = self._capsys.readouterr()
        return captured.err if status else captured.out

    def __call__(self, *argv: str) -> dict[str, list[dict[str, Any]]]:
        """Return the messages that are told, by host."""
        document = json.loads(self.text(*argv, "--json"))
        assert document["lab"] == self._lab.name
        return {queue["host"]: queue["messages"] for queue in document["queues"]}


@pytest.fixture
def shell(shared_lab: Lab, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(shared_lab, capsys)


def waiting(lab: Lab, *ids: str, attempts: int = 1) -> list[InQueue]:
    """Wait until each of these messages has been attempted so often, and return them."""

    def attempted() -> list[InQueue] | None:
        found = lab.queue("corp-mta").messages(*ids)
        done = all(one.attempts >= attempts for message in found for one in message.recipients)
        return found if len(found) == len(ids) and done else None

    return until(attempted, 30)


def delivered(sent: SentMessage) -> bool:
    return {outcome.state for outcome in sent.wait().values()} == {"delivered"}


def send(lab: Lab, *to: str) -> SentMessage:
    return lab.send(TEXT, sender=ALICE, to=to or [BOB])


def test_an_administrators_day(shared_lab: Lab, shell: Shell) -> None:
    """What waits is listed with all that matters; it is shown, flushed, held, released and removed."""
    lab, queue = shared_lab, shared_lab.queue("corp-mta")
    with lab.fault("service-down", "rcpt-mx", "mail-server"):
        first, second, third = send(lab, BOB, DAVE), send(lab), send(lab)
        ids = [sent.queue_id for sent in (first, second, third)]
        waiting(lab, *ids)

        listed = shell("list")
        assert listed["rcpt-mx"] == []
        assert [message["id"] for message in listed["corp-mta"]] == ids
        message = listed["corp-mta"][0]
        assert (message["sender"], message["held"], message["under_way"]) == (ALICE, False, False)
        assert message["size"] > len(TEXT)
        assert 0 < message["age_s"] < time.time() - message["arrival"] + 1
        assert [recipient["address"] for recipient in message["recipients"]] == [BOB, DAVE]
        for recipient in message["recipients"]:
            assert recipient["attempts"] == 1
            assert recipient["next_attempt"] > time.time()
            assert recipient["reply"].startswith("451 4.4.1 ")
        assert set(shell("list", "*", "--domain", "example.net")) == {"corp-mta", "rcpt-mx"}
        assert not any(shell("list", "*", "--domain", "example.net").values())
        table = shell.text("list", "corp-*").splitlines()
        assert table[0].split()[:4] == ["HOST", "ID", "SIZE", "AGE"]
        assert len(table) == 1 + 4  # a line for each recipient

        shown = shell.text("show", "corp-mta", ids[0])
        assert f"to {DAVE}: 1 attempt, next: in " in shown
        assert "Subject: hello" in shown

        assert [each["id"] for each in shell("flush", "corp-mta", ids[1])["corp-mta"]] == [ids[1]]
        waiting(lab, ids[1], attempts=2)

        assert f"corp-mta: {ids[0]} is held" in shell.text("hold", "corp-mta", ids[0])
        assert {message.id: message.held for message in queue.messages()} == dict(
            zip(ids, (True, False, False), strict=True)
        )
        assert ids[0] not in [message.id for message in queue.flush()]

        removed = shell.text("remove", "corp-mta", ids[2])
        assert removed.startswith(f"corp-mta: {ids[2]} removed; {BOB} will not get it")

        with lab.fault("service-down", "corp-mta", "mail-server"):
            # Nobody answers there; what lies on its disk tells.
            assert [(message.id, message.held) for message in queue.messages()] == [
                (ids[0], True),
                (ids[1], False),
            ]
            assert "Subject: hello" in queue.show(ids[0]).header
    lab.queue("corp-mta").flush()
    assert delivered(second)
    (left,) = queue.messages()
    assert (left.id, left.held) == (ids[0], True)
    assert [message.id for message in queue.release(every=True)] == [ids[0]]
    assert delivered(first)
    assert third.wait(0)[BOB].state == "deferred"
    until(lambda: not queue.messages() or None)


def test_what_is_not_there(shared_lab: Lab, shell: Shell) -> None:
    """A message or a server that there is not is told in one line, with exit status 2."""
    assert "NONE: not in the queue of corp-mta" in shell.text("show", "corp-mta", "NONE", status=2)
    assert "NONE" in shell.text("remove", "*", "NONE", status=2)
    assert "no host alice in minimal has a mail server" in shell.text("list", "alice", status=2)
    with pytest.raises(UsageError, match="NONE"):
        shared_lab.queue("corp-mta").show("NONE")
    with pytest.raises(UsageError, match="name messages"):
        shared_lab.queue("corp-mta").remove()
    assert "There is nothing to do." in shell.text("release", "*", "--all")


def test_a_lab_that_has_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What waited when a lab ended is listed and shown from its run directory."""
    run = tmp_path / "run"
    with Lab("minimal", out=run, name=f"ended-{tmp_path.name}"[:40]) as lab:
        lab.fault("service-down", "rcpt-mx", "mail-server")
        sent = send(lab)
        waiting(lab, sent.queue_id)
    assert app.run_command(["queue", "list", "--run", str(run), "--json"]) == 0
    queues = {queue["host"]: queue["messages"] for queue in json.loads(capsys.readouterr().out)["queues"]}
    assert [message["id"] for message in queues["corp-mta"]] == [sent.queue_id]
    assert app.run_command(["queue", "show", "*", sent.queue_id, "--run", str(run)]) == 0
    assert "Subject: hello" in capsys.readouterr().out


def test_many_messages(shared_lab: Lab, shell: Shell) -> None:
    """A queue of many messages is listed whole, whatever a datagram and a request may hold."""
    lab = shared_lab
    with lab.fault("service-down", "rcpt-mx", "mail-server"):
        sent = [send(lab, BOB, DAVE) for _ in range(30)]
        found = waiting(lab, *(one.queue_id for one in sent))
        assert [message.id for message in found] == [one.queue_id for one in sent]
        assert len(shell("hold", "corp-mta", "--domain", "example.org")["corp-mta"]) == 30
        assert len(shell("remove", "*", "--all")["corp-mta"]) == 30
    assert lab.queue("corp-mta").messages() == []


def waited(lab: Lab, sent: SentMessage) -> float:
    """How long a message was with the sender's server until it was relayed, in seconds: its event tells."""
    assert delivered(sent)
    lines = (lab.run / "events.jsonl").read_text(encoding="utf-8").splitlines()
    (event,) = [
        event
        for event in map(json.loads, lines)
        if (event["kind"], event.get("id")) == ("relayed", sent.queue_id)
    ]
    return float(event["waited_s"])


def test_many_or_large_messages_wait_longer(lab_factory: LabFactory) -> None:
    """On a slow link a message waits the longer the more are ahead of it, and the larger they are."""
    plan = minimal.build()
    slow = replace(
        plan,
        links=tuple(
            replace(link, rate_mbit=8) if (link.a, link.b) == ("core1", "rcpt-lan") else link
            for link in plan.links
        ),
        require=("htb",),
    )
    lab = lab_factory(slow)

    def send_sized(size: int) -> SentMessage:
        line = "x" * 70 + "\n"
        return lab.send(f"Subject: x\n\n{line * (size // 71)}", sender=ALICE, to=BOB)

    alone = waited(lab, send_sized(100_000))
    with ThreadPoolExecutor(8) as pool:
        many = [waited(lab, sent) for sent in list(pool.map(send_sized, [100_000] * 24))]
    large = waited(lab, send_sized(2_000_000))
    # A megabyte a second: so long takes what is ahead of the last one, which came while they went.
    assert max(many) > 1.0
    assert max(many) > 2 * alone
    assert large > 1.8
    assert large > 2 * alone


class Load:
    """Threads that send numbered messages to a mailbox far away until they are stopped."""

    def __init__(self, lab: Lab, threads: int) -> None:
        self._lab = lab
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._sent = 0
        self.acknowledged: set[str] = set()
        self._threads = [threading.Thread(target=self._send) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while not self._stopped.is_set():
            with self._lock:
                self._sent += 1
                number = str(self._sent)
            try:
                self._lab.send(f"X-Number: {number}\n\n{'x' * 3000}\n", sender=ALICE, to=BOB)
            except SendFailed:
                time.sleep(0.05)
                continue
            self.acknowledged.add(number)

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()


def arrived(lab: Lab, address: str) -> Counter[str]:
    """How often each numbered message lies in a mailbox."""
    contents = [path.read_bytes() for path in (lab.maildir(address) / "new").iterdir()]
    return Counter(found[1].decode() for data in contents if (found := re.search(rb"X-Number: (\d+)", data)))


def relayed(lab: Lab) -> Counter[tuple[str, str, str]]:
    """How often each server has told that it relayed a message to a recipient."""
    lines = (lab.run / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [event for event in map(json.loads, lines) if event["kind"] == "relayed"]
    return Counter((event["host"], event["id"], event["recipient"]) for event in events)


@pytest.mark.topology("two-companies", time_scale=600)
@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(10, id="10 kills"),
        pytest.param(200, id="200 kills", marks=[pytest.mark.long, pytest.mark.timeout(900)]),
    ],
)
def test_any_mail_server_is_killed(lab: Lab, kills: int) -> None:
    """Whichever servers of the way are killed under load, every acknowledged message arrives.

    No server sends again what it has noted as sent: what comes twice is what a server was killed at.
    """
    rng = random.Random(kills)
    servers = [
        host.name
        for host, role in lab.plan.roles()
        if role.kind == "mail-server" and host.name.startswith(("corp-", "isp-", "rcpt-"))
    ]
    load = Load(lab, threads=3)
    try:
        for _ in range(kills):
            time.sleep(rng.uniform(0.0, 0.2))
            with lab.fault("service-down", rng.choice(servers), "mail-server"):
                time.sleep(rng.uniform(0.0, 0.1))
    finally:
        load.stop()
    queues = [lab.queue(host) for host in servers]
    until(lambda: not any(queue.messages() for queue in queues) or None, 120)
    found = arrived(lab, BOB)
    assert len(load.acknowledged) > kills
    assert load.acknowledged <= set(found)
    assert set(relayed(lab).values()) == {1}
    # A kill may repeat what was under way: one a session, and of those there are few at a time.
    assert found.total() - len(found) <= 4 * kills
    assert not list((lab.run / "hosts").glob("*/spool/corrupt/*"))
