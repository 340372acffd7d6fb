"""From sessions and lookups to journeys: who had the message, what failed on the way, and how it ended."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from captures.journeys import Journey, Journeys, Notice, document
from captures.journeys.reading import journeys
from captures.journeys.steps import duration, steps
from tests.unit.captures.mail import ALICE, BOB, MS, Wire, message, notice

CAROL = "carol@example.com"


def read(wire: Wire) -> list[Journey]:
    return journeys(wire.sessions, wire.lookups)


def submitted(wire: Wire, queued: str = "Q1", to: str | Sequence[str] = BOB, **options: str) -> None:
    content = message(message_id=options.get("message_id", "<1@example.com>"))
    wire.sends("alice", "corp-msa", port=587, content=content, to=to, queued=queued)


def crossed(wire: Wire) -> None:
    """A message that arrives: alice, corp-msa, corp-mta1, rcpt-mx1, rcpt-mda."""
    submitted(wire)
    wire.sends("corp-msa", "corp-mta1", content=message(("corp-msa", "Q1")), queued="Q2")
    wire.sends("corp-mta1", "rcpt-mx1", content=message(("corp-mta1", "Q2"), ("corp-msa", "Q1")), queued="Q3")
    trace = (("rcpt-mx1", "Q3"), ("corp-mta1", "Q2"), ("corp-msa", "Q1"))
    wire.sends("rcpt-mx1", "rcpt-mda", content=message(*trace), queued="Q4")


def test_path() -> None:
    """A message is followed from host to host by the queue ids that each server gave it."""
    wire = Wire()
    crossed(wire)
    (journey,) = read(wire)
    assert journey.path == ("alice", "corp-msa", "corp-mta1", "rcpt-mx1", "rcpt-mda")
    assert [hop.queue_id for hop in journey.hops] == ["Q1", "Q2", "Q3", "Q4"]
    assert (journey.end.state, journey.end.host) == ("delivered", "rcpt-mda")
    assert (journey.sender, journey.recipient, journey.subject) == (ALICE, BOB, "Grüße")
    assert journey.queued == ("corp-msa", "Q1")


def test_letters() -> None:
    """Submission is A, the sender's own network C, the Internet E and the recipient's network F."""
    wire = Wire()
    crossed(wire)
    (journey,) = read(wire)
    assert [hop.step for hop in journey.hops] == ["A", "C", "E", "F"]
    assert "".join(step.letter for step in steps(journey)) == "ABDCDEDFG"


def test_waiting() -> None:
    """How long a message lay in a queue is the time from its acceptance to the next thing done for it."""
    wire = Wire()
    submitted(wire)
    accepted = wire.sessions[0].transactions[0].reply
    assert accepted is not None
    wire.tick(500)
    wire.sends("corp-msa", "corp-mta1", content=message(("corp-msa", "Q1")), queued="Q2")
    (journey,) = read(wire)
    opened = wire.sessions[1].connection.opened_ns
    assert journey.hops[0].waited_ns is None
    assert journey.hops[1].waited_ns == opened - accepted.time_ns
    assert opened - accepted.time_ns > 500 * MS


def test_lookups_belong_to_the_hop_that_followed() -> None:
    """What a host asked while it had the message stands at its next hop, which begins with it."""
    wire = Wire()
    wire.asks("alice", "corp-msa.example.com", "A", "10.1.0.12")
    submitted(wire)
    wire.asks("corp-msa", "example.org", "MX", "10 rcpt-mx1.example.org.")
    wire.asks("corp-msa", "rcpt-mx1.example.org", "A", "198.18.2.10")
    wire.sends("corp-msa", "rcpt-mx1", content=message(("corp-msa", "Q1")), queued="Q2")
    (journey,) = read(wire)
    asked = [[(one.query.name, one.query.type) for one in hop.lookups] for hop in journey.hops]
    assert asked == [
        [("corp-msa.example.com", "A")],
        [("example.org", "MX"), ("rcpt-mx1.example.org", "A")],
    ]
    assert journey.hops[1].began_ns == wire.lookups[1].query.time_ns


def test_a_server_that_asks_before_it_says_ok() -> None:
    """What a server asks once it has the message belongs to the next hop: Postfix does not wait for 250."""
    wire = Wire()
    submitted(wire)
    wire.finds("corp-msa", "example.org", "rcpt-mx1")
    had = wire.sessions[0].transactions[0].content_ns
    assert had is not None
    first = wire.lookups[0]
    wire.lookups[0] = replace(first, query=replace(first.query, time_ns=had))
    wire.sends("corp-msa", "rcpt-mx1", content=message(("corp-msa", "Q1")), queued="Q2")
    (journey,) = read(wire)
    assert [lookup.query.type for lookup in journey.hops[1].lookups] == ["MX", "A"]
    assert journey.hops[1].waited_ns == 0


def test_lookups_of_two_messages_at_once() -> None:
    """With two messages at a host, each gets the lookups that led to the address it went to."""
    wire = Wire()
    submitted(wire, "Q1")
    submitted(wire, "Q2", to="x@example.net", message_id="<2@example.com>")
    for name, target, address in (
        ("example.org", "rcpt-mx1.example.org", "198.18.2.10"),
        ("example.net", "isp-a1.example.net", "198.18.10.10"),
    ):
        wire.asks("corp-msa", name, "MX", f"10 {target}.")
        wire.asks("corp-msa", target, "A", address)
    second = message(("corp-msa", "Q2"), message_id="<2@example.com>")
    wire.sends("corp-msa", "isp-a1", content=second, to="x@example.net", queued="Q4")
    wire.sends("corp-msa", "rcpt-mx1", content=message(("corp-msa", "Q1")), queued="Q3")
    one, two = read(wire)
    assert [lookup.query.name for lookup in one.hops[1].lookups] == ["example.org", "rcpt-mx1.example.org"]
    assert [lookup.query.name for lookup in two.hops[1].lookups] == ["example.net", "isp-a1.example.net"]


def test_message_id_where_no_queue_id_is_told() -> None:
    """Past a server that names no queue id a message is followed by its Message-ID."""
    wire = Wire()
    wire.sends("alice", "corp-msa", port=587, content=message(), end_of_data="250 thank you")
    wire.sends("corp-msa", "rcpt-mx1", content=message(), end_of_data="250 thank you")
    (journey,) = read(wire)
    assert journey.path == ("alice", "corp-msa", "rcpt-mx1")


@pytest.mark.parametrize(
    ("end", "greeting"), [("refused", ""), ("unanswered", ""), ("closed", "421 4.3.2 busy"), ("reset", "")]
)
def test_unreachable_server_then_the_next(end: str, greeting: str) -> None:
    """A connection that comes to nothing is a hop that failed; the next exchanger gets the message."""
    wire = Wire()
    submitted(wire)
    wire.fails("corp-msa", "rcpt-mx1", end, greeting)  # type: ignore[arg-type]  # parametrize gives strings
    wire.sends("corp-msa", "rcpt-mx2", content=message(("corp-msa", "Q1")), queued="Q2")
    (journey,) = read(wire)
    assert [(hop.server and hop.server.host, hop.reached) for hop in journey.hops] == [
        ("corp-msa", "accepted"),
        ("rcpt-mx1", "unreachable"),
        ("rcpt-mx2", "accepted"),
    ]
    assert journey.path == ("alice", "corp-msa", "rcpt-mx2")


@pytest.mark.parametrize(
    ("options", "reached", "state"),
    [
        ({"rcpt": "450 4.2.1 later"}, "deferred", "deferred"),
        ({"rcpt": "550 5.1.1 no such user"}, "refused", "refused"),
        ({"mail": "451 4.3.0 no"}, "deferred", "deferred"),
        ({"end_of_data": "554 5.7.1 spam"}, "refused", "refused"),
        ({"end_of_data": None}, "broken", "deferred"),
    ],
)
def test_server_that_does_not_take_it(options: dict[str, str], reached: str, state: str) -> None:
    """A refusal at whatever stage belongs to the message that waited there with that envelope."""
    wire = Wire()
    submitted(wire)
    wire.sends("corp-msa", "rcpt-mx1", content=message(("corp-msa", "Q1")), **options)  # type: ignore[arg-type]
    (journey,) = read(wire)
    assert journey.hops[-1].reached == reached
    assert journey.end.state == state
    assert journey.end.host == "corp-msa"


def test_later_attempt() -> None:
    """A deferred message that is taken at the second attempt arrives; both attempts are told."""
    wire = Wire()
    submitted(wire)
    wire.sends("corp-msa", "rcpt-mx1", content=b"", rcpt="451 4.7.1 greylisted")
    wire.tick(60_000)
    wire.sends("corp-msa", "rcpt-mx1", content=message(("corp-msa", "Q1")), queued="Q2")
    (journey,) = read(wire)
    assert [hop.reached for hop in journey.hops] == ["accepted", "deferred", "accepted"]
    assert journey.end.state == "delivered"
    assert journey.hops[2].waited_ns is not None
    assert journey.hops[2].waited_ns > 60_000 * MS


def test_recipients_part_ways() -> None:
    """Each recipient has a journey of their own: one is refused where the other is taken."""
    wire = Wire()
    submitted(wire, to=(BOB, "dave@example.org"))
    replies = {"dave@example.org": "550 5.1.1 no such user"}
    content = message(("corp-msa", "Q1"))
    to = (BOB, "dave@example.org")
    wire.sends("corp-msa", "rcpt-mx1", content=content, to=to, rcpt=replies, queued="Q2")
    bob, dave = read(wire)
    assert (bob.recipient, bob.end.state) == (BOB, "delivered")
    assert (dave.recipient, dave.end.state) == ("dave@example.org", "refused")
    assert bob.hops[0].recipients == 2


def test_notice_of_failure() -> None:
    """A notice is a journey of its own; it and the journey that it reports on point at each other."""
    wire = Wire()
    submitted(wire)
    wire.sends("corp-msa", "corp-mta1", content=message(("corp-msa", "Q1")), queued="Q2")
    wire.sends("corp-mta1", "rcpt-mx1", content=b"", rcpt="550 5.1.1 no such user")
    content = notice("<1@example.com>", BOB)
    wire.sends("corp-mta1", "corp-msa", content=content, sender="", to=ALICE, queued="Q3")
    lost, told = read(wire)
    assert (lost.end.state, lost.end.notice) == ("bounced", told.number)
    assert (told.sender, told.recipient, told.about) == ("", ALICE, lost.number)


@pytest.mark.parametrize(
    "content", [notice("<1@example.com>", "other@example.org"), notice("<9@example.com>", BOB)]
)
def test_other_notices(content: bytes) -> None:
    """A notice about another recipient or message says nothing of this one."""
    wire = Wire()
    crossed(wire)
    wire.sends("corp-mta1", "corp-msa", content=content, sender="", to=ALICE, queued="Q9")
    journey, told = read(wire)
    assert (journey.end.state, journey.end.notice, journey.notices) == ("delivered", None, ())
    assert (told.about, told.action) == (None, "")


@pytest.mark.parametrize("action", ["delayed", "delivered", "relayed", "expanded"])
def test_news_of_a_message(action: str) -> None:
    """A notice of something else than failure belongs to its message, and changes nothing of its end."""
    wire = Wire()
    crossed(wire)
    content = notice("<1@example.com>", BOB, action=action)
    wire.sends("corp-mta1", "corp-msa", content=content, sender="", to=ALICE, queued="Q9")
    journey, told = read(wire)
    assert (journey.end.state, journey.end.notice) == ("delivered", None)
    assert journey.notices == (Notice(journey=told.number, action=action),)
    assert (told.about, told.action) == (journey.number, action)


def test_warned_and_then_given_up() -> None:
    """A message can have several notices, each of its own kind."""
    wire = Wire()
    submitted(wire)
    wire.sends("corp-msa", "corp-mta1", content=message(("corp-msa", "Q1")), queued="Q2")
    for number, action in enumerate(("delayed", "failed"), start=2):
        wire.sends("corp-mta1", "rcpt-mx1", content=b"", rcpt="450 4.2.1 later")
        content = notice("<1@example.com>", BOB, action=action, message_id=f"<n{number}@example.com>")
        wire.sends("corp-mta1", "corp-msa", content=content, sender="", to=ALICE, queued=f"N{number}")
    lost, warning, bounce = read(wire)
    assert lost.notices == (
        Notice(journey=warning.number, action="delayed"),
        Notice(journey=bounce.number, action="failed"),
    )
    assert (lost.end.state, lost.end.notice) == ("bounced", bounce.number)


def test_each_recipient_of_a_notice_has_its_action() -> None:
    """One notice may report several things; what it returns, and what is in that, reports nothing."""
    wire = Wire()
    content = message(("corp-msa", "Q1"))
    to = [BOB, "bøb@example.org", "dave@example.org"]
    wire.sends("alice", "corp-msa", content=message(), port=587, to=to, queued="Q1")
    wire.sends("corp-msa", "corp-mta1", content=content, to=to, queued="Q2")
    refused = dict.fromkeys(to, "450 4.2.1 later") | {BOB: "550 5.1.1 no"}
    wire.sends("corp-mta1", "rcpt-mx1", content=content, to=to, rcpt=refused)
    inner = notice("<8@example.com>", "dave@example.org", message_id="<1@example.com>")
    report = (
        b"Message-ID: <2@example.com>\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n"
        b"Reporting-MTA: dns; x\r\n\r\nFinal-Recipient: rfc822; bob@Example.org\r\nAction: Failed\r\n\r\n"
        b"Final-Recipient: utf-8; b\\x{F8}b@example.org\r\nAction: delayed\r\n\r\n"
        b"--b\r\nContent-Type: message/rfc822\r\n\r\n" + inner + b"\r\n--b--\r\n"
    )
    wire.sends("corp-mta1", "corp-msa", content=report, sender="", to=ALICE, queued="Q9")
    *three, told = read(wire)
    assert [[each.action for each in journey.notices] for journey in three] == [["failed"], ["delayed"], []]
    assert [journey.end.state for journey in three] == ["bounced", "deferred", "deferred"]
    assert told.about is not None


def test_domain_that_is_not_there() -> None:
    """A message that DNS leads nowhere ends with the lookups that were made for it, and no server."""
    wire = Wire()
    submitted(wire, to="bob@nowhere.example")
    wire.asks("corp-msa", "nowhere.example", "MX", rcode="NXDOMAIN")
    (journey,) = read(wire)
    last = journey.hops[-1]
    assert (last.server, last.reached) == (None, "unroutable")
    assert [lookup.query.said for lookup in last.lookups] == ["NXDOMAIN"]
    assert (journey.end.state, journey.end.host) == ("refused", "corp-msa")


def test_message_that_stays() -> None:
    """Taken by a host that is not the recipient's and passed on to nobody, it is kept, not delivered."""
    wire = Wire()
    submitted(wire)
    (journey,) = read(wire)
    assert (journey.end.state, journey.end.host) == ("kept", "corp-msa")


def test_local_recipient() -> None:
    """A colleague's message is delivered by the first server."""
    wire = Wire()
    submitted(wire, to=CAROL)
    (journey,) = read(wire)
    assert journey.end.state == "delivered"
    assert journey.path == ("alice", "corp-msa")


def test_one_connection_for_two_messages() -> None:
    """On a connection that is used again, each message's hop begins with its own MAIL."""
    wire = Wire()
    submitted(wire, "Q1")
    submitted(wire, "Q2", message_id="<2@example.com>")
    session = wire.sends("corp-msa", "rcpt-mx1", content=message(("corp-msa", "Q1")), queued="Q3")
    wire.tick(100)
    second = message(("corp-msa", "Q2"), message_id="<2@example.com>")
    wire.sends("corp-msa", "rcpt-mx1", content=second, queued="Q4", session=session)
    one, two = read(wire)
    assert [journey.path[-1] for journey in (one, two)] == ["rcpt-mx1", "rcpt-mx1"]
    assert two.hops[1].began_ns == session.transactions[1].mail.time_ns


def test_received_fields_are_compared() -> None:
    """Received fields that name the servers that the packets show agree; a forged or missing one does not."""
    wire = Wire()
    crossed(wire)
    (journey,) = read(wire)
    (check,) = journey.checks
    assert check.agrees

    wire = Wire()
    submitted(wire)
    forged = message(("corp-mta2", "Q1"))
    wire.sends("corp-msa", "rcpt-mx1", content=forged, queued="Q2")
    (journey,) = read(wire)
    (check,) = journey.checks
    assert not check.agrees
    assert "corp-mta2" in check.detail


def test_document_is_json() -> None:
    """The document goes through JSON unchanged, and counts its times from the journey's start."""
    wire = Wire()
    wire.asks("alice", "corp-msa.example.com", "A", "10.1.0.12")
    crossed(wire)
    found = Journeys(
        journeys=tuple(read(wire)), packets=9, dropped=None, cut=False, first_ns=MS, last_ns=wire.now
    )
    whole = document(found)
    assert json.loads(json.dumps(whole)) == whole
    (journey,) = whole["journeys"]
    assert journey["hops"][0]["ms"] == 0
    assert journey["hops"][0]["lookups"][0]["answers"] == ["10.1.0.12"]
    assert journey["hops"][2]["attempt"]["filter"].startswith('frame.interface_name == "corp-mta1-eth0"')
    assert journey["state"] == "delivered"


@pytest.mark.parametrize(
    ("ns", "text"),
    [(400_000, "0.4 ms"), (12_300_000, "12 ms"), (3_210 * MS, "3.2 s"), (240_000 * MS, "4 min")],
)
def test_duration(ns: int, text: str) -> None:
    """Spans are written as people read them."""
    assert duration(ns) == text


def test_wait_between_attempts() -> None:
    """The wait before a second attempt counts from the first one's end, and is told where it was long."""
    wire = Wire()
    submitted(wire)
    wire.sends("corp-msa", "rcpt-mx1", content=b"", rcpt="451 4.7.1 greylisted")
    first = wire.sessions[1].transactions[0].recipients[0].exchange.reply
    assert first is not None
    wire.sends("corp-msa", "rcpt-mx2", content=b"", rcpt="451 4.7.1 greylisted")
    wire.tick(60_000)
    wire.sends("corp-msa", "rcpt-mx1", content=message(("corp-msa", "Q1")), queued="Q2")
    (journey,) = read(wire)
    assert [hop.again for hop in journey.hops] == [False, False, True, True]
    assert journey.hops[2].waited_ns == wire.sessions[2].connection.opened_ns - first.time_ns
    waits = [step.text for step in steps(journey) if step.letter == "D"]
    assert [re.sub(r"[\d.]+ m?s", "…", text) for text in waits] == [
        "had it in its queue for …",
        "had it in its queue for … more",
    ]


def test_what_was_asked_for_the_notice_is_not_the_messages() -> None:
    """The lookups in vain are those up to the failure: the host then looks up where the notice is to go."""
    wire = Wire()
    submitted(wire, to="bob@nowhere.example")
    wire.asks("corp-msa", "nowhere.example", "MX", rcode="NXDOMAIN")
    wire.asks("corp-msa", "example.com", "MX", "10 corp-mta1.example.com.")
    (journey,) = read(wire)
    assert [lookup.query.name for lookup in journey.hops[-1].lookups] == ["nowhere.example"]


def test_domain_that_is_not_there_among_others() -> None:
    """With other messages at the host, what is asked in vain is told by the recipient's domain."""
    wire = Wire()
    submitted(wire, "Q1", to="bob@nowhere.example")
    submitted(wire, "Q2", message_id="<2@example.com>")
    wire.asks("corp-msa", "example.org", "MX", "10 rcpt-mx1.example.org.")
    wire.asks("corp-msa", "nowhere.example", "MX", rcode="NXDOMAIN")
    second = message(("corp-msa", "Q2"), message_id="<2@example.com>")
    wire.sends("corp-msa", "rcpt-mx1", content=second, queued="Q3")
    lost, found = read(wire)
    assert [lookup.query.name for lookup in lost.hops[-1].lookups] == ["nowhere.example"]
    assert found.end.state == "delivered"


def test_notice_about_a_delivered_message() -> None:
    """What was delivered can be reported as failed by the host where it ended, and by no other."""
    for author, state in (("corp-mta1", "delivered"), ("rcpt-mda", "bounced")):
        wire = Wire()
        crossed(wire)
        content = notice("<1@example.com>", BOB)
        wire.sends(author, "corp-msa", content=content, sender="", to=ALICE, queued="N1")
        assert read(wire)[0].end.state == state


def test_notices_about_messages_of_one_message_id() -> None:
    """Each notice reports on one of them: on one that ended where the notice comes from."""
    wire = Wire()
    for number in (1, 2):
        submitted(wire, f"Q{number}")
        wire.sends("corp-msa", "rcpt-mx1", content=message(("corp-msa", f"Q{number}")), rcpt="550 5.1.1 no")
    for number in (1, 2):
        content = notice("<1@example.com>", BOB, message_id=f"<n{number}@example.com>")
        wire.sends("corp-msa", "corp-mta1", content=content, sender="", to=ALICE, queued=f"N{number}")
    one, two, *notices = read(wire)
    assert [one.end.notice, two.end.notice] == [each.number for each in notices]
    assert [each.about for each in notices] == [one.number, two.number]
