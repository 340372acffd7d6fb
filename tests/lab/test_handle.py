"""The lab's handle: messages and what becomes of them, names, several labs, several clients."""

from __future__ import annotations

import email
import email.policy
import json
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from mailbed import Lab, rundir
from mailbed.errors import LabEnded, LabError, NameInUse, NotRunning, SendFailed, UsageError
from mailbed.pytest_plugin import LabFactory
from tests.lab.conftest import AsOther
from tests.lab.worlds import pair

ALICE, CAROL = "alice@example.com", "carol@example.com"
BOB, DAVE = "bob@example.org", "dave@example.org"
TEXT = "Subject: hello\n\nHello Bob\n"


def inbox(lab: Lab, address: str) -> list[EmailMessage]:
    """What lies in a user's Maildir, in the order of arrival."""
    files = sorted((lab.maildir(address) / "new").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    return [email.message_from_bytes(file.read_bytes(), policy=email.policy.default) for file in files]


def delivered(lab: Lab, *, sender: str = ALICE, to: str = BOB) -> bool:
    """Whether a message gets from one user to another."""
    return lab.send(TEXT, sender=sender, to=to).wait()[to].state == "delivered"


def test_what_arrives_is_what_was_sent(lab: Lab) -> None:
    """The recipient's Maildir holds the same bytes after the headers that servers added."""
    message = EmailMessage()
    message["Subject"] = "Grüße"
    message["From"], message["To"] = ALICE, BOB
    message.set_content("Dear Bob,\n.\n..two dots\n\nÄpfel\n")
    message.add_attachment(os.urandom(300_000), maintype="application", subtype="octet-stream")

    sent = lab.send(message, sender=ALICE, to=BOB)
    outcome = sent.wait()[BOB]

    assert (outcome.state, outcome.host, outcome.path) == ("delivered", "rcpt-mx", ("corp-mta", "rcpt-mx"))
    assert sent.queue_id in sent.reply
    arrived = (lab.run / "hosts" / "rcpt-mx" / "mail" / outcome.file).read_bytes()
    as_sent = b"\r\n".join(sent.content.splitlines()) + b"\r\n"
    assert arrived.endswith((as_sent, as_sent.replace(b"\r\n", b"\n")))
    assert [str(header).split()[1] for header in inbox(lab, BOB)[0].get_all("Received", [])] == [
        "corp-mta.example.com",
        "alice.example.com",
    ]


def test_a_refused_recipient_beside_a_good_one(lab: Lab) -> None:
    """The good one gets the message; the other's outcome is the server's reply."""
    sent = lab.send(TEXT, sender=ALICE, to=["nobody@example.com", CAROL])
    outcomes = sent.wait()
    assert {to: outcome.state for to, outcome in outcomes.items()} == {
        "nobody@example.com": "refused",
        CAROL: "delivered",
    }
    assert sent.refused["nobody@example.com"] == outcomes["nobody@example.com"].reply
    assert outcomes["nobody@example.com"].reply.startswith("550 5.1.1 ")


@pytest.mark.parametrize(
    ("to", "options", "error", "says"),
    [
        pytest.param("nobody@example.com", {"sender": ALICE}, SendFailed, "550 5.1.1", id="no such user"),
        pytest.param("bob", {"sender": ALICE}, SendFailed, "bob", id="no address"),
        pytest.param(BOB, {"sender": "eve@example.com"}, UsageError, "eve@example.com", id="no such sender"),
        pytest.param(BOB, {"host": "core1"}, UsageError, "core1", id="a host without a MUA"),
        pytest.param(
            ALICE, {"host": "bob", "sender": ALICE}, SendFailed, "553", id="somebody else's address"
        ),
    ],
)
def test_a_message_that_nobody_takes(
    shared_lab: Lab, to: str, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    """A message that was not queued raises one line that says why, with the server's reply."""
    with pytest.raises(error) as caught:
        shared_lab.send(TEXT, to=to, **options)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_message_file_that_is_not_there(shared_lab: Lab, tmp_path: Path) -> None:
    """A path that cannot be read is a usage error, which names it."""
    with pytest.raises(UsageError, match=r"nothing\.eml"):
        shared_lab.send(tmp_path / "nothing.eml", to=BOB)


def test_an_unknown_user_on_the_other_side_bounces(lab: Lab) -> None:
    """The remote server refuses the recipient; the sender's server tells the sender by mail."""
    outcome = lab.send(TEXT, sender=ALICE, to="nobody@example.org").wait()["nobody@example.org"]
    assert (outcome.state, outcome.host) == ("bounced", "corp-mta")
    assert outcome.reply.startswith("550 5.1.1 ")

    with open(lab.run / "events.jsonl", encoding="utf-8") as file:
        events = [json.loads(line) for line in file]
    (bounce,) = (event["bounce_id"] for event in events if event["kind"] == "bounced")
    assert lab.follow("corp-mta", bounce, [ALICE])[ALICE].state == "delivered"
    (notice,) = inbox(lab, ALICE)
    assert notice.get_content_type() == "multipart/report"
    status = next(part for part in notice.walk() if part.get_content_type() == "message/delivery-status")
    assert "nobody@example.org" in status.as_string()


def test_two_labs_side_by_side(lab_factory: LabFactory) -> None:
    """Labs of one topology have the same addresses and hosts, and know nothing of each other."""
    one, other = lab_factory("minimal"), lab_factory("minimal")
    assert one.name != other.name
    assert delivered(one)
    assert len(inbox(one, BOB)) == 1
    assert not other.maildir(BOB).exists()
    assert list(other.packets("core1-eth0")) == []
    assert delivered(other)
    one.down()
    assert delivered(other)
    assert len(inbox(other, BOB)) == 2


def test_labs_without_a_name(lab_factory: LabFactory) -> None:
    """A lab that is given no name is called after its topology, with a number if that is taken."""
    names = [lab_factory(pair(), name=None).name for _ in range(2)]
    assert names[0] != names[1]
    assert all(re.fullmatch(r"pair(-\d+)?", name) for name in names)


def test_a_second_client(lab: Lab) -> None:
    """Whoever attaches to a lab sees and does the same; letting go of it does not end it."""
    with Lab.attach(lab.name) as second:
        assert (second.run, second.plan, second.seed) == (lab.run, lab.plan, lab.seed)
        number = second.send(TEXT, sender=ALICE, to=BOB).number
        assert lab.outcome(number, 30)[BOB].state == "delivered"
        fault = second.fault("service-down", "rcpt-mx", "mail-server")
        assert [(found.number, found.target) for found in lab.faults()] == [(fault.number, fault.target)]
    assert {row["state"] for row in lab.ps()} == {"ready", "down"}


def test_a_second_client_may_end_it(lab: Lab) -> None:
    """`down` from anywhere ends the lab for everybody, and its owner learns of it."""
    waiting = threading.Thread(target=lab.wait_until_ended)
    waiting.start()
    with Lab.attach(lab.name) as second:
        record = second.down()
    waiting.join(10)
    assert not waiting.is_alive()
    assert record["state"] == "ended"
    with pytest.raises((LabEnded, NotRunning)):
        lab.ps()


def test_a_name_in_use(lab: Lab, lab_factory: LabFactory) -> None:
    """A second lab of that name does not start, and leaves no run directory."""
    second = lab_factory(name=lab.name, up=False)
    with pytest.raises(NameInUse, match=lab.name):
        second.up()
    assert not (lab.run.parent / "lab-2").exists()
    assert delivered(lab)


@pytest.mark.parametrize("name", ["", "a/b", "-x", "a b", "x" * 65, "ü"])
def test_a_bad_name(lab_factory: LabFactory, name: str) -> None:
    """What cannot be the name of a lab is a usage error."""
    with pytest.raises(UsageError):
        lab_factory(name=name)


def test_no_lab_of_that_name() -> None:
    """Attaching to what is not there says so."""
    with pytest.raises(NotRunning, match="no-such-lab"):
        Lab.attach("no-such-lab")


def test_another_user_is_refused(lab: Lab, as_other_user: AsOther) -> None:
    """The control socket answers its owner alone: another user's connection is closed unheard."""
    result = as_other_user(
        "import socket\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        f"s.connect('\\0mailbed/{os.getuid()}/{lab.name}')\n"
        "try:\n"
        '    s.sendall(b\'{"jsonrpc": "2.0", "id": 1, "method": "status", "params": {}}\\n\')\n'
        "    print('answered', s.recv(100))\n"
        "except OSError as error:\n"
        "    print('answered', b'')\n"
    )
    assert result.stdout == "answered b''\n", result.stderr
    assert {row["state"] for row in lab.ps()} == {"ready"}


def test_another_users_labs_are_not_ours(lab: Lab, as_other_user: AsOther) -> None:
    """A lab's name belongs to its user: another one neither sees it nor is kept from using it."""
    result = as_other_user(
        f"from mailbed import sandbox\nprint(sandbox.running())\nsandbox.listen({lab.name!r})\nprint('free')"
    )
    lines = result.stdout.splitlines()
    assert lines[-1] == "free", result.stderr
    assert lab.name not in lines[0]


def test_events_as_they_happen(lab: Lab) -> None:
    """A subscriber gets the events of a message in the order in which it travels; the file has the same."""
    subscribed = threading.Event()
    seen: list[dict[str, object]] = []

    def listen() -> None:
        for event in lab.events(timeout_s=20):
            subscribed.set()
            seen.append(event)
            if event["kind"] == "delivered":
                return

    listener = threading.Thread(target=listen)
    listener.start()
    while not subscribed.wait(0.02):
        # Something harmless to hear of, until the subscription is there.
        lab.fault("link-down", "bob", "rcpt-lan").clear()
    assert delivered(lab)
    listener.join(20)

    about_mail = [(e["host"], e["kind"]) for e in seen if e["kind"] in ("accepted", "relayed", "delivered")]
    assert about_mail == [
        ("corp-mta", "accepted"),
        ("rcpt-mx", "accepted"),
        ("corp-mta", "relayed"),
        ("rcpt-mx", "delivered"),
    ] or about_mail == [
        ("corp-mta", "accepted"),
        ("rcpt-mx", "accepted"),
        ("rcpt-mx", "delivered"),
    ]
    with open(lab.run / "events.jsonl", encoding="utf-8") as file:
        recorded = [json.loads(line) for line in file]
    assert all(event in recorded for event in seen)


def test_many_threads_one_handle(lab: Lab) -> None:
    """A handle may be used by several threads at once."""
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda n: delivered(lab, to=BOB if n % 2 else CAROL), range(12)))
    assert results == [True] * 12
    assert (len(inbox(lab, BOB)), len(inbox(lab, CAROL))) == (6, 6)


def test_what_the_run_directory_says(lab: Lab) -> None:
    """After `down` run.json tells what was run, what came of it, and how long it took."""
    lab.send(TEXT, sender=ALICE, to=BOB).wait()
    returned = lab.down()
    record = rundir.read_record(lab.run)
    assert returned == record
    assert (record["state"], record["topology"], record["seed"]) == ("ended", "minimal", 1)
    assert record["capture"]["packets"] > 100
    assert record["capture"]["dropped"] == 0
    (message,) = record["messages"]
    assert [outcome["state"] for outcome in message["outcomes"]] == ["delivered"]
    assert 0 < record["timing"]["up_s"] < 60
    assert 0 < record["timing"]["down_s"] < 30
    assert not [name for name in os.listdir(lab.run) if name.startswith(".run.json")]


def test_a_handle_that_is_not_up(lab_factory: LabFactory) -> None:
    """Before `up` there is nothing to ask."""
    lab = lab_factory(up=False)
    with pytest.raises(NotRunning):
        lab.ps()
    with pytest.raises(LabError, match="not up"):
        _ = lab.run
