"""What IMAP servers tell of fetches, beside what the packets show."""

from __future__ import annotations

from dataclasses import replace

import pytest

from captures.journeys import Fetch, Journey, Place
from captures.journeys.reading import journeys
from mailbed.fetches import Fetches
from tests.unit.captures.mail import BOB, Wire, message

STORE = Place(host="rcpt-mx1", name="rcpt-mx1.example.org", address="198.18.2.10")
READER = Place(host="bob", name="bob.example.org", address="10.2.0.11")
EVENT = {
    "kind": "fetched",
    "time": 100.0,
    "host": "rcpt-mx1",
    "client": "10.2.0.11",
    "user": BOB,
    "file": "1.Q2.rcpt-mx1",
    "size": 70,
}


@pytest.fixture
def journey() -> Journey:
    """A message in bob's mailbox on rcpt-mx1, whose file a mail program has marked as read."""
    wire = Wire()
    wire.sends("alice", "rcpt-mx1", content=message(), queued="Q2")
    (found,) = journeys(wire.sessions, wire.lookups)
    return replace(found, mailbox_file="hosts/rcpt-mx1/mail/example.org/bob/cur/1.Q2.rcpt-mx1:2,S")


def shown(seconds: float, user: str = BOB) -> Fetch:
    """A fetch that packets show; they need a session, of which nothing is looked at here."""
    at = round(seconds * 1e9)
    return Fetch(
        client=READER, server=STORE, user=user, began_ns=at, ended_ns=at, size=70, whole=True, session=None
    )


def known(*events: dict[str, object]) -> Fetches:
    fetches = Fetches({"10.2.0.11": READER, "rcpt-mx1": STORE})
    for event in events:
        fetches.learn(event)
    return fetches


def test_what_the_packets_do_not_show(journey: Journey) -> None:
    """An event of this mailbox's file is a fetch without a session, by the host whose address it names."""
    (fetch,) = known(EVENT).added(journey).fetches
    assert (fetch.client, fetch.server, fetch.user, fetch.size) == (READER, STORE, BOB, 70)
    assert (fetch.began_ns, fetch.session) == (100_000_000_000, None)


@pytest.mark.parametrize(
    "change",
    [{"file": "2.Q3.rcpt-mx1"}, {"host": "rcpt-mx2"}, {"kind": "delivered"}],
    ids=["another message", "another server", "another event"],
)
def test_what_is_not_of_this_message(journey: Journey, change: dict[str, object]) -> None:
    assert known({**EVENT, **change}).added(journey) is journey


@pytest.mark.parametrize(
    ("packets", "events", "times"),
    [
        pytest.param([100.0], [100.1], [100.0], id="the same one"),
        pytest.param([100.0, 101.0], [100.1, 101.1], [100.0, 101.0], id="two, and both seen"),
        pytest.param([101.0], [100.1, 101.1], [100.1, 101.0], id="two, and one of them seen"),
        pytest.param([100.0], [160.0], [100.0, 160.0], id="a later one"),
        pytest.param([100.0], [], [100.0], id="no event"),
    ],
)
def test_the_packets_come_first(
    journey: Journey, packets: list[float], events: list[float], times: list[float]
) -> None:
    """What they show is told once; an event is for one of them, the nearest."""
    seen = replace(journey, fetches=tuple(map(shown, packets)))
    found = known(*({**EVENT, "time": time} for time in events)).added(seen).fetches
    assert [fetch.began_ns / 1e9 for fetch in found] == pytest.approx(times)


def test_another_user(journey: Journey) -> None:
    """An event of somebody else's is not told by the packets of this one."""
    seen = replace(journey, fetches=(shown(100.0, "dave@example.org"),))
    assert len(known(EVENT).added(seen).fetches) == 2
