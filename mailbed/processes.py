"""The supervisor's side of the zygote: what runs where, and what becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mailbed import channel
from mailbed.asking import Line, Told
from mailbed.errors import LabEnded


@dataclass(slots=True, kw_only=True)
class Running:
    """A process that the zygote forked; `ended` becomes its exit status (negative: a signal ended it).

    A service has a `line`, on which it may be asked something.
    """

    pid: int
    ended: asyncio.Future[int]
    line: Line | None = None

    @property
    def alive(self) -> bool:
        return not self.ended.done()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the process and to all it started (each is a process group of its own)."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def kill_rest(self) -> None:
        """Kill what the process left behind when it ended; call it when that becomes known, not later."""
        # As long as anybody is left in its group, its number is not given to another process.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


@dataclass(slots=True)
class _Listening:
    """A socket that is read whenever something is there."""

    sock: socket.socket
    told: Told = field(repr=False)

    def read(self) -> None:
        try:
            received = channel.receive(self.sock)
        except BlockingIOError:
            return
        except OSError:
            received = None
        if received is None:
            asyncio.get_running_loop().remove_reader(self.sock)
            self.sock.close()
            return
        self.told(received[0])


def listen(sock: socket.socket, told: Told) -> None:
    """Call `told` with each object that arrives, until the other end closes."""
    sock.setblocking(False)
    asyncio.get_running_loop().add_reader(sock, _Listening(sock, told).read)


class Zygote:
    """Asks the zygote to fork, and learns from it what has ended."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._count = 0
        self._asked: dict[int, asyncio.Future[Running]] = {}
        self._running: dict[int, Running] = {}
        self.warm: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        listen(sock, self._told)

    def prepare(self, modules: Iterable[str]) -> None:
        """Have modules imported before anything is forked from now on; it is not waited for."""
        channel.send(self._socket, {"op": "import", "modules": sorted(modules)})

    async def serve(
        self, *, name: str, module: str, config: Path, log: Path, namespaces: Sequence[int], told: Told
    ) -> Running:
        """Run a service in a host's namespaces; `told` gets its notices."""
        ours, theirs = channel.pair()
        request = {"op": "serve", "name": name, "module": module, "config": str(config), "log": str(log)}
        running = await self._fork(request, [*namespaces, theirs.fileno()], theirs)
        running.line = Line(ours, told)
        return running

    async def execute(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        namespaces: Sequence[int],
        streams: Sequence[int],
    ) -> Running:
        """Run a program in a host's namespaces with the given standard input, output and error."""
        request = {"op": "exec", "name": argv[0], "argv": list(argv), "env": dict(env), "cwd": cwd}
        return await self._fork(request, [*namespaces, *streams])

    async def record(
        self,
        config: Mapping[str, Any],
        interfaces: Sequence[str],
        sockets: Sequence[int],
        *,
        log: Path,
        told: Told,
    ) -> tuple[Running, socket.socket]:
        """Run the recorder; return it with the socket that takes its orders."""
        ours, theirs = channel.pair()
        request = {
            "op": "record",
            "name": "mailbed-record",
            "config": dict(config),
            "interfaces": list(interfaces),
            "log": str(log),
        }
        running = await self._fork(request, [theirs.fileno(), *sockets], theirs)
        listen(ours, told)
        return running, ours

    async def _fork(
        self, request: dict[str, Any], fds: Sequence[int], close: socket.socket | None = None
    ) -> Running:
        self._count += 1
        future: asyncio.Future[Running] = asyncio.get_running_loop().create_future()
        self._asked[self._count] = future
        self._socket.setblocking(True)
        try:
            channel.send(self._socket, {**request, "id": self._count}, fds)
        except OSError as error:
            raise LabEnded(f"the zygote is gone: {error.strerror}") from error
        finally:
            self._socket.setblocking(False)
            if close is not None:
                close.close()
        return await future

    def _told(self, message: dict[str, Any]) -> None:
        if "warm" in message:
            self.warm.set_result(None)
        elif "pid" in message:
            ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            running = self._running[message["pid"]] = Running(pid=message["pid"], ended=ended)
            asked = self._asked.pop(message["id"])
            if not asked.done():
                asked.set_result(running)
        elif "ended" in message:
            dead = self._running.pop(message["ended"], None)
            if dead is not None:
                dead.ended.set_result(message["status"])


def memory_kib(pid: int) -> int | None:
    """Return a process' proportional share of memory (PSS), if it is still there."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass
    return None
