"""How services tell what happened."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from services.notices import SocketNotices


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
