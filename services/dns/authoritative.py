"""An authoritative name server: the configuration, the messages it answers, and its run.

Theory of operation. `Authority` is the whole server without its sockets: octets in, octets out, None for
silence. It remembers the encoded answer to each question, so that zones and dnslib are asked once a
question and everything else is stitching (see `message`); and most replies are kept ready, so that it is not
asked at all (see `ready`).

A SIGHUP makes it read its zones again; one with a mistake in it stays as it was. What concerns other servers
of the same zones (copies, transfers, NOTIFY) is for `replication`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from services.dns import identity, message, names, replication
from services.dns.answers import Answer, Outcome, answer
from services.dns.message import Encoded, Malformed, Query
from services.dns.ready import Ready, existing
from services.dns.replication import Replication, ReplicationConfig
from services.dns.server import Listener
from services.dns.settings import Settings
from services.dns.zone import Zones
from services.notices import Notices

_log = logging.getLogger(__name__)

# What `ready` does not keep: long answers, and names that a wildcard makes exist, which are without number.
_MAX_REMEMBERED = 2_000
_CLASSES = (names.IN, names.ANY_CLASS)
_NOT_AUTHORITATIVE, _NOT_SUPPORTED = message.extended_error(20), message.extended_error(21)
_TRANSFERS = (names.TYPES["AXFR"], names.TYPES["IXFR"])


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthoritativeConfig:
    """What one server serves: `zones` are master files by origin (`example.org`, or `.` for the root).

    `nsid` is what the server calls itself when it is asked to (RFC 5001); without it, it does not say.
    `replication` tells which of the zones are copies of others', and who has copies of ours.
    """

    listen: tuple[str, ...] = ("0.0.0.0",)
    port: int = 53
    nsid: str = ""
    zones: Mapping[str, Path]
    replication: ReplicationConfig = field(default_factory=ReplicationConfig)


def load(path: Path) -> AuthoritativeConfig:
    """Return the configuration that a TOML file holds.

    Raises: ConfigError.
    """
    settings = Settings(path)
    config = AuthoritativeConfig(
        listen=settings.listen(),
        port=settings.port(),
        nsid=_nsid(settings),
        zones=settings.paths("zones"),
        replication=replication.load(settings),
    )
    settings.done()
    return config


def _nsid(settings: Settings) -> str:
    text = settings.text("nsid", "")
    if len(text.encode()) > message.MAX_NSID:
        raise settings.error("nsid", f"at most {message.MAX_NSID} octets")
    return text


async def serve(config: AuthoritativeConfig, notices: Notices) -> None:
    """Serve until cancelled. The event `listening` {port} comes before ready.

    Raises: ConfigError: a zone is wrong; ServiceError: a port is taken or forbidden.
    """
    authority = Authority(Zones([]), config.nsid)
    replicated = Replication(config.zones, config.replication, authority.replace, notices)
    authority.beyond = replicated.answer
    async with Listener(config.listen, config.port, authority.respond) as listener, replicated:
        _log.info("serving %s on port %d", ", ".join(config.zones), listener.port)
        with _reloading(replicated):
            notices.event("listening", port=listener.port)
            notices.ready()
            await asyncio.get_running_loop().create_future()


@contextlib.contextmanager
def _reloading(replicated: Replication) -> Iterator[None]:
    """Within it, SIGHUP reads the zones again."""
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGHUP, replicated.reload)
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

    def __init__(self, zones: Zones, nsid: str = "") -> None:
        """`nsid` is what the server calls itself, if it is to tell."""
        self._zones = zones
        self._nsid = nsid
        self.beyond: Callable[[bytes, bool], Any] = _decline
        """Answers what is no question about data; what it returns is for the listener to understand."""
        self._remembered: dict[tuple[bytes, int], _Ready] = {}
        self._ready = Ready(self.answer)
        self.replace(zones)

    def replace(self, zones: Zones) -> None:
        """Answer from these zones from now on."""
        self._zones = zones
        self._remembered.clear()
        self._ready.replace(existing(zones))

    @property
    def respond(self) -> Callable[[bytes, bool], Any]:
        """What takes a message and returns its reply, None if it deserves none, or what `beyond` says.

        Source: RFC 1035 §4; RFC 6891 §6.1.3 (BADVERS).
        """
        return self._ready.respond

    def answer(self, packet: bytes, stream: bool) -> Any:
        """Return what `respond` does, without the replies that are kept ready."""
        if not message.is_query(packet):
            return None
        if message.opcode(packet):
            return self.beyond(packet, stream)
        try:
            query = message.read_query(packet)
        except Malformed:
            return self.beyond(packet, stream)
        if query.edns is not None and query.edns.version:
            return message.reply(query, names.BADVERS, 0, message.EMPTY, stream=stream)
        ready = self._remembered.get((query.wire, query.rtype)) if query.rclass == names.IN else None
        if ready is None:
            if query.rtype in _TRANSFERS and query.rclass in _CLASSES:
                return self.beyond(packet, stream)
            ready = self._look_up(query)
        options = ready.options
        if self._nsid and query.edns is not None and query.edns.nsid:
            options = message.nsid(self._nsid) + options
        return message.reply(query, ready.rcode, ready.flags, ready.encoded, stream=stream, options=options)

    def _look_up(self, query: Query) -> _Ready:
        if query.rclass == names.CH:
            return self._identify(query)
        refusal = _refusal(query)
        if refusal:
            return _Ready(refusal, options=b"" if query.rclass in _CLASSES else _NOT_SUPPORTED)
        found = answer(self._zones, query.name, query.rtype)
        if query.rclass == names.ANY_CLASS:
            return _prepare(query.name, _of_any_class(found))
        ready = _prepare(query.name, found)
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[query.wire, query.rtype] = ready
        return ready

    def _identify(self, query: Query) -> _Ready:
        encoded = identity.answer(query.name, query.rtype, self._nsid)
        if encoded is None:
            return _Ready(names.REFUSED, options=_NOT_SUPPORTED)
        return _Ready(names.NOERROR, encoded=encoded)


def _decline(packet: bytes, stream: bool) -> bytes:
    """What a server says that knows of no other servers."""
    if message.opcode(packet):
        return message.bare_reply(packet, names.NOTIMP)
    try:
        query = message.read_query(packet)
    except Malformed:
        return message.bare_reply(packet, names.FORMERR)
    return message.reply(query, names.REFUSED, 0, message.EMPTY, stream=stream)


@dataclass(frozen=True, slots=True)
class _Ready:
    """An answer ready for stitching; `options` go into the OPT record."""

    rcode: int
    flags: int = 0
    encoded: Encoded = message.EMPTY
    options: bytes = b""


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


def _prepare(name: names.Name, found: Answer) -> _Ready:
    encoded = message.encode(
        name,
        answer=found.answer,
        authority=found.authority,
        servers=found.servers,
        glue=found.glue,
        additional=found.additional,
    )
    flags = message.AA if found.authoritative else 0
    options = _NOT_AUTHORITATIVE if found.outcome is Outcome.REFUSED else b""
    return _Ready(found.outcome.rcode, flags, encoded, options)


def _of_any_class(found: Answer) -> Answer:
    """Nobody has authority over all classes (RFC 1034 §3.7.1, §6.2.2); a referral is none anyway."""
    if not found.authoritative or found.outcome is Outcome.DELEGATION:
        return replace(found, authoritative=False)
    return replace(found, authoritative=False, authority=(), servers=())
