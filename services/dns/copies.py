"""A secondary's copy of a zone: its file, and the task that keeps it what the primary has.

Theory of operation. The file is loaded if it is there, and replaced as a whole by each transfer, so that the
copy outlives the process. Next to it lies FILE.checked, empty: its time is when the primary last confirmed
the copy. So a server that is started again knows how old it is, and asks at once. A copy without that file
was put there together with the primary's own: it was confirmed when it was written, and nobody needs to be
asked before the refresh is due. (So the thirteen root servers of a lab start without a word.)

When to ask and when to stop serving is for `Secondary` to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import dnslib

from services.dns import master, names, peering, zone
from services.dns.names import Name
from services.dns.secondary import Ask, Expire, Fetch, Rest, Secondary, Terms
from services.dns.transfer import Incoming, Peer, TransferFailed
from services.dns.zone import Zone
from services.errors import ConfigError
from services.notices import Notices

_log = logging.getLogger(__name__)


class Copy:
    """One zone that others are the primaries of; `zone` is what is served of it now."""

    def __init__(
        self,
        origin: Name,
        path: Path,
        primaries: Sequence[Peer],
        *,
        rng: random.Random,
        time_scale: float,
        changed: Callable[[], None],
        notices: Notices,
    ) -> None:
        """Load the copy if there is one. `changed` is called whenever there is another `zone`."""
        self.origin = origin
        self.zone = zone.withheld(origin)
        self._path = path
        self._peers = {peer.address: peer for peer in primaries}
        self._rng = rng
        self._changed = changed
        self._notices = notices
        self._woken = asyncio.Event()
        self._secondary = Secondary(list(self._peers), rng=rng, time_scale=time_scale)
        self._resume()

    @property
    def name(self) -> str:
        """The zone's origin as people write it."""
        return names.to_text(self.origin)

    @property
    def _checked(self) -> Path:
        return self._path.with_name(self._path.name + ".checked")

    def notified(self, client: str, serial: int | None) -> bool:
        """Take a NOTIFY; tell whether it comes from a primary."""
        known = self._secondary.notified(client, serial, time.monotonic())
        self._woken.set()
        return known

    def check(self) -> None:
        """Ask the primary now, whatever is due."""
        self._secondary.hurry(time.monotonic())
        self._woken.set()

    async def keep(self) -> None:
        """Keep the copy what the primary has, until cancelled."""
        while True:
            now = time.monotonic()
            match self._secondary.step(now):
                case Rest(until=until):
                    await self._sleep(until - now)
                case Ask(primary=address):
                    await self._ask(self._peers[address])
                case Fetch(primary=address):
                    await self._fetch(self._peers[address])
                case Expire():
                    self._expire()

    def _resume(self) -> None:
        if not self._path.exists():
            return
        try:
            found = zone.load(self._path, self.origin)
            copied = self._path.stat().st_mtime
            trusted = not self._checked.exists()
            confirmed = copied if trusted else max(copied, self._checked.stat().st_mtime)
        except (ConfigError, OSError) as error:
            _log.error("zone %s: the copy is no use: %s", self.name, error)
            return
        age_s = max(time.time() - confirmed, 0.0)
        self._secondary.resume(terms(found), age_s=age_s, trusted=trusted, now=time.monotonic())
        self.zone = found
        if trusted:
            self._confirm(confirmed)

    async def _sleep(self, seconds: float) -> None:
        self._woken.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    async def _ask(self, peer: Peer) -> None:
        try:
            serial = await peering.ask_serial(peer, self.origin, self._rng.getrandbits(16))
        except (TransferFailed, OSError) as error:
            self._fail(f"{peer.address} does not tell its serial: {error}")
            return
        if self._secondary.heard(serial, time.monotonic()):
            self._confirm()

    async def _fetch(self, peer: Peer) -> None:
        try:
            incoming = await peering.fetch(peer, self.origin, self._rng.getrandbits(16))
            # A large zone takes long to read, and questions do not wait.
            found = await asyncio.to_thread(self._store, incoming, peer.address)
        except (TransferFailed, ConfigError, OSError) as error:
            self._fail(f"no transfer from {peer.address}: {error}")
            return
        self._secondary.fetched(terms(found), time.monotonic())
        self.zone = found
        self._confirm()
        self._changed()
        _log.info("zone %s: serial %d from %s", self.name, found.serial, peer.address)
        self._notices.event(
            "zone-transferred",
            zone=self.name,
            serial=found.serial,
            primary=peer.address,
            records=incoming.records,
            messages=incoming.messages,
        )

    def _store(self, incoming: Incoming, address: str) -> Zone:
        """Return the zone that came, once it is in the file. Raises: ConfigError, OSError."""
        source = f"zone {self.name}"
        text = f"; transferred from {address}\n{incoming.text}"
        found = zone.build(master.parse(text, self.origin, source=source), source=source)
        new = self._path.with_name(self._path.name + ".new")
        new.write_text(text, encoding="utf-8")
        os.replace(new, self._path)
        return found

    def _confirm(self, at: float | None = None) -> None:
        """Note that the primary has this very copy."""
        try:
            self._checked.touch()
            if at is not None:
                os.utime(self._checked, (at, at))
        except OSError as error:
            _log.error("zone %s: %s: %s", self.name, self._checked, error.strerror)

    def _fail(self, why: str) -> None:
        self._secondary.failed(time.monotonic())
        _log.warning("zone %s: %s", self.name, why)

    def _expire(self) -> None:
        _log.error("zone %s: expired; it is served no more", self.name)
        self._notices.event("zone-expired", zone=self.name, serial=self.zone.serial)
        self.zone = zone.withheld(self.origin)
        self._changed()


def terms(found: Zone) -> Terms:
    """Return what a zone's SOA says to its secondaries."""
    rdata = found.soa.rdatas[0]
    assert isinstance(rdata, dnslib.SOA)  # noqa: S101 -- `zone.build` lets no other data be there
    serial, refresh_s, retry_s, expire_s, _ = rdata.times
    return Terms(serial=serial, refresh_s=refresh_s, retry_s=retry_s, expire_s=expire_s)
