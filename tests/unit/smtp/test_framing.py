"""Commands, messages and chunks told apart, however their octets are cut into pieces."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.smtp.data import stuffed
from services.smtp.framing import Framer, TooLarge, TooLong

Found = bytes | TooLarge | None


def read(
    wire: bytes, *, piece: int, begin: Callable[[Framer], None], take: Callable[[Framer], Found]
) -> tuple[bytes | None, bytes]:
    """Return what was taken, None if it was too large, and what is left for the next command."""
    framer = Framer()
    begin(framer)
    found: Found = None
    for start in range(0, len(wire), piece):
        framer.feed(wire[start : start + piece])
        if found is None:
            found = take(framer)
    assert found is not None
    assert framer.mode == "commands"
    rest = []
    while (line := framer.line(10_000)) is not None:
        rest.append(line + b"\r\n")
    return None if isinstance(found, TooLarge) else found, b"".join(rest)


def read_data(wire: bytes, *, piece: int, limit: int = 10**6) -> tuple[bytes | None, bytes]:
    return read(wire, piece=piece, begin=lambda framer: framer.begin_message(limit), take=Framer.message)


PIECES = pytest.mark.parametrize("piece", [1, 2, 3, 5, 7, 64, 100_000])


@PIECES
@pytest.mark.parametrize(
    ("wire", "message"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"\r\n\r\n.\r\n", b"\r\n\r\n"),
        (b"a\r\n.\r\n", b"a\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"...\r\n.\r\n", b"..\r\n"),
        (b".a\r\n.\r\n", b"a\r\n"),
        (b"a\r\n..b\r\n..\r\n.\r\n", b"a\r\n.b\r\n.\r\n"),
        (b".\r.\r\n.\r\n", b"\r.\r\n"),
        (b"\r.\r\n.\r\n", b"\r.\r\n"),
        (b"\n.\n\r\n.\r\n", b"\n.\n\r\n"),
        (b"x" * 300 + b"\r\n.\r\n", b"x" * 300 + b"\r\n"),
        (b"x" * 59 + b"\r\n.\r\n", b"x" * 59 + b"\r\n"),
        (b"x" * 62 + b"\r\n..\r\n.\r\n", b"x" * 62 + b"\r\n.\r\n"),
    ],
)
def test_messages(wire: bytes, message: bytes, piece: int) -> None:
    """The message is the same however it comes, and the next command is left alone."""
    assert read_data(wire + b"NOOP\r\n.\r\n", piece=piece) == (message, b"NOOP\r\n.\r\n")


@pytest.mark.parametrize(("size", "taken"), [(100, True), (101, False), (250, False), (100_000, False)])
def test_the_limit(size: int, *, taken: bool) -> None:
    """A message above the limit is read to its end and dropped."""
    line = b"x" * (size - 2) + b"\r\n"
    assert read_data(line + b".\r\nNOOP\r\n", piece=1000, limit=100) == (line if taken else None, b"NOOP\r\n")


def test_dots_that_were_added_do_not_count() -> None:
    """The limit is that of the message as it was sent, not as it travels."""
    assert read_data(b"..\r\n" * 25 + b".\r\n", piece=1000, limit=75) == (b".\r\n" * 25, b"")


@pytest.mark.parametrize(
    ("content", "wire"),
    [
        (b"", b".\r\n"),
        (b"\r\n", b"\r\n.\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b".\r\n..\r\n...\r\n", b"..\r\n...\r\n....\r\n.\r\n"),
        (b"a.\r\n.b", b"a.\r\n..b\r\n.\r\n"),
        (b"\r\n.\r\n", b"\r\n..\r\n.\r\n"),
        (b"\xff\x00\r\n", b"\xff\x00\r\n.\r\n"),
    ],
)
def test_what_travels(content: bytes, wire: bytes) -> None:
    """Dots at the beginning of lines are doubled, and the end stands on a line of its own."""
    assert stuffed(content) == wire


@given(st.lists(st.binary(max_size=5) | st.sampled_from([b"\r\n", b".", b"\r\n."])).map(b"".join))
def test_there_and_back(content: bytes) -> None:
    """What is read is what was sent, whatever it holds, but for the end that its last line may lack."""
    complete = content if content.endswith(b"\r\n") or not content else content + b"\r\n"
    assert read_data(stuffed(content) + b"QUIT\r\n", piece=7) == (complete, b"QUIT\r\n")


@PIECES
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("chunk", [b"", b"a", b"a\r\n.\r\n", b"QUIT\r\n" * 30])
def test_chunks(chunk: bytes, piece: int, *, keep: bool) -> None:
    """A chunk has as many octets as were announced; one that is refused is read all the same."""
    wire = chunk + b"NOOP\r\n"
    found = read(
        wire, piece=piece, begin=lambda framer: framer.begin_chunk(len(chunk), keep=keep), take=Framer.chunk
    )
    assert found == (chunk if keep else None, b"NOOP\r\n")


def lines(wire: bytes, *, piece: int, limit: int) -> list[bytes]:
    """Return the command lines; of one that is too long, `!` and its beginning."""
    framer, found = Framer(), []
    for start in range(0, len(wire), piece):
        framer.feed(wire[start : start + piece])
        assert len(framer) <= limit + piece
        while True:
            try:
                line = framer.line(limit)
            except TooLong as error:
                line = b"!" + error.begin
            if line is None:
                break
            found.append(line)
    return found


@PIECES
def test_lines(piece: int) -> None:
    """A line that is too long is read to its end, and of it only its beginning is kept."""
    wire = (
        b"NOOP\r\nHELO a\n"
        + b"x" * 17
        + b"\r\n"
        + b"BDAT 1 "
        + b" " * 90
        + b"\r\n"
        + b"y" * 18
        + b"\r\n\r\nQUIT\r\n"
    )
    expected = [b"NOOP", b"HELO a", b"x" * 17, b"!BDAT", b"!yyyyyyyy", b"", b"QUIT"]
    found = lines(wire, piece=piece, limit=19)
    assert [line[:5] if line.startswith(b"!BDAT") else line for line in found] == expected


@given(st.lists(st.binary(max_size=40)), st.integers(1, 50))
def test_lines_do_not_depend_on_pieces(pieces: list[bytes], piece: int) -> None:
    """Whatever comes, the commands are the same in one piece and in many."""
    wire = b"\r\n".join(pieces) + b"\r\n"
    assert lines(wire, piece=piece, limit=30) == lines(wire, piece=len(wire), limit=30)
