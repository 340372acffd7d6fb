"""IMAP sessions: who logs in, and which octets are fetched, in which packets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.conversations import Piece
from captures.imap import Session, read_session
from tests.unit.captures.transcript import Said, connect, pieces, said

MESSAGE = b"Subject: x\r\n\r\na1 OK not a reply\r\n* 1 FETCH (BODY[] {3}\r\n"
GREETING = "S: * OK [CAPABILITY IMAP4rev1] mx ready\n"


def session(parts: list[Said]) -> Session:
    """The session that is read from what both sides said."""
    read = read_session(connect(pieces(parts, "C"), pieces(parts, "S"), port=143))
    assert read is not None
    return read


def exchanges(read: Session) -> list[str]:
    return [f"{exchange.command} -> {exchange.reply or '-'}" for exchange in read.exchanges]


def fetch(content: bytes, *, head: str = "* 1 FETCH (UID 7 ", tail: bytes = b")\r\n") -> Said:
    return Said("S", head.encode() + b"BODY[] {%d}\r\n" % len(content) + content + tail)


def test_a_message() -> None:
    """Its octets are taken whole, whatever they look like, with numbers, frames and the command's reply."""
    opened = said(GREETING + "C: a1 UID FETCH 7 (FLAGS BODY.PEEK[])")
    read = session([*opened, fetch(MESSAGE), Said("S", b"a1 OK done\r\n")])
    (one,) = read.fetched
    assert (one.content, one.whole, one.item, one.number, one.uid) == (MESSAGE, True, "BODY[]", 1, 7)
    assert (one.exchange.frame, one.frame, one.last_frame) == (2, 3, 3)
    assert exchanges(read) == ["UID FETCH 7 (FLAGS BODY.PEEK[]) -> OK done"]
    assert read.greeting is not None
    assert str(read.greeting) == "OK [CAPABILITY IMAP4rev1] mx ready"


def test_where_its_packets_are() -> None:
    """The first and the last packet with its octets are told, and when the last one came."""
    opened = said(GREETING + "C: a FETCH 1 BODY[]")
    halves = [
        Said("S", b"* 1 FETCH (BODY[] {9}\r\n"),
        Said("S", b"Subje"),
        Said("S", b"ct: x)\r\na OK done\r\n"),
    ]
    (one,) = session([*opened, *halves]).fetched
    assert (one.frame, one.last_frame, one.ended_ns) == (3, 5, 5_000_000)
    assert one.content == b"Subject: "


@pytest.mark.parametrize(
    ("transcript", "user", "shown"),
    [
        pytest.param(
            "C: a LOGIN bob@example.org secret\nS: a OK in",
            "bob@example.org",
            "LOGIN bob@example.org ***",
            id="atoms",
        ),
        pytest.param(
            'C: a LOGIN "bob \\"b\\"" "secret"\nS: a OK in', 'bob "b"', 'LOGIN bob "b" ***', id="quoted"
        ),
        pytest.param(
            "C: a LOGIN {3}\nS: + go on\nC: bob {6}\nS: + go on\nC: secret\nS: a OK in",
            "bob",
            "LOGIN bob ***",
            id="literals",
        ),
        pytest.param(
            "C: a AUTHENTICATE PLAIN AGJvYgBzZWNyZXQ=\nS: a OK in",
            "bob",
            "AUTHENTICATE PLAIN ***",
            id="at once",
        ),
        pytest.param(
            "C: a AUTHENTICATE PLAIN\nS: + \nC: AGJvYgBzZWNyZXQ=\nS: a OK in",
            "bob",
            "AUTHENTICATE PLAIN",
            id="response",
        ),
        pytest.param("C: a LOGIN bob secret\nS: a NO wrong", "", "LOGIN bob ***", id="refused"),
    ],
)
def test_who_logs_in(transcript: str, user: str, shown: str) -> None:
    """The user is known once the server agrees; no password is shown, however it comes."""
    read = session(said(GREETING + transcript))
    assert read.user == user
    assert [exchange.command for exchange in read.exchanges] == [shown]
    assert "secret" not in repr(read.exchanges)


def test_what_is_no_message() -> None:
    """A header, a part and a size are no message; commands go on behind them, and behind IDLE."""
    read = session(
        said(
            GREETING
            + """
            C: a FETCH 1 (RFC822.SIZE BODY[HEADER])
            S: * 1 FETCH (RFC822.SIZE 70 BODY[HEADER] {12}
            S: Subject: y
            S: )
            S: a OK done
            C: b IDLE
            S: + idling
            S: * 2 EXISTS
            C: DONE
            S: b OK done
            C: c FETCH 2 RFC822
            S: * 2 FETCH (RFC822 {4}
            S: abcd UID 3)
            S: c OK done
            """.replace("            ", "").lstrip()
        )
    )
    assert [(one.item, one.number, one.uid, one.content) for one in read.fetched] == [
        ("RFC822", 2, 3, b"abcd")
    ]
    assert [exchange.command.split()[0] for exchange in read.exchanges] == ["FETCH", "IDLE", "FETCH"]


def test_a_message_in_pieces() -> None:
    """Pieces that follow each other are one; nobody can tell whether it is all."""
    read = session(
        said(
            GREETING
            + "C: a FETCH 1 BODY[]<0.4>\nS: * 1 FETCH (UID 1 BODY[]<0> {4}\nS: abcd)\nS: a OK done\n"
            + "C: b FETCH 1 BODY[]<4.4>\nS: * 1 FETCH (UID 1 BODY[]<4> {2}\nS: ef)\nS: b OK done\n"
        )
    )
    (one,) = read.fetched
    assert (one.content, one.whole, one.last_frame) == (b"abcdef", False, 8)


def test_a_message_that_is_cut_off() -> None:
    """Of one that the capture has not to its end there is what it has; the command got no reply."""
    opened = said(GREETING + "C: a FETCH 1 BODY[]")
    read = session([*opened, Said("S", b"* 1 FETCH (BODY[] {900}\r\nSubject: x")])
    (one,) = read.fetched
    assert (one.content, one.whole, one.exchange.reply) == (b"Subject: x", False, None)


def test_a_client_that_was_not_captured() -> None:
    """What the server sent is read all the same."""
    read = session([*said(GREETING), fetch(MESSAGE)])
    assert [(one.content, one.exchange.command) for one in read.fetched] == [(MESSAGE, "")]


def test_what_is_no_imap() -> None:
    """Another protocol, and silence, are none; of TLS that no secret opens nothing is known but why."""
    assert read_session(connect([], [], port=143)) is None
    assert read_session(connect([], [Piece(1, 1, b"220 mx ESMTP\r\n")], port=143)) is None
    sealed = read_session(connect([Piece(1, 1, b"\x16\x03\x01\x00\x01\x00")], [], port=993))
    assert sealed is not None
    assert (sealed.tls, sealed.exchanges) == ("sealed", [])
    assert sealed.sealed_reason


@given(st.lists(st.tuples(st.sampled_from("CS"), st.binary(max_size=60)), max_size=12))
def test_any_octets(parts: list[tuple[str, bytes]]) -> None:
    """No octets make the reading fail."""
    greeting = Said("S", b"* OK ready\r\na OK x\r\n* 1 FETCH (BODY[] {5}\r\n")
    whole = [greeting, Said("C", b"a LOGIN {2}\r\n"), *(Said(side, data) for side, data in parts)]
    assert session(whole).greeting is not None
