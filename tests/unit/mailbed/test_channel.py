"""Objects and descriptors between the processes of a lab."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from mailbed import channel

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Pair]:
    """Two connected sockets."""
    one, other = channel.pair()
    with one, other:
        yield one, other


def test_messages_keep_their_boundaries(ends: Pair) -> None:
    """Each object arrives as it was sent, one at a time, in order."""
    one, other = ends
    messages: list[dict[str, Any]] = [
        {"op": "serve", "name": "Zoë"},
        {},
        {"nested": {"list": [1, None, True]}},
    ]
    for message in messages:
        channel.send(one, message)
    assert [channel.receive(other) for _ in messages] == [(message, []) for message in messages]


def test_a_large_message_fits(ends: Pair) -> None:
    """A request that names sixty interfaces and more goes through at once."""
    message = {"interfaces": ["x" * 15] * 10_000}
    channel.send(ends[0], message)
    assert channel.receive(ends[1]) == (message, [])


@pytest.mark.parametrize("count", [1, 199, 200, 201, 254, 400, 450])
def test_any_number_of_descriptors(ends: Pair, count: int) -> None:
    """Descriptors arrive in order, also more than the kernel takes at once, and do not survive an exec."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft > 2 * count + 50
    files = [os.memfd_create(f"fd{number}") for number in range(count)]
    received: list[int] = []
    try:
        for number, fd in enumerate(files):
            os.write(fd, str(number).encode())
        channel.send(ends[0], {"op": "record"}, files)
        channel.send(ends[0], {"op": "next"})
        answer = channel.receive(ends[1])
        assert answer is not None
        message, received = answer
        assert message == {"op": "record"}
        assert [os.pread(fd, 10, 0) for fd in received] == [str(number).encode() for number in range(count)]
        assert not any(os.get_inheritable(fd) for fd in received)
        assert channel.receive(ends[1]) == ({"op": "next"}, [])
    finally:
        for fd in files + received:
            os.close(fd)


def test_the_end_is_none(ends: Pair) -> None:
    """When the other end is closed, what was sent arrives, and then None."""
    one, other = ends
    channel.send(one, {"last": True})
    one.close()
    assert channel.receive(other) == ({"last": True}, [])
    assert channel.receive(other) is None
    with pytest.raises(BrokenPipeError):
        channel.send(other, {})


def test_the_end_may_come_between_descriptors(ends: Pair) -> None:
    """A sender that dies before all descriptors are there sent nothing."""
    one, other = ends
    with open(os.devnull, "rb") as file:
        socket.send_fds(one, [b'{"op": "record", "fds": 2}'], [file.fileno()])
    one.close()
    assert channel.receive(other) is None


def test_nothing_there_does_not_block(ends: Pair) -> None:
    """A socket that does not block says so when nothing is there."""
    ends[1].setblocking(False)
    with pytest.raises(BlockingIOError):
        channel.receive(ends[1])
