"""The IMAP server on real sockets: TLS, and how sessions begin and end."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from services.errors import ConfigError, ServiceError
from services.imap.config import Account, ImapConfig, load
from services.imap.server import serve
from services.mailbox import maildir
from services.smtp.address import parse_address
from services.smtp.config import TlsConfig
from tests.unit.smtp.running import Events, free_port

BOB = Account(address=parse_address("bob@example.org"), password="secret")
Talk = Callable[["Client"], Awaitable[None]]


class Client:
    """One end of a session, which reads by lines; TLS by hand, so that a test says what shares a segment."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._rest = b""

    async def line(self) -> bytes:
        while b"\n" not in self._rest:
            self._rest += await self._some()
        line, _, self._rest = self._rest.partition(b"\n")
        return line + b"\n"

    async def exactly(self, size: int) -> bytes:
        pieces, have = [self._rest], len(self._rest)
        while have < size:
            pieces.append(await self._some())
            have += len(pieces[-1])
        data = b"".join(pieces)
        self._rest = data[size:]
        return data[:size]

    async def until(self, tag: bytes) -> list[bytes]:
        """The lines up to that which answers the command."""
        lines = [await self.line()]
        while not lines[-1].startswith(tag + b" "):
            lines.append(await self.line())
        return lines

    def send(self, data: bytes) -> None:
        if self._tls is not None:
            self._tls.write(data)
            data = self._out.read()
        self.writer.write(data)

    async def take_up_tls(self, *, said_with_it: bytes = b"") -> None:
        """Take TLS up; the end of the handshake and what is said first go out together."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        session = context.wrap_bio(self._in, self._out, server_hostname="localhost")
        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.writer.write(self._out.read())
                self._in.write(await self._raw())
        self._tls = session
        if said_with_it:
            session.write(said_with_it)
        self.writer.write(self._out.read())

    async def _some(self) -> bytes:
        if self._tls is None:
            return await self._raw()
        while True:
            try:
                return self._tls.read(1 << 20)
            except ssl.SSLWantReadError:
                self._in.write(await self._raw())

    async def _raw(self) -> bytes:
        data = await asyncio.wait_for(self.reader.read(1 << 20), 20)
        if not data:
            raise EOFError
        return data


@asynccontextmanager
async def serving(config: ImapConfig) -> AsyncIterator[Events]:
    """The server, running."""
    events = Events()
    task = asyncio.create_task(serve(config, events))
    try:
        await events.wait("ready")
        yield events
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def client(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


@pytest.fixture
def config(tmp_path: Path, tls: TlsConfig) -> ImapConfig:
    return ImapConfig(
        hostname="mda.example.org", host="mda", mailboxes=tmp_path / "mail", tls=tls, listen=("127.0.0.1",),
        port=free_port(), tls_port=0, users=(BOB,),
    )  # fmt: skip


def run(config: ImapConfig, talk: Talk) -> Events:
    async def main() -> Events:
        async with serving(config) as events, client(config.port) as one:
            await talk(one)
            return events

    return asyncio.run(main())


def test_what_comes_with_the_end_of_the_handshake_is_heard(config: ImapConfig) -> None:
    """A client need not wait after its part of the handshake: its next command is answered (as curl's is)."""

    async def talk(one: Client) -> None:
        await one.line()
        one.send(b"a STARTTLS\r\n")
        assert (await one.line()).startswith(b"a OK")
        await one.take_up_tls(said_with_it=b"b CAPABILITY\r\n")
        listed, answer = await one.until(b"b")
        assert answer.startswith(b"b OK")
        assert b"STARTTLS" not in listed
        assert b"AUTH=PLAIN" in listed

    for _ in range(20):
        run(replace(config, port=free_port()), talk)


def test_what_was_said_in_the_clear_behind_starttls_is_not_heard(config: ImapConfig) -> None:
    """Commands that somebody put behind STARTTLS, before TLS, are thrown away (RFC 9051 §6.2.1)."""

    async def talk(one: Client) -> None:
        await one.line()
        one.send(b"a STARTTLS\r\nb LOGOUT\r\n")
        assert (await one.line()).startswith(b"a OK")
        await one.take_up_tls(said_with_it=b"c NOOP\r\n")
        assert (await one.line()).startswith(b"c OK")

    run(config, talk)


def test_a_failed_handshake_ends_the_session_alone(config: ImapConfig) -> None:
    """Who says something else than TLS is cut off; the server goes on."""

    async def talk(one: Client) -> None:
        await one.line()
        one.send(b"a STARTTLS\r\n")
        await one.line()
        one.send(b"b LOGIN bob@example.org secret\r\n" * 3)
        with pytest.raises((EOFError, ConnectionError)):
            await one.until(b"never")
        async with client(config.port) as other:
            assert (await other.line()).startswith(b"* OK")

    run(config, talk)


def test_a_large_message_arrives_whole(config: ImapConfig) -> None:
    """Ten megabytes of octets of any value are fetched as they lie in the mailbox, through the socket."""
    content = b"Subject: large\r\n\r\n" + bytes(range(1, 256)) * 40_000
    maildir.deliver(config.mailboxes / "example.org" / "bob", "1.Q1R0.mda", content)

    async def talk(one: Client) -> None:
        await one.line()
        one.send(b"a STARTTLS\r\n")
        await one.line()
        await one.take_up_tls(said_with_it=b"b LOGIN bob@example.org secret\r\nc SELECT INBOX\r\n")
        await one.until(b"c")
        one.send(b"d FETCH 1 BODY.PEEK[]\r\n")
        assert (await one.line()).rstrip().endswith(b"{%d}" % len(content))
        assert await one.exactly(len(content)) == content
        await one.until(b"d")

    events = run(config, talk)
    (fetched,) = events.of("fetched")
    assert fetched["user"] == "bob@example.org"


def test_one_session_too_many_is_told_so(config: ImapConfig) -> None:
    """Beyond the limit a client is sent away with BYE, and comes in when another has left."""

    async def talk(one: Client) -> None:
        assert (await one.line()).startswith(b"* OK")
        async with client(config.port) as other:
            assert (await other.until(b"*"))[-1].startswith(b"* ")
            assert b"too many sessions" in (await other.line())
        one.send(b"a LOGOUT\r\n")
        await one.until(b"a")
        async with client(config.port) as third:
            assert (await third.line()).startswith(b"* OK")

    run(replace(config, session_limit=1), talk)


def test_who_says_nothing_is_sent_away(config: ImapConfig) -> None:
    """A session in which nothing is heard for the time that it may take gets a BYE."""

    async def talk(one: Client) -> None:
        await one.line()
        one.send(b"a STARTTLS\r\n")
        await one.line()
        await one.take_up_tls(said_with_it=b"b LOGIN bob@example.org secret\r\n")
        await one.until(b"b")
        assert b"too long" in await one.line()

    run(replace(config, idle_limit_s=0.2), talk)


def test_a_server_that_ends_says_so(config: ImapConfig) -> None:
    """Clients of a server that is told to end are told BYE."""

    async def main() -> None:
        async with client_of(config) as (one, stop):
            await one.line()
            stop()
            assert (await one.line()).startswith(b"* BYE")

    asyncio.run(main())


@asynccontextmanager
async def client_of(config: ImapConfig) -> AsyncIterator[tuple[Client, Callable[[], object]]]:
    """A client of a server, and what ends the server."""
    events = Events()
    task = asyncio.create_task(serve(config, events))
    await events.wait("ready")
    async with client(config.port) as one:
        yield one, task.cancel
        with suppress(asyncio.CancelledError):
            await task


def test_a_port_that_is_taken(config: ImapConfig) -> None:
    """The error names address and port."""

    async def main() -> None:
        async with serving(config):
            with pytest.raises(ServiceError, match=f"127.0.0.1:{config.port} cannot be bound"):
                await serve(config, Events())

    asyncio.run(main())


GOOD = """\
hostname = "mda.example.org"
mailboxes = "mail"
[tls]
cert = "cert.pem"
key = "key.pem"
[[users]]
address = "bob@example.org"
password = "secret"
"""


def test_a_configuration_is_read(tmp_path: Path) -> None:
    """Paths are relative to the file; what is not said has its default."""
    path = tmp_path / "imap-server.toml"
    path.write_text(GOOD, encoding="utf-8")
    found = load(path)
    assert (found.host, found.port, found.tls_port) == ("mda.example.org", 143, 993)
    assert (found.mailboxes, found.tls.cert) == (tmp_path / "mail", tmp_path / "cert.pem")
    assert found.users == (BOB,)


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ('hostname = "mda.example.org"\n', "", "hostname is missing"),
        ('mailboxes = "mail"', 'mailboxes = "mail"\nprot = 143', "prot is not a key"),
        ('mailboxes = "mail"', 'mailboxes = "mail"\nport = 70000', "port is 70000, which is out of range"),
        ('mailboxes = "mail"', "mailboxes = 5", "mailboxes is 5, which is no str"),
        ('key = "key.pem"\n', "", "tls needs cert and key"),
        ('password = "secret"', "", "users are tables with address and password"),
        ("bob@example.org", "bob", "users: "),
        ("hostname", "= hostname", ""),
    ],
)
def test_mistakes_are_told_with_the_file(tmp_path: Path, old: str, new: str, mistake: str) -> None:
    """What is wrong is told in one line, with the file and the key."""
    path = tmp_path / "imap-server.toml"
    path.write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert mistake in str(caught.value)
