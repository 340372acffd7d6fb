"""What is said of a packet: the step it belongs to, and what it does there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from captures.lookups import Outcome
from captures.reports import comments
from captures.smtp import Exchange, Reply
from tests.unit.captures.mail import ALICE, BOB, Wire, message
from tests.unit.captures.reported import ROOT, asks, crossed, found, of


def said(wire: Wire) -> list[str]:
    """The comments in the order of the packets."""
    return list(comments(found(wire)).values())


def test_a_lookup_from_the_root_down() -> None:
    """Each question says what is asked at whom, each answer what was said; the letter is the hop's."""
    told = said(crossed())
    start = told.index("E: MX lookup of example.org at corp-dns")
    assert told[start : start + 8] == [
        "E: MX lookup of example.org at corp-dns",
        "E: corp-dns answers: 10 rcpt-mx1.example.org., 20 rcpt-mx2.example.org.",
        "E: MX lookup of example.org at m-root",
        "E: m-root refers to org",
        "E: MX lookup of example.org at org-ns1",
        "E: org-ns1 refers to example.org",
        "E: MX lookup of example.org at org-auth1",
        "E: org-auth1 answers: 10 rcpt-mx1.example.org, 20 rcpt-mx2.example.org",
    ]


def test_frames() -> None:
    """Comments are by frame number, in their order: the question's, the answer's, the SYN's."""
    wire = crossed()
    told = comments(found(wire))
    query, connection = wire.lookups[1].query, wire.sessions[0].connection
    assert query.answer_frame is not None
    assert told[query.frame] == "E: MX lookup of example.org at corp-dns"
    assert told[query.answer_frame].startswith("E: corp-dns answers: ")
    assert told[connection.frame] == "A: alice connects to corp-msa"
    assert list(told) == sorted(told)


def test_a_session() -> None:
    """Each command and each reply is told; the reply to the first message is B, where it was accepted."""
    told = said(crossed())
    start = told.index("A: corp-msa says 220 corp-msa.example.com ESMTP")
    assert told[start : start + 8] == [
        "A: corp-msa says 220 corp-msa.example.com ESMTP",
        f"A: alice says MAIL FROM:<{ALICE}>",
        "A: corp-msa says 250 2.1.0 Ok",
        f"A: alice says RCPT TO:<{BOB}>",
        "A: corp-msa says 250 2.1.5 Ok",
        "A: alice says DATA",
        "A: corp-msa says 354 go on",
        "B: corp-msa takes the message over: 250 2.0.0 Ok: queued as Q1",
    ]
    assert "C: corp-mta1 takes the message over: 250 2.0.0 Ok: queued as Q2" in told


def test_before_mail() -> None:
    """What opens a session is told as well: EHLO, STARTTLS, AUTH, without their secrets."""
    wire = crossed()
    session = wire.sessions[0]
    session.exchanges = [
        Exchange("STARTTLS", session.connection.opened_ns, 900, Reply(220, "2.0.0 Ready", 0, 901)),
        Exchange("AUTH PLAIN ***", session.connection.opened_ns, 902, None),
    ]
    told = comments(found(wire))
    assert [told[frame] for frame in (900, 901, 902)] == [
        "A: alice says STARTTLS",
        "A: corp-msa says 220 2.0.0 Ready",
        "A: alice says AUTH PLAIN ***",
    ]


@pytest.mark.parametrize(
    ("end", "opened", "last"),
    [
        ("closed", "connects to rcpt-mx1", "the session of corp-mta1 with rcpt-mx1 ends"),
        ("reset", "connects to rcpt-mx1", "the session of corp-mta1 with rcpt-mx1 is reset"),
        ("refused", "connects to rcpt-mx1", "rcpt-mx1 refuses the connection"),
        ("unanswered", "connects to rcpt-mx1: no answer", None),
        ("open", "connects to rcpt-mx1", None),
    ],
)
def test_how_a_connection_ends(end: str, opened: str, last: str | None) -> None:
    """The first packet says who connects to whom, the last one how that ended, if it did."""
    (journey,) = found(crossed(failed=True)).journeys
    failed = next(hop for hop in journey.hops if not hop.accepted)
    assert failed.attempt is not None
    attempt = replace(failed.attempt, ended=end, frame=900, last_frame=901)
    told = comments(of([replace(journey, hops=(replace(failed, attempt=attempt),))]))
    assert told[900] == f"E: corp-mta1 {opened}"
    assert told.get(901) == (None if last is None else f"E: {last}")


@pytest.mark.parametrize(
    ("outcome", "meaning", "zone", "expected"),
    [
        ("referral", "referral to org: …", "org", "E: m-root refers to org"),
        ("answer", "10 mx.example.org", "", "E: m-root answers: 10 mx.example.org"),
        ("alias", "alias of x.net", "", "E: m-root answers: alias of x.net"),
        ("nxdomain", "no such name", "org", "E: m-root answers: no such name"),
        ("nodata", "no MX records", "org", "E: m-root answers: no MX records"),
        ("error", "SERVFAIL", "", "E: m-root fails: SERVFAIL"),
        ("truncated", "truncated", "", "E: m-root has more to say than a datagram holds"),
    ],
)
def test_what_a_server_answers(outcome: Outcome, meaning: str, zone: str, expected: str) -> None:
    """Each kind of answer is told in its own words."""
    wire = crossed()
    query = asks(wire, wire.lookups[1], ROOT, outcome, meaning, zone)
    assert query.answer_frame is not None
    assert comments(found(wire))[query.answer_frame] == expected


def test_no_answer() -> None:
    """A question that nobody answered says so itself; priming asks for the root."""
    wire = crossed()
    query = asks(wire, wire.lookups[1], ROOT, "timeout")
    query.name, query.type, query.retries = ".", "NS", 2
    told = comments(found(wire))
    assert told[query.frame] == "E: NS lookup of the root at m-root, 3 times: no answer"


@pytest.mark.parametrize(
    ("rcpt", "end_of_data", "expected"),
    [
        ("250 Ok", "451 4.3.0 later", "A: corp-msa does not take the message now: 451 4.3.0 later"),
        ("250 Ok", "554 5.7.1 spam", "A: corp-msa refuses the message: 554 5.7.1 spam"),
        ("550 5.1.1 no such user", "", "A: corp-msa says 550 5.1.1 no such user"),
    ],
)
def test_refusals(rcpt: str, end_of_data: str, expected: str) -> None:
    """A message that is not taken is told once, at the reply that decided."""
    wire = Wire()
    wire.sends("alice", "corp-msa", port=587, content=message(), rcpt=rcpt, end_of_data=end_of_data)
    told = said(wire)
    code = expected.split(": ", 1)[1].split()[-2]
    assert expected in told
    assert sum(code in comment for comment in told) == 1


def test_pipelining() -> None:
    """Commands in one packet stand in one comment, and so do recipients, as far as it holds them."""
    wire = Wire()
    names = [f"user{number}@example.org" for number in range(100)]
    session = wire.sends("alice", "corp-msa", port=587, content=message(), to=names, queued="Q1")
    transaction = session.transactions[0]
    transaction.mail = transaction.mail._replace(frame=900)
    for recipient in transaction.recipients:
        recipient.exchange = recipient.exchange._replace(frame=900)
    comment = comments(found(wire))[900]
    assert comment.startswith(
        f"A: alice says MAIL FROM:<{ALICE}>; RCPT TO:<user0@example.org>; RCPT TO:<user1@example.org>; "
    )
    assert comment.endswith("; and 94 more")


def test_two_journeys_in_one_packet() -> None:
    """A packet that two recipients share is told once; what differs by letter is told under each."""
    (journey,) = found(crossed()).journeys
    hop = journey.hops[0]
    again = replace(journey, number=2)
    assert comments(of([journey, again])) == comments(of([journey]))
    other = replace(again, hops=(replace(hop, step="E"),))
    assert hop.attempt is not None
    comment = comments(of([journey, other]))[hop.attempt.frame]
    assert comment == "A: alice connects to corp-msa; E: alice connects to corp-msa"


def test_what_is_not_fit_to_be_shown() -> None:
    """Nothing in a comment drives a terminal, turns the text round, or goes on for ever."""
    wire = Wire()
    wire.sends("alice", "corp-msa", port=587, content=message(), rcpt="550 \x1b[2J\u202e\r\nx" + "y" * 1000)
    comment = next(comment for comment in said(wire) if "550" in comment)
    assert comment.startswith("A: corp-msa says 550 ␛[2J\ufffd")
    assert comment.isprintable()
    assert len(comment) < 200
