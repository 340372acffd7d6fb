"""What is carried by DATA and BDAT comes out as the server had it, however it was cut into pieces."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.smtp import Transaction
from tests.unit.captures.transcript import Said, exchanges, said, session

OPEN = said("""
    S: 220 mx
    C: MAIL FROM:<a@example.com>
    S: 250 Ok
    C: RCPT TO:<b@example.org>
    S: 250 Ok
""")
DATA = [*OPEN, *said("C: DATA\nS: 354 go")]
CLOSE = said("S: 250 Ok: queued as X\nC: QUIT\nS: 221 Bye")


def cut(data: bytes, *places: int) -> list[Said]:
    """The client's bytes, cut at the places."""
    bounds = sorted({0, len(data), *(place for place in places if 0 < place < len(data))})
    return [Said("C", data[start:end]) for start, end in pairwise(bounds)]


def carried(parts: list[Said]) -> Transaction:
    """The only transaction of a session."""
    (transaction,) = session(parts).transactions
    return transaction


CONTENTS = [
    pytest.param(b".\r\n", b"", id="empty"),
    pytest.param(b"\r\n.\r\n", b"\r\n", id="a blank line"),
    pytest.param(b"..\r\n.\r\n", b".\r\n", id="a line with a dot"),
    pytest.param(b"...\r\n..a\r\nb..\r\n.\r\n", b"..\r\n.a\r\nb..\r\n", id="dots first and last"),
    pytest.param(b".a\r\n.\r\n", b"a\r\n", id="a dot that was not stuffed is lost"),
    pytest.param(
        b"a\n.\nb\r.\rc\r\n.\nd\r\n.\r\n", b"a\n.\nb\r.\rc\r\n\nd\r\n", id="bare line ends end nothing"
    ),
    pytest.param(b"caf\xc3\xa9 \xff\0\r\n.\r\n", b"caf\xc3\xa9 \xff\0\r\n", id="any octets"),
    pytest.param(b"QUIT\r\nMAIL FROM:<x@y>\r\n.\r\n", b"QUIT\r\nMAIL FROM:<x@y>\r\n", id="no commands"),
    pytest.param(b"a" * 998 + b"\r\n.\r\n", b"a" * 998 + b"\r\n", id="998 characters"),
]


@pytest.mark.parametrize(("wire", "content"), CONTENTS)
def test_content_wherever_it_is_cut(wire: bytes, content: bytes) -> None:
    """Dots are unstuffed and the final one is no part of it (RFC 5321 §4.5.2); pieces do not matter."""
    for place in range(min(len(wire), 40)):
        parts = [*DATA, *cut(wire, place), *CLOSE]
        transaction = carried(parts)
        assert (transaction.content, transaction.complete) == (content, True)
        assert transaction.queue_id == "X"
        # The last byte of the content is followed by three: 250, QUIT and 221.
        assert transaction.content_frame == len(parts) - 3


@pytest.mark.parametrize(
    ("wire", "content"),
    [
        (b"He", b"He"),
        (b"Hello.\r\n", b"Hello.\r\n"),
        (b"Hello.\r\n..\r\nab", b"Hello.\r\n.\r\nab"),
        (b"Hello.\r\n.", b"Hello.\r\n"),
    ],
)
def test_a_session_that_breaks_within_the_content(wire: bytes, content: bytes) -> None:
    """What had come until then is there, unstuffed, and marked as incomplete; nothing was accepted."""
    transaction = carried([*DATA, *cut(wire, 1)])
    assert transaction.content == content
    assert (transaction.complete, transaction.accepted, transaction.reply) == (False, False, None)
    assert transaction.content_frame == len(DATA) + 2


def test_no_byte_of_the_content() -> None:
    """A client that is gone after the 354 has carried nothing."""
    transaction = carried(DATA)
    assert (transaction.content, transaction.complete, transaction.content_ns) == (None, False, None)
    assert transaction.data is not None
    assert transaction.data.reply is not None
    assert transaction.data.reply.code == 354


def test_a_server_that_gives_up_within_the_content() -> None:
    """Its last words are the transaction's reply."""
    read = session([*DATA, Said("C", b"abc\r\n"), Said("S", b"421 4.4.2 timeout\r\n")])
    (transaction,) = read.transactions
    assert (transaction.content, transaction.complete) == (b"abc\r\n", False)
    assert str(transaction.reply) == "421 4.4.2 timeout"
    assert exchanges(read)[-1] == " -> 421 4.4.2 timeout"


def test_a_content_of_which_the_capture_lost_the_end() -> None:
    """The server has said that it took the message: it did, though the capture has but a part of it."""
    transaction = carried([*DATA, Said("C", b"abc\r\n"), *said("S: 250 Ok: queued as X\nS: 221 Bye")])
    assert (transaction.content, transaction.complete) == (b"abc\r\n", False)
    assert (transaction.accepted, transaction.queue_id) == (True, "X")


def test_a_server_that_refuses_early_shifts_no_reply() -> None:
    """Its reply to the content may come before the content's end."""
    parts = [*DATA, Said("C", b"abc\r\n"), Said("S", b"552 5.3.4 too big\r\n"), Said("C", b".\r\nQUIT\r\n")]
    read = session([*parts, Said("S", b"221 Bye\r\n")])
    assert str(read.transactions[0].reply) == "552 5.3.4 too big"
    assert exchanges(read)[-2:] == [". -> 552 5.3.4 too big", "QUIT -> 221 Bye"]


def test_a_client_whose_lines_end_in_line_feeds() -> None:
    """Who types DATA with a bare line feed ends the content so, if the server lets them."""
    read = session(
        [*OPEN, Said("C", b"DATA\n"), Said("S", b"354 go\n"), Said("C", b"..a\n.\nQUIT\n"), *CLOSE]
    )
    assert read.transactions[0].content == b".a\n"
    assert read.quit


def test_a_content_whose_replies_were_not_captured() -> None:
    """Who goes on after DATA has got its 354, whether the capture has it or not."""
    parts = [Said("S", b"220 mx\r\n"), Said("C", b"MAIL FROM:<>\r\nDATA\r\nabc\r\n.\r\nQUIT\r\n")]
    read = session(parts)
    assert read.transactions[0].content == b"abc\r\n"
    assert exchanges(read) == ["MAIL FROM:<> -> -", "DATA -> -", ". -> -", "QUIT -> -"]


# BDAT (RFC 3030).


@pytest.mark.parametrize("at_once", [False, True])
def test_chunks(at_once: bool) -> None:
    """Chunks are joined as they are: dots are not stuffed, lines may end anyhow."""
    chunks = [b"BDAT 5\r\n.\r\n.\r", b"BDAT 0\r\n", b"bdat 8 last\r\n\nQUIT\r\n\0"]
    replies = [b"250 Ok\r\n", b"250 Ok\r\n", b"250 Ok: queued as Y\r\n"]
    if at_once:
        parts = [Said("C", b"".join(chunks)), Said("S", b"".join(replies))]
    else:
        parts = [
            part
            for one, other in zip(chunks, replies, strict=True)
            for part in (Said("C", one), Said("S", other))
        ]
    read = session([*OPEN, *parts, *said("C: QUIT\nS: 221 Bye")])
    (transaction,) = read.transactions
    assert (transaction.content, transaction.complete) == (b".\r\n.\r\nQUIT\r\n\0", True)
    assert transaction.queue_id == "Y"
    assert exchanges(read)[2:] == [
        "BDAT 5 -> 250 Ok",
        "BDAT 0 -> 250 Ok",
        "bdat 8 last -> 250 Ok: queued as Y",
        "QUIT -> 221 Bye",
    ]
    assert transaction.data == read.exchanges[2]


def test_a_chunk_that_is_refused() -> None:
    """The first refusal is the transaction's reply, and nothing was accepted."""
    parts = [
        Said("C", b"BDAT 2\r\nabBDAT 2 LAST\r\ncd"),
        *said("S: 452 4.3.1 full\nS: 250 Ok\nC: RSET\nS: 250 Ok"),
    ]
    transaction = carried([*OPEN, *parts])
    assert str(transaction.reply) == "452 4.3.1 full"
    assert (transaction.content, transaction.accepted) == (b"abcd", False)


@pytest.mark.parametrize(
    ("wire", "content", "frame"),
    [
        pytest.param([b"BDAT 4 LAST\r\n"], None, None, id="no byte"),
        pytest.param([b"BDAT 4 LAST\r\n", b"ab"], b"ab", 7, id="a part"),
        pytest.param([b"BDAT 2\r\nab", b"EHLO b\r\n"], b"ab", 6, id="the last is missing"),
        pytest.param([b"BDAT 99999999999999999999\r\n"], None, None, id="no size"),
    ],
)
def test_chunks_that_break_off(wire: list[bytes], content: bytes | None, frame: int | None) -> None:
    """What came is there, and incomplete."""
    transaction = carried([*OPEN, *(Said("C", data) for data in wire)])
    assert (transaction.content, transaction.complete) == (content, False)
    assert transaction.content_frame == frame


def test_contents_without_a_transaction() -> None:
    """A server that takes a content out of order does not make the reader lose its place."""
    read = session([
        *said("S: 220 mx\nC: DATA\nS: 354 go\nC: EHLO a\nC: .\nS: 250 Ok"),
        Said("C", b"BDAT 7 LAST\r\nRSET\r\n\0"),
        *said("S: 250 Ok\nC: QUIT\nS: 221 Bye"),
    ])  # fmt: skip
    assert read.transactions == []
    assert exchanges(read) == ["DATA -> 354 go", ". -> 250 Ok", "BDAT 7 LAST -> 250 Ok", "QUIT -> 221 Bye"]


SESSION = [*DATA, Said("C", b"..a\r\n\r\nb\r\n.\r\n"), *CLOSE]


@given(st.integers(), st.integers(1, 40))
def test_any_cut_of_a_session_reads_the_same(seed: int, cuts: int) -> None:
    """Where segments begin and end, in both directions, changes nothing but times and frames."""
    rng = random.Random(seed)
    parts: list[Said] = []
    for side, data in SESSION:
        places = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(cuts)))
        parts += [Said(side, data[start:end]) for start, end in pairwise([0, *places, len(data)])]
    whole, pieced = session(SESSION), session(parts)
    assert exchanges(pieced) == exchanges(whole)
    assert [(each.content, each.complete) for each in pieced.transactions] == [(b".a\r\n\r\nb\r\n", True)]


@given(st.data())
def test_a_session_cut_short_is_a_session(data: st.DataObject) -> None:
    """What both sides said until then is read as before, and no more."""
    whole = exchanges(session(SESSION))
    length = data.draw(st.integers(1, len(SESSION)))
    parts = SESSION[:length]
    last = parts[-1]
    parts[-1] = Said(last.side, last.data[: data.draw(st.integers(0, len(last.data)))])
    read = exchanges(session(parts))
    assert [line.partition(" -> ")[0] for line in read] == [
        line.partition(" -> ")[0] for line in whole[: len(read)]
    ]
