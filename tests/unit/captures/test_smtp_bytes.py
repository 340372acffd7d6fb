"""No bytes make the reading fail."""

from __future__ import annotations

import random
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from captures.conversations import Piece
from captures.smtp import header_field, read_session, received_ids
from tests.unit.captures.transcript import connect

WORDS = [
    *(
        b"220 mx\r\n",
        b"250-a\r\n",
        b"250 b\r\n",
        b"354 go\r\n",
        b"334 \r\n",
        b"235 ok\r\n",
        b"421 x\r\n",
        b"220\n",
    ),
    *(
        b"EHLO a\r\n",
        b"MAIL FROM:<a@b>\r\n",
        b"MAIL FROM:",
        b'RCPT TO:<"\r\n',
        b"DATA\r\n",
        b"DATA\n",
        b".\r\n",
        b"\r\n",
    ),
    *(
        b"BDAT 5\r\n",
        b"BDAT 0 LAST\r\n",
        b"BDAT -1\r\n",
        b"AUTH\r\n",
        b"AUTH PLAIN AGEAYg==\r\n",
        b"AUTH LOGIN\r\n",
    ),
    *(
        b"STARTTLS\r\n",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"\x17\x03\x03",
        b"RSET\r\n",
        b"QUIT\r\n",
        b"\0\xff",
    ),
]
STREAM = st.lists(st.one_of(st.binary(max_size=30), st.sampled_from(WORDS)), max_size=20)


def pieces(parts: list[bytes], rng: random.Random) -> list[Piece]:
    """The parts, at random times in order."""
    frames = sorted(rng.sample(range(1, 100), len(parts)))
    return [Piece(frame, frame, part) for frame, part in zip(frames, parts, strict=True)]


@given(STREAM, STREAM, st.integers(), st.sampled_from([25, 465, 587, 2525]))
def test_any_two_streams(sent: list[bytes], received: list[bytes], seed: int, port: int) -> None:
    """Each is SMTP or is not; what is read can be shown."""
    rng = random.Random(seed)
    session = read_session(connect(pieces(sent, rng), pieces(received, rng), port=port))
    if session is not None:
        for exchange in session.exchanges:
            assert exchange.command.isprintable()
            assert exchange.frame > 0
            assert exchange.reply is None or exchange.reply.text.replace("\n", "").isprintable()
        assert all(each.content is not None or not each.complete for each in session.transactions)


PARTS = [
    *(
        b"Received: ",
        b"by x",
        b" id y",
        b"from",
        b";",
        b"(",
        b")",
        b"\r\n",
        b"\r\n\t",
        b"\n",
        b"Subject:",
        b" ",
        b"a",
    ),
    *(b"=?utf-8?q?", b"=?x?b?", b"?=", b"\xff", b"=?utf-7?b?+AA=?=", b"=?utf-16?b?/w==?=", b"=?\0?q?a?="),
]


@given(st.one_of(st.binary(), st.lists(st.sampled_from(PARTS)).map(b"".join)))
def test_any_content(content: bytes) -> None:
    """Header fields are text that can be shown, or are not there."""
    values = [header_field(content, name) for name in ("Subject", "Received")]
    for text in [*filter(None, values), *chain.from_iterable(received_ids(content))]:
        assert text.isprintable()
