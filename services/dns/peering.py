"""The edge between name servers of one zone: questions for serials, transfers, and NOTIFY on the wire."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import DatagramTransport, Future
from collections.abc import Callable
from typing import Any

from services.dns import names, transfer
from services.dns.names import Name
from services.dns.transfer import AXFR, Incoming, Peer, TransferFailed

_ASKED_AGAIN_AFTER_S = (1.0, 2.0)
_CONNECTED_WITHIN_S = 5.0
_MESSAGE_WITHIN_S = 10.0
_TRANSFER_WITHIN_S = 300.0


async def ask_serial(peer: Peer, origin: Name, ident: int) -> int:
    """Return the serial that a peer has of the zone; asks by UDP, twice if need be.

    Raises: TransferFailed: it does not answer, has no authority, or answers with an error.
    """
    request = transfer.request(ident, origin, names.SOA)
    loop = asyncio.get_running_loop()
    found: Future[int] = loop.create_future()

    def heard(packet: bytes, _: str) -> None:
        try:
            serial = transfer.read_serial(packet, ident, origin)
        except TransferFailed as error:
            if not found.done():
                found.set_exception(error)
            return
        if serial is not None and not found.done():
            found.set_result(serial)

    def refused(error: OSError) -> None:
        if not found.done():
            found.set_exception(TransferFailed(error.strerror or str(error)))

    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Datagrams(heard, refused), remote_addr=(peer.address, peer.port)
    )
    try:
        for pause_s in _ASKED_AGAIN_AFTER_S:
            transport.sendto(request)
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(asyncio.shield(found), pause_s)
    finally:
        transport.close()
    raise TransferFailed("no answer")


async def fetch(peer: Peer, origin: Name, ident: int) -> Incoming:
    """Return the zone as it came from a peer by TCP.

    Raises: TransferFailed: it cannot be reached, gives nothing, or what it gives is no zone.
    """
    incoming = Incoming(ident, origin)
    try:
        async with asyncio.timeout(_TRANSFER_WITHIN_S):
            async with asyncio.timeout(_CONNECTED_WITHIN_S):
                reader, writer = await asyncio.open_connection(peer.address, peer.port)
            try:
                request = transfer.request(ident, origin, AXFR)
                writer.write(len(request).to_bytes(2, "big") + request)
                while not incoming.feed(await _message(reader)):
                    pass
            finally:
                writer.transport.abort()
    except TimeoutError:
        raise TransferFailed("it takes too long") from None
    except asyncio.IncompleteReadError:
        raise TransferFailed("the connection ended before the zone did") from None
    except OSError as error:
        raise TransferFailed(error.strerror or str(error)) from error
    return incoming


async def _message(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(_MESSAGE_WITHIN_S):
        length = int.from_bytes(await reader.readexactly(2), "big")
        return await reader.readexactly(length)


async def open_sender(heard: Callable[[bytes, str], None]) -> DatagramTransport:
    """Return a socket to send NOTIFYs from; `heard` gets each reply with the address it came from."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Datagrams(heard), local_addr=("0.0.0.0", 0)
    )
    return transport


class _Datagrams(asyncio.DatagramProtocol):
    """Passes on what comes, and, if the socket is connected, that what was sent did not arrive."""

    def __init__(
        self, heard: Callable[[bytes, str], None], refused: Callable[[OSError], None] | None = None
    ) -> None:
        self._heard = heard
        self._refused = refused

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self._heard(data, str(addr[0]))

    def error_received(self, exc: Exception) -> None:
        if self._refused is not None and isinstance(exc, OSError):
            self._refused(exc)
