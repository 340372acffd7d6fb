"""An authoritative name server: the configuration, the messages it answers, and its run.

Theory of operation. `Authority` is the whole server without its sockets: octets in, octets out, None for
silence. It remembers the encoded answer to each question, so that zones and dnslib are asked once a
question and everything else is stitching (see `message`).

A SIGHUP makes it read its zones again; if one is wrong, all stay as they were.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from services.dns import message, names, zone
from services.dns.answers import answer
from services.dns.message import Encoded, Malformed, Query
from services.dns.server import Listener
from services.dns.settings import Settings
from services.dns.zone import Zones
from services.errors import ConfigError
from services.notices import Notices

_log = logging.getLogger(__name__)

# Random names would fill the memory with NXDOMAINs; then all start anew.
_MAX_REMEMBERED = 100_000
_CLASSES = (names.IN, 255)
_TRANSFERS = (names.TYPES["AXFR"], names.TYPES["IXFR"])


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthoritativeConfig:
    """What one server serves: `zones` are master files by origin (`example.org`, or `.` for the root)."""

    listen: tuple[str, ...] = ("0.0.0.0",)
    port: int = 53
    zones: Mapping[str, Path]


def load(path: Path) -> AuthoritativeConfig:
    """Return the configuration that a TOML file holds.

    Raises: ConfigError.
    """
    settings = Settings(path)
    config = AuthoritativeConfig(
        listen=settings.listen(), port=settings.port(), zones=settings.paths("zones")
    )
    settings.done()
    return config


def load_zones(config: AuthoritativeConfig) -> Zones:
    """Return the zones that the configuration names.

    Raises: ConfigError.
    """
    loaded = []
    for origin, path in config.zones.items():
        try:
            apex = names.lower(names.from_text(origin))
        except names.BadName as error:
            raise ConfigError(f"zones: {error}") from error
        loaded.append(zone.load(path, apex))
    return Zones(loaded)


async def serve(config: AuthoritativeConfig, notices: Notices) -> None:
    """Serve until cancelled. The event `listening` {port} comes before ready.

    Raises: ConfigError: a zone is wrong; ServiceError: a port is taken or forbidden.
    """
    authority = Authority(load_zones(config))
    async with Listener(config.listen, config.port, authority.respond) as listener:
        _log.info("serving %s on port %d", ", ".join(config.zones), listener.port)
        with _reloading(config, authority):
            notices.event("listening", port=listener.port)
            notices.ready()
            await asyncio.get_running_loop().create_future()


@contextlib.contextmanager
def _reloading(config: AuthoritativeConfig, authority: Authority) -> Iterator[None]:
    """Within it, SIGHUP reads the zones again."""

    def reload() -> None:
        try:
            authority.replace(load_zones(config))
        except ConfigError as error:
            _log.error("zones not reloaded: %s", error)
        else:
            _log.info("zones reloaded")

    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGHUP, reload)
    except (RuntimeError, ValueError):
        # Only the main thread gets signals; elsewhere the zones stay as they are.
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


class Authority:
    """An authoritative server without sockets: `respond` takes one message and gives its reply."""

    def __init__(self, zones: Zones) -> None:
        self._zones = zones
        self._remembered: dict[tuple[bytes, int], _Ready] = {}

    def replace(self, zones: Zones) -> None:
        """Answer from these zones from now on."""
        self._zones = zones
        self._remembered.clear()

    def respond(self, packet: bytes, stream: bool) -> bytes | None:
        """Return the reply to a message, or None if it deserves none; never an error.

        Source: RFC 1035 §4; RFC 6891 §6.1.3 (BADVERS).
        """
        if not message.is_query(packet):
            return None
        if message.opcode(packet):
            return message.bare_reply(packet, names.NOTIMP)
        try:
            query = message.read_query(packet)
        except Malformed:
            return message.bare_reply(packet, names.FORMERR)
        if query.edns is not None and query.edns.version:
            return message.reply(query, names.BADVERS, 0, (_EMPTY,), stream=stream)
        ready = self._remembered.get((query.wire, query.rtype))
        if ready is None or query.rclass not in _CLASSES:
            ready = self._look_up(query)
        return message.reply(query, ready.rcode, ready.flags, ready.variants, stream=stream)

    def _look_up(self, query: Query) -> _Ready:
        refusal = _refusal(query)
        if refusal:
            return _Ready(refusal, 0, (_EMPTY,))
        ready = _prepare(self._zones, query.name, query.rtype)
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[query.wire, query.rtype] = ready
        return ready


@dataclass(frozen=True, slots=True)
class _Ready:
    """An answer ready for stitching, in variants from the fullest to the leanest."""

    rcode: int
    flags: int
    variants: tuple[Encoded, ...]


_EMPTY = Encoded((0, 0, 0), b"")


def _refusal(query: Query) -> int:
    """Return the code for what is no question about data: other classes, transfers, meta types."""
    if query.rclass not in _CLASSES or query.rtype in _TRANSFERS:
        return names.REFUSED
    if query.rtype in (0, names.OPT):
        return names.FORMERR
    # Types 128 to 255 are questions of their own kind (RFC 6895 §3.1).
    if 128 <= query.rtype <= 255 and query.rtype != names.ANY:
        return names.NOTIMP
    return names.NOERROR


def _prepare(zones: Zones, name: names.Name, rtype: int) -> _Ready:
    found = answer(zones, name, rtype)
    lean = message.encode(name, answer=found.answer, authority=found.authority, additional=found.glue)
    variants: tuple[Encoded, ...] = (lean,)
    if found.additional:
        additional = found.glue + found.additional
        full = message.encode(name, answer=found.answer, authority=found.authority, additional=additional)
        variants = (full, lean)
    return _Ready(found.outcome.rcode, message.AA if found.authoritative else 0, variants)
