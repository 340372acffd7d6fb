"""The recorder's owner may be slow, gone or confused; signals become something to wait for."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from collections.abc import Iterator

import pytest

from captures.control import Owner, stop_signals


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def test_a_slow_owner_is_told_everything_in_order(ends: tuple[socket.socket, socket.socket]) -> None:
    """What the socket does not take waits, and the recorder does not."""
    control, theirs = ends
    owner = Owner(control)
    count = 0
    while not owner.behind:
        owner.tell("synced", packets=count, filling="x" * 10_000)
        count += 1
    owner.tell("stopped", packets=count)

    heard: list[int] = []
    while len(heard) <= count:
        heard.append(json.loads(theirs.recv(1 << 16))["packets"])
        owner.catch_up()
    assert heard == list(range(count + 1))
    assert not owner.behind


def test_requests_are_given_by_name(ends: tuple[socket.socket, socket.socket]) -> None:
    """What is no request gives an empty name; nothing that waits is no request at all."""
    control, theirs = ends
    owner = Owner(control)
    assert list(owner.requests()) == []
    for datagram in (b'{"op": "sync"}', b"{", b"7", b"\xff", b'{"op": "stop"}'):
        theirs.send(datagram)
    assert list(owner.requests()) == ["sync", "", "", "", "stop"]
    assert not owner.gone


def test_an_owner_that_is_gone_is_told_nothing(ends: tuple[socket.socket, socket.socket]) -> None:
    """Its last requests are still given, and nothing is kept for it."""
    control, theirs = ends
    owner = Owner(control)
    theirs.send(b'{"op": "sync"}')
    theirs.close()
    assert list(owner.requests()) == ["sync"]
    assert owner.gone
    owner.tell("synced")
    assert not owner.behind


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_makes_the_descriptor_readable(number: signal.Signals) -> None:
    """Nothing else happens, however often it comes; afterwards the handlers are those from before."""
    before = signal.getsignal(number)
    with stop_signals() as descriptor:
        assert select.select([descriptor], [], [], 0)[0] == []
        for _ in range(3):
            os.kill(os.getpid(), number)
        assert select.select([descriptor], [], [], 5)[0] == [descriptor]
    assert signal.getsignal(number) is before


def test_an_event_loop_from_before_the_fork_does_not_hear_of_a_signal(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """Its wake-up descriptor is shared with the parent, which has not been asked to stop."""
    wakeup, other = ends
    wakeup.setblocking(False)
    signal.set_wakeup_fd(wakeup.fileno())
    try:
        with stop_signals() as descriptor:
            os.kill(os.getpid(), signal.SIGTERM)
            assert select.select([descriptor, other.fileno()], [], [], 5)[0] == [descriptor]
    finally:
        assert signal.set_wakeup_fd(-1) == wakeup.fileno()
