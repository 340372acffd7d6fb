"""Octets as they come from a socket, read into one buffer for all connections.

Left to itself asyncio takes a quarter of a megabyte of memory for each read and gives it back afterwards, of
which the kernel makes more work than of the read.
"""

from __future__ import annotations

import asyncio
import threading

_AT_ONCE = 65536


class _Buffer(threading.local):
    """The buffer of a thread, and so of its event loop: from a read to `received` nothing else runs there."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(_AT_ONCE))


BUFFER = _Buffer()


class Receiver(asyncio.BufferedProtocol):
    """One end of a connection: `received` is told of all that comes."""

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Return where the next octets go."""
        return BUFFER.view

    def buffer_updated(self, nbytes: int) -> None:
        """So many have come."""
        self.received(bytes(BUFFER.view[:nbytes]))

    def received(self, data: bytes) -> None:
        """Take octets as they come."""
        raise NotImplementedError
