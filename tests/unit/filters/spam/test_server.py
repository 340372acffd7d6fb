"""The engine as a service: spamd's protocol, spoken by Debian's spamc and by sockets."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from services.errors import ServiceError
from services.filters.spam import protocol, server
from services.filters.spam.config import SpamConfig
from services.filters.spam.protocol import read_response, request
from services.filters.spam.report import read
from services.filters.spam.rules.bulk import GTUBE
from tests.unit.filters.spam.letters import SITE, letter
from tests.unit.smtp.running import free_port

SPAM = letter(text=f"{GTUBE}\r\n")


class Told:
    """What the service tells."""

    def __init__(self) -> None:
        self.is_ready = asyncio.Event()
        self.events: list[tuple[str, dict[str, object]]] = []

    def ready(self) -> None:
        self.is_ready.set()

    def event(self, kind: str, **fields: object) -> None:
        self.events.append((kind, fields))

    def handle(self, method: str, handler: object) -> None:
        """Nobody asks."""


class Running:
    """A service on loopback."""

    def __init__(self, config: SpamConfig, told: Told) -> None:
        self.port = config.port
        self.told = told

    async def spamc(self, *options: str, message: bytes = b"") -> tuple[int, bytes]:
        """Run spamc; return its status and output."""
        process = await asyncio.create_subprocess_exec(
            *("spamc", "-d", "127.0.0.1", "-p", str(self.port), "-x", *options),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await asyncio.wait_for(process.communicate(message), 30)
        return process.returncode or 0, output

    async def say(self, *pieces: bytes) -> bytes:
        """Send octets, piece by piece, and no more; return all that is answered."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        return answer


@asynccontextmanager
async def running(**changes: object) -> AsyncIterator[Running]:
    """Run the service."""
    config = replace(SpamConfig(site=SITE, port=free_port()), **changes)  # type: ignore[arg-type]
    told = Told()
    task = asyncio.create_task(server.serve(config, told))
    ready = asyncio.create_task(told.is_ready.wait())
    await asyncio.wait({task, ready}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    try:
        if task.done():
            task.result()
        yield Running(config, told)
    finally:
        ready.cancel()
        task.cancel()
        await asyncio.wait({task})


def test_spamc_is_answered() -> None:
    """Debian's spamc gets every kind of answer, for spam and for ham."""

    async def scenario() -> None:
        async with running() as service:
            assert await service.spamc("-K") == (0, b"SPAMD/1.5 0\n")
            status, output = await service.spamc("-c", message=SPAM)
            assert (status, output.split(b"/")[1]) == (1, b"5.0\n")
            assert (await service.spamc("-c", message=letter()))[0] == 0
            assert (await service.spamc("-y", message=SPAM))[1].strip() == b"GTUBE"
            report = read((await service.spamc("-R", message=SPAM))[1].decode())
            assert report is not None
            assert (report.score, report.fired[0].name, report.fired[0].evidence) == (
                1000.0,
                "GTUBE",
                "GTUBE",
            )

    asyncio.run(scenario())


def test_spamc_gets_the_message_back() -> None:
    """With the fields added before it, its own octets as they were; --headers gives the same message."""

    async def scenario() -> None:
        async with running() as service:
            for options in ((), ("--headers",)):
                _, output = await service.spamc(*options, message=SPAM)
                assert output.endswith(SPAM)
                added = output.removesuffix(SPAM)
                assert b"X-Spam-Flag: YES\r\n" in added
                assert b"X-Spam-Status: Yes, score=1000.0 required=5.0 tests=GTUBE\r\n" in added
                assert b"\t* 1000.0 GTUBE The generic test" in added

    asyncio.run(scenario())


def test_spamc_teaches(tmp_path: Path) -> None:
    """What is taught is there for the next service on the same file, and once is enough."""

    async def scenario() -> None:
        database = tmp_path / "spam" / "taught.sqlite3"
        async with running(database=database) as service:
            assert await service.spamc("-L", "spam", message=SPAM) == (
                0,
                b"Message successfully un/learned\n",
            )
            for number in range(25):
                await service.spamc("-L", "spam", message=letter(text=f"casino jackpot pills {number}\r\n"))
                await service.spamc("-L", "ham", message=letter(text=f"train lake lunch {number}\r\n"))
            assert await service.spamc("-L", "spam", message=SPAM) == (0, b"Message was already un/learned\n")
        async with running(database=database) as service:
            _, output = await service.spamc("-y", message=letter(text="A casino with jackpot and pills\r\n"))
            assert b"BAYES_99" in output or b"BAYES_95" in output
            _, output = await service.spamc("-y", message=letter(text="The train to the lake, and lunch\r\n"))
            assert b"BAYES_0" in output
            assert await service.spamc("-L", "forget", message=SPAM) == (
                0,
                b"Message successfully un/learned\n",
            )

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        pytest.param([b"GET / HTTP/1.1\r\n\r\n"], protocol.PROTOCOL, id="a browser"),
        pytest.param([b"DANCE SPAMC/1.5\r\n\r\n"], protocol.PROTOCOL, id="an unknown method"),
        pytest.param([b"CHECK SPAMC/1.5\r\nContent-length: 10\r\n\r\nabc"], protocol.DATA, id="cut off"),
        pytest.param([b"CHECK SPAMC/1.5\r\nContent-length: 2\r\n\r\nabc"], protocol.DATA, id="too much"),
        pytest.param([b"CHECK SPAMC/1.5\r\nContent-length: x\r\n\r\n"], protocol.PROTOCOL, id="no number"),
        pytest.param(
            [b"CHECK SPAMC/1.5\r\nContent-length: 99999999\r\n\r\n"], protocol.TOO_LARGE, id="too large"
        ),
        pytest.param(
            [b"CHECK SPAMC/1.5\r\n\r\n" + b"a" * 200_000], protocol.TOO_LARGE, id="larger than told"
        ),
        pytest.param([b"CHECK SPAMC/1.5\r\n"], protocol.PROTOCOL, id="half a head"),
        pytest.param([b"CHECK SPAMC/1.5\r\nX: " + b"a" * 40_000], protocol.PROTOCOL, id="a head without end"),
        pytest.param([request("TELL", SPAM)], protocol.USAGE, id="nothing to learn it as"),
        pytest.param([request("CHECK", b"xx", {"Compress": "zlib"})], protocol.DATA, id="not compressed"),
        pytest.param(
            [request("CHECK", zlib.compress(b"a" * 10_000_000), {"Compress": "zlib"})],
            protocol.TOO_LARGE,
            id="a bomb",
        ),
        pytest.param([request("SYMBOLS", SPAM)], protocol.OK, id="all of it"),
        pytest.param([bytes([octet]) for octet in request("CHECK", SPAM)], protocol.OK, id="octet by octet"),
        pytest.param([b"CHECK SPAMC/1.2\r\n\r\n", SPAM], protocol.OK, id="no length told"),
        pytest.param(
            [request("CHECK", zlib.compress(SPAM), {"Compress": "zlib"})], protocol.OK, id="compressed"
        ),
        pytest.param([b"PROCESS SPAMC/1.5\r\nContent-length: 0\r\n\r\n"], protocol.OK, id="an empty message"),
    ],
)
def test_whatever_a_client_says(pieces: list[bytes], code: int, tmp_path: Path) -> None:
    """It gets an answer that fits, and the service goes on."""

    async def scenario() -> None:
        async with running(size_limit=100_000, database=tmp_path / "taught.sqlite3") as service:
            assert read_response(await service.say(*pieces)).code == code
            assert (await service.say(request("PING"))).startswith(b"SPAMD/1.5 0 PONG")

    asyncio.run(scenario())


def test_each_judgement_is_told() -> None:
    """With the score, and each rule with its weight and evidence."""

    async def scenario() -> None:
        async with running() as service:
            await service.say(request("CHECK", SPAM))
            ((kind, fields),) = service.told.events
            assert (kind, fields["spam"], fields["message_id"]) == ("judged", True, "<1234@example.com>")
            assert fields["rules"] == [{"name": "GTUBE", "weight": 1000.0, "evidence": "GTUBE"}]

    asyncio.run(scenario())


def test_a_port_that_is_taken() -> None:
    """The service ends with a line that says so."""

    async def scenario() -> None:
        async with running() as service:
            with pytest.raises(ServiceError, match=f"127.0.0.1:{service.port} cannot be bound"):
                async with running(port=service.port):
                    pass

    asyncio.run(scenario())


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """The service does not start, and names the file."""
    path = tmp_path / "taught.sqlite3"
    path.write_text("this is no database, whatever its name says\n" * 100)

    async def scenario() -> None:
        with pytest.raises(ServiceError, match=r"taught\.sqlite3: file is not a database"):
            async with running(database=path):
                pass

    asyncio.run(scenario())
