"""How a service tells the world that it is ready and what it did, and is asked about what it holds.

Theory of operation. A service calls `ready()` once, when every socket is bound, and `event()` for
each thing worth knowing (`accepted`, `relayed`, `delivered`, …). Inside a lab these travel as one JSON
object a datagram over a Unix socket that only this service has, so that the receiver knows who speaks
and need not trust what the message says. Alone on a machine they are lines of JSON on standard error.

An event must never stall a service: a receiver that is slow makes the notices wait in memory, in
order, until the socket takes them again.

The other way, a service may be asked: it names methods and who handles them before it is ready. A question
comes as {"ask": number, "method", "params"}; its answer, {"result"} or {"error", "usage"}, goes between the
events, cut into pieces that a datagram holds: {"answer": number, "part", "last"}. Alone on a machine nobody
asks.
"""

from __future__ import annotations

import asyncio
import errno
import inspect
import json
import logging
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TextIO

from services.errors import ServiceError

_log = logging.getLogger(__name__)

_LONGEST_QUESTION = 1 << 20
_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode
_PIECE = 32 * 1024  # written as a JSON string it is at most twice as long, which every socket takes

# Takes the parameters and returns a JSON value, or an awaitable of one.
# Raises: ServiceError, or ValueError for a question that makes no sense; the message is one line.
Handler = Callable[[Mapping[str, Any]], object]


class Notices(Protocol):
    """Where a service sends what it has to say."""

    def ready(self) -> None:
        """Tell that every socket is bound: a client that connects now is served."""

    def event(self, kind: str, **fields: object) -> None:
        """Tell that `kind` happened; `fields` are JSON values (mailbed.event/1)."""

    def handle(self, method: str, handler: Handler) -> None:
        """Have questions for `method` answered by `handler` from now on; call it before `ready`."""


class StreamNotices:
    """Notices as lines of JSON on a text stream, for a service that runs alone.

    Those of one turn of the event loop are written in one piece, when the turn ends.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._lines: list[str] = []

    def ready(self) -> None:
        self.event("ready")

    def event(self, kind: str, **fields: object) -> None:
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._write)
        self._lines.append(_encode({"kind": kind, **fields}) + "\n")

    def _write(self) -> None:
        text = "".join(self._lines)
        self._lines.clear()
        self._stream.write(text)
        self._stream.flush()

    def handle(self, method: str, handler: Handler) -> None:
        """Nobody asks a service that runs alone."""


class SocketNotices:
    """Notices as datagrams on a Unix socket of type SOCK_SEQPACKET, which becomes non-blocking."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._waiting: deque[bytes] = deque()
        self._handlers: dict[str, Handler] = {}
        self._answers: set[asyncio.Task[None]] = set()

    def ready(self) -> None:
        if self._handlers:
            self.event("ready", methods=sorted(self._handlers))
        else:
            self.event("ready")

    def event(self, kind: str, **fields: object) -> None:
        self._tell({"kind": kind, **fields})

    def _tell(self, message: Mapping[str, object]) -> None:
        self._waiting.append(_encode(message).encode())
        if len(self._waiting) == 1:
            self._send()

    def _send(self) -> None:
        while self._waiting:
            try:
                self._socket.send(self._waiting[0])
            except BlockingIOError:
                asyncio.get_running_loop().add_writer(self._socket, self._resume)
                return
            except OSError as error:
                if error.errno == errno.EMSGSIZE:
                    # One that no datagram holds (a thousand recipients) must not take the others with it.
                    _log.error("an event of %d bytes is too large to be told", len(self._waiting.popleft()))
                    continue
                # Nobody listens any more: the lab is ending and this process with it.
                self._waiting.clear()
                return
            self._waiting.popleft()

    def _resume(self) -> None:
        asyncio.get_running_loop().remove_writer(self._socket)
        self._send()

    def handle(self, method: str, handler: Handler) -> None:
        if not self._handlers:
            asyncio.get_running_loop().add_reader(self._socket, self._asked)
        self._handlers[method] = handler

    def _asked(self) -> None:
        try:
            question = self._socket.recv(_LONGEST_QUESTION)
        except BlockingIOError:
            return
        except OSError:
            question = b""
        loop = asyncio.get_running_loop()
        if not question:
            loop.remove_reader(self._socket)
            return
        task = loop.create_task(self._answer(json.loads(question)))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _answer(self, question: Mapping[str, Any]) -> None:
        method = question["method"]
        answer: dict[str, object]
        try:
            handler = self._handlers.get(method)
            if handler is None:
                raise ServiceError(f"nobody here answers {method}")
            result = handler(question["params"])
            answer = {"result": await result if inspect.isawaitable(result) else result}
        except (ServiceError, ValueError) as error:
            answer = {"error": str(error), "usage": isinstance(error, ValueError)}
        except Exception as error:
            # A mistake of ours: whoever asked must hear of it, and the service must go on.
            _log.exception("answering %s", method)
            answer = {"error": f"{type(error).__name__}: {error}"}
        text = json.dumps(answer)
        for at in range(0, len(text), _PIECE):
            last = at + _PIECE >= len(text)
            self._tell({"answer": question["ask"], "part": text[at : at + _PIECE], "last": last})
