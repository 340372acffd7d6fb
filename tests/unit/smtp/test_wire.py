"""Connections without asyncio's transports: what their ends hear, and what comes through."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from services.smtp.wire import Wire, listen

LARGE = bytes(range(256)) * 40_000


class Far:
    """The end of a wire that keeps what it hears; `answer` says what to do with octets."""

    def __init__(self, wire: Wire, answer: Callable[[Wire, bytes], None]) -> None:
        self.wire = wire
        self.said: list[str] = []
        self.got = b""
        self.keep = False
        self._answer = answer
        wire.begin(self)

    def received(self, data: bytes) -> None:
        self.got += data
        self._answer(self.wire, data)

    def eof_received(self) -> bool:
        self.said.append("eof")
        return self.keep

    def pause_writing(self) -> None:
        self.said.append("pause")

    def resume_writing(self) -> None:
        self.said.append("resume")

    def connection_lost(self, error: Exception | None) -> None:
        self.said.append(f"lost {type(error).__name__}" if error else "lost")


class World:
    """A listener on loopback, the ends of its connections, and a client for each."""

    def __init__(self, answer: Callable[[Wire, bytes], None]) -> None:
        self.ends: list[Far] = []
        self.writers: list[asyncio.StreamWriter] = []
        self._made = asyncio.Queue[Far]()
        (self.listener,) = listen("127.0.0.1", 0, lambda wire: self._made.put_nowait(Far(wire, answer)))
        self.port = self.listener._socket.getsockname()[1]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Far]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        self.ends.append(await self._made.get())
        return reader, writer, self.ends[-1]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110  (an end tells nobody)
            await asyncio.sleep(0.001)


def run(steps: Callable[[World], Coroutine[Any, Any, None]], answer: Callable[[Wire, bytes], None]) -> None:
    async def main() -> None:
        world = World(answer)
        try:
            async with asyncio.timeout(30):
                await steps(world)
        finally:
            world.listener.close()
            for end in world.ends:
                end.wire.abort()
            for writer in world.writers:
                writer.transport.abort()
            await asyncio.sleep(0.01)

    asyncio.run(main())


def echo(wire: Wire, data: bytes) -> None:
    wire.write(data)


def test_octets_come_through() -> None:
    """What is written arrives, in both directions, and nothing waits for an acknowledgement."""

    async def steps(world: World) -> None:
        reader, writer, end = await world.connect()
        assert end.wire.peer == end.wire.local == "127.0.0.1"
        sock = end.wire._socket
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not sock.getblocking()
        for text in (b"one", b"two"):
            writer.write(text)
            assert await reader.readexactly(3) == text
        writer.close()
        await until(lambda: "lost" in end.said)
        assert end.said == ["eof", "lost"]
        assert sock.fileno() < 0

    run(steps, echo)


def test_a_client_that_takes_nothing() -> None:
    """The end is told to pause, and to go on once all has gone; nothing is lost or out of order."""

    async def steps(world: World) -> None:
        reader, _, end = await world.connect()
        end.wire.write(LARGE)
        end.wire.write(b"and more")
        assert end.said == ["pause"]
        end.wire.pause_reading()
        assert await reader.readexactly(len(LARGE) + 8) == LARGE + b"and more"
        await until(lambda: len(end.said) == 2)
        assert end.said == ["pause", "resume"]

    run(steps, echo)


@pytest.mark.parametrize("abruptly", [False, True])
def test_closing_with_something_unsent(abruptly: bool) -> None:
    """`close` lets it go first, `abort` does not wait; each is heard of once."""

    async def steps(world: World) -> None:
        reader, _, end = await world.connect()
        end.wire.write(LARGE)
        (end.wire.abort if abruptly else end.wire.close)()
        end.wire.write(b"this is too late")
        assert end.wire.is_closing()
        assert ("lost" in end.said) == abruptly
        got = await reader.read()
        assert got == LARGE if not abruptly else len(got) < len(LARGE)
        await until(lambda: "lost" in end.said)
        end.wire.abort()
        end.wire.close()
        assert end.said == ["pause", "lost"]

    run(steps, echo)


def test_a_pause_in_reading() -> None:
    """What comes meanwhile is there afterwards."""

    async def steps(world: World) -> None:
        _, writer, end = await world.connect()
        end.wire.pause_reading()
        end.wire.pause_reading()
        writer.write(b"text")
        await asyncio.sleep(0.05)
        assert end.got == b""
        end.wire.resume_reading()
        await until(lambda: end.got == b"text")

    run(steps, echo)


def test_who_has_said_all_can_be_answered() -> None:
    """The end may keep the connection beyond the other side's last octet."""

    async def steps(world: World) -> None:
        reader, writer, end = await world.connect()
        end.keep = True
        writer.write_eof()
        await until(lambda: end.said == ["eof"])
        end.wire.write(b"answer")
        end.wire.close()
        assert await reader.read() == b"answer"
        assert end.said == ["eof", "lost"]

    run(steps, echo)


def test_a_connection_that_is_reset() -> None:
    """The end hears that it broke."""

    async def steps(world: World) -> None:
        _, writer, end = await world.connect()
        end.wire._socket.send(b"never read")
        await asyncio.sleep(0.01)
        writer.transport.abort()
        await until(lambda: bool(end.said))
        assert end.said in (["lost ConnectionResetError"], ["eof", "lost"])

    run(steps, echo)


def test_a_mistake_ends_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the others go on."""

    def answer(wire: Wire, data: bytes) -> None:
        if data == b"bad":
            raise ZeroDivisionError
        wire.write(data)

    async def steps(world: World) -> None:
        reader, writer, end = await world.connect()
        bad_reader, bad_writer, bad_end = await world.connect()
        bad_writer.write(b"bad")
        assert await bad_reader.read() == b""
        assert bad_end.said == ["lost ZeroDivisionError"]
        writer.write(b"good")
        assert await reader.readexactly(4) == b"good"
        assert end.said == []

    run(steps, answer)
    assert "a connection from 127.0.0.1" in caplog.text


def test_the_socket_can_be_given_away() -> None:
    """It is open and nothing was read of it, unless something that was written is still to go."""

    async def steps(world: World) -> None:
        reader, _, end = await world.connect()
        sock = end.wire.detach()
        assert sock is not None
        end.wire.abort()
        sock.send(b"by hand")
        assert await reader.readexactly(7) == b"by hand"
        sock.close()
        assert end.said == []
        _, _, end = await world.connect()
        end.wire.write(LARGE)
        assert end.wire.detach() is None
        assert end.said == ["pause", "lost"]

    run(steps, echo)


def test_when_no_more_files_can_be_opened(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The listener leaves it at that for a moment, without a busy loop, and then takes who waits."""
    monkeypatch.setattr("services.smtp.wire._RETRY_S", 0.05)
    tried = 0

    def full(_: socket.socket) -> tuple[socket.socket, Any]:
        nonlocal tried
        tried += 1
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def steps(world: World) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, "accept", full)
            reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
            world.writers.append(writer)
            await asyncio.sleep(0.2)
        assert 1 <= tried <= 5
        writer.write(b"still there")
        assert await reader.readexactly(11) == b"still there"

    run(steps, echo)
    assert "Too many open files" in caplog.text


def test_a_mistake_before_the_connection_begins(caplog: pytest.LogCaptureFixture) -> None:
    """One that is not taken is closed and forgotten; the next one, with the same number, is heard."""
    taken: list[Far] = []

    def made(wire: Wire) -> None:
        end = Far(wire, echo)
        if not taken:
            taken.append(end)
            raise ZeroDivisionError
        taken.append(end)

    async def main() -> None:
        (listener,) = listen("127.0.0.1", 0, made)
        port = listener._socket.getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"text")
        assert await asyncio.wait_for(reader.readexactly(4), 5) == b"text"
        listener.close()
        taken[1].wire.abort()
        writer.close()
        await asyncio.sleep(0.01)

    asyncio.run(main())
    assert taken[0].said == ["lost"]
    assert "ZeroDivisionError" in caplog.text


def test_all_that_a_name_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port is listened on at each address once; where one cannot be had, nowhere."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in ("127.0.0.1", "127.0.0.2")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [*found, found[0]])

    async def main() -> None:
        listeners = listen("some.name", 0, lambda _: None)
        assert [each._socket.getsockname()[0] for each in listeners] == ["127.0.0.1", "127.0.0.2"]
        for each in listeners:
            each.close()
        found.append((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0)))
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(OSError, match="assign requested address"):
            listen("some.name", 0, lambda _: None)
        assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(main())
