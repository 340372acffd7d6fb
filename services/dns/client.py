"""The edge of a resolver: sends one query and waits for its reply.

Theory of operation. Each query by UDP has a socket of its own, connected to the server, so that the
kernel drops what others send and reports ICMP errors at once (a closed port, no route) instead of at the
time-out. What comes from the right place and is not the reply is dropped, and the reply waited for.

`Exchange` tells the result to a callback in the very turn of the loop in which it came: a resolution goes on
from there to the next server. `exchange` is the same for those who await. The sockets of one `Sockets` are
watched by an epoll of their own, which is a single file to the loop: to add a file to the loop and to remove
it costs as much as all system calls of a query together.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable

from services.dns.asking import Ask, Failure

_LARGEST = 65535

Told = Callable[[bytes | Failure], object]


class Sockets:
    """The sockets on which replies are awaited, in the running loop, until `close`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._receivers: dict[int, Callable[[], None]] = {}
        self._loop.add_reader(self._epoll.fileno(), self._ready)

    def watch(self, udp: socket.socket, receive: Callable[[], None]) -> None:
        """Call `receive` whenever something has come."""
        self._receivers[udp.fileno()] = receive
        self._epoll.register(udp.fileno(), select.EPOLLIN)

    def end(self, udp: socket.socket) -> None:
        """Close the socket, which ends the watch as well."""
        self._receivers.pop(udp.fileno(), None)
        udp.close()

    def close(self) -> None:
        """Watch nothing any more."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _ready(self) -> None:
        for number, _ in self._epoll.poll(0):
            # What was received before may have ended this one.
            receive = self._receivers.get(number)
            if receive is not None:
                receive()


class Exchange:
    """A query on its way: `done` is called once with the reply or why there is none, never from here."""

    def __init__(self, ask: Ask, port: int, sockets: Sockets, done: Told) -> None:
        self._ask = ask
        self._sockets = sockets
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._udp: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._dropped: Failure | None = None
        self._timer = self._loop.call_later(ask.timeout_s, self._expire)
        if ask.stream:
            self._task = self._loop.create_task(self._by_tcp(port))
            return
        try:
            self._send(port)
        except OSError:
            # Whatever goes wrong, here or on the way, another server or another time may do better.
            self._loop.call_soon(self._finish, Failure.UNREACHABLE)

    def cancel(self) -> None:
        """Wait no longer; nobody is told."""
        self._timer.cancel()
        if self._udp is not None:
            self._sockets.end(self._udp)
            self._udp = None
        if self._task is not None:
            self._task.cancel()

    def _send(self, port: int) -> None:
        udp = self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.setblocking(False)
        _bind(udp, self._ask.source_port)
        udp.connect((self._ask.address, port))
        udp.send(self._ask.packet)
        self._sockets.watch(udp, self._receive)

    def _receive(self) -> None:
        assert self._udp is not None  # noqa: S101  (it is watched as long as it is there)
        try:
            reply = self._udp.recv(_LARGEST)
        except BlockingIOError:
            return
        except OSError:
            self._finish(Failure.UNREACHABLE)
            return
        verdict = self._ask.judge(reply)
        if verdict is True:
            self._finish(reply)
        elif isinstance(verdict, Failure):
            self._dropped = verdict

    async def _by_tcp(self, port: int) -> None:
        try:
            result: bytes | Failure = await _over_tcp(self._ask, port)
        except (asyncio.IncompleteReadError, OSError):
            result = Failure.UNREACHABLE
        self._task = None
        self._finish(result)

    def _expire(self) -> None:
        self._finish(self._dropped or Failure.TIMEOUT)

    def _finish(self, result: bytes | Failure) -> None:
        self.cancel()
        self._done(result)


async def exchange(ask: Ask, port: int) -> bytes | Failure:
    """Return the reply to the query, or why there is none; waits at most its time-out."""
    future: asyncio.Future[bytes | Failure] = asyncio.get_running_loop().create_future()
    sockets = Sockets()
    sent = Exchange(ask, port, sockets, future.set_result)
    try:
        return await future
    finally:
        sent.cancel()
        sockets.close()


def _bind(udp: socket.socket, source_port: int) -> None:
    try:
        udp.bind(("", source_port))
    except OSError:
        # Somebody has that port; the kernel's choice is random as well.
        udp.bind(("", 0))


async def _over_tcp(ask: Ask, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(ask.address, port, family=socket.AF_INET)
    try:
        writer.write(len(ask.packet).to_bytes(2, "big") + ask.packet)
        while True:
            length = int.from_bytes(await reader.readexactly(2), "big")
            reply = await reader.readexactly(length)
            if ask.judge(reply) is True:
                return reply
    finally:
        writer.transport.abort()
