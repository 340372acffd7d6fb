"""The lab's side of the recorder: what it captures, and its answers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from socket import socket
from typing import Any

from captures.points import DROPS
from mailbed import channel
from mailbed.errors import LabError, StartFailed
from mailbed.eventlog import EventLog
from mailbed.processes import Running, Zygote
from topologies.network import Network

ANSWER_WITHIN_S = 30.0


class Recording:
    """A capture of every host's interfaces, and of what firewalls drop, into one file."""

    def __init__(self, events: EventLog) -> None:
        self._events = events
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._lock = asyncio.Lock()
        self._running: Running | None = None
        self._socket: socket | None = None

    async def start(self, zygote: Zygote, network: Network, run: Path) -> None:
        """Return when every packet from now on will be in the file. Raises: StartFailed."""
        names = {host.name: host.fqdn for host in network.plan.hosts}
        interfaces = [i for host in network.namespaces for i in network.addressing.of(host)]
        sockets = [s for namespace in network.namespaces.values() for s in namespace.packets]
        firewalls = {name: each.drops for name, each in network.namespaces.items() if each.drops}
        config = {
            "path": str(run / "network.pcapng"),
            "keylog": str(run / "tls" / "keys.log"),
            "names": {str(i.address.ip): names[i.host] for i in interfaces},
        }
        self._running, self._socket = await zygote.record(
            config,
            [*(interface.name for interface in interfaces), *(f"{host}{DROPS}" for host in firewalls)],
            [s.fileno() for s in (*sockets, *firewalls.values())],
            log=run / "lab.log",
            told=self._told,
        )
        self._running.ended.add_done_callback(self._ended)
        for one in (*sockets, *firewalls.values()):
            one.close()
        answer = await self._answer()
        if answer["kind"] != "ready":
            raise StartFailed(f"the recorder did not start: {answer.get('reason', answer['kind'])}")

    async def sync(self) -> dict[str, Any]:
        """Return `packets`, `dropped` and `bytes` once all that was on the wire until now is in the file."""
        return await self._ask("sync")

    async def stop(self) -> dict[str, Any]:
        """End the capture; return `packets`, `dropped` and the same for each of `interfaces`."""
        return await self._ask("stop")

    async def closed(self) -> None:
        """Return when the recorder, told to stop, has ended.

        It closes its rings all at once. Killed while it does, the kernel would close what is left one after
        the other, and each takes until all processors have passed a quiescent state.
        """
        if self._running is not None:
            await asyncio.wait({self._running.ended}, timeout=ANSWER_WITHIN_S)

    async def _ask(self, operation: str) -> dict[str, Any]:
        async with self._lock:
            if self._socket is None or self._running is None or not self._running.alive:
                raise LabError("the recorder has ended: this run's capture is incomplete")
            channel.send(self._socket, {"op": operation})
            return await self._answer()

    async def _answer(self) -> dict[str, Any]:
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                answer = await self._answers.get()
        except TimeoutError:
            raise LabError("the recorder does not answer") from None
        if answer["kind"] == "ended":
            # For whoever asks next, too.
            self._answers.put_nowait(answer)
            raise LabError("the recorder ended: this run's capture is incomplete")
        return answer

    def _told(self, notice: dict[str, Any]) -> None:
        if notice["kind"] in ("stalled", "resumed"):
            self._events.emit("", "recorder", f"capture-{notice.pop('kind')}", **notice)
        else:
            self._answers.put_nowait(notice)

    def _ended(self, ended: asyncio.Future[int]) -> None:
        self._answers.put_nowait({"kind": "ended"})
        if ended.result() != 0:
            self._events.emit("", "recorder", "service-ended", status=ended.result(), fault=False)
