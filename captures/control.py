"""What makes the recorder act: its owner's requests, and signals.

Theory of operation. The owner holds the other end of a Unix socket of type SOCK_SEQPACKET and sends one JSON
object a datagram. It may be slow, so what it is told waits in memory; it may be gone, which the recorder
takes for a wish to stop. What it sends is not trusted to make sense.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Iterator
from types import FrameType
from typing import Final

_LONGEST_REQUEST: Final = 1 << 16


class Owner:
    """The owner, spoken to over `control`, which becomes non-blocking and stays open."""

    def __init__(self, control: socket.socket) -> None:
        control.setblocking(False)
        self.gone = False
        """The owner has closed its end; it asks for nothing more."""
        self._socket = control
        self._waiting: deque[bytes] = deque()

    def fileno(self) -> int:
        """Return the descriptor, which is readable while a request waits and when the owner has gone."""
        return self._socket.fileno()

    @property
    def behind(self) -> bool:
        """Whether something that the owner was told still waits here: `catch_up` again later."""
        return bool(self._waiting)

    def tell(self, kind: str, **fields: object) -> None:
        """Send an object with these fields, or keep it until the owner takes it."""
        self._waiting.append(json.dumps({"kind": kind, **fields}).encode())
        self.catch_up()

    def catch_up(self) -> None:
        """Send what waits, as far as the owner takes it."""
        while self._waiting:
            try:
                self._socket.send(self._waiting[0], socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError:
                self._waiting.clear()
                return
            self._waiting.popleft()

    def requests(self) -> Iterator[str]:
        """Yield the operation of each request that waits; an empty one for what is no request."""
        while not self.gone:
            try:
                datagram = self._socket.recv(_LONGEST_REQUEST)
            except BlockingIOError:
                return
            except OSError:
                datagram = b""
            if not datagram:
                self.gone = True
                return
            yield _operation(datagram)


def _operation(datagram: bytes) -> str:
    try:
        request = json.loads(datagram)
    except ValueError:
        return ""
    return str(request.get("op", "")) if isinstance(request, dict) else ""


@contextlib.contextmanager
def stop_signals() -> Iterator[int]:
    """Yield a descriptor that is readable after SIGTERM or SIGINT, which do nothing else meanwhile.

    Outside the main thread Python takes no signals: the descriptor is never readable then.
    """
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def note(_number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(write, b"\0")

    before = {}
    wakeup = -1
    if threading.current_thread() is threading.main_thread():
        # After a fork from a process with an event loop this is the parent's, which must not hear of it.
        wakeup = signal.set_wakeup_fd(-1)
        before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield read
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if before:
            signal.set_wakeup_fd(wakeup)
        os.close(read)
        os.close(write)
