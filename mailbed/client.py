"""A client of a lab's control socket, for threads that may block."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from mailbed import rpc, sandbox
from mailbed.errors import LabEnded, NotRunning, UsageError


class Client:
    """One connection. Calls are answered in turn; use a client of your own for each thread."""

    def __init__(self, name: str) -> None:
        """Connect to the lab called `name`. Raises: NotRunning."""
        self.name = name
        self._numbers = itertools.count(1)
        self._input = b""
        self._events: deque[dict[str, Any]] = deque()
        self._fds: deque[int] = deque()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(sandbox.address(name))
        except OSError:
            self._socket.close()
            raise NotRunning(f"no lab called {name} is running; start one with `mailbed up`") from None

    def close(self) -> None:
        """End the connection; a thread that waits for an answer gets LabEnded."""
        with contextlib.suppress(OSError):
            # Closing alone would not wake it.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        while self._fds:
            os.close(self._fds.popleft())

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def call(self, method: str, fds: Sequence[int] = (), **params: object) -> Any:
        """Return a method's result. Raises: LabEnded, or what the method raised (mailbed.errors)."""
        return self.response(self.post(method, fds, **params))

    def response(self, number: int) -> Any:
        """Return the result of a request that was posted. Raises: as `call`."""
        while True:
            message = self._next()
            if message.get("id") == number:
                if "error" in message:
                    raise rpc.exception(message["error"])
                return message["result"]
            if message.get("method") == "event":
                self._events.append(message["params"])

    def post(self, method: str, fds: Sequence[int] = (), **params: object) -> int:
        """Send a request without waiting for its response; return its number."""
        number = next(self._numbers)
        line = rpc.request(number, method, {key: value for key, value in params.items() if value is not None})
        try:
            if fds:
                sent = socket.send_fds(self._socket, [line], list(fds))
                line = line[sent:]
            self._socket.sendall(line)
        except OSError as error:
            raise self._ended() from error
        return number

    def take_fd(self) -> int:
        """Return a descriptor that came with a response; the caller closes it."""
        return self._fds.popleft()

    def events(self, timeout_s: float | None = None) -> Iterator[dict[str, Any]]:
        """Yield events as they come, until the lab ends or none comes for so long; subscribe first."""
        self._socket.settimeout(timeout_s)
        try:
            while True:
                while self._events:
                    yield self._events.popleft()
                message = self._next()
                if message.get("method") == "event":
                    yield message["params"]
        except (LabEnded, TimeoutError):
            return
        finally:
            # Another thread may have closed it.
            with contextlib.suppress(OSError):
                self._socket.settimeout(None)

    def _next(self) -> dict[str, Any]:
        while b"\n" not in self._input:
            try:
                data, fds, _, _ = socket.recv_fds(self._socket, 65536, 32)
            except TimeoutError:
                raise
            except OSError as error:
                raise self._ended() from error
            if not data:
                raise self._ended()
            self._fds.extend(fds)
            self._input += data
        line, _, self._input = self._input.partition(b"\n")
        return rpc.parse(line)

    def _ended(self) -> LabEnded:
        return LabEnded(f"the lab {self.name} ended before it answered")


def only_one() -> str:
    """Return the name of the only running lab. Raises: NotRunning, UsageError if there are several."""
    names = sandbox.running()
    if not names:
        raise NotRunning("no lab is running; start one with `mailbed up`")
    if len(names) > 1:
        raise UsageError(f"several labs are running ({', '.join(names)}): say which with --lab")
    return names[0]
