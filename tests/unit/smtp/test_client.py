"""The client's sessions: several messages over one, and messages that take long."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator

import pytest

from services.smtp.address import parse_address
from services.smtp.client import ClientSession, Stale, Timeouts
from services.smtp.connection import Connection
from services.smtp.envelope import Envelope
from tests.unit.smtp.running import ScriptedServer

BOB = parse_address("bob@example.org")
ENVELOPE = Envelope(sender=parse_address("alice@example.com"), recipients=(BOB,))
CONTENT = b"Subject: x\r\n\r\nx\r\n"


def hold(
    server: ScriptedServer, steps: Callable[[ClientSession], Awaitable[None]], *, command_s: float = 10
) -> ScriptedServer:
    """Hold a session with the server; return it."""

    async def main() -> None:
        async with server:
            timeouts = Timeouts(connect_s=10, command_s=command_s)
            session = await ClientSession.open(
                server.address, server.port, helo="client.example", timeouts=timeouts
            )
            async with session:
                await steps(session)

    asyncio.run(main())
    return server


def commands(server: ScriptedServer) -> list[str]:
    return [line.partition(" ")[0] for line in server.commands]


def test_two_messages_in_one_session() -> None:
    """The second follows the first without further ado."""

    async def steps(session: ClientSession) -> None:
        for _ in range(2):
            assert (await session.send(ENVELOPE, CONTENT))[BOB].positive
            assert session.usable

    server = hold(ScriptedServer(), steps)
    assert commands(server) == ["EHLO", *["MAIL", "RCPT", "DATA"] * 2, "QUIT"]
    assert server.messages == [CONTENT + b".\r\n"] * 2


def test_after_a_refusal() -> None:
    """A transaction that nobody wanted is ended before the next begins."""
    server = ScriptedServer(replies={"RCPT": "550 5.1.1 who"})

    async def steps(session: ClientSession) -> None:
        assert (await session.send(ENVELOPE, CONTENT))[BOB].permanent
        server.replies.clear()
        assert (await session.send(ENVELOPE, CONTENT))[BOB].positive

    hold(server, steps)
    assert commands(server) == ["EHLO", "MAIL", "RCPT", "RSET", "MAIL", "RCPT", "DATA", "QUIT"]


@pytest.mark.parametrize("reply", ["", "421 4.3.2 enough", "451 4.7.1 too many messages"])
def test_a_server_that_has_enough(reply: str) -> None:
    """The next message is not sent at all, and whoever sends it is told that the session is stale."""
    server = ScriptedServer()

    async def steps(session: ClientSession) -> None:
        await session.send(ENVELOPE, CONTENT)
        server.replies["MAIL"] = reply
        with pytest.raises(Stale):
            await session.send(ENVELOPE, CONTENT)

    hold(server, steps)
    assert len(server.messages) == 1


@pytest.mark.parametrize("replies", [{"DATA": "250 what"}, {"message": ""}, {"RCPT": ""}])
def test_a_session_that_went_wrong(replies: dict[str, str]) -> None:
    """When it is not known where the server is, no other message is sent."""

    async def steps(session: ClientSession) -> None:
        assert not (await session.send(ENVELOPE, CONTENT))[BOB].positive
        assert not session.usable

    hold(ScriptedServer(replies=replies), steps)


class LateServer(ScriptedServer):
    """A server that replies to a message after a while."""

    after_s = 0.5

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        writer.write(b"220 late\r\n")
        while (line := await reader.readline()) and not line.startswith(b"DATA"):
            writer.write(b"250 ok\r\n")
        writer.write(b"354 go on\r\n")
        await reader.readuntil(b"\r\n.\r\n")
        await asyncio.sleep(self.after_s)
        writer.write(b"250 2.0.0 ok\r\n")
        await reader.readline()
        writer.write(b"221 bye\r\n")


@pytest.mark.parametrize(
    ("unsent", "reply"),
    [
        pytest.param(itertools.count(1000, -1), "250 2.0.0 ok", id="it gets on"),
        pytest.param(itertools.repeat(1000), "451 4.4.2 the session broke: timed out", id="it is stuck"),
    ],
)
def test_a_message_that_takes_longer_than_a_reply_may(
    monkeypatch: pytest.MonkeyPatch, unsent: Iterator[int], reply: str
) -> None:
    """The time-out is for a server that does nothing, not for one that is slow (RFC 5321 §4.5.3.2.5)."""
    monkeypatch.setattr(Connection, "_unsent", lambda _: next(unsent))

    async def steps(session: ClientSession) -> None:
        assert str((await session.send(ENVELOPE, CONTENT))[BOB]) == reply
        assert session.usable is reply.startswith("250")

    hold(LateServer(extensions=()), steps, command_s=0.1)


def test_a_server_that_takes_nothing_more() -> None:
    """A large message that does not get on is given up after the time-out."""

    class Deaf(LateServer):
        async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._writers.append(writer)
            writer.write(b"220 deaf\r\n")
            while (line := await reader.readline()) and not line.startswith(b"DATA"):
                writer.write(b"250 ok\r\n")
            writer.write(b"354 go on\r\n")

    async def steps(session: ClientSession) -> None:
        reply = (await session.send(ENVELOPE, b"x" * 20_000_000))[BOB]
        assert str(reply) == "451 4.4.2 the session broke: timed out"
        assert not session.usable

    hold(Deaf(extensions=()), steps, command_s=0.3)
