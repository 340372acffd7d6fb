"""TCP connections of the event loop that cost little to open: most carry one message and end.

Theory of operation. asyncio's own transports are made for connections that stay: each takes a task, several
turns of the loop and a dozen of objects before its first octet. Here a connection is its socket and two
callbacks. Its other end, the `End`, hears what it would hear from a transport:

    received, eof_received              octets have come, or no more will
    pause_writing, resume_writing       what was written is not taken, or is again
    connection_lost                     once, when it is closed, whoever closed it

For TLS `detach` gives the socket away, and asyncio goes on with it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any, Protocol

from services.smtp.receiving import BUFFER

log = logging.getLogger(__name__)

_UNTAKEN = 65536  # octets that were written and not taken, from which on the end is told to pause
_BACKLOG = 1024
_NO_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_RETRY_S = 1.0


class End(Protocol):
    """What is told of a connection."""

    def received(self, data: bytes) -> None:
        """Octets have come."""

    def eof_received(self) -> bool | None:
        """The other side has said all; return whether to keep the connection for what it may still hear."""

    def pause_writing(self) -> None:
        """The other side takes less than is written to it."""

    def resume_writing(self) -> None:
        """It has taken all."""

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed; `error` if it broke."""


class _Nobody:
    """The end of a connection that nobody has taken."""

    def received(self, data: bytes) -> None:
        pass

    def eof_received(self) -> bool | None:
        return False

    def pause_writing(self) -> None:
        pass

    def resume_writing(self) -> None:
        pass

    def connection_lost(self, error: Exception | None) -> None:
        pass


_NOBODY = _Nobody()


class Wire:
    """A connection over a socket that does not block."""

    __slots__ = ("_closing", "_end", "_fd", "_held_up", "_loop", "_paused", "_socket", "_unsent", "peer")

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, peer: str) -> None:
        """`peer` is the address of the other side. Nothing is read before `begin`."""
        self.peer = peer
        self._loop = loop
        self._socket = sock
        self._fd = sock.fileno()
        self._end: End = _NOBODY
        self._unsent = b""
        self._closing = False
        self._paused = True
        self._held_up = False  # The end has been told to pause.

    def begin(self, end: End) -> None:
        """Read from now on, and tell `end`."""
        self._end = end
        self.resume_reading()

    @property
    def local(self) -> str:
        """The address of this side."""
        return str(self._socket.getsockname()[0])

    def is_closing(self) -> bool:
        """It is closed, or will be when what was written has gone."""
        return self._closing

    def write(self, data: bytes) -> None:
        """Send octets, as soon as the other side takes them."""
        if self._closing:
            return
        if not self._unsent:
            try:
                sent = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._lose(error)
                return
            if sent == len(data):
                return
            self._loop.add_writer(self._fd, self._send_rest)
            data = data[sent:]
        self._unsent += data
        if len(self._unsent) > _UNTAKEN and not self._held_up:
            self._held_up = True
            self._end.pause_writing()

    def pause_reading(self) -> None:
        """Leave what comes to the system, which will tell the other side to wait."""
        if not self._paused and not self._closing:
            self._paused = True
            self._loop.remove_reader(self._fd)

    def resume_reading(self) -> None:
        """Read again."""
        if self._paused and not self._closing:
            self._paused = False
            self._loop.add_reader(self._fd, self._read)

    def close(self) -> None:
        """Close when what was written has gone; read no more."""
        if self._closing:
            return
        if self._unsent:
            self.pause_reading()
            self._closing = True
        else:
            self._lose(None)

    def abort(self) -> None:
        """Close at once."""
        if not self._closing or self._unsent:
            self._lose(None)

    def detach(self) -> socket.socket | None:
        """Give the socket away, of which the end hears no more.

        None if it is closing, or something that was written has not gone yet: then it is closed.
        """
        if self._closing or self._unsent:
            self.abort()
            return None
        self.pause_reading()
        self._closing = True
        return self._socket

    def _read(self) -> None:
        try:
            length = self._socket.recv_into(BUFFER.view)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(error)
            return
        try:
            if length:
                self._end.received(bytes(BUFFER.view[:length]))
            elif self._end.eof_received():
                self.pause_reading()
            else:
                self.close()
        except Exception as error:
            # A mistake of ours ends this connection and no other.
            log.exception("a connection from %s", self.peer)
            self._lose(error)

    def _send_rest(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(error)
            return
        self._unsent = self._unsent[sent:]
        if self._unsent:
            return
        self._loop.remove_writer(self._fd)
        if self._closing:
            self._lose(None)
        elif self._held_up:
            self._held_up = False
            self._end.resume_writing()

    def _lose(self, error: Exception | None) -> None:
        if self._fd < 0:
            return
        self._loop.remove_reader(self._fd)
        if self._unsent:
            self._loop.remove_writer(self._fd)
        self._fd, self._unsent, self._closing = -1, b"", True
        self._socket.close()
        self._end.connection_lost(error)


def listen(address: str, port: int, made: Callable[[Wire], None]) -> list[Listener]:
    """Listen on a port of an address, or of all that a name stands for. Raises: OSError; then nowhere."""
    listeners: list[Listener] = []
    try:
        for family, place in dict.fromkeys(_places(address, port)):
            listeners.append(Listener(family, place, made))
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _places(address: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
    try:
        socket.inet_pton(socket.AF_INET, address)
    except OSError:
        found = socket.getaddrinfo(address or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return [(family, place) for family, _, _, _, place in found]
    # The usual case; the system's resolver would take memory for good.
    return [(socket.AF_INET, (address, port))]


class Listener:
    """A port of an address that is listened on: `made` is given every connection."""

    def __init__(self, family: int, place: tuple[Any, ...], made: Callable[[Wire], None]) -> None:
        """`family` and `place` are as `getaddrinfo` gives them. Raises: OSError."""
        self._loop = asyncio.get_running_loop()
        self._made = made
        self._socket = socket.create_server(place, family=family, backlog=_BACKLOG)
        self._socket.setblocking(False)
        # Every connection inherits it: a reply must not wait for the acknowledgement of the one before.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._again: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def close(self) -> None:
        """Listen no more; the connections stay."""
        if self._again:
            self._again.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _accept(self) -> None:
        # One a turn: whoever waits longer is found in the next one.
        try:
            sock, peer = self._socket.accept()
        except OSError as error:
            if error.errno in _NO_FILES:
                # Without a pause the loop would find the same again and again.
                log.error("no connection can be taken: %s", error.strerror)
                self._loop.remove_reader(self._socket.fileno())
                self._again = self._loop.call_later(_RETRY_S, self._resume)
            return
        sock.setblocking(False)
        wire = Wire(self._loop, sock, str(peer[0]))
        try:
            self._made(wire)
        except Exception:
            # A mistake of ours ends this connection and no other.
            log.exception("a connection from %s", wire.peer)
            wire.abort()

    def _resume(self) -> None:
        self._again = None
        self._loop.add_reader(self._socket.fileno(), self._accept)
