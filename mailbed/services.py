"""The services of a running lab: started, ready, dead, started again."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mailbed.errors import LabError, MailbedError, StartFailed, UsageError
from mailbed.eventlog import EventLog
from mailbed.processes import Running, Zygote, memory_kib
from topologies.namespaces import Namespace

READY_WITHIN_S = 30.0


@dataclass(slots=True, kw_only=True)
class Entry:
    """One service: `state` is `starting`, `ready`, `down` (by a fault) or `dead`; `reason` why it is."""

    host: str
    role: str
    module: str
    config: Path
    log: Path
    state: str = "starting"
    reason: str = ""
    running: Running | None = None
    ready: asyncio.Event

    @property
    def key(self) -> str:
        return f"{self.host}/{self.role}"


class Services:
    """Starts services through the zygote, and turns their notices into events of the lab."""

    def __init__(
        self,
        zygote: Zygote,
        events: EventLog,
        hosts: Mapping[str, Namespace],
        entries: Sequence[Mapping[str, str]],
    ) -> None:
        """`entries` hold `host`, `role`, `module`, `config` and `log` (absolute paths)."""
        self._zygote = zygote
        self._events = events
        self._hosts = hosts
        self.entries = [
            Entry(
                host=entry["host"],
                role=entry["role"],
                module=entry["module"],
                config=Path(entry["config"]),
                log=Path(entry["log"]),
                ready=asyncio.Event(),
            )
            for entry in entries
        ]

    def of(self, host: str, role: str | None = None) -> list[Entry]:
        """Return a host's services. Raises: UsageError if it has none, or none of that role."""
        found = [entry for entry in self.entries if entry.host == host and role in (None, entry.role)]
        if not found:
            roles = ", ".join(entry.role for entry in self.entries if entry.host == host)
            what = f"the role {role}; it has {roles or 'none'}" if role else "a service"
            raise UsageError(f"host {host} has not {what}" if role else f"host {host} has no service")
        return found

    async def start_all(self) -> None:
        """Return when every service is ready. Raises: StartFailed, which names the first that is not."""
        await self.start(self.entries)

    async def start(self, entries: Sequence[Entry]) -> None:
        """Start these and return when all are ready. Raises: StartFailed."""
        for entry in entries:
            await self._spawn(entry)
        waits = [asyncio.create_task(self._until_ready(entry)) for entry in entries]
        try:
            await asyncio.gather(*waits)
        finally:
            for wait in waits:
                wait.cancel()

    async def stop(self, entries: Sequence[Entry]) -> None:
        """Kill these, as a fault does: at once, with no chance to tidy up.

        Those that have died by themselves are down from now on, too: clearing the fault starts them again.
        """
        running = [entry.running for entry in entries if entry.running is not None and entry.running.alive]
        for entry in entries:
            # Before any of them ends: then it is known why.
            entry.state = "down"
        for one in running:
            one.kill(signal.SIGKILL)
        for one in running:
            await asyncio.shield(one.ended)

    async def ask(self, host: str, role: str, method: str, params: Mapping[str, Any]) -> Any:
        """Return what the service of that role on a host answers.

        Raises: UsageError if there is none; LabError if it does not run, or cannot answer such questions.
        """
        (entry, *_) = self.of(host, role)
        line = entry.running.line if entry.running is not None and entry.running.alive else None
        if line is None or entry.state != "ready":
            raise LabError(f"{entry.key} is {entry.state}")
        if method not in line.methods:
            raise LabError(
                f"{entry.key} does not answer {method}: a program that is not Mailbed's own does its job; "
                f"ask it with its own tools (mailbed exec {host} COMMAND)"
            )
        try:
            return await line.ask(method, params)
        except MailbedError as error:
            raise type(error)(f"{entry.key}: {error}") from error

    def kill_all(self) -> None:
        """Kill every service; nobody waits for them."""
        for entry in self.entries:
            if entry.running is not None:
                entry.state = "down"
                entry.running.kill(signal.SIGKILL)

    def table(self) -> list[dict[str, Any]]:
        """Return what `mailbed ps` shows; `pss_kib` is the proportional share of memory in KiB."""
        rows: list[dict[str, Any]] = []
        for entry in self.entries:
            pid = entry.running.pid if entry.running is not None and entry.running.alive else None
            rows.append(
                {
                    "host": entry.host,
                    "role": entry.role,
                    "state": entry.state,
                    "pid": pid,
                    "pss_kib": memory_kib(pid) if pid else None,
                    "reason": entry.reason,
                }
            )
        return rows

    async def _spawn(self, entry: Entry) -> None:
        namespace = self._hosts[entry.host]
        entry.state, entry.reason = "starting", ""
        entry.ready.clear()
        entry.running = await self._zygote.serve(
            name=entry.key,
            module=entry.module,
            config=entry.config,
            log=entry.log,
            namespaces=(namespace.net, namespace.uts, namespace.mnt),
            told=partial(self._told, entry),
        )
        entry.running.ended.add_done_callback(partial(self._ended, entry, entry.running))

    async def _until_ready(self, entry: Entry) -> None:
        running = entry.running
        if running is None:
            raise LabError(f"{entry.key} was not started")
        ready = asyncio.create_task(entry.ready.wait())
        either: set[asyncio.Future[Any]] = {ready, running.ended}
        done, _ = await asyncio.wait(either, timeout=READY_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
        if ready in done:
            return
        ready.cancel()
        if running.alive:
            raise StartFailed(f"{entry.key} was not ready within {READY_WITHIN_S:g} s; see {entry.log}")
        raise StartFailed(
            f"{entry.key} did not start: {entry.reason or _last_line(entry.log)} (see {entry.log})"
        )

    def _told(self, entry: Entry, notice: dict[str, Any]) -> None:
        kind = str(notice.pop("kind", ""))
        if kind == "ready":
            entry.state = "ready"
            entry.ready.set()
        elif kind == "failed":
            entry.reason = str(notice.get("reason", ""))
        for name in ("time", "host", "role"):
            # Those are for us to say: a service cannot speak for another.
            notice.pop(name, None)
        self._events.emit(entry.host, entry.role, kind, **notice)

    def _ended(self, entry: Entry, running: Running, ended: asyncio.Future[int]) -> None:
        # A foreign server's other processes would keep its port.
        running.kill_rest()
        if entry.running is not running:
            return
        status = ended.result()
        if entry.state != "down":
            entry.state = "dead"
        self._events.emit(entry.host, entry.role, "service-ended", status=status, fault=entry.state == "down")


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "it said nothing"
