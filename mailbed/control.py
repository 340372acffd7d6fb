"""The lab's control socket: who may speak, and how lines become calls.

Theory of operation. The socket is abstract, made by the owner before the sandbox is entered: reachable from
outside the lab's network, and gone with the last process that holds it, so that nothing is left behind and
a name in use is a name that cannot be bound. Who connects is asked for by the kernel: only the lab's own
user may.

Each line is answered by a task of its own, so that a call that takes long (waiting for a message, a program
on a host) holds up nobody. When a client goes away, its tasks are cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from mailbed import rpc
from mailbed.errors import MailbedError

_LONGEST_LINE = 1 << 20
_MOST_UNSENT = 1 << 24

Method = Callable[["Call"], Awaitable[object]]


class Call:
    """One request: its parameters, the descriptors that came with it, and its connection."""

    def __init__(self, connection: Connection, params: Mapping[str, Any]) -> None:
        self.connection = connection
        self.params = params
        self.reply_fds: list[int] = []
        """Descriptors to send with the response; they are closed then."""

    def take_fds(self, count: int) -> list[int]:
        """Return the connection's next `count` descriptors; the caller closes them. Raises: ValueError."""
        waiting = self.connection.fds
        if len(waiting) < count:
            raise ValueError(f"{count} file descriptors are needed")
        return [waiting.popleft() for _ in range(count)]

    def text(self, name: str, default: str | None = None) -> str:
        """Return a parameter that is a text. Raises: ValueError."""
        value = self.params.get(name, default)
        if not isinstance(value, str):
            raise ValueError(f"{name} is missing or no text")
        return value

    def texts(self, name: str) -> list[str]:
        """Return a parameter that is a list of texts. Raises: ValueError."""
        value = self.params.get(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ValueError(f"{name} is missing or no list of texts")
        return value

    def number(self, name: str, default: float) -> float:
        """Return a parameter that is a number. Raises: ValueError."""
        value = self.params.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} is no number")
        return value


class Server:
    """Accepts connections on a listening socket and answers with `methods`."""

    def __init__(self, listener: socket.socket, methods: Mapping[str, Method]) -> None:
        listener.setblocking(False)
        self._listener = listener
        self.methods = methods
        self._connections: set[Connection] = set()
        asyncio.get_running_loop().add_reader(listener, self._accept)

    def close(self) -> None:
        """Stop listening and send what is still unsent, as far as it goes at once."""
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        for connection in list(self._connections):
            connection.close()

    def forget(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            sock, _ = self._listener.accept()
            credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            _, uid, _ = struct.unpack("3i", credentials)
            if uid != os.getuid():
                sock.close()
                return
            self._connections.add(Connection(sock, self))


class Connection:
    """One client. `fds` are the descriptors that came and that no call has taken yet."""

    def __init__(self, sock: socket.socket, server: Server) -> None:
        sock.setblocking(False)
        self.fds: deque[int] = deque()
        self.on_close: list[Callable[[], None]] = []
        self._socket = sock
        self._server = server
        self._input = bytearray()
        self._output: deque[tuple[bytes, list[int]]] = deque()
        self._unsent = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._read)

    def notify(self, method: str, params: Mapping[str, Any]) -> None:
        """Send a notification; a client that does not read for long is cut off."""
        self.send(rpc.notification(method, params))

    def send(self, line: bytes, fds: list[int] | None = None) -> None:
        self._output.append((line, fds or []))
        if self._socket.fileno() < 0 or self._unsent > _MOST_UNSENT:
            self.close()
            return
        self._unsent += len(line)
        if len(self._output) == 1:
            self._write()

    def close(self) -> None:
        for _, fds in self._output:
            for fd in fds:
                os.close(fd)
        self._output.clear()
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        for fd in self.fds:
            os.close(fd)
        self.fds.clear()
        for task in self._tasks:
            task.cancel()
        for callback in self.on_close:
            callback()
        self._server.forget(self)

    def _read(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, 65536, 32)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        self.fds.extend(fds)
        if not data:
            self.close()
            return
        self._input += data
        *lines, rest = self._input.split(b"\n")
        self._input = bytearray(rest)
        for line in lines:
            task = self._loop.create_task(self._answer(bytes(line)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if len(self._input) > _LONGEST_LINE:
            self.close()

    async def _answer(self, line: bytes) -> None:
        try:
            message = rpc.parse(line)
        except ValueError as error:
            self.send(rpc.error(None, rpc.PARSE_ERROR, str(error)))
            return
        number, params = message.get("id"), message.get("params", {})
        method = self._server.methods.get(str(message.get("method")))
        if method is None or not isinstance(params, dict):
            self.send(rpc.error(number, rpc.METHOD_NOT_FOUND, f"no method {message.get('method')}"))
            return
        call = Call(self, params)
        try:
            value = await method(call)
        except MailbedError as error:
            self.send(rpc.error(number, rpc.APPLICATION_ERROR, str(error), type(error).__name__))
        except ValueError as error:
            self.send(rpc.error(number, rpc.INVALID_PARAMS, str(error), "UsageError"))
        except Exception as error:
            # Whatever it is, the client must hear of it and the lab must go on; the log has the rest.
            self._loop.call_exception_handler({"message": f"{message['method']} failed", "exception": error})
            self.send(rpc.error(number, rpc.INTERNAL_ERROR, f"{type(error).__name__}: {error}"))
        else:
            self.send(rpc.result(number, value), call.reply_fds)

    def _write(self) -> None:
        while self._output:
            line, fds = self._output[0]
            try:
                sent = socket.send_fds(self._socket, [line], fds) if fds else self._socket.send(line)
            except BlockingIOError:
                self._loop.add_writer(self._socket, self._write)
                return
            except OSError:
                self.close()
                return
            for fd in fds:
                os.close(fd)
            self._unsent -= sent
            if sent < len(line):
                self._output[0] = (line[sent:], [])
            else:
                self._output.popleft()
        self._loop.remove_writer(self._socket)
