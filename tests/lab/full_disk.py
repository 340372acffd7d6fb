"""A mail server whose spool is a small disk, in a mount namespace of its own; run by test_full_disk.

    python -m tests.lab.full_disk DIRECTORY

mounts a tmpfs of two megabytes as DIRECTORY/spool, runs a server there that relays to one which is not up
yet, and sends it messages until it refuses, then again once the other one is up. It prints what the clients
were told and what arrived, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path

from services.mailbox.maildir import list_messages, read_message
from services.smtp.address import Address, parse_address
from services.smtp.client import ClientSession, Timeouts
from services.smtp.config import Domain, User
from services.smtp.envelope import Envelope
from services.smtp.peek import peek
from services.smtp.trace import field
from tests.unit.smtp.running import config, free_port, running

CAROL = parse_address("carol@[127.0.0.1]")
NOBODY = parse_address("dave@[127.0.0.2]")


def main(directory: Path) -> None:
    """Mount the disk, do it, and print what came of it."""
    spool = directory / "spool"
    spool.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "spool", str(spool)], check=True)
    print(json.dumps(asyncio.run(_fill_and_drain(directory))))


async def _fill_and_drain(directory: Path) -> dict[str, object]:
    sink = config(
        directory / "sink",
        domains=(Domain(name="[127.0.0.1]", kind="local"),),
        users=(User(address=CAROL),),
    )
    relay = config(
        directory,
        remote_port=sink.smtp_port,
        relay_from=(IPv4Network("127.0.0.0/8"),),
        smtp_port=free_port(),
        time_scale=300.0,
    )
    async with running(relay):
        # The first one waits for a host that is never there, and must not keep the room of all others.
        told = [await _send(relay.smtp_port, n, CAROL if n else NOBODY) for n in range(150)]
        waiting = len(peek(relay.spool))
        async with running(sink):
            await _until(lambda: len(peek(relay.spool)) == 1)
            again = [await _send(relay.smtp_port, number) for number in range(150, 160)]
            await _until(lambda: len(peek(relay.spool)) == 1)
            await _until(lambda: not peek(sink.spool))
    found = Counter(
        field(read_message(stored), "X-Number")
        for stored in list_messages(sink.mailboxes, "[127.0.0.1]", "carol")
    )
    return {"told": told, "waiting": waiting, "again": again, "found": found}


async def _send(port: int, number: int, to: Address = CAROL) -> str:
    content = f"X-Number: {number}\r\n\r\n{'x' * 30_000}\r\n".encode()
    timeouts = Timeouts(connect_s=20, command_s=20)
    async with await ClientSession.open("127.0.0.1", port, helo="load.example", timeouts=timeouts) as session:
        envelope = Envelope(sender=parse_address("alice@example.com"), recipients=(to,))
        (reply,) = (await session.send(envelope, content)).values()
    return str(reply)


async def _until(done: Callable[[], bool]) -> None:
    for _ in range(1200):
        if done():
            return
        await asyncio.sleep(0.05)
    raise TimeoutError


if __name__ == "__main__":
    main(Path(sys.argv[1]))
