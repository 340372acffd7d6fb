"""A real server process is killed at random moments under load, and every message is accounted for."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from services.mailbox.maildir import list_messages, read_message
from services.smtp.address import parse_address
from services.smtp.client import ClientSession, Stale, Timeouts, Unreachable
from services.smtp.config import Domain, User
from services.smtp.envelope import Envelope
from services.smtp.peek import peek
from services.smtp.trace import field
from tests.unit.smtp.running import config, free_port, running

CLIENTS = 8
LOCAL, REMOTE = parse_address("bob@example.org"), parse_address("carol@[127.0.0.1]")

CONFIGURATION = """
hostname = "mx.example.org"
listen = ["127.0.0.1"]
smtp_port = {port}
remote_port = {sink}
relay_from = ["127.0.0.0/8"]
time_scale = 1000.0
destination_concurrency = 4
[[domains]]
name = "example.org"
kind = "local"
[[users]]
address = "bob@example.org"
"""


class Load:
    """Clients that send numbered messages for as long as the server lives, and know what it took."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.acknowledged: set[str] = set()
        self.sent = 0

    async def run(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(CLIENTS)))

    async def _client(self) -> None:
        with suppress(Unreachable, Stale):
            session = await ClientSession.open(
                "127.0.0.1", self.port, helo="load.example", timeouts=Timeouts(connect_s=5, command_s=5)
            )
            async with session:
                while await self._send(session):
                    pass

    async def _send(self, session: ClientSession) -> bool:
        self.sent += 1
        number = str(self.sent)
        envelope = Envelope(sender=parse_address("alice@example.com"), recipients=(LOCAL, REMOTE))
        content = f"X-Number: {number}\r\n\r\n{'x' * 3000}\r\n".encode()
        replies = await session.send(envelope, content)
        if all(reply.positive for reply in replies.values()):
            self.acknowledged.add(number)
            return True
        return False


async def start(path: Path, port: int) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.smtp", "--config", str(path), stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr
    while b'"ready"' not in (line := await asyncio.wait_for(process.stderr.readline(), 20)):
        assert line, f"the server on port {port} ended before it was ready"
    return process


async def end(process: asyncio.subprocess.Process, number: signal.Signals) -> int:
    process.send_signal(number)
    # Its notices are read to the end, or the pipe would stay open.
    await process.communicate()
    assert process.returncode is not None
    return process.returncode


def numbers(root: Path, domain: str, user: str) -> Counter[str]:
    return Counter(
        field(read_message(stored), "X-Number") or "none" for stored in list_messages(root, domain, user)
    )


class Witness:
    """What the servers told before they were killed."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    async def listen(self, process: asyncio.subprocess.Process) -> None:
        _, told = await process.communicate()
        for line in told.splitlines():
            with suppress(ValueError):  # The last one may be cut off.
                self.events.append(json.loads(line))

    def count(self, kind: str) -> Counter[tuple[str, str]]:
        """How often each message and recipient has met this fate."""
        return Counter((event["id"], event["recipient"]) for event in self.events if event["kind"] == kind)


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(12, id="12 times"),
        pytest.param(120, id="120 times", marks=[pytest.mark.long, pytest.mark.timeout(900)]),
    ],
)
def test_no_acknowledged_message_is_lost(tmp_path: Path, rounds: int) -> None:
    """Whenever a server was killed, every acknowledged message is in both mailboxes, in the local one once.

    In the other one it is twice only if the server was killed before it could write down that it was sent.
    """
    rng = random.Random(rounds)
    witness = Witness()
    port = free_port()
    sink = config(
        tmp_path / "sink",
        domains=(Domain(name="[127.0.0.1]", kind="local"),),
        users=(User(address=REMOTE),),
    )
    path = tmp_path / "mx.toml"
    path.write_text(CONFIGURATION.format(port=port, sink=sink.smtp_port))
    load = Load(port)

    async def main() -> None:
        async with running(sink) as at_sink:
            for _ in range(rounds):
                process = await start(path, port)
                sending = asyncio.create_task(load.run())
                reading = asyncio.create_task(witness.listen(process))
                await asyncio.sleep(rng.uniform(0.02, 0.3))
                process.kill()
                await asyncio.gather(reading, sending)
            process = await start(path, port)
            reading = asyncio.create_task(witness.listen(process))
            while peek(tmp_path / "spool"):  # noqa: ASYNC110  (another process's spool)
                await asyncio.sleep(0.05)
            process.terminate()
            await reading
            assert process.returncode == 0
            await at_sink.wait("delivered", len(at_sink.of("accepted")))

    asyncio.run(asyncio.wait_for(main(), 100 + 3 * rounds))

    local, remote = (
        numbers(tmp_path / "mail", "example.org", "bob"),
        numbers(sink.mailboxes, "[127.0.0.1]", "carol"),
    )
    assert len(load.acknowledged) > rounds
    assert load.acknowledged <= set(local)
    assert load.acknowledged <= set(remote)
    assert set(local.values()) == {1}
    # Sent twice is only what was between its last reply and the note of it: one a session and kill.
    assert remote.total() - len(remote) <= 4 * rounds
    relayed = witness.count("relayed")
    assert set(relayed.values()) == {1}
    assert remote.total() - len(relayed) <= 4 * rounds
    assert not list((tmp_path / "spool/corrupt").iterdir())
