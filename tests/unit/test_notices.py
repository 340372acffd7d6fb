"""How services tell what happened."""

from __future__ import annotations

import asyncio
import io
import json
import socket

import pytest

from services.notices import SocketNotices, StreamNotices


class _Stream(io.StringIO):
    """A text stream that counts how often it is written to."""

    writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


def test_events_of_one_turn_are_written_in_one_piece_and_none_is_lost_at_the_end() -> None:
    """A service alone tells in order what happened, up to what it says before it ends."""
    stream = _Stream()

    async def tell() -> None:
        notices = StreamNotices(stream)
        notices.ready()
        notices.event("accepted", id="1")
        await asyncio.sleep(0)
        assert stream.writes == 1
        notices.event("delivered", id="1")

    asyncio.run(tell())
    told = [json.loads(line)["kind"] for line in stream.getvalue().splitlines()]
    assert told == ["ready", "accepted", "delivered"]


def test_an_event_that_is_too_large_is_the_only_one_lost(caplog: pytest.LogCaptureFixture) -> None:
    """What no datagram holds is passed over with a line in the log; what came before and after it arrives."""

    async def tell(sock: socket.socket) -> None:
        notices = SocketNotices(sock)
        notices.event("accepted", id="1")
        notices.event("accepted", id="2", recipients=["x" * 1000] * 1000)
        notices.event("delivered", id="1")

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        asyncio.run(tell(theirs))
        told = [json.loads(ours.recv(1 << 16)) for _ in range(2)]
    assert [event["kind"] for event in told] == ["accepted", "delivered"]
    assert "too large" in caplog.text
