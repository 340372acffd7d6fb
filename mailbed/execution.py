"""Programs that people run on a host: `mailbed exec`, and `Lab.exec`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator, Mapping

from mailbed.control import Call, Connection
from mailbed.errors import UsageError
from mailbed.processes import Running, Zygote
from topologies.namespaces import Namespace


class Executions:
    """What runs on the hosts besides services. A program ends with the client that started it."""

    def __init__(self, zygote: Zygote, hosts: Mapping[str, Namespace]) -> None:
        self._zygote = zygote
        self._hosts = hosts
        self._active: dict[tuple[Connection, str], Running] = {}

    async def run(self, call: Call, streams: list[int]) -> dict[str, int]:
        """Run the call's `argv` and return its exit `status` (negative: the signal that ended it)."""
        try:
            host, argv = call.text("host"), call.texts("argv")
            namespace = self._hosts.get(host)
            if namespace is None:
                raise UsageError(f"there is no host {host}")
            if not argv:
                raise UsageError("there is no command to run")
            environment = call.params.get("env", {})
            running = await self._zygote.execute(
                argv,
                env={str(key): str(value) for key, value in environment.items()},
                cwd=call.text("cwd", "/"),
                namespaces=(namespace.net, namespace.uts, namespace.mnt),
                streams=streams,
            )
        finally:
            for fd in streams:
                os.close(fd)
        key = (call.connection, call.text("token", ""))
        self._active[key] = running
        try:
            return {"status": await asyncio.shield(running.ended)}
        finally:
            # Also when the client has gone away, which cancels this task.
            running.kill()
            self._active.pop(key, None)

    def signal(self, connection: Connection, token: str, number: int) -> None:
        """Pass a signal on to a program. One that has just ended gets none."""
        found = self._active.get((connection, token))
        if found is not None:
            found.kill(number)

    def kill_on(self, host: str) -> None:
        """Kill everything that runs on a host, also what a program left behind there."""
        network = os.fstat(self._hosts[host].net).st_ino
        # Again until nobody is found: who forks just then has a child that the first look did not see.
        while pids := [pid for pid in _pids() if _network_of(pid) == network]:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _network_of(pid: int) -> int | None:
    """The network namespace that a process is in, if it still runs."""
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:
        return None
