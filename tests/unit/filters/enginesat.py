"""Engines that answer on a loopback port in clamd's and spamd's protocols, as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

REPORT = """\
Spam detection software, running on the system "filter", has looked at it.

Content analysis details:   ({score} points, 5.0 required)

 pts rule name              description
---- ---------------------- --------------------------------------------------
{rows}
"""


@dataclass
class Engine:
    """What an engine was asked, and what it says in place of a verdict (empty: it hangs up)."""

    asked: list[bytes] = field(default_factory=list)
    instead: bytes | None = None


async def _stream(reader: asyncio.StreamReader) -> bytes:
    """The message of an INSTREAM."""
    assert await reader.readuntil(b"\0") == b"zINSTREAM\0"
    message = b""
    while size := int.from_bytes(await reader.readexactly(4), "big"):
        message += await reader.readexactly(size)
    return message


async def _report(reader: asyncio.StreamReader) -> bytes:
    """The message of a REPORT."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"REPORT SPAMC/1.5\r\nContent-length: ")
    return await reader.readexactly(int(head.split(b":")[1]))


def clam(message: bytes) -> bytes:
    """What clamd says of a message."""
    return b"stream: Eicar-Test FOUND\0" if EICAR in message else b"stream: OK\0"


def spam(message: bytes) -> bytes:
    """What spamd says of a message to REPORT."""
    rows = ["-0.1 DKIM_VALID            Message has a signature", "0.5 ODD_DATE               Date is odd:"]
    rows += ["                            three years off"]
    if GTUBE in message:
        rows.append("1000 GTUBE                  BODY: Generic Test for Unsolicited Bulk Email")
    score = 1000.4 if GTUBE in message else 0.4
    body = REPORT.format(score=score, rows="\n".join(rows)).encode()
    verdict = f"Spam: {score >= 5} ; {score} / 5.0"
    return f"SPAMD/1.1 0 EX_OK\r\nContent-length: {len(body)}\r\n{verdict}\r\n\r\n".encode() + body


@asynccontextmanager
async def engine(
    read: Callable[[asyncio.StreamReader], Awaitable[bytes]],
    answer: Callable[[bytes], bytes],
    port: int = 0,
) -> AsyncIterator[tuple[Engine, int]]:
    """Run an engine; yields what it was asked, and its port."""
    heard = Engine()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        message = await read(reader)
        heard.asked.append(message)
        writer.write(answer(message) if heard.instead is None else heard.instead)
        writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", port)
    async with server:
        yield heard, int(server.sockets[0].getsockname()[1])


@asynccontextmanager
async def virus_engine(port: int = 0) -> AsyncIterator[tuple[Engine, int]]:
    async with engine(_stream, clam, port) as found:
        yield found


@asynccontextmanager
async def spam_engine(port: int = 0) -> AsyncIterator[tuple[Engine, int]]:
    async with engine(_report, spam, port) as found:
        yield found
