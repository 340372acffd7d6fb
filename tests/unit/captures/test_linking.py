"""What tells which message a session carried, also where it is not plain."""

from __future__ import annotations

import itertools

import pytest

from captures.journeys import Journey
from captures.journeys.reading import journeys
from tests.unit.captures.mail import BOB, Wire, message


def read(wire: Wire) -> list[Journey]:
    return journeys(wire.sessions, wire.lookups)


def submitted(wire: Wire, queued: str = "Q1", **options: str) -> None:
    content = message(message_id=options.get("message_id", "<1@example.com>"))
    wire.sends("alice", "corp-msa", port=587, content=content, to=BOB, queued=queued)


def test_messages_that_share_a_message_id() -> None:
    """Of two with the same Message-ID, where no queue id is told, the first to come goes on first."""
    wire = Wire()
    for _ in range(2):
        wire.sends("alice", "corp-msa", port=587, content=message(), end_of_data="250 thank you")
    for _ in range(2):
        wire.sends("corp-msa", "rcpt-mx1", content=message(), end_of_data="250 thank you")
    assert [journey.path[-1] for journey in read(wire)] == ["rcpt-mx1", "rcpt-mx1"]


def test_filter_within_a_host() -> None:
    """A host that passed a message to itself is known by the older of its ids, if that is not forged."""
    wire = Wire()
    submitted(wire)
    trace = (("corp-msa", "AFTER"), ("corp-msa", "Q1"))
    wire.sends("corp-msa", "rcpt-mx1", content=message(*trace), queued="Q2")
    wire.sends("corp-msa", "rcpt-mx1", content=message(*trace, message_id="<other@x>"), queued="Q3")
    found, forged = read(wire)
    assert found.path == ("alice", "corp-msa", "rcpt-mx1")
    assert forged.path == ("corp-msa", "rcpt-mx1")


def test_forged_received_field() -> None:
    """An id that a stranger puts on top is one of its own, whatever server it names."""
    wire = Wire()
    submitted(wire)
    wire.sends("isp-a1", "rcpt-mx1", content=message(("corp-msa", "Q1")), queued="Q2")
    kept, forged = read(wire)
    assert kept.path == ("alice", "corp-msa")
    assert forged.path == ("isp-a1", "rcpt-mx1")


def test_ids_before_message_ids() -> None:
    """Of two with the same Message-ID the queue id tells which one goes on first."""
    wire = Wire()
    submitted(wire, "Q1")
    submitted(wire, "Q2")
    wire.sends("corp-msa", "rcpt-mx1", content=message(("corp-msa", "Q2")), queued="Q3")
    one, two = read(wire)
    assert (one.path[-1], two.path[-1]) == ("corp-msa", "rcpt-mx1")


def test_id_that_is_used_again() -> None:
    """A queue id that a server gives to a later message, too, is not taken for that one's before."""
    wire = Wire()
    submitted(wire, "Q1", message_id="<1@x>")
    wire.sends("corp-msa", "rcpt-mx1", content=message(("corp-msa", "Q1"), message_id="<1@x>"), queued="A")
    submitted(wire, "Q1", message_id="<2@x>")
    wire.sends("corp-msa", "rcpt-mx2", content=message(("corp-msa", "Q1"), message_id="<2@x>"), queued="B")
    assert [journey.path[-1] for journey in read(wire)] == ["rcpt-mx1", "rcpt-mx2"]


@pytest.mark.parametrize("field", [b"", b"Received: by corp-msa.example.com with SMTP; now\r\n"])
def test_nothing_to_tell_by(field: bytes) -> None:
    """Messages without id of any kind are not taken for each other."""
    wire = Wire()
    content = field + b"Subject: x\r\n\r\n"
    for _ in range(2):
        wire.sends("alice", "corp-msa", content=content, end_of_data="250 thank you")
    wire.sends("corp-msa", "rcpt-mx1", content=content, end_of_data="250 thank you")
    assert [journey.path for journey in read(wire)] == [
        ("alice", "corp-msa"),
        ("alice", "corp-msa"),
        ("corp-msa", "rcpt-mx1"),
    ]


def test_loop() -> None:
    """A message that comes back to a host goes on from there a second time."""
    wire = Wire()
    way = ("alice", "corp-msa", "corp-mta1", "corp-msa", "corp-mta1")
    for client, server in itertools.pairwise(way):
        wire.sends(client, server, content=message(), end_of_data="250 thank you")
    (journey,) = read(wire)
    assert journey.path == way


def test_sealed_session() -> None:
    """Of a session whose TLS cannot be opened nothing is known: it is no attempt that failed."""
    wire = Wire()
    submitted(wire)
    wire.fails("corp-msa", "rcpt-mx1", "closed", "220 mx").tls = "sealed"
    (journey,) = read(wire)
    assert len(journey.hops) == 1


def test_refused_at_data() -> None:
    """The reply to DATA decides if it is no 354."""
    wire = Wire()
    submitted(wire)
    session = wire.sends("corp-msa", "rcpt-mx1", content=b"", end_of_data=None)
    transaction = session.transactions[0]
    transaction.content, transaction.data = None, wire.exchange("DATA", "452 4.3.1 full")
    (journey,) = read(wire)
    assert (journey.hops[-1].reached, str(journey.hops[-1].reply)) == ("deferred", "452 4.3.1 full")


def test_message_id_that_the_first_server_added() -> None:
    """A message without Message-ID is known by the one that it was given (RFC 6409 §8.3)."""
    wire = Wire()
    wire.sends("alice", "corp-msa", port=587, content=b"Subject: x\r\n\r\n", queued="Q1")
    given = message(("corp-msa", "Q1"), message_id="<given@example.com>")
    wire.sends("corp-msa", "rcpt-mx1", content=given, queued="Q2")
    (journey,) = read(wire)
    assert journey.message_id == "<given@example.com>"


def test_a_mailing_list_s_copy_is_a_journey_of_its_own() -> None:
    """It goes on from another reverse-path to other recipients; the post's journey ends at the list."""
    wire = Wire()
    submitted(wire)
    copy = message(("corp-msa", "Q1"))
    sender = "list-bounces+dave=example.org@lists.example.net"
    wire.sends("corp-msa", "rcpt-mx1", content=copy, sender=sender, to="dave@example.org", queued="Q2")
    post, sent = read(wire)
    assert (post.path, post.recipient) == (("alice", "corp-msa"), BOB)
    assert (sent.path, sent.recipient) == (("corp-msa", "rcpt-mx1"), "dave@example.org")
