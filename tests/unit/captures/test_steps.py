"""The account of a journey, word for word."""

from __future__ import annotations

import dataclasses
import textwrap

import pytest

from captures.conversations import End
from captures.journeys import Journey, Notice, text
from captures.journeys.reading import journeys
from captures.journeys.steps import steps
from tests.unit.captures.mail import ALICE, BOB, HOSTS, MS, Wire, message, notice


def account(journey: Journey, *, brief: bool = False, run: str = "") -> str:
    return "\n".join([text.heading(journey), *text.lines(journey, brief=brief, run=run)])


def told(expected: str) -> str:
    return textwrap.dedent(expected).strip("\n")


def crossing() -> Wire:
    """A message to two at once that is refused by one exchanger, taken by the next, and passed on."""
    wire = Wire()
    lookup = wire.asks("alice", "corp-msa.example.com", "A", HOSTS["corp-msa"][0])
    root = dataclasses.replace(
        wire.asks("corp-dns", ".", "NS", "a.root-servers.net.").query, said=". NS: a.root-servers.net"
    )
    answer = dataclasses.replace(lookup.query, server=root.client, transport="tcp")
    lookup.upstream += [root, answer]
    wire.lookups.remove(wire.lookups[-1])
    content = message(message_id="<1@x>")
    wire.sends("alice", "corp-msa", port=587, content=content, to=(BOB, "dave@example.org"), queued="Q1")
    wire.sessions[0].tls = "opened"
    wire.finds("corp-msa", "example.org", "rcpt-mx1")
    wire.fails("corp-msa", "rcpt-mx1", "refused")
    wire.asks("corp-msa", HOSTS["rcpt-mx2"][1], "A", HOSTS["rcpt-mx2"][0]).query.retries = 1
    trace = message(("corp-msa", "Q1"), message_id="<1@x>")
    replies = {"dave@example.org": "550 5.1.1 no such user"}
    to = (BOB, "dave@example.org")
    session = wire.sends("corp-msa", "rcpt-mx2", content=trace, to=to, rcpt=replies, queued="Q2")
    session.connection.path = ("corp-msa", "corp-gw", "core1", "rcpt-mx2")
    about = notice("<1@x>", "dave@example.org")
    wire.sends("corp-msa", "corp-mta1", content=about, sender="", to=ALICE, end_of_data="250 Ok")
    return wire


def test_account() -> None:
    """Each step stands under its letter: who did what, every server that was asked, and what was said."""
    wire = crossing()
    bob, dave, about = journeys(wire.sessions, wire.lookups)
    assert account(dataclasses.replace(bob, mailbox_file="mail/f"), run="/run") == told("""
        1. alice@example.com → bob@example.org: Grüße, 66 bytes
          A       0.0 ms  alice     asks corp-dns for corp-msa.example.com A
                                   corp-dns  . NS: . NS: a.root-servers.net
                                   corp-dns  10.1.0.12 (over TCP)
          A       4.0 ms  alice     → corp-msa: submission on port 587, TLS 1.3, as alice@example.com
                                   RCPT     <bob@example.org> (and 1 more)  250 2.1.5 Ok
                                   message  66 bytes  250 2.0.0 Ok: queued as Q1
          B      16.0 ms  corp-msa  has accepted it as Q1
          D      18.0 ms  corp-msa  had it in its queue for 2.0 ms
          E      18.0 ms  corp-msa  asks corp-dns for example.org MX: 10 rcpt-mx1.example.org. (cached)
          E      20.0 ms  corp-msa  asks corp-dns for rcpt-mx1.example.org A: 198.18.2.10 (cached)
          E      22.0 ms  corp-msa  → rcpt-mx1: no session
                                   connection  connection refused
          E      24.0 ms  corp-msa  asks corp-dns for rcpt-mx2.example.org A (2 times): 198.18.2.11 (cached)
          E      26.0 ms  corp-msa  → rcpt-mx2, by way of corp-gw, core1
                                   RCPT     <bob@example.org> (and 1 more)  250 2.1.5 Ok
                                   message  123 bytes  250 2.0.0 Ok: queued as Q2
          G      38.0 ms  rcpt-mx2  delivers it to bob@example.org
                                   mailbox  /run/mail/f
    """)
    assert account(dave).splitlines()[-3:] == [
        "  E      26.0 ms  corp-msa  → rcpt-mx2, by way of corp-gw, core1: refused",
        "                           RCPT  <dave@example.org> (and 1 more)  550 5.1.1 no such user",
        "  E      38.0 ms  corp-msa  gives up for dave@example.org; the sender is told (journey 3)",
    ]
    assert account(about, brief=True) == told("""
        3. <> → alice@example.com: Undelivered, 154 bytes, which reports on journey 2: failed
          C       0.0 ms  corp-msa   → corp-mta1
          B      10.0 ms  corp-mta1  has accepted it
          G      10.0 ms  corp-mta1  delivers it to alice@example.com, for all that packets tell
    """)


@pytest.mark.parametrize(
    ("ended", "greeting", "said"),
    [
        ("refused", "", "connection refused"),
        ("unanswered", "", "no answer to SYN"),
        ("reset", "", "connection reset"),
        ("closed", "", "no greeting"),
        ("closed", "554 5.7.1 go away", "554 5.7.1 go away"),
    ],
)
def test_no_session(ended: End, greeting: str, said: str) -> None:
    """Why there was no session is told in its place."""
    wire = Wire()
    wire.sends("alice", "corp-msa", port=587, content=message(), queued="Q1")
    wire.fails("corp-msa", "rcpt-mx1", ended, greeting)
    (journey,) = journeys(wire.sessions, wire.lookups)
    lines = account(journey).splitlines()
    assert [line.strip() for line in lines[-2:]] == [
        f"connection  {said}",
        f"E{journey.end.time_ns / 1e6 - 1:10.1f} ms  corp-msa  keeps it for {BOB}, to try again",
    ]


def test_lookup_in_vain() -> None:
    """The resolver's own answer is told if it is not the last server's."""
    wire = Wire()
    wire.sends("alice", "corp-msa", port=587, content=message(), to="x@nowhere.example", queued="Q1")
    lookup = wire.asks("corp-msa", "nowhere.example", "MX", rcode="NXDOMAIN")
    lookup.upstream.append(dataclasses.replace(lookup.query, said="NXDOMAIN"))
    (journey,) = journeys(wire.sessions, wire.lookups)
    assert [line.strip() for line in account(journey).splitlines()[-3:]] == [
        "C      12.0 ms  corp-msa  asks corp-dns for nowhere.example MX",
        "corp-dns  NXDOMAIN",
        "C      13.0 ms  corp-msa  fails for x@nowhere.example, and no notice is seen",
    ]
    lookup.upstream[0].said = "referral to example: ns"
    assert [line.strip() for line in account(journey).splitlines()[-3:-1]] == [
        "corp-dns  referral to example: ns",
        "corp-dns  NXDOMAIN",
    ]


def test_refused_before_and_after_rcpt() -> None:
    """The command that was refused is told, and nothing that came before it."""
    wire = Wire()
    wire.sends("alice", "corp-msa", port=587, content=message(), queued="Q1")
    wire.sends("corp-msa", "rcpt-mx1", content=b"", mail="451 4.3.0 no")
    wire.tick(500)
    wire.sends("corp-msa", "rcpt-mx1", content=message(("corp-msa", "Q1")), end_of_data="451 4.3.0 no")
    (journey,) = journeys(wire.sessions, wire.lookups)
    lines = [line.strip() for line in account(journey).splitlines()]
    assert lines[6] == "E      12.0 ms  corp-msa  → rcpt-mx1: not now"
    assert lines[7] == "MAIL  <alice@example.com>  451 4.3.0 no"
    assert lines[8].endswith("had it in its queue for 502 ms more")
    assert lines[-3:-1] == ["RCPT     <bob@example.org>  250 2.1.5 Ok", "message  133 bytes  451 4.3.0 no"]


def test_sealed_submission() -> None:
    """A session that cannot be opened says so; who submits without a name has none."""
    wire = Wire()
    wire.sends("alice", "corp-msa", port=587, content=message(), queued="Q1")
    wire.sessions[0].tls, wire.sessions[0].user = "sealed", ""
    (journey,) = journeys(wire.sessions, wire.lookups)
    assert "→ corp-msa: submission on port 587, TLS that cannot be opened\n" in account(journey)


def test_times_count_from_the_start() -> None:
    """A journey's times count from its first packet."""
    wire = Wire()
    wire.tick(5_000)
    wire.sends("alice", "corp-msa", port=587, content=message(), queued="Q1")
    (journey,) = journeys(wire.sessions, wire.lookups)
    assert journey.started_ns == 5_001 * MS
    assert account(journey).splitlines()[1].startswith("  A       0.0 ms")


def test_an_answer_in_another_order() -> None:
    """A resolver that gives the records in another order than the last server has nothing to add."""
    wire = Wire()
    lookup = wire.asks("corp-msa", "example.org", "MX", "10 a.example.org.", "10 b.example.org.")
    for said, lines in (("10 b.example.org., 10 a.example.org.", 1), ("10 b.example.org.", 2)):
        lookup.upstream[:] = [dataclasses.replace(lookup.query, said=said)]
        wire.sends("alice", "corp-msa", port=587, content=message(), queued="Q1")
        (journey,) = journeys(wire.sessions, [])
        hop = dataclasses.replace(journey.hops[0], lookups=(lookup,))
        told = steps(dataclasses.replace(journey, hops=(hop,)))
        assert len(told[0].lines) == lines
        wire.sessions.clear()


def test_news_for_the_sender() -> None:
    """What the sender was told besides a failure stands below the end, with the notice's journey."""
    wire = crossing()
    bob, _, _ = journeys(wire.sessions, wire.lookups)
    told_of = (Notice(journey=7, action="delayed"), Notice(journey=8, action="delivered"))
    assert account(dataclasses.replace(bob, notices=told_of)).splitlines()[-2:] == [
        "                           sender  warned that it is late (journey 7)",
        "                           sender  told of the delivery (journey 8)",
    ]


@pytest.mark.parametrize(
    ("rounds", "between"),
    [
        (1, []),
        (2, []),
        (3, ["tries 1 more time, with the same result"]),
        (9, ["tries 7 more times, with the same result"]),
    ],
)
def test_what_is_tried_over_and_over(rounds: int, between: list[str]) -> None:
    """A brief account tells the first and the last of equal attempts, the full one all of them."""
    wire = Wire()
    wire.sends("alice", "corp-msa", port=587, content=message(), queued="Q1")
    for _ in range(rounds):
        wire.tick(1000)
        wire.fails("corp-msa", "rcpt-mx1", "refused")
        wire.fails("corp-msa", "rcpt-mx2", "refused")
    wire.tick(1000)
    wire.sends("corp-msa", "rcpt-mx1", content=message(("corp-msa", "Q1")), queued="Q2")
    (journey,) = journeys(wire.sessions, wire.lookups)
    full, brief = account(journey), account(journey, brief=True)
    assert full.count("rcpt-mx1: no session") == full.count("rcpt-mx2: no session") == rounds
    assert brief.count("rcpt-mx1: no session") == brief.count("rcpt-mx2: no session") == min(rounds, 2)
    assert "with the same result" not in full
    assert [line.partition("corp-msa  ")[2] for line in brief.splitlines() if " more time" in line] == between
    assert brief.splitlines()[-1] == full.splitlines()[-1]
