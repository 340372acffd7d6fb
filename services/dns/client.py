"""The edge of a resolver: sends one query and waits for its reply.

Theory of operation. Each query by UDP has a socket of its own, on a random port, connected to the server, so
that the kernel drops what others send and reports ICMP errors at once (a closed port, no route) instead of at
the time-out. What comes from the right place and is not the reply is dropped, and the reply waited for.

What can wait is done while a query is on its way: its time-out is set when it has been sent, and the socket
of the one before is closed after that. Some sockets are opened in advance, when nothing is awaited.

`Exchange` tells the result to a callback in the very turn of the loop in which it came: a resolution goes on
from there to the next server. `exchange` is the same for those who await. The sockets of one `Sockets` are
watched by an epoll of their own, which is a single file to the loop: to add a file to the loop and to remove
it costs as much as all system calls of a query together.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import select
import socket
from collections.abc import Callable

from services.dns.asking import Ask, Failure

_LARGEST = 65535
_TURNS = 3
_SPARE = 4  # a look-up from the roots takes three
_PORTS = range(1024, 65536)
_chance = random.SystemRandom()  # ports are for strangers not to guess: a run does not repeat them

Told = Callable[[bytes | Failure], object]


class Sockets:
    """The sockets on which replies are awaited in the running loop, until `close`; `spare` are kept ready."""

    def __init__(self, *, spare: int = _SPARE) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._receivers: dict[int, Callable[[], None]] = {}
        self._spare: dict[int, socket.socket] = {}
        self._spares = spare
        self._loop.add_reader(self._epoll.fileno(), self._ready)

    def take(self, receive: Callable[[], None]) -> socket.socket:
        """Return a socket on a port of its own; `receive` is called whenever something has come."""
        udp = self._spare.popitem()[1] if self._spare else self._open()
        self._receivers[udp.fileno()] = receive
        return udp

    def end(self, udp: socket.socket) -> None:
        """Close a socket that was taken."""
        self._receivers.pop(udp.fileno(), None)
        udp.close()

    def close(self) -> None:
        """Watch nothing any more."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        for udp in self._spare.values():
            udp.close()
        self._spare.clear()

    def _ready(self) -> None:
        # What was received makes queries be sent, and the replies to those are often there by now.
        for _ in range(_TURNS):
            come = self._epoll.poll(0)
            for number, _ in come:
                receive = self._receivers.get(number)
                if receive is not None:
                    receive()
                elif number in self._spare:
                    # Nobody was asked from there.
                    self._spare.pop(number).close()
            if not come or not self._receivers:
                break
        if not self._receivers:
            # Where no more files may be open, the next query says so.
            with contextlib.suppress(OSError):
                self._save()

    def _save(self) -> None:
        while len(self._spare) < self._spares:
            udp = self._open()
            self._spare[udp.fileno()] = udp

    def _open(self) -> socket.socket:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            udp.bind(("", _chance.choice(_PORTS)))
        except OSError:
            # Somebody has that port; the kernel's choice is random as well.
            udp.bind(("", 0))
        self._epoll.register(udp.fileno(), select.EPOLLIN)
        return udp


class Exchange:
    """A query on its way: `done` is called once with the reply or why there is none, never from here."""

    def __init__(self, ask: Ask, port: int, sockets: Sockets, done: Told) -> None:
        self._ask = ask
        self._server = (ask.address, port)
        self._sockets = sockets
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._udp: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._dropped: Failure | None = None
        if ask.stream:
            self._task = self._loop.create_task(self._by_tcp(port))
        else:
            try:
                self._send()
            except OSError:
                # Whatever goes wrong, here or on the way, another server or another time may do better.
                self._loop.call_soon(self._finish, Failure.UNREACHABLE)
        self._timer = self._loop.call_later(ask.timeout_s, self._expire)

    def cancel(self) -> None:
        """Wait no longer; nobody is told."""
        self._timer.cancel()
        if self._udp is not None:
            self._sockets.end(self._udp)
            self._udp = None
        if self._task is not None:
            self._task.cancel()

    def _send(self) -> None:
        udp = self._udp = self._sockets.take(self._receive)
        udp.connect(self._server)
        udp.send(self._ask.packet)

    def _receive(self) -> None:
        assert self._udp is not None  # noqa: S101  (it is watched as long as it is there)
        try:
            reply, sender = self._udp.recvfrom(_LARGEST)
        except BlockingIOError:
            return
        except OSError:
            self._finish(Failure.UNREACHABLE)
            return
        if sender != self._server:
            # It came before the socket was connected.
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
        try:
            self._done(result)
        finally:
            self.cancel()


async def exchange(ask: Ask, port: int) -> bytes | Failure:
    """Return the reply to the query, or why there is none; waits at most its time-out."""
    future: asyncio.Future[bytes | Failure] = asyncio.get_running_loop().create_future()
    sockets = Sockets(spare=0)
    sent = Exchange(ask, port, sockets, future.set_result)
    try:
        return await future
    finally:
        sent.cancel()
        sockets.close()


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
