"""Step G: whose journey ends with what was fetched, and how that is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from captures.imap import Exchange, Fetched, Reply, Session
from captures.journeys import Journey, document
from captures.journeys.fetches import with_fetches
from captures.journeys.reading import journeys
from captures.journeys.text import lines
from captures.reports import comments, page
from tests.unit.captures.mail import ALICE, BOB, Wire, message
from tests.unit.captures.reported import crossed, of

DAVE = "dave@example.org"
STORED = (("rcpt-mda", "Q4"), ("rcpt-mx1", "Q3"), ("corp-mta1", "Q2"), ("corp-msa", "Q1"))


def fetches(wire: Wire, content: bytes, *, user: str = BOB, client: str = "alice") -> Session:
    """A session in which a mail program fetches a message from rcpt-mda."""
    session = Session(connection=wire.connection(client, "rcpt-mda", 143), user=user, tls="opened")
    session.greeting = Reply("OK ready", wire.tick(), wire.frame)
    for command in (f"LOGIN {user} ***", "UID FETCH 1 (BODY.PEEK[])"):
        asked, frame = wire.tick(), wire.frame
        began, first = wire.tick(), wire.frame
        ended, last = wire.tick(), wire.frame
        exchange = Exchange(command, asked, frame, Reply("OK done", wire.tick(), wire.frame))
        session.exchanges.append(exchange)
    session.fetched.append(
        Fetched(
            exchange=exchange,
            number=3,
            uid=1,
            item="BODY[]",
            content=content,
            whole=True,
            began_ns=began,
            frame=first,
            ended_ns=ended,
            last_frame=last,
        )
    )
    session.connection.last_ns = wire.tick()
    return session


def told(wire: Wire, *sessions: Session) -> list[Journey]:
    return with_fetches(journeys(wire.sessions, wire.lookups), sessions)


def test_a_message_that_is_fetched_twice() -> None:
    """The journey tells both, in the order of time, with user, size and packets."""
    wire = crossed()
    one, other = (fetches(wire, message(*STORED)) for _ in range(2))
    (journey,) = told(wire, other, one)
    assert [fetch.began_ns for fetch in journey.fetches] == [
        session.fetched[0].exchange.time_ns for session in (one, other)
    ]
    fetch = journey.fetches[0]
    assert (fetch.user, fetch.server.host, fetch.size) == (BOB, "rcpt-mda", len(message(*STORED)))
    assert fetch.session is not None
    assert fetch.session.first_frame == one.fetched[0].frame
    assert [exchange.command for exchange in fetch.session.opening] == [f"LOGIN {BOB} ***"]
    texts = [line for line in lines(journey) if line.startswith("  G ")]
    assert len(texts) == 3
    assert all(
        line.endswith("← rcpt-mda: IMAP on port 143, TLS 1.3, as bob@example.org") for line in texts[1:]
    )
    assert any("message 3, UID 1  OK done" in line for line in lines(journey))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        pytest.param(message(*STORED), True, id="by the queue id"),
        pytest.param(message(*STORED, message_id="<other@x>"), True, id="whatever its Message-ID"),
        pytest.param(message(("rcpt-mda", "Q9"), message_id="<9@x>"), False, id="another message"),
        pytest.param(message(), True, id="by the Message-ID, without trace"),
        pytest.param(b"", False, id="nothing"),
    ],
)
def test_which_message(content: bytes, found: bool) -> None:
    """What the mail store sent is the message that came to it under the id on top."""
    wire = crossed()
    (journey,) = told(wire, fetches(wire, content))
    assert bool(journey.fetches) is found


def test_another_host() -> None:
    """A message that lies elsewhere under the same id is another one."""
    wire = crossed()
    session = fetches(wire, message(*STORED))
    session.connection.server = replace(wire.connection("alice", "rcpt-mx2")).server
    (journey,) = told(wire, session)
    assert not journey.fetches


def test_several_recipients() -> None:
    """Each has what the own user fetched; an alias what was fetched by somebody who is no recipient."""
    wire = Wire()
    to = (BOB, DAVE, "info@example.org")
    wire.sends("alice", "rcpt-mda", content=message(), to=to, queued="Q4")
    content = message(("rcpt-mda", "Q4"))
    sessions = [fetches(wire, content, user=user) for user in (BOB, DAVE.upper(), "carol@example.org")]
    found = {
        journey.recipient: [fetch.user for fetch in journey.fetches] for journey in told(wire, *sessions)
    }
    assert found == {BOB: [BOB], DAVE: [DAVE.upper()], "info@example.org": ["carol@example.org"]}


def test_document() -> None:
    """The JSON has packets' numbers, times and sizes, and the filter for the session."""
    wire = crossed()
    session = fetches(wire, message(*STORED))
    (journey,) = told(wire, session)
    (fetch,) = document(of([journey]))["journeys"][0]["fetches"]
    one = session.fetched[0]
    assert (fetch["source"], fetch["size"], fetch["whole"]) == ("packets", len(one.content), True)
    found = fetch["session"]
    assert (found["first_frame"], found["message_frame"]) == (one.frame, one.last_frame)
    assert found["command"]["command"] == "UID FETCH 1 (BODY.PEEK[])"
    assert found["command"]["reply"]["frame"] == one.exchange.reply.frame if one.exchange.reply else 0
    assert found["message_ms"] == pytest.approx((one.ended_ns - journey.started_ns) / 1e6)
    assert "tcp.port == 143" in found["filter"]
    assert found["greeting"]["text"] == "OK ready"


def test_comments() -> None:
    """The session's packets say what they are, under G; the message where it begins and ends."""
    wire = crossed()
    session = fetches(wire, message(*STORED))
    said = comments(of(told(wire, session)))
    one = session.fetched[0]
    assert said[session.connection.frame] == "G: alice connects to rcpt-mda"
    assert said[one.exchange.frame] == "G: alice says UID FETCH 1 (BODY.PEEK[])"
    assert said[one.frame] == "G: rcpt-mda begins to send the message"
    assert said[one.last_frame] == f"G: rcpt-mda has sent the message, {len(one.content)} bytes"


def test_page() -> None:
    """The picture leads from the mail store to the mail program, and to the session told in full."""
    wire = crossed()
    journey = told(
        wire, fetches(wire, message(*STORED)), fetches(wire, message(*STORED), client="corp-mta2")
    )[0]
    html = page(of([journey]), title="t")
    for place in ("j1-g1", "j1-g2"):
        assert html.count(f'href="#{place}"') == 1
        assert html.count(f'id="{place}"') == 1
    assert "It was fetched 2 times." in html
    assert "UID FETCH 1 (BODY.PEEK[])" in html


def test_a_fetch_that_no_packet_shows() -> None:
    """It is told as what it is, everywhere: its server's word; no packet gets a comment."""
    wire = crossed()
    (journey,) = told(wire, fetches(wire, message(*STORED)))
    event = replace(journey.fetches[0], session=None)
    alone = replace(journey, fetches=(event,))
    assert any("as that server tells: no packet shows it" in line for line in lines(alone))
    (fetch,) = document(of([alone]))["journeys"][0]["fetches"]
    assert (fetch["source"], fetch["session"]) == ("event", None)
    html = page(of([alone]), title="t")
    assert "fetched (an event)" in html
    assert "no packets" in html
    assert not any(text.startswith("G") for text in comments(of([alone])).values())
    assert ALICE in html
