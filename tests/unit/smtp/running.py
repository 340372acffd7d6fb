"""What the tests of the mail server share: a server on loopback, a resolver that is a table, transcripts."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from services.notices import Handler
from services.smtp.address import parse_address
from services.smtp.config import Domain, MtaConfig, User
from services.smtp.errors import LookupFailed
from services.smtp.mta import serve
from services.smtp.mx import Exchanger
from services.smtp.routing import NoSuchDomain

BOB = User(address=parse_address("bob@example.org"), password="secret of bob")
ALICE = User(address=parse_address("alice@example.com"), password="secret of alice")


@dataclass
class Events:
    """Notices that are kept, and can be waited for; `handlers` answer what the server is asked."""

    seen: list[dict[str, Any]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    handlers: dict[str, Handler] = field(default_factory=dict)

    def ready(self) -> None:
        self.event("ready")

    def event(self, kind: str, **fields: object) -> None:
        self.seen.append({"kind": kind, **fields})
        self.changed.set()

    def handle(self, method: str, handler: Handler) -> None:
        self.handlers[method] = handler

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.seen if event["kind"] == kind]

    async def wait(self, kind: str, count: int = 1) -> dict[str, Any]:
        """Wait for the `count`th event of this kind and return it."""
        while len(self.of(kind)) < count:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 20)
        return self.of(kind)[count - 1]


@dataclass
class TableResolver:
    """DNS as a table, one line a record: `example.org MX 10 mx1`, `mx1 A 127.0.0.1`, `x SERVFAIL`."""

    table: str
    asked: list[str] = field(default_factory=list)

    def _records(self, name: str, rtype: str) -> list[str]:
        self.asked.append(f"{name} {rtype}")
        lines = [line.split(maxsplit=2) for line in self.table.strip().splitlines()]
        if [name, "SERVFAIL"] in lines:
            raise LookupFailed(f"{name}: SERVFAIL")
        return [
            data
            for owner, kind, data in (line for line in lines if len(line) == 3)
            if (owner, kind) == (name, rtype)
        ]

    async def mx(self, domain: str) -> list[Exchanger]:
        if domain not in {line.split()[0] for line in self.table.strip().splitlines()}:
            self.asked.append(f"{domain} MX")
            raise NoSuchDomain(f"the domain {domain} does not exist")
        records = (data.split() for data in self._records(domain, "MX"))
        return [Exchanger(preference=int(preference), host=host) for preference, host in records]

    async def addresses(self, host: str) -> list[str]:
        return self._records(host, "A")


def free_port() -> int:
    """Return a port of the loopback that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def config(directory: Path, **values: Any) -> MtaConfig:
    """A server for example.org with bob's mailbox on a free port of the loopback; `values` change that."""
    return MtaConfig(
        **{
            "hostname": "mx.example.org",
            "host": "mx",
            "listen": ("127.0.0.1",),
            "smtp_port": free_port(),
            "spool": directory / "spool",
            "mailboxes": directory / "mail",
            "time_scale": 1000.0,
            "domains": (Domain(name="example.org", kind="local"),),
            "users": (BOB,),
            **values,
        }
    )


@asynccontextmanager
async def running(
    configuration: MtaConfig, dns: str = "", clock: Callable[[], float] | None = None
) -> AsyncIterator[Events]:
    """Run a server; it is ready inside the block and gone after it."""
    events = Events()
    more = {"clock": clock} if clock else {}
    task = asyncio.create_task(serve(configuration, events, resolver=TableResolver(dns), **more))
    try:
        ready = asyncio.create_task(events.wait("ready"))
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            ready.cancel()
            task.result()
        yield events
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def play(port: int, transcript: str, *, tls: ssl.SSLContext | None = None) -> list[str]:
    """Hold a conversation: `C:` lines are sent, `S:` lines must come, `*` and `?` as in file names.

    Returns the server's lines. A `C:` line may hold \\r, \\n, \\t and \\0 as in Python. With `tls` the
    transcript begins after STARTTLS and a second EHLO.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = []
    try:
        if tls:
            await _take_up_tls(reader, writer, tls)
        for line in filter(str.strip, transcript.splitlines()):
            speaker, _, text = line.strip().partition(" ")
            if speaker == "C:":
                writer.write(text.encode("utf-8").decode("unicode_escape").encode("latin-1") + b"\r\n")
                await writer.drain()
            else:
                answer = (await asyncio.wait_for(reader.readline(), 10)).decode().rstrip("\r\n")
                said.append(answer)
                assert fnmatchcase(answer, text), f"expected {text!r}, the server said {answer!r}"
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    return said


async def _take_up_tls(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext
) -> None:
    await reader.readline()
    writer.write(b"EHLO client.example\r\n")
    await reader.readuntil(b"250 STARTTLS\r\n")
    writer.write(b"STARTTLS\r\n")
    await reader.readline()
    await writer.start_tls(context, server_hostname="localhost")
    writer.write(b"EHLO client.example\r\n")
    await reader.readuntil(b"250 AUTH LOGIN PLAIN\r\n")


@dataclass
class ScriptedServer:
    """A server that answers as it is told: `replies` by the beginning of the command, else 250.

    `message` is the reply to the end of DATA; a reply that is empty hangs up.
    """

    replies: dict[str, str] = field(default_factory=dict)
    greeting: str = "220 scripted"
    extensions: tuple[str, ...] = ("8BITMIME", "SMTPUTF8", "SIZE 1000000")
    address: str = "127.0.0.1"
    port: int = 0
    commands: list[str] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)

    async def __aenter__(self) -> ScriptedServer:
        self._writers: list[asyncio.StreamWriter] = []
        self._server = await asyncio.start_server(self._session, self.address, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        await self._server.wait_closed()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        writer.write(self.greeting.encode() + b"\r\n")
        with suppress(ConnectionError):
            while line := (await reader.readline()).decode().rstrip("\r\n"):
                self.commands.append(line)
                reply = self._reply(line)
                if line == "DATA" and reply.startswith("354"):
                    writer.write(reply.encode() + b"\r\n")
                    lines = [await reader.readuntil(b"\r\n")]
                    while lines[-1] != b".\r\n":
                        lines.append(await reader.readuntil(b"\r\n"))
                    self.messages.append(b"".join(lines))
                    reply = self.replies.get("message", "250 2.0.0 Ok: queued as SCRIPTED")
                if not reply:
                    break
                writer.write(reply.encode("utf-8", "surrogateescape") + b"\r\n")
                if line == "QUIT":
                    break
        writer.close()

    def _reply(self, line: str) -> str:
        for start, reply in self.replies.items():
            if line.startswith(start):
                return reply
        if line.startswith("EHLO"):
            lines = ["scripted", *self.extensions]
            return "\r\n".join([f"250-{text}" for text in lines[:-1]] + [f"250 {lines[-1]}"])
        return {"DATA": "354 go on", "QUIT": "221 bye"}.get(line, "250 ok")
