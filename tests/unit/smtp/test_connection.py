"""Replies read from bytes, and connections whose server misbehaves."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path

import pytest

from services.smtp.client import ClientSession, Timeouts, Unreachable
from services.smtp.config import TlsConfig
from services.smtp.connection import ReplyReader, connect
from services.smtp.handshake import offers
from tests.unit.smtp.running import ScriptedServer, config, free_port, running


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"250 ok\r\n", ["250 ok"]),
        (b"250\r\n", ["250"]),
        (b"250 ok\n", ["250 ok"]),
        (b"250-2.1.0 one\r\n250 2.1.0 two\r\n354 go\r\n", ["250 2.1.0 one two", "354 go"]),
        (b"250 ok\r\n550 5.1.1 no\r\n250", ["250 ok", "550 5.1.1 no"]),
        (b"HTTP/1.0 400 what?\r\n250 ok\r\n", ["451 4.5.0 not an SMTP reply: HTTP/1.0 400 what?"]),
        (b"250_ok\r\n", ["451 4.5.0 not an SMTP reply: 250_ok"]),
        (b"\xff\xfe\r\n", ["451 4.5.0 not an SMTP reply: \\udcff\\udcfe"]),
        ("2\u0660\u0660 ok\r\n".encode(), ["451 4.5.0 not an SMTP reply: 2\u0660\u0660 ok"]),
        (b"199 hm\r\n", ["451 4.5.0 not an SMTP reply: hm"]),
        (b"\r\n", ["451 4.5.0 not an SMTP reply: "]),
    ],
)
def test_replies(data: bytes, expected: list[str]) -> None:
    """The replies are the same whether the bytes come at once or one by one; after garbage there are none."""
    assert [str(reply) for reply in ReplyReader().feed(data)] == expected
    reader = ReplyReader()
    found = [reply for octet in data for reply in reader.feed(bytes([octet]))]
    assert [str(reply) for reply in found] == expected


@pytest.mark.parametrize("data", [b"2" * 70000, b"250-x" + b"y" * 1000 + b"\r\n"])
def test_a_reply_without_end(data: bytes) -> None:
    """A server that never comes to an end does not fill the memory."""
    reader = ReplyReader()
    found = [reply for _ in range(100) for reply in reader.feed(data)]
    assert [reply.code for reply in found] == [451]


def test_what_is_offered() -> None:
    """Keywords in any case, with their parameters; the first line is the server's name."""
    assert offers(("mx.example.org hello", "SIZE 1000", "Pipelining", "AUTH PLAIN LOGIN", "")) == {
        "size": "1000",
        "pipelining": "",
        "auth": "PLAIN LOGIN",
    }


def test_a_server_that_is_tired_of_waiting() -> None:
    """What a server says unasked makes the session unusable."""

    async def main() -> None:
        async with ScriptedServer() as server:
            session = await ClientSession.open(
                server.address, server.port, helo="client.example", timeouts=Timeouts()
            )
            server._writers[0].write(b"421 4.4.2 timed out\r\n")
            async with asyncio.timeout(20):
                while session.usable:  # noqa: ASYNC110  (a socket of the loop itself)
                    await asyncio.sleep(0.01)
            await session.close()

    asyncio.run(main())


def context(tls: TlsConfig) -> ssl.SSLContext:
    found = ssl.create_default_context(cafile=str(tls.cert))
    found.check_hostname, found.verify_mode = False, ssl.CERT_NONE
    return found


def test_tls_where_it_is_offered(tmp_path: Path, tls: TlsConfig) -> None:
    """A server that offers STARTTLS is talked to under TLS, whatever its name."""

    async def main() -> bool:
        server = config(tmp_path, tls=tls, smtp_port=free_port())
        async with running(server):
            session = await ClientSession.open(
                "127.0.0.1", server.smtp_port, helo="client.example", timeouts=Timeouts(), tls=context(tls)
            )
            async with session:
                return session.offers("STARTTLS")

    assert not asyncio.run(main()), "under TLS it is not offered again"


class Talker(ScriptedServer):
    """A server that goes on talking in the clear after it has taken STARTTLS, or answers the handshake so."""

    at_once = True

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        writer.write(b"220 talker\r\n")
        with suppress(ConnectionError):
            while line := (await reader.readline()).decode().strip():
                self.commands.append(line)
                if line == "STARTTLS":
                    writer.write(
                        b"220 go\r\n" + (b"250 2.0.0 Ok: queued as INJECTED\r\n" if self.at_once else b"")
                    )
                    await reader.readexactly(1)
                    writer.write(b"250 2.0.0 Ok: queued as INJECTED\r\n")
                    break
                writer.write(b"250-talker\r\n250 STARTTLS\r\n" if line.startswith("EHLO") else b"250 ok\r\n")
        writer.close()


class TalksLater(Talker):
    at_once = False


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(Talker(), id="goes on in the clear"),
        pytest.param(TalksLater(), id="answers the handshake in the clear"),
        pytest.param(
            ScriptedServer(extensions=("STARTTLS",), replies={"STARTTLS": "454 4.7.0 not now"}), id="not now"
        ),
    ],
)
def test_tls_that_fails(server: ScriptedServer, tls: TlsConfig) -> None:
    """The message goes in the clear, in a session of its own; nothing that was injected counts."""

    async def main() -> None:
        async with server:
            session = await ClientSession.open(
                server.address, server.port, helo="x", timeouts=Timeouts(connect_s=20), tls=context(tls)
            )
            async with session:
                assert session.offers("STARTTLS")
        greetings = [line for line in server.commands if line.startswith("EHLO")]
        assert len(greetings) == 2
        assert server.commands.count("STARTTLS") == 1

    asyncio.run(main())


def test_nobody_there() -> None:
    """A refused connection is told in the system's words."""

    async def main() -> None:
        with pytest.raises(Unreachable, match="Connection refused"):
            await ClientSession.open("127.0.0.1", free_port(), helo="x", timeouts=Timeouts())

    asyncio.run(main())


def test_a_connection_that_is_given_up() -> None:
    """Whoever is told to stop while it is being refused stops, at whatever moment that is."""

    async def again_and_again() -> None:
        while True:
            with suppress(OSError):
                await connect("127.0.0.1", 1, timeout_s=20)

    async def main() -> None:
        for turns in range(200):
            task = asyncio.create_task(again_and_again())
            for _ in range(turns % 12):
                await asyncio.sleep(0)
            task.cancel()
            done, _ = await asyncio.wait({task}, timeout=20)
            assert done

    asyncio.run(main())
