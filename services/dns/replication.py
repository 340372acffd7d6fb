"""The zones of one server, and the other servers of these zones.

Theory of operation. A zone with `primaries` in the configuration is a copy of theirs (see `copies`); every
other one is this server's own. SIGHUP has it load those of its files that have changed, in a thread: a large
zone takes seconds, and meanwhile the old one is served. A file with a mistake in it changes nothing. Whoever
is among the `secondaries` of a zone is told of each change, and also when the server starts, unless it is
`known` that they have that serial.

Whatever changes, the server gets a new `Zones`. What is no question about data comes here: requests for whole
zones, and NOTIFY.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from asyncio import DatagramTransport, Event, Task
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path
from types import TracebackType

from services.dns import message, names, notify, peering, serials, transfer, zone
from services.dns.copies import Copy
from services.dns.message import Malformed, Query
from services.dns.names import Name
from services.dns.notify import Notifier
from services.dns.server import ByClient
from services.dns.settings import Settings
from services.dns.streams import stream
from services.dns.transfer import LOOPBACK, Access, Peer
from services.dns.zone import Zone, Zones
from services.errors import ConfigError
from services.notices import Notices

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicationConfig:
    """Which other servers each zone has.

    `primaries` are those that a copy comes from, `secondaries` those that are told of changes and may have
    the zone, `known` the serials that they have when this server starts. The hosts of `transfer` may have
    every zone. `seed` and `host` key the random choices; the times in SOAs are divided by `time_scale`.
    """

    primaries: Mapping[Name, tuple[Peer, ...]] = field(default_factory=dict)
    secondaries: Mapping[Name, tuple[Peer, ...]] = field(default_factory=dict)
    known: Mapping[Name, int] = field(default_factory=dict)
    transfer: tuple[IPv4Network, ...] = (LOOPBACK,)
    seed: int = 0
    host: str = ""
    time_scale: float = 1.0


def load(settings: Settings) -> ReplicationConfig:
    """Return the part of a server's configuration that is about other servers. Raises: ConfigError."""
    known = settings.numbers("known").items()
    return ReplicationConfig(
        primaries=_peers(settings, "primaries"),
        secondaries=_peers(settings, "secondaries"),
        known={_origin(text, f"{settings.path}: known"): serial for text, serial in known},
        transfer=settings.networks("transfer", [str(LOOPBACK)]),
        seed=settings.integer("seed", 0),
        host=settings.text("host", ""),
        time_scale=settings.seconds("time_scale", 1.0),
    )


def _peers(settings: Settings, key: str) -> dict[Name, tuple[Peer, ...]]:
    found: dict[Name, tuple[Peer, ...]] = {}
    for text, peers in settings.lists(key).items():
        try:
            found[_origin(text, f"{settings.path}: {key}")] = tuple(map(Peer.read, peers))
        except ValueError:
            raise settings.error(key, "lists of addresses by zone, such as 198.41.0.4") from None
    return found


def _origin(text: str, where: str) -> Name:
    try:
        return names.lower(names.from_text(text))
    except names.BadName as error:
        raise ConfigError(f"{where}: {error}") from error


@dataclass(slots=True, kw_only=True)
class _Own:
    """A zone that this server is the primary of; `stamp` tells whether its file has changed since."""

    path: Path
    zone: Zone
    stamp: tuple[int, ...]


class Replication:
    """An async context manager: within it copies are kept up to date, and secondaries are told of changes."""

    def __init__(
        self,
        files: Mapping[str, Path],
        config: ReplicationConfig,
        publish: Callable[[Zones], None],
        notices: Notices,
    ) -> None:
        """Load the master files, by origin, and `publish` the zones, as after each change.

        Raises: ConfigError: a zone of its own is missing or wrong.
        """
        self._config = config
        self._publish = publish
        self._notices = notices
        self._access = Access(
            networks=config.transfer,
            secondaries={
                origin: frozenset(peer.address for peer in peers)
                for origin, peers in config.secondaries.items()
            },
        )
        self._notifier = Notifier(stream(config.seed, config.host, "name-server", "notify", ""))
        self._to_tell = Event()
        self._to_load = Event()
        self._sender: DatagramTransport | None = None
        self._tasks: list[Task[None]] = []
        self._own: dict[Name, _Own] = {}
        self._copies: dict[Name, Copy] = {}
        self._zones = Zones([])
        for text, path in files.items():
            origin = _origin(text, "zones")
            if origin in config.primaries:
                self._copies[origin] = self._copy(origin, path)
            else:
                stamp = _stamp(path)
                self._own[origin] = _Own(path=path, zone=zone.load(path, origin), stamp=stamp)
        self._republish()

    async def __aenter__(self) -> Replication:
        loop = asyncio.get_running_loop()
        if self._config.secondaries:
            self._sender = await peering.open_sender(self._heard)
            self._tasks.append(loop.create_task(self._tell()))
        self._tasks.append(loop.create_task(self._load()))
        self._tasks += [loop.create_task(copy.keep()) for copy in self._copies.values()]
        for task in self._tasks:
            task.add_done_callback(_complain)
        for origin, own in self._own.items():
            if self._config.known.get(origin) != own.zone.serial:
                self._changed(own.zone)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._sender is not None:
            self._sender.close()

    def reload(self) -> None:
        """Have the files loaded that have changed, and copies compared with the primaries'."""
        self._to_load.set()
        for copy in self._copies.values():
            copy.check()

    def answer(self, packet: bytes, stream: bool) -> bytes | ByClient:
        """Return the reply to what is no question about data; it may depend on who asks."""
        if message.opcode(packet) == notify.OPCODE:
            return partial(self._notified, packet)
        if message.opcode(packet):
            return message.bare_reply(packet, names.NOTIMP)
        serial = None
        try:
            query = message.read_query(packet)
        except Malformed:
            found = transfer.read_ixfr(packet)
            if found is None:
                return message.bare_reply(packet, names.FORMERR)
            query, serial = found
        return partial(self._transfer, query, serial, stream)

    def _transfer(
        self, query: Query, serial: int | None, stream: bool, client: str
    ) -> bytes | Iterator[bytes]:
        return transfer.answer(self._zones, query, client, self._access, stream=stream, serial=serial)

    def _notified(self, packet: bytes, client: str) -> bytes:
        """Return the reply to a NOTIFY; from others than the zone's primaries it is refused."""
        try:
            notice = notify.read(packet)
        except Malformed:
            return message.bare_reply(packet, names.FORMERR)
        copy = self._copies.get(notice.origin)
        if copy is None:
            return notify.reply(notice, names.REFUSED if notice.origin in self._own else names.NOTAUTH)
        if not copy.notified(client, notice.serial):
            _log.warning("zone %s: a NOTIFY from %s, which is no primary", copy.name, client)
            return notify.reply(notice, names.REFUSED)
        return notify.reply(notice, names.NOERROR)

    def _copy(self, origin: Name, path: Path) -> Copy:
        config = self._config
        return Copy(
            origin,
            path,
            config.primaries[origin],
            rng=stream(config.seed, config.host, "name-server", "refresh", names.to_text(origin)),
            time_scale=config.time_scale,
            changed=self._republish,
            notices=self._notices,
        )

    def _republish(self) -> None:
        zones = [own.zone for own in self._own.values()] + [copy.zone for copy in self._copies.values()]
        self._zones = Zones(zones)
        self._publish(self._zones)

    async def _load(self) -> None:
        """Load the files that have changed whenever that is asked for, until cancelled."""
        while True:
            await self._to_load.wait()
            self._to_load.clear()
            for origin, own in self._own.items():
                stamp = _stamp(own.path)
                if stamp != own.stamp:
                    await self._reload(origin, own, stamp)

    async def _reload(self, origin: Name, own: _Own, stamp: tuple[int, ...]) -> None:
        name, before = names.to_text(origin), own.zone.serial
        try:
            found = await asyncio.to_thread(zone.load, own.path, origin)
        except ConfigError as error:
            _log.error("zone %s stays as it was: %s", name, error)
            self._notices.event("zone-refused", zone=name, reason=str(error))
            return
        own.zone, own.stamp = found, stamp
        self._republish()
        self._notices.event("zone-loaded", zone=name, serial=found.serial)
        if serials.is_newer(found.serial, before):
            _log.info("zone %s: serial %d", name, found.serial)
            self._changed(found)
        else:
            _log.warning(
                "zone %s: serial %d is not newer than %d: secondaries keep what they have",
                name,
                found.serial,
                before,
            )

    def _changed(self, found: Zone) -> None:
        peers = self._config.secondaries.get(found.origin, ())
        self._notifier.changed(found, peers, time.monotonic())
        self._to_tell.set()

    async def _tell(self) -> None:
        """Send NOTIFYs as they get due, until cancelled."""
        while True:
            now = time.monotonic()
            for peer, packet in self._notifier.due(now):
                if self._sender is not None:
                    self._sender.sendto(packet, (peer.address, peer.port))
            due = self._notifier.next_due()
            self._to_tell.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else due - now):
                    await self._to_tell.wait()

    def _heard(self, packet: bytes, address: str) -> None:
        replied = self._notifier.heard(packet, address)
        if replied is not None and replied[1]:
            origin, rcode = replied
            name, code = names.to_text(origin), names.rcode_text(rcode)
            _log.warning("zone %s: %s answers a NOTIFY with %s", name, address, code)


def _stamp(path: Path) -> tuple[int, ...]:
    """What tells a file from a changed one; a file that is not there is for `zone.load` to complain of."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _complain(task: Task[None]) -> None:
    """A mistake of ours must not end in silence."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("a task ended", exc_info=error)
