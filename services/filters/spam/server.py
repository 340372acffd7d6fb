"""The spam engine as a service: spamd's protocol on a socket.

    load      its configuration (services.filters.spam.config)
    serve     run it until cancelled

A connection carries one request. A client that says nothing for a minute is left, and so is one that does not
take its answer. What goes wrong with one message is told to its client, and concerns no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from dataclasses import asdict

from services.dns.stub import StubResolver
from services.durable import make_directory
from services.errors import ServiceError
from services.filters.header import header_length, values
from services.filters.spam import protocol, report
from services.filters.spam.config import SpamConfig, load
from services.filters.spam.database import Database
from services.filters.spam.engine import Engine
from services.filters.spam.lookups import Origins, Remembered
from services.filters.spam.marking import added_fields
from services.filters.spam.protocol import BadRequest, Request
from services.filters.spam.score import Judgement
from services.notices import Notices

__all__ = ["SpamConfig", "load", "serve", "engine"]

log = logging.getLogger("services.filters.spam")

_SILENT_FOR_S = 60.0
_LINGERS_FOR_S = 2.0
_AT_ONCE = 65536


def engine(config: SpamConfig, clock: Callable[[], float] = time.time) -> Engine:
    """Return the engine that a configuration describes. Raises: ServiceError."""
    origins = None
    if config.nameservers:
        stub = StubResolver(
            config.nameservers,
            port=config.nameserver_port,
            timeout_s=config.dns_timeout_s,
            attempts=1,
            rng=random.Random(config.seed),
        )
        origins = Origins(
            Remembered(stub.query, time.monotonic).query,
            lists=config.block_lists,
            url_lists=config.url_block_lists,
            timeout_s=config.dns_timeout_s,
        )
    database = None
    if config.database is not None:
        try:
            make_directory(config.database.parent)
        except OSError as error:
            raise ServiceError(f"{config.database.parent}: {error.strerror}") from error
        database = Database(config.database)
    return Engine(config.site, clock=clock, required=config.required, origins=origins, database=database)


async def serve(config: SpamConfig, notices: Notices) -> None:
    """Run the engine until cancelled. Raises: ServiceError (a port is taken, the database unreadable)."""
    service = _Service(config, engine(config), notices)
    servers: list[asyncio.Server] = []
    try:
        for address in config.listen:
            server = await _listen(service, address, config.port)
            servers.append(server)
        notices.ready()
        await asyncio.Event().wait()
    finally:
        for server in servers:
            server.close()
        service.close()


async def _listen(service: _Service, address: str, port: int) -> asyncio.Server:
    try:
        return await asyncio.start_server(service.connected, address, port, backlog=1024)
    except OSError as error:
        raise ServiceError(f"{address}:{port} cannot be bound: {error.strerror}") from error


class _Service:
    """Answers on every connection."""

    def __init__(self, config: SpamConfig, engine: Engine, notices: Notices) -> None:
        self._limit = config.size_limit
        self._hostname = config.site.authserv_id
        self._engine = engine
        self._notices = notices
        self._connections: set[asyncio.Task[None]] = set()

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a client that has connected."""
        task = asyncio.get_running_loop().create_task(self._served(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    def close(self) -> None:
        """Leave all clients; they ask again."""
        for task in self._connections:
            task.cancel()

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, TimeoutError):
                writer.write(await self._answer(reader))
                async with asyncio.timeout(_SILENT_FOR_S):
                    await writer.drain()
                # A connection that is closed with octets unread takes the answer with it.
                if writer.can_write_eof():
                    writer.write_eof()
                async with asyncio.timeout(_LINGERS_FOR_S):
                    while await reader.read(_AT_ONCE):
                        pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            request = await _received(reader, self._limit)
            return await self._done(request)
        except BadRequest as error:
            return protocol.response(error.code, text=str(error))
        except ServiceError as error:
            log.error("%s", error)
            return protocol.response(protocol.SOFTWARE, text=str(error))
        except OSError:
            raise
        except Exception:
            # A mistake of ours: whoever asked keeps the message, and tries again.
            log.exception("judging")
            return protocol.response(protocol.SOFTWARE)

    async def _done(self, request: Request) -> bytes:
        if request.method == "PING":
            return protocol.pong()
        if request.method == "SKIP":
            return b""
        message = (
            await asyncio.to_thread(request.message) if "compress" in request.headers else request.message()
        )
        if request.method == "TELL":
            return await self._told(request, message)
        judgement = await self._engine.judge(message)
        self._tell(message, judgement)
        verdict = f"{judgement.is_spam} ; {judgement.score:.1f} / {judgement.required:.1f}"
        return protocol.response(
            protocol.OK, {"Spam": verdict}, self._body(request.method, message, judgement)
        )

    def _body(self, method: str, message: bytes, judgement: Judgement) -> bytes:
        if method == "SYMBOLS":
            return report.symbols(judgement).encode() + b"\r\n"
        if method == "REPORT" or (method == "REPORT_IFSPAM" and judgement.is_spam):
            return report.report(judgement, self._hostname).encode("utf-8", "replace")
        if method in ("PROCESS", "HEADERS"):
            end = len(message) if method == "PROCESS" else _header_end(message)
            return added_fields(judgement, self._hostname) + message[:end]
        return b""

    async def _told(self, request: Request, message: bytes) -> bytes:
        kind = request.headers.get("message-class", "").lower()
        if "local" in request.headers.get("remove", "").lower():
            changed = await self._engine.teach(message, None)
            self._notices.event("taught", **{"as": None, "changed": changed})
            return protocol.response(protocol.OK, {"DidRemove": "local"} if changed else {})
        if "local" not in request.headers.get("set", "").lower() or kind not in ("spam", "ham"):
            raise BadRequest(protocol.USAGE, "TELL wants Message-class: spam or ham, and Set: local")
        changed = await self._engine.teach(message, "spam" if kind == "spam" else "ham")
        self._notices.event("taught", **{"as": kind, "changed": changed})
        return protocol.response(protocol.OK, {"DidSet": "local"} if changed else {})

    def _tell(self, message: bytes, judgement: Judgement) -> None:
        name = next(iter(values(message, "Message-ID")), b"").decode("utf-8", "replace")[:200]
        self._notices.event(
            "judged",
            message_id=name,
            spam=judgement.is_spam,
            score=judgement.score,
            required=judgement.required,
            rules=[asdict(each) for each in judgement.fired],
        )


async def _received(reader: asyncio.StreamReader, limit: int) -> Request:
    """Return a request once all of it is there. Raises: BadRequest, OSError, TimeoutError."""
    request = Request(limit=limit)
    while not request.is_complete:
        async with asyncio.timeout(_SILENT_FOR_S):
            data = await reader.read(_AT_ONCE)
        if data:
            request.feed(data)
        else:
            request.end()
    return request


def _header_end(message: bytes) -> int:
    """Where the body begins, behind the empty line."""
    end = header_length(message)
    return end + (2 if message.startswith(b"\r\n", end) else 1)
