"""The virus engine as a service: clamd's protocol on a host's loopback around a scanner.

Theory of operation. The event loop reads messages and writes replies; scans run in a few threads beside it,
each within the limits. What arrives on a connection is answered in order, and while something is scanned no
more is read of it, so memory is bounded by the connections. Who comes when all places are taken waits.

Signatures are read when the service starts, at SIGHUP and at RELOAD. A file with a mistake changes nothing:
the event `signatures-refused` names its line, and those that were there go on. At the start it is a reason
not to serve.

    python -m services.filters.virus --serve engine.toml
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, fields
from math import inf
from pathlib import Path
from typing import Any

from services.errors import ConfigError, ServiceError
from services.filters.virus.limits import MIB, Limits
from services.filters.virus.protocol import COMMANDS, Dialogue, Kind, Request
from services.filters.virus.scanner import Report, Scanner
from services.filters.virus.signatures import SUFFIXES, Signatures, read_all
from services.notices import Notices

_log = logging.getLogger(__name__)

_PIECE = 1 << 18
_VERSION = "Mailbed virus engine"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """What to serve: `signatures` is a directory; without one only the built-in ones are known.

    `message_limit` (octets) and `limits` bound a message, `idle_s` how long a client may say nothing,
    `connections` and `threads` how much is done at a time. `block_encrypted`: an archive with a password is a
    finding.
    """

    listen: str = "127.0.0.1"
    port: int = 3310
    signatures: Path | None = None
    block_encrypted: bool = True
    message_limit: int = 100 * MIB
    connections: int = 32
    threads: int = 2
    idle_s: float = 30.0
    limits: Limits = field(default_factory=Limits)


def load(path: Path) -> EngineConfig:
    """Return the configuration in a TOML file; paths are relative to it. Raises: ConfigError."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    limits = data.pop("limits", {})
    if not isinstance(limits, dict):
        raise ConfigError(f"{path}: limits must be a table")
    signatures = data.pop("signatures", None)
    if signatures is not None and not isinstance(signatures, str):
        raise ConfigError(f"{path}: signatures must be a directory")
    _check(path, EngineConfig(), data, "")
    _check(path, Limits(), limits, "limits.")
    directory = path.parent / signatures if signatures else None
    return EngineConfig(**data, signatures=directory, limits=Limits(**limits))


def _check(path: Path, default: object, data: dict[str, Any], prefix: str) -> None:
    """Raise ConfigError unless each key is known and its value of its type and not below zero."""
    known = {each.name for each in fields(default)}  # type: ignore[arg-type]  # both are dataclasses
    for key, value in data.items():
        kind = type(getattr(default, key)) if key in known else None
        if kind not in (bool, int, float, str):
            raise ConfigError(f"{path}: there is no key {prefix}{key}")
        fits = type(value) is kind or (kind is float and type(value) is int)
        if not fits or (not isinstance(value, str) and value < 0):
            raise ConfigError(f"{path}: {prefix}{key} = {value!r} must be {kind.__name__}, not below 0")


def read_signatures(directory: Path | None) -> Signatures:
    """Return the built-in signatures and those of the files in a directory. Raises: ConfigError."""
    try:
        files = [path for path in sorted(directory.iterdir()) if path.suffix in SUFFIXES] if directory else []
        texts = {str(path): path.read_text(encoding="utf-8") for path in files}
    except OSError as error:
        raise ConfigError(f"signatures: {error.filename}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"signatures in {directory}: {error}") from error
    return read_all(texts)


async def serve(
    config: EngineConfig, notices: Notices, *, clock: Callable[[], float] = time.monotonic
) -> None:
    """Serve until cancelled. The event `listening` {port} comes before ready.

    Raises: ConfigError: a signature file is wrong; ServiceError: the port is taken or forbidden.
    """
    engine = Engine(config, notices, clock)
    loop = asyncio.get_running_loop()
    try:
        server = await asyncio.start_server(engine.converse, config.listen, config.port, backlog=128)
    except OSError as error:
        raise ServiceError(
            f"cannot listen on {config.listen} port {config.port}: {error.strerror}"
        ) from error
    async with server:
        loop.add_signal_handler(signal.SIGHUP, engine.reload)
        try:
            notices.event("listening", port=server.sockets[0].getsockname()[1])
            notices.ready()
            await loop.create_future()
        finally:
            loop.remove_signal_handler(signal.SIGHUP)
            engine.close()


class Engine:
    """The scanner, and who asks it."""

    def __init__(self, config: EngineConfig, notices: Notices, clock: Callable[[], float]) -> None:
        self._config = config
        self._notices = notices
        self._clock = clock
        self._closed = False
        self._signatures = read_signatures(config.signatures)
        self._scanner = self._new_scanner()
        self._threads = ThreadPoolExecutor(config.threads, thread_name_prefix="scan")
        self._places = asyncio.Semaphore(config.connections)
        self._asking: set[asyncio.Task[None]] = set()

    def _new_scanner(self) -> Scanner:
        config = self._config
        return Scanner(
            self._signatures, config.limits, block_encrypted=config.block_encrypted, clock=self._now
        )

    def _now(self) -> float:
        """The time: none is left for scans that go on when the engine is closed."""
        return inf if self._closed else self._clock()

    def reload(self) -> bool:
        """Read the signatures anew, and return whether that went well; if not, the old ones go on."""
        try:
            self._signatures = read_signatures(self._config.signatures)
        except ConfigError as error:
            _log.error("%s", error)
            self._notices.event("signatures-refused", reason=str(error))
            return False
        self._scanner = self._new_scanner()
        self._notices.event("signatures-loaded", count=len(self._signatures))
        return True

    def close(self) -> None:
        """End all connections, and what is being scanned."""
        self._closed = True
        for task in self._asking:
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection until it ends."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- this is a coroutine of a server
        self._asking.add(task)
        try:
            async with self._places:
                await self._answer_all(reader, writer)
        except (OSError, TimeoutError) as error:
            _log.info("a connection ended: %r", error)
        except asyncio.CancelledError:
            # Only `close` does this, and then nobody waits for this task.
            pass
        finally:
            self._asking.discard(task)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dialogue = Dialogue(self._config.message_limit)
        while True:
            async with asyncio.timeout(self._config.idle_s):
                data = await reader.read(_PIECE)
            if not data:
                return
            for request in dialogue.feed(data):
                if request.kind is not Kind.END:
                    writer.write(request.reply(await self._answer(request)))
                async with asyncio.timeout(self._config.idle_s):
                    await writer.drain()
                if request.last:
                    await self._hear_out(reader, writer)
                    return

    async def _hear_out(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take what is still on its way: else the kernel resets the connection, and the reply may be lost."""
        if writer.can_write_eof():
            writer.write_eof()
        async with asyncio.timeout(self._config.idle_s):
            while await reader.read(_PIECE):
                pass

    async def _answer(self, request: Request) -> str:
        if request.kind is Kind.SCAN:
            return await self._scan(request.message)
        if request.kind is Kind.RELOAD:
            self.reload()
        return {
            Kind.PING: "PONG",
            Kind.VERSION: f"{_VERSION}/{len(self._signatures)}",
            Kind.COMMANDS: f"{_VERSION}/{len(self._signatures)}| COMMANDS: {' '.join(COMMANDS)}",
            Kind.RELOAD: "RELOADING",
            Kind.STATS: f"STATE: VALID PRIMARY\nTHREADS: max {self._config.threads}\nEND",
            Kind.TOO_LARGE: "INSTREAM size limit exceeded. ERROR",
        }.get(request.kind, "UNKNOWN COMMAND")

    async def _scan(self, message: bytes) -> str:
        loop = asyncio.get_running_loop()
        try:
            report = await loop.run_in_executor(self._threads, self._scanner.scan, message)
        except Exception:
            # A mistake of ours. The message must not pass as clean, and the engine must go on.
            _log.exception("scanning %d octets", len(message))
            return "stream: the scan failed. ERROR"
        if not report.virus:
            return "stream: OK"
        self._tell(report, len(message))
        return f"stream: {report.virus} FOUND"

    def _tell(self, report: Report, size: int) -> None:
        where = list(report.where)
        _log.warning("%s in %s: %s", report.virus, " > ".join(where) or "the message", report.reason)
        self._notices.event("found", virus=report.virus, where=where, reason=report.reason, size=size)
