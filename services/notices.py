"""How a service tells the world that it is ready and what it did.

Theory of operation. A service calls `ready()` once, when every socket is bound, and `event()` for
each thing worth knowing (`accepted`, `relayed`, `delivered`, …). Inside a lab these travel as one JSON
object a datagram over a Unix socket that only this service has, so that the receiver knows who speaks
and need not trust what the message says. Alone on a machine they are lines of JSON on standard error.

An event must never stall a service: a receiver that is slow makes the notices wait in memory, in
order, until the socket takes them again.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import socket
import sys
from collections import deque
from typing import Protocol, TextIO

_log = logging.getLogger(__name__)


class Notices(Protocol):
    """Where a service sends what it has to say."""

    def ready(self) -> None:
        """Tell that every socket is bound: a client that connects now is served."""

    def event(self, kind: str, **fields: object) -> None:
        """Tell that `kind` happened; `fields` are JSON values (mailbed.event/1)."""


class StreamNotices:
    """Notices as lines of JSON on a text stream, for a service that runs alone."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr

    def ready(self) -> None:
        self.event("ready")

    def event(self, kind: str, **fields: object) -> None:
        print(json.dumps({"kind": kind, **fields}, ensure_ascii=False), file=self._stream, flush=True)


class SocketNotices:
    """Notices as datagrams on a Unix socket of type SOCK_SEQPACKET, which becomes non-blocking."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._waiting: deque[bytes] = deque()

    def ready(self) -> None:
        self.event("ready")

    def event(self, kind: str, **fields: object) -> None:
        self._waiting.append(json.dumps({"kind": kind, **fields}, ensure_ascii=False).encode())
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
