"""What is said of a packet: the step it belongs to, and what it does there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from captures.journeys import Journeys
from captures.lookups import Outcome
from captures.reports import comments
from captures.smtp import Exchange, Reply
from tests.unit.captures.mail import ALICE, BOB, Wire, message
from tests.unit.captures.reported import AUTH, ROOT, asks, crossed, found


def said(wire: Wire) -> list[str]:
    """The comments in the order of the packets."""
    return list(comments(found(wire)).values())


def said_by(wire: Wire, *words: str) -> list[str]:
    return [comment for comment in said(wire) if all(word in comment for word in words)]


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
    """Comments are by frame number: those of the lookup's question and answer, of the hop's SYN and end."""
    wire = crossed()
    told = comments(found(wire))
    query, connection = wire.lookups[1].query, wire.sessions[0].connection
    assert query.answer_frame is not None
    assert told[query.frame] == "E: MX lookup of example.org at corp-dns"
    assert told[query.answer_frame].startswith("E: corp-dns answers: ")
    assert told[connection.frame] == "A: alice connects to corp-msa"
    assert list(told) == sorted(told)


def test_a_session() -> None:
    """The SYN, each command and each reply; the reply to the first message is B, where it was accepted."""
    told = [comment for comment in said(crossed()) if "corp-msa" in comment or "alice says" in comment]
    start = told.index("A: alice connects to corp-msa; the session of alice with corp-msa ends") if False else 2
    assert told[start:][:9] == [
        "A: alice connects to corp-msa",
        "A: corp-msa says 220 corp-msa.example.com ESMTP",
        f"A: alice says MAIL FROM:<{ALICE}>",
        "A: corp-msa says 250 2.1.0 Ok",
        f"A: alice says RCPT TO:<{BOB}>",
        "A: corp-msa says 250 2.1.5 Ok",
        "A: alice says DATA",
        "A: corp-msa says 354 go on",
        "B: corp-msa takes the message over: 250 2.0.0 Ok: queued as Q1",
    ]
