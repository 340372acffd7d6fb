"""The zones of a running lab: shown, and changed.

Theory of operation. A change is made to the primary's master file in the run directory
(services.dns.editing); nothing is written that a server would refuse. Then the primary gets a SIGHUP, as name
servers take it; it loads the file and sends NOTIFY, and the secondaries fetch the zone. Who has which serial
is asked of each server by DNS, on its host's loopback: so it is in no capture, and holds for whatever program
does the job.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mailbed.errors import LabError, UsageError
from mailbed.roles.built_in import zone_path
from mailbed.services import Entry, Services
from services.dns import editing, names, transfer
from services.dns.editing import Revision
from services.dns.names import Name
from services.dns.transfer import TransferFailed
from services.errors import ConfigError
from topologies import namespaces
from topologies.namespaces import Namespace
from topologies.plan import NameServer, Plan

PRIMARY_WITHIN_S = 5.0
_PORT = 53
_ASK_EVERY_S = 0.01
_ANSWERED_WITHIN_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One server of a zone: the serial that it has, or why it has none."""

    host: str
    primary: bool
    serial: int | None
    reason: str = ""


class LabZones:
    """Shows zones, and changes them one after the other."""

    def __init__(self, plan: Plan, hosts: Mapping[str, Namespace], services: Services, run: Path) -> None:
        self._plan = plan
        self._hosts = hosts
        self._services = services
        self._run = run
        self._lock = asyncio.Lock()

    async def show(self, origin: str) -> dict[str, object]:
        """Return `zone`, `primary`, `file` (path), `text`, and who has which serial (`servers`)."""
        name, path = self._known(origin)
        servers = await asyncio.gather(*(self._holding(name, host) for host in self._servers(origin)))
        return {
            "zone": origin,
            "primary": self._servers(origin)[0],
            "file": str(path),
            # JSON takes no octets that are in no encoding, and comments may have any.
            "text": os.fsencode(_read(path)).decode("utf-8", "replace"),
            "servers": [asdict(server) for server in servers],
        }

    async def listing(self) -> list[dict[str, object]]:
        """Return the same of every zone, but for the text."""
        found = await asyncio.gather(*(self.show(zone.origin) for zone in self._plan.zones))
        return [{key: value for key, value in zone.items() if key != "text"} for zone in found]

    async def revise(
        self, origin: str, edits: Mapping[str, Sequence[str]], timeout_s: float
    ) -> dict[str, object]:
        """Make the changes that `add`, `remove` and `put` name (services.dns.editing.revise)."""
        name, _ = self._known(origin)

        def change(text: str, directory: Path) -> Revision:
            return editing.revise(text, name, directory=directory, **edits)

        return await self._change(origin, timeout_s, change)

    async def supersede(
        self, origin: str, text: str, source: str, included: Path, timeout_s: float
    ) -> dict[str, object]:
        """Replace the zone by `text`, which errors call `source`; what it includes is in `included`."""
        name, _ = self._known(origin)

        def change(old: str, directory: Path) -> Revision:
            return editing.supersede(old, text, name, source=source, directory=directory, included=included)

        return await self._change(origin, timeout_s, change)

    async def _change(
        self, origin: str, timeout_s: float, change: Callable[[str, Path], Revision]
    ) -> dict[str, object]:
        """Change the file and return when the primary and all live secondaries have the new serial.

        Result: `zone`, `serial`, `changed`, `remembered_s`, `file`, and `servers`, those that lack it with a
        reason. Raises: UsageError: the change makes no sense; LabError: the primary does not take it.
        """
        name, path = self._known(origin)
        async with self._lock:
            old = _read(path)
            try:
                revision = change(old, path.parent)
            except ConfigError as error:
                raise UsageError(str(error)) from error
            primary, *others = self._servers(origin)
            if revision.changed:
                _write(path, revision.text)
                await self._reload(name, primary, revision.serial, path, old)
            # From a primary that is down nobody gets anything.
            deadline = time.monotonic() + (timeout_s if _serves(self._entry(primary)) else 0)
            waits = (self._until(name, host, revision.serial, deadline) for host in (primary, *others))
            servers = await asyncio.gather(*waits)
        return {
            "zone": origin,
            "serial": revision.serial,
            "changed": revision.changed,
            "remembered_s": revision.remembered_s,
            "file": str(path),
            "servers": [asdict(server) for server in servers],
        }

    async def _reload(self, name: Name, host: str, serial: int, path: Path, old: str) -> None:
        """Have the primary load its file; if it does not, the file is as it was. Raises: LabError."""
        entry = self._entry(host)
        if not _serves(entry):
            # It will load the file when it is started again.
            return
        _hang_up(entry)
        holding = await self._until(name, host, serial, time.monotonic() + PRIMARY_WITHIN_S)
        if holding.serial != serial:
            _write(path, old)
            _hang_up(entry)
            raise LabError(f"{entry.key} does not take the zone {names.to_text(name)}; see {entry.log}")

    async def _until(self, name: Name, host: str, serial: int, deadline: float) -> Holding:
        """Return what the server has once that is the serial, it does not serve, or time is up."""
        while True:
            holding = await self._holding(name, host)
            if holding.serial == serial or not _serves(self._entry(host)) or time.monotonic() > deadline:
                return holding
            await asyncio.sleep(_ASK_EVERY_S)

    async def _holding(self, name: Name, host: str) -> Holding:
        entry = self._entry(host)
        primary = self._servers(names.to_text(name))[0] == host
        if not _serves(entry):
            return Holding(host=host, primary=primary, serial=None, reason=entry.state)
        try:
            serial = await _serial(self._hosts[host], name)
        except TransferFailed as error:
            return Holding(host=host, primary=primary, serial=None, reason=str(error))
        return Holding(host=host, primary=primary, serial=serial)

    def _entry(self, host: str) -> Entry:
        (entry, *_) = self._services.of(host, NameServer.kind)
        return entry

    def _servers(self, origin: str) -> list[str]:
        return [host.name for host in self._plan.servers_of(origin)]

    def _known(self, origin: str) -> tuple[Name, Path]:
        """Return a zone's name and the primary's file. Raises: UsageError."""
        origins = [zone.origin for zone in self._plan.zones]
        if origin not in origins:
            raise UsageError(
                f"there is no zone {origin} in {self._plan.name}; there are {', '.join(origins)}"
            )
        path = self._run / "hosts" / self._servers(origin)[0] / zone_path(origin)
        return names.lower(names.from_text(origin)), path


def _serves(entry: Entry) -> bool:
    return entry.state == "ready" and entry.running is not None and entry.running.alive


def _hang_up(entry: Entry) -> None:
    """Tell a server to read its files again. Its other processes, if it has any, are for it to tell."""
    if entry.running is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(entry.running.pid, signal.SIGHUP)


async def _serial(namespace: Namespace, name: Name) -> int:
    """Return the serial that the server on a host has. Raises: TransferFailed."""
    ident = secrets.randbits(16)
    loop = asyncio.get_running_loop()
    with namespaces.inside(namespace, _udp) as sock:
        try:
            async with asyncio.timeout(_ANSWERED_WITHIN_S):
                await loop.sock_sendall(sock, transfer.request(ident, name, names.SOA))
                while True:
                    packet = await loop.sock_recv(sock, 65535)
                    serial = transfer.read_serial(packet, ident, name)
                    if serial is not None:
                        return serial
        except TimeoutError:
            raise TransferFailed("no answer") from None
        except OSError as error:
            raise TransferFailed(error.strerror or str(error)) from error


def _udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.connect(("127.0.0.1", _PORT))
    return sock


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise LabError(f"{path}: {error.strerror}") from error


def _write(path: Path, text: str) -> None:
    """Replace the file as a whole, so that a server never loads half of it. Raises: LabError."""
    new = path.with_name(f"{path.name}.new")
    try:
        new.write_text(text, encoding="utf-8", errors="surrogateescape")
        os.replace(new, path)
    except OSError as error:
        raise LabError(f"{path}: {error.strerror}") from error
