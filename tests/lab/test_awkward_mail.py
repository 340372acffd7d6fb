"""Mail that is awkward to carry crosses eight servers unharmed, byte for byte: what is read is what was sent.

One lab serves the whole module: nothing here breaks anything, and each test looks at its own messages only.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from mailbed import Lab, SentMessage
from mailbed.pytest_plugin import LabFactory
from services.smtp.message import QueuedMessage
from services.smtp.peek import peek
from topologies import catalog
from topologies.plan import Domain, MailClient, Plan, Role, SpamEngine, User

ALICE, BOB = "alice@example.com", "bob@example.org"
JOERG, YULIA = "jörg@example.com", "юлия@example.com"
ZOE, USER = "zoë@example.org", "用户@example.org"
CROWD = 100
COLLEAGUES = [f"colleague{number}@example.com" for number in range(CROWD)]
FRIENDS = [f"friend{number}@example.org" for number in range(CROWD)]
SERVERS = 8
"""How many mail servers a message from the company to the recipient passes."""

ADDED = {
    "authentication-results",
    "date",
    "dkim-signature",
    "message-id",
    "received",
    "return-path",
    "x-spam-status",
}
"""Fields that servers may put on top: trace, verdicts, what a submission lacked (RFC 5321 §4.4, 6409 §8)."""


def plan() -> Plan:
    """`two-companies` with a crowd at both, and with people whose names are beyond ASCII.

    Nothing is spam, however odd: a message without any field would be.
    """
    plan = catalog.load("two-companies")
    people = (JOERG, YULIA, ZOE, USER, *COLLEAGUES, *FRIENDS)
    domains = tuple(replace(domain, users=(*domain.users, *users(domain, people))) for domain in plan.domains)
    clients = {"carol": JOERG, "dave": USER}
    hosts = tuple(
        replace(host, roles=tuple(changed(role, clients.get(host.name)) for role in host.roles))
        for host in plan.hosts
    )
    return replace(plan, domains=domains, hosts=hosts)


def users(domain: Domain, people: Sequence[str]) -> tuple[User, ...]:
    return tuple(
        User(local=local)
        for local, _, name in (address.rpartition("@") for address in people)
        if name == domain.name
    )


def changed(role: Role, user: str | None) -> Role:
    """The role; if it is a mail program: that of another user; a spam engine is out of the way."""
    if isinstance(role, SpamEngine):
        return replace(role, required=1000.0)
    return replace(role, user=user) if isinstance(role, MailClient) and user else role


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The lab of the module. Its capture is removed at the end, for it has every megabyte many times over."""
    factory = LabFactory(tmp_path_factory.mktemp("awkward"))
    try:
        yield factory(plan())
    finally:
        factory.close()
        for lab in factory.labs:
            (lab.run / "network.pcapng").unlink(missing_ok=True)


def received_by(lab: Lab, sent: SentMessage, to: str) -> bytes:
    """The bytes in the one file that was delivered to `to`, once it was."""
    outcome = sent.wait(100)[to]
    assert outcome.state == "delivered", outcome
    assert outcome.path[-1] == outcome.host
    stored = lab.run / "hosts" / outcome.host / "mail" / outcome.file
    assert stored.parent.parent == lab.maildir(to)
    return stored.read_bytes()


def unharmed(stored: bytes, sent: bytes) -> bool:
    """Whether `stored` is `sent` with nothing but fields that servers add on top of it."""
    assert stored.endswith(sent), (stored[-2000:], sent[-2000:])
    top = stored[: len(stored) - len(sent)]
    assert top.endswith(b"\r\n")
    lines = top.removesuffix(b"\r\n").split(b"\r\n")
    names = {line.partition(b":")[0].decode().lower() for line in lines if not line.startswith((b"\t", b" "))}
    return names <= ADDED


HEADER = (
    b"From: alice@example.com\r\nTo: bob@example.org\r\nSubject: awkward\r\n"
    b"Message-ID: <awkward@example.com>\r\n"
)


def message(body: bytes) -> bytes:
    return HEADER + b"\r\n" + body


EVERY_OCTET = bytes(set(range(256)) - set(b"\r\n"))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(message("Grüße aus Köln: 12 €\r\n".encode()), id="UTF-8"),
        pytest.param(message("Gr\xfc\xdfe\r\n".encode("latin-1")), id="latin-1: no UTF-8"),
        pytest.param(message(EVERY_OCTET + b"\r\n"), id="every octet but CR and LF"),
        pytest.param(message(b".\r\n..\r\n...\r\n.x\r\n..x\r\n \r\n.\r\n"), id="lines that begin with dots"),
        pytest.param(message(b".\r\n"), id="a dot alone"),
        pytest.param(message(b"\r\n.\r\n.\r\n\r\n.\r\nQUIT\r\n"), id="what looks like the end of DATA"),
        pytest.param(message(b"x" * 998 + b"\r\n"), id="a line of 998"),
        pytest.param(message(b"." * 998 + b"\r\n"), id="a line of 998 dots, 1001 octets on the wire"),
        pytest.param(message(b"x" * 999 + b"\r\n"), id="a line of 999: too long for RFC 5322"),
        pytest.param(message(b"y" * 70_000 + b"\r\nz\r\n"), id="a line longer than any buffer"),
        pytest.param(HEADER + b"X-Long: " + b"v" * 3000 + b"\r\n\r\nbody\r\n", id="a header field of 3000"),
        pytest.param(HEADER + b"X-Folded: a\r\n b\r\n\tc  \r\n\r\nbody\r\n", id="a folded field"),
        pytest.param(
            message(b"trailing blanks  \t\r\n\t\r\n \r\n\r\n\r\n"), id="blanks and empty lines at the end"
        ),
        pytest.param(message(b"From here on\r\n>From there\r\n"), id="From at the beginning of a line"),
        pytest.param(message(b""), id="header and empty line only"),
        pytest.param(HEADER, id="header only"),
        pytest.param(b"\r\nno header\r\n", id="no header"),
        pytest.param(b"not even\r\nan empty line\r\n", id="no header, and no line to end it"),
        pytest.param(b"\r\n", id="an empty line alone"),
        pytest.param(
            b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nsubject: twice\r\n\r\n\r\n",
            id="fields as they are spelt",
        ),
    ],
)
def test_every_octet_arrives(lab: Lab, content: bytes) -> None:
    """Whatever is in a message, the recipient's Maildir holds the same bytes below the trace fields."""
    sent = lab.send(content, sender=ALICE, to=BOB)
    assert unharmed(received_by(lab, sent, BOB), content)


@pytest.mark.parametrize("end", [b"", b"\r\n"])
def test_no_final_line_end(lab: Lab, end: bytes) -> None:
    """A message without a final line end arrives with exactly one: DATA has no way to say that there is none.

    The CRLF before the final dot belongs to the last line (RFC 5321 §4.1.1.4). Nothing else changes.
    """
    content = message(b"the last line" + end)
    sent = lab.send(content, sender=ALICE, to=BOB)
    assert unharmed(received_by(lab, sent, BOB), message(b"the last line\r\n"))


def test_an_empty_message(lab: Lab) -> None:
    """Nothing at all is a message too: it arrives as the fields that servers add."""
    sent = lab.send(b"", sender=ALICE, to=BOB)
    assert unharmed(received_by(lab, sent, BOB), b"")


def test_the_messages_of_cpython(lab: Lab) -> None:
    """The test data of CPython's email package, however broken, pass the filters and arrive as they are."""
    files = sorted(Path("/usr/lib").glob("python3.*/test/test_email/data/msg_*.txt"))
    assert len(files) > 40, "libpython3.X-testsuite is not installed: scripts/setup --test"
    # Mail travels with CRLF, whatever the files have.
    contents = [re.sub(rb"\r\n|\r|\n", b"\r\n", file.read_bytes()) for file in files]
    # Without one a last line gets its end (see above).
    whole = [content if content.endswith(b"\r\n") else content + b"\r\n" for content in contents]
    sent = [lab.send(content, sender=ALICE, to=BOB) for content in whole]
    for message, content, file in zip(sent, whole, files, strict=True):
        assert unharmed(received_by(lab, message, BOB), content), file


def accepted(lab: Lab, message_id: str) -> list[tuple[str, int]]:
    """Each time that a server took the message: its host, and for how many recipients."""
    with (lab.run / "events.jsonl").open(encoding="utf-8") as file:
        events = [json.loads(line) for line in file]
    return [
        (event["host"], len(event["recipients"]))
        for event in events
        if event["kind"] == "accepted" and event["message_id"] == message_id
    ]


def files_with(lab: Lab, address: str, needle: bytes) -> list[Path]:
    """The files in a user's Maildir that hold `needle`."""
    return [file for file in (lab.maildir(address) / "new").iterdir() if needle in file.read_bytes()]


def test_a_hundred_recipients_at_both_companies(lab: Lab) -> None:
    """Everybody gets exactly one copy, and the message crosses each hop once, not once a recipient."""
    content = message(b"To everybody\r\n").replace(b"<awkward@", b"<everybody@")
    everybody = [address for pair in zip(COLLEAGUES, FRIENDS, strict=True) for address in pair]
    sent = lab.send(content, sender=ALICE, to=everybody)
    outcomes = sent.wait(100)
    assert Counter(outcome.state for outcome in outcomes.values()) == {"delivered": 2 * CROWD}
    for address in everybody:
        assert unharmed(received_by(lab, sent, address), content)
        assert len(files_with(lab, address, b"<everybody@")) == 1
    path = outcomes[FRIENDS[0]].path
    assert len(path) == SERVERS
    assert {outcomes[address].path for address in FRIENDS} == {path}
    assert {outcomes[address].path for address in COLLEAGUES} == {path[:1]}
    hops = accepted(lab, "<everybody@example.com>")
    assert Counter(hops) == {(path[0], 2 * CROWD): 1, **{(host, CROWD): 1 for host in path[1:]}}


def test_twenty_five_megabytes(lab: Lab) -> None:
    """A large attachment arrives as it was sent."""
    noise = os.urandom(1 << 20).hex().encode()
    lines = b"".join(noise[start : start + 76] + b"\r\n" for start in range(0, len(noise), 76))
    content = message(lines * (25_000_000 // len(lines) + 1))
    assert len(content) >= 25_000_000
    sent = lab.send(content, sender=ALICE, to=BOB)
    assert unharmed(received_by(lab, sent, BOB), content)


@pytest.mark.parametrize(
    ("sender", "to"),
    [
        pytest.param(ALICE, ZOE, id="recipient"),
        pytest.param(ALICE, YULIA, id="colleague"),
        pytest.param(JOERG, BOB, id="sender"),
        pytest.param(JOERG, USER, id="both"),
        pytest.param(USER, JOERG, id="both, the other way"),
    ],
)
def test_addresses_beyond_ascii(lab: Lab, sender: str, to: str) -> None:
    """Addresses and header fields in UTF-8 arrive as they are, in a Maildir of that name (RFC 6531, 6532)."""
    content = (
        f"From: Алиса <{sender}>\r\nTo: 你好 <{to}>\r\nSubject: Grüße\r\n"
        f"Message-ID: <é-{to}>\r\n\r\nḧëłłö\r\n"
    ).encode()
    sent = lab.send(content, sender=sender, to=to)
    stored = received_by(lab, sent, to)
    assert unharmed(stored, content)
    assert stored.startswith(f"Return-Path: <{sender}>\r\n".encode())
    assert to.partition("@")[0] in os.listdir(lab.maildir(to).parent)


def test_another_spelling_of_a_name(lab: Lab) -> None:
    """Capitals and accents that stand apart name the same mailbox; the envelope keeps them as they were."""
    apart = "JO\u0308RG@example.com"
    sent = lab.send(message(b"hello\r\n"), sender=ALICE, to=apart)
    outcome = sent.wait(60)[apart]
    assert outcome.state == "delivered"
    assert outcome.file.startswith("example.com/jörg/new/")


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.long)])
def test_many_at_once(lab: Lab, count: int) -> None:
    """Of messages that are submitted all at once every one arrives, once and whole."""
    contents = [message(f"{count} {number} {'x' * number}\r\n".encode()) for number in range(count)]
    before = set(inbox(lab, BOB))
    with ThreadPoolExecutor(30) as pool:
        sent = list(pool.map(lambda content: lab.send(content, sender=ALICE, to=BOB), contents))
    for one, content in zip(sent, contents, strict=True):
        assert unharmed(received_by(lab, one, BOB), content)
    assert len({one.queue_id for one in sent}) == count
    assert len(set(inbox(lab, BOB)) - before) == count
    assert not left_in_spools(lab)


def inbox(lab: Lab, address: str) -> list[Path]:
    return list((lab.maildir(address) / "new").glob("*"))


def left_in_spools(lab: Lab) -> list[QueuedMessage]:
    """What servers have not removed from their queues within a moment: a delivery is told before that."""
    for _ in range(100):
        left = [message for spool in (lab.run / "hosts").glob("*/spool") for message in peek(spool)]
        if not left:
            break
        time.sleep(0.05)
    return left
