"""Reading a message off the wire, however its octets are cut into pieces."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.smtp.data import read_message, stuffed


def read(wire: bytes, *, piece: int, limit: int = 10**6, buffer: int = 64) -> tuple[bytes | None, bytes]:
    """Return the message, and what is left for the next command, of octets that come `piece` at a time."""

    async def main() -> tuple[bytes | None, bytes]:
        reader = asyncio.StreamReader(limit=buffer)

        async def feed() -> None:
            for start in range(0, len(wire), piece):
                reader.feed_data(wire[start : start + piece])
                await asyncio.sleep(0)
            reader.feed_eof()

        feeding = asyncio.create_task(feed())
        message = await read_message(reader, limit=limit)
        await feeding
        return message, await reader.read()

    return asyncio.run(main())


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 7, 64, 100_000])
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
    assert read(wire + b"NOOP\r\n.\r\n", piece=piece) == (message, b"NOOP\r\n.\r\n")


@pytest.mark.parametrize(("size", "taken"), [(100, True), (101, False), (250, False), (100_000, False)])
def test_the_limit(size: int, *, taken: bool) -> None:
    """A message above the limit is read to its end and dropped."""
    line = b"x" * (size - 2) + b"\r\n"
    assert read(line + b".\r\nNOOP\r\n", piece=1000, limit=100) == (line if taken else None, b"NOOP\r\n")


def test_dots_that_were_added_do_not_count() -> None:
    """The limit is that of the message as it was sent, not as it travels."""
    assert read(b"..\r\n" * 25 + b".\r\n", piece=1000, limit=75) == (b".\r\n" * 25, b"")


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
    assert read(stuffed(content) + b"QUIT\r\n", piece=7) == (complete, b"QUIT\r\n")
