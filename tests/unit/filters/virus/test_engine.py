"""The engine as a service, asked over loopback, also by ClamAV's own client."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.errors import ConfigError, ServiceError
from services.filters.engines import Scan, scan
from services.filters.virus import engine
from services.filters.virus.engine import EngineConfig
from services.filters.virus.limits import MIB, Limits
from services.notices import Handler
from tests.unit.filters.virus.samples import EICAR, NAME, mail, zipped
from tests.unit.filters.virus.test_protocol import chunked

CHECKOUT = Path(__file__).parents[4]
COMMAND = [sys.executable, "-m", "services.filters.virus"]
CLEAN = b"Subject: x\n\nhello\n"
LAB = "Lab.Worm:0:*:" + b"squirming".hex()


class Heard:
    """Notices kept, in order; `begun` has the port."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self.begun: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def ready(self) -> None:
        self.begun.set_result(self.events[0][1]["port"])

    def event(self, kind: str, **fields: object) -> None:
        self.events.append((kind, fields))

    def handle(self, method: str, handler: Handler) -> None:
        raise AssertionError(f"a virus engine answers no questions: {method} {handler}")


@asynccontextmanager
async def serving(config: EngineConfig | None = None) -> AsyncIterator[tuple[int, Heard]]:
    """Within it the engine serves; its port and what it told."""
    heard = Heard()
    task = asyncio.create_task(engine.serve(replace(config or EngineConfig(), port=0), heard))
    either: list[asyncio.Future[Any]] = [task, heard.begun]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    try:
        yield heard.begun.result(), heard
    finally:
        task.cancel()
        await asyncio.wait({task})


async def ask(port: int, said: bytes) -> bytes:
    """All that is answered until the engine closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return answer


async def scanned(port: int, message: bytes) -> bytes:
    return await ask(port, b"zINSTREAM\0" + chunked(message, 1 << 16))


def test_answers() -> None:
    """Each command has its answer, and a finding is told."""

    async def run() -> None:
        async with serving() as (port, heard):
            assert await ask(port, b"zPING\0") == b"PONG\0"
            assert await ask(port, b"nVERSION\n") == b"Mailbed virus engine/1\n"
            assert b"INSTREAM" in await ask(port, b"zVERSIONCOMMANDS\0")
            assert (await ask(port, b"zSTATS\0")).endswith(b"END\0")
            assert await ask(port, b"zSCAN /etc/passwd\0") == b"UNKNOWN COMMAND\0"
            assert await scanned(port, CLEAN) == b"stream: OK\0"
            assert (
                await scanned(port, mail(zipped(EICAR), filename="a.zip"))
                == b"stream: %s FOUND\0" % NAME.encode()
            )
            kind, fields = heard.events[-1]
            assert (kind, fields["virus"], fields["where"]) == ("found", NAME, ["a.zip", "file.com"])

    asyncio.run(run())


def test_many_at_once() -> None:
    """More clients than there are places and threads all get the answer to their own message."""

    async def run() -> None:
        async with serving(EngineConfig(connections=4)) as (port, _):
            messages = [mail(EICAR) if number % 3 else mail(b"clean %d" % number) for number in range(60)]
            answers = await asyncio.gather(*(scanned(port, message) for message in messages))
            assert [b"FOUND" in answer for answer in answers] == [number % 3 > 0 for number in range(60)]

    asyncio.run(run())


def test_a_bomb_and_a_ping() -> None:
    """While a bomb is looked at, others are answered."""

    async def run() -> None:
        bomb = mail(gzip.compress(bytes(60 * MIB)))
        async with serving(EngineConfig(limits=Limits(ratio=10_000, object_octets=59 * MIB))) as (port, _):
            scans = [asyncio.create_task(scanned(port, bomb)) for _ in range(2)]
            assert await ask(port, b"zPING\0") == b"PONG\0"
            assert (
                await asyncio.gather(*scans)
                == [b"stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND\0"] * 2
            )

    asyncio.run(run())


def test_closing_ends_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is being scanned when the engine is closed does not go on, be it without end."""
    begun = threading.Event()

    def endless(outer: object, budget: object) -> Iterator[object]:
        begun.set()
        return itertools.repeat(outer)

    monkeypatch.setattr("services.filters.virus.scanner._within", endless)

    async def run() -> list[threading.Thread]:
        limits = Limits(depth=1 << 60, objects=1 << 60, time_s=1e9)
        async with serving(EngineConfig(limits=limits)) as (port, _):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"zINSTREAM\0" + chunked(CLEAN))
            assert await asyncio.to_thread(begun.wait, 60)
            threads = [each for each in threading.enumerate() if each.name.startswith("scan")]
            assert [each.is_alive() for each in threads] == [True]
        writer.transport.abort()
        return threads

    for thread in asyncio.run(run()):
        thread.join(60)
        assert not thread.is_alive()


def test_clients_that_misbehave() -> None:
    """Whoever is silent, leaves in the middle or sends too much is left, and takes nobody's place."""

    async def run() -> None:
        config = EngineConfig(connections=2, idle_s=0.2, message_limit=1000)
        async with serving(config) as (port, _):
            assert await ask(port, b"zPI") == b""
            for said in [b"", b"zINSTREAM\0\0\0", b"zINSTREAM\0" + chunked(CLEAN)[:-4]] * 3:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(said)
                writer.transport.abort()
            assert await scanned(port, bytes(20_000_000)) == b"INSTREAM size limit exceeded. ERROR\0"
            assert await scanned(port, CLEAN) == b"stream: OK\0"

    asyncio.run(run())


def test_a_scan_that_fails_is_no_clean_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake in the engine answers ERROR for that message, and the engine goes on."""

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    async def run() -> None:
        async with serving() as (port, _):
            with monkeypatch.context() as patch:
                patch.setattr("services.filters.virus.scanner._within", broken)
                assert await scanned(port, CLEAN) == b"stream: the scan failed. ERROR\0"
            assert await scanned(port, CLEAN) == b"stream: OK\0"

    asyncio.run(run())


def test_reload(tmp_path: Path) -> None:
    """RELOAD takes new signatures; a file with a mistake changes nothing and is named."""

    async def run() -> None:
        async with serving(EngineConfig(signatures=tmp_path)) as (port, heard):
            worm = mail(b"it is squirming")
            assert await scanned(port, worm) == b"stream: OK\0"
            (tmp_path / "lab.ndb").write_text(LAB)
            assert await ask(port, b"zRELOAD\0") == b"RELOADING\0"
            assert heard.events[-1] == ("signatures-loaded", {"count": 2})
            (tmp_path / "lab.ndb").write_text("nonsense\n")
            assert await ask(port, b"zRELOAD\0") == b"RELOADING\0"
            kind, fields = heard.events[-1]
            assert kind == "signatures-refused"
            assert "lab.ndb line 1: a line is NAME:0:OFFSET:HEXSIGNATURE" in str(fields["reason"])
            assert await scanned(port, worm) == b"stream: Lab.Worm FOUND\0"

    asyncio.run(run())


def test_the_filter_asks() -> None:
    """A content filter understands each answer: nothing, a name, and what it will never look into."""

    async def run() -> None:
        async with serving(EngineConfig(message_limit=10_000)) as (port, _):
            assert await scan(CLEAN, port=port, timeout_s=60) == Scan()
            assert await scan(mail(EICAR), port=port, timeout_s=60) == Scan(virus=NAME)
            refused = await scan(bytes(5_000_000), port=port, timeout_s=60)
            assert refused == Scan(refused="INSTREAM size limit exceeded")

    asyncio.run(run())


def test_clamdscan(tmp_path: Path) -> None:
    """ClamAV's own client takes our engine for a clamd."""
    client = shutil.which("clamdscan")
    assert client, "clamdscan is not installed: scripts/setup --test"
    (tmp_path / "clean.eml").write_bytes(CLEAN)
    (tmp_path / "bad.eml").write_bytes(mail(EICAR))

    async def run() -> tuple[int, str]:
        async with serving() as (port, _):
            config = tmp_path / "client.conf"
            config.write_text(f"TCPSocket {port}\nTCPAddr 127.0.0.1\n")
            names = [str(tmp_path / name) for name in ("clean.eml", "bad.eml")]
            process = await asyncio.create_subprocess_exec(
                client, "-c", str(config), "--stream", "--no-summary", *names, stdout=asyncio.subprocess.PIPE
            )
            output, _ = await process.communicate()
            assert process.returncode is not None
            return process.returncode, output.decode()

    status, output = asyncio.run(run())
    assert status == 1
    assert output.splitlines() == [f"{tmp_path}/clean.eml: OK", f"{tmp_path}/bad.eml: {NAME} FOUND"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("port = 'x'", "port = 'x' must be int"),
        ("prot = 1", "there is no key prot"),
        ("[limits]\ndepht = 1", "there is no key limits.depht"),
        ("threads = -1", "not below 0"),
        ("signatures = 3", "signatures must be a directory"),
        ("port = ", "Invalid value"),
    ],
)
def test_configuration(tmp_path: Path, text: str, reason: str) -> None:
    """A mistake in the configuration is named, with the file."""
    file = tmp_path / "engine.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=reason) as caught:
        engine.load(file)
    assert str(file) in str(caught.value)


def test_a_configuration(tmp_path: Path) -> None:
    """Paths are relative to the file."""
    file = tmp_path / "engine.toml"
    file.write_text("port = 3311\nsignatures = 'own'\n[limits]\ndepth = 5\ntime_s = 3\n")
    assert engine.load(file) == EngineConfig(
        port=3311, signatures=tmp_path / "own", limits=Limits(depth=5, time_s=3)
    )


def test_a_port_that_is_taken() -> None:
    """A port that somebody has is named."""

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(ServiceError, match=f"cannot listen on 127.0.0.1 port {port}"):
                await engine.serve(EngineConfig(port=port), Heard())

    asyncio.run(run())


def command(*arguments: str, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], input=text, capture_output=True, timeout=60, check=False, cwd=CHECKOUT
    )


def test_scanning_files(tmp_path: Path) -> None:
    """Files are scanned one by one; the exit status tells the worst."""
    (tmp_path / "clean").write_bytes(CLEAN)
    (tmp_path / "bad").write_bytes(mail(EICAR, filename="a.com"))
    result = command(str(tmp_path / "clean"), str(tmp_path / "bad"))
    assert (result.returncode, result.stdout.decode().splitlines()) == (
        1,
        [
            f"{tmp_path}/clean: OK",
            f"{tmp_path}/bad: {NAME} FOUND in a.com: it holds what a signature describes",
        ],
    )
    result = command("--json", "-", text=mail(EICAR, filename="a.com"))
    assert json.loads(result.stdout)["where"] == ["a.com"]
    assert command(str(tmp_path / "clean")).returncode == 0
    missing = command(str(tmp_path / "none"))
    assert (missing.returncode, missing.stderr.decode()) == (
        2,
        f"{tmp_path}/none: No such file or directory\n",
    )


def test_usage(tmp_path: Path) -> None:
    """Mistakes get a line and status 2; --help shows how it is used."""
    assert command().returncode == 2
    (tmp_path / "x.ndb").write_text("x\n")
    wrong = command("--signatures", str(tmp_path), "-")
    assert wrong.returncode == 2
    assert b"x.ndb line 1" in wrong.stderr
    assert wrong.stderr.count(b"\n") == 1
    assert b"python -m services.filters.virus message.eml" in command("--help").stdout


def test_served_alone(tmp_path: Path) -> None:
    """The engine runs alone; SIGHUP reads the signatures again, SIGINT ends it."""
    own = tmp_path / "own"
    own.mkdir()
    (tmp_path / "engine.toml").write_text("port = 0\nsignatures = 'own'\n")
    arguments = [*COMMAND, "--serve", str(tmp_path / "engine.toml")]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, cwd=CHECKOUT) as process:
        assert process.stderr is not None
        assert [json.loads(process.stderr.readline())["kind"] for _ in range(2)] == ["listening", "ready"]
        (own / "lab.ndb").write_text(LAB)
        os.kill(process.pid, signal.SIGHUP)
        assert json.loads(process.stderr.readline()) == {"kind": "signatures-loaded", "count": 2}
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(timeout=30) == 0
