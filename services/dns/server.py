"""The edge of a name server: UDP and TCP sockets around a function that answers messages.

Theory of operation. UDP: when a socket turns readable, up to 64 datagrams are taken and answered before
the event loop runs again (see `batches`). A reply must come from the address that was asked, or the client
drops it. A socket bound to one address sees to that by itself; one bound to 0.0.0.0 on a host with several
addresses does not, so there the kernel tells for each datagram which address it came to, and is told the
same for the reply.

TCP: messages with a length in front, several on a connection and answered as they get ready (RFC 7766),
until the client closes or is idle for too long. A transfer has many messages: each is made when the one
before it is on its way.

Datagrams that cannot be sent are dropped: the client asks again.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import TypeAlias

from services.dns.batches import Batches
from services.errors import ServiceError

Reply: TypeAlias = bytes | None
# What depends on who asks: takes the client's address; by TCP the reply may have several messages.
ByClient: TypeAlias = Callable[[str], "Reply | Coming | Iterator[bytes]"]
# Takes a message and whether it came by TCP; gives the reply, None for silence, or one of the above.
Respond: TypeAlias = Callable[[bytes, bool], "Reply | Coming | ByClient"]

_BUFFER = 4 * 1024 * 1024
_MAX_CONNECTIONS = 256
_IDLE_S = 10.0


class Coming:
    """A reply to come. It is passed on in the very turn of the loop in which it is given, which a Future's
    is not."""

    __slots__ = ("_send",)

    def __init__(self) -> None:
        self._send: Callable[[Reply], None] | None = None

    def then(self, send: Callable[[Reply], None]) -> None:
        """Let the reply go to `send`."""
        self._send = send

    def give(self, reply: Reply) -> None:
        """Pass the reply on to who waits for it."""
        if self._send is not None:
            self._send(reply)


class Listener:
    """An async context manager: within it, every address is served on UDP and TCP.

    Port 0 takes a free one, which `port` then tells. Entering raises ServiceError if a port is taken or
    forbidden.
    """

    def __init__(
        self, addresses: Sequence[str], port: int, respond: Respond, *, idle_s: float = _IDLE_S
    ) -> None:
        self._addresses = addresses
        self.port = port
        self._respond = respond
        self._idle_s = idle_s
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._connections: set[_Connection] = set()

    async def __aenter__(self) -> Listener:
        try:
            for address in self._addresses:
                udp, tcp = _bind_pair(address, self.port)
                self.port = udp.getsockname()[1]
                self._sockets.append(udp)
                self._read_datagrams(address, udp)
                self._servers.append(await self._accept(tcp))
        except BaseException:
            self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _read_datagrams(self, address: str, udp: socket.socket) -> None:
        batches = Batches(udp, self._respond, _finish, destinations=address == "0.0.0.0")
        asyncio.get_running_loop().add_reader(udp, batches.exchange)

    async def _accept(self, tcp: socket.socket) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        return await loop.create_server(
            lambda: _Connection(self._respond, self._connections, self._idle_s), sock=tcp, backlog=128
        )

    def _close(self) -> None:
        loop = asyncio.get_running_loop()
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.abort()
        for udp in self._sockets:
            loop.remove_reader(udp)
            udp.close()


def _bind_pair(address: str, port: int) -> tuple[socket.socket, socket.socket]:
    """Return a UDP and a TCP socket bound to one address and port."""
    tries = 1 if port else 20
    for left in reversed(range(tries)):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            udp.setblocking(False)
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            udp.bind((address, port))
            tcp.setblocking(False)
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((address, udp.getsockname()[1]))
        except OSError as error:
            udp.close()
            tcp.close()
            # The port that UDP got by chance may be somebody's on TCP: then try another.
            if not left:
                raise ServiceError(f"cannot listen on {address} port {port}: {error.strerror}") from error
        else:
            return udp, tcp
    raise AssertionError("the last try returns or raises")


def _finish(reply: Coming | ByClient, client: str, send: Callable[[bytes], None]) -> None:
    found = reply(client) if callable(reply) else reply
    if isinstance(found, bytes):
        send(found)
    elif isinstance(found, Coming):
        found.then(partial(_send_if_any, send))


def _send_if_any(send: Callable[[bytes], None], reply: Reply) -> None:
    if reply is not None:
        send(reply)


class _Connection(asyncio.Protocol):
    """One client on TCP (RFC 7766)."""

    def __init__(self, respond: Respond, connections: set[_Connection], idle_s: float) -> None:
        self._respond = respond
        self._connections = connections
        self._idle_s = idle_s
        self._buffer = bytearray()
        self._waiting = 0
        self._sending: deque[Iterator[bytes]] = deque()
        self._soon: asyncio.Handle | None = None
        self._paused = False
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 -- a server of streams makes no others
        self._transport = transport
        self._connections.add(self)
        if len(self._connections) > _MAX_CONNECTIONS:
            transport.abort()
        else:
            self._restart_timer()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio's signature
        self._transport = None
        self._sending.clear()
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        at = 0
        while len(self._buffer) >= at + 2:
            end = at + 2 + int.from_bytes(self._buffer[at : at + 2], "big")
            if len(self._buffer) < end:
                break
            self._answer(bytes(self._buffer[at + 2 : end]))
            at = end
        del self._buffer[:at]
        self._restart_timer()

    def _answer(self, packet: bytes) -> None:
        reply = self._respond(packet, True)
        found = reply(self._client()) if callable(reply) else reply
        if found is None or isinstance(found, bytes):
            self._send(found)
            return
        self._waiting += 1
        if isinstance(found, Coming):
            found.then(self._answered)
            return
        self._sending.append(found)
        self._send_soon()

    def _client(self) -> str:
        return str(self._transport.get_extra_info("peername")[0]) if self._transport is not None else ""

    def _send_soon(self) -> None:
        """Go on with a transfer when others have had their turn."""
        if self._sending and not self._paused and self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self._send_next)

    def _send_next(self) -> None:
        """Send the next message of the first transfer."""
        self._soon = None
        if self._transport is None or self._paused:
            return
        following = next(self._sending[0], None)
        if following is None:
            self._sending.popleft()
            self._waiting -= 1
        else:
            self._send(following)
        self._restart_timer()
        self._send_soon()

    def _answered(self, reply: Reply) -> None:
        self._waiting -= 1
        self._send(reply)
        self._restart_timer()

    def _send(self, reply: Reply) -> None:
        if self._transport is not None and reply is not None:
            self._transport.write(len(reply).to_bytes(2, "big") + reply)

    def pause_writing(self) -> None:
        """A client that asks and does not read is not asked for more."""
        self._paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused = False
        if self._transport is not None:
            self._transport.resume_reading()
            self._restart_timer()
            self._send_soon()

    def _restart_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._timer = asyncio.get_running_loop().call_later(self._idle_s, self._idle)

    def _idle(self) -> None:
        if self._waiting and not self._paused:
            self._restart_timer()
        else:
            self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
