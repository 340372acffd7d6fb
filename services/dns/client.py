"""The edge of a resolver: sends one query and waits for its reply.

Theory of operation. Each query by UDP has a socket of its own, connected to the server, so that the
kernel drops what others send and reports ICMP errors at once (a closed port, no route) instead of at the
time-out. What comes from the right place and is not the reply is dropped, and the reply waited for.
"""

from __future__ import annotations

import asyncio
import socket

from services.dns.asking import Ask, Failure

_LARGEST = 65535


async def exchange(ask: Ask, port: int) -> bytes | Failure:
    """Return the reply to the query, or why there is none; waits at most its time-out."""
    dropped: set[Failure] = set()
    try:
        async with asyncio.timeout(ask.timeout_s):
            return await (_by_tcp(ask, port) if ask.stream else _by_udp(ask, port, dropped))
    except TimeoutError:
        return dropped.pop() if dropped else Failure.TIMEOUT
    except (asyncio.IncompleteReadError, OSError):
        # Whatever else goes wrong, here or on the way, another server or another time may do better.
        return Failure.UNREACHABLE


async def _by_udp(ask: Ask, port: int, dropped: set[Failure]) -> bytes:
    """Return the reply; what was nearly one goes into `dropped`."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setblocking(False)
        _bind(udp, ask.source_port)
        udp.connect((ask.address, port))
        udp.send(ask.packet)
        while True:
            reply = await loop.sock_recv(udp, _LARGEST)
            verdict = ask.judge(reply)
            if verdict is True:
                return reply
            if isinstance(verdict, Failure):
                dropped.add(verdict)


def _bind(udp: socket.socket, source_port: int) -> None:
    try:
        udp.bind(("", source_port))
    except OSError:
        # Somebody has that port; the kernel's choice is random as well.
        udp.bind(("", 0))


async def _by_tcp(ask: Ask, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(ask.address, port, family=socket.AF_INET)
    try:
        writer.write(len(ask.packet).to_bytes(2, "big") + ask.packet)
        while True:
            length = int.from_bytes(await reader.readexactly(2), "big")
            reply = await reader.readexactly(length)
            if ask.judge(reply) is True:
                return reply
    finally:
        writer.transport.abort()
