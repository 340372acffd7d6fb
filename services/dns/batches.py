"""UDP in batches: one system call takes up to 64 datagrams, one sends what they are answered with.

Theory of operation. recvmmsg(2) and sendmmsg(2) take an array of messages, each of which points to its
octets, its peer's address and its ancillary data. All that lies in memory of ours that both calls share, slot
by slot: a reply goes where its query came from without Python having seen an address. Python's socket module
does not have these calls, so they go through ctypes; by its own ones a datagram costs half as much again.

With `destinations` the kernel tells for each datagram which of the host's addresses it came to (IP_PKTINFO).
The same octets then say where the reply is to come from; routing chooses the interface, once theirs is zero.

A datagram longer than a slot is cut: what is left of it is no message, and gets what such a one deserves.
A reply that cannot be sent is dropped: the client asks again.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import Any, Final

_log = logging.getLogger(__name__)

IP_PKTINFO: Final = 8
"""linux/in.h; the socket module names it from Python 3.14 on."""

DATAGRAMS: Final = 64
"""How many a batch has at most."""

_SLOT = 4096 + 64  # not a multiple of a page, or all slots would begin in the same lines of the cache
_ADDRESS = 16  # struct sockaddr_in: family, port, address
_PKTINFO = struct.Struct("@i4s4s")  # interface, the local address, the header's destination
_CONTROL = socket.CMSG_SPACE(_PKTINFO.size)
_INFO = socket.CMSG_LEN(0)  # where that stands in the ancillary data
_WORD = 4

Send = Callable[[bytes], None]


class _Buffer(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("buffers", ctypes.c_void_p),
        ("buffer_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("pad", ctypes.c_char * (-ctypes.sizeof(ctypes.c_int) % ctypes.alignment(ctypes.c_void_p))),
        ("length", ctypes.c_uint),
    )


_MESSAGE = ctypes.sizeof(_Message)
_LENGTH = _Message.length.offset // _WORD

_libc = ctypes.CDLL(None)
_receive = _libc.recvmmsg
_receive.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
_transmit = _libc.sendmmsg
_transmit.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)


class Batches:
    """What a socket receives, batch by batch.

    `respond` takes a datagram and False. It returns octets to send back, None for silence, or anything else,
    which is then given to `later` with the client's address and a function that sends octets to it.
    """

    def __init__(
        self,
        udp: socket.socket,
        respond: Callable[[bytes, bool], Any],
        later: Callable[[Any, str, Send], None],
        *,
        destinations: bool,
    ) -> None:
        self._udp = udp
        self._respond = respond
        self._later = later
        self._destinations = destinations
        if destinations:
            udp.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        self._names, self._controls = _memory(DATAGRAMS * _ADDRESS), _memory(DATAGRAMS * _CONTROL)
        queries, replies = _memory(DATAGRAMS * _SLOT), _memory(DATAGRAMS * _SLOT)
        self._queries, self._replies = _octets(queries), _octets(replies)
        self._in, in_buffers = self._messages(queries)
        self._out, out_buffers = self._messages(replies)
        self._in_octets, self._sizes = _octets(self._in), _octets(out_buffers).cast("L")
        self._lengths, self._interfaces = self._in_octets.cast("I"), _octets(self._controls).cast("I")
        # The kernel writes into the messages that it fills, so they are put right again before each call.
        self._fresh = self._in_octets.tobytes()
        self._kept = (queries, replies, in_buffers)  # nothing else refers to what pointers lead to

    def _messages(self, memory: ctypes.Array[ctypes.c_char]) -> tuple[Any, Any]:
        """Return messages of a slot each, and the buffers that they point to."""
        messages, buffers = (_Message * DATAGRAMS)(), (_Buffer * DATAGRAMS)()
        for slot in range(DATAGRAMS):
            buffers[slot].base, buffers[slot].size = ctypes.addressof(memory) + slot * _SLOT, _SLOT
            message = messages[slot]
            message.name = ctypes.addressof(self._names) + slot * _ADDRESS
            message.name_length = _ADDRESS
            message.buffers, message.buffer_count = ctypes.addressof(buffers[slot]), 1
            if self._destinations:
                message.control = ctypes.addressof(self._controls) + slot * _CONTROL
                message.control_length = _CONTROL
        return messages, buffers

    def exchange(self) -> None:
        """Take what there is, at most one batch, and answer it."""
        self._in_octets[:] = self._fresh
        count = _receive(self._udp.fileno(), ctypes.addressof(self._in), DATAGRAMS, socket.MSG_DONTWAIT, None)
        queries, replies, respond = self._queries, self._replies, self._respond
        lengths, sizes = self._lengths, self._sizes
        unsent = 0
        for slot in range(count):
            at = slot * _SLOT
            packet = queries[at : at + lengths[slot * (_MESSAGE // _WORD) + _LENGTH]].tobytes()
            try:
                reply = respond(packet, False)
            except Exception:
                # A mistake of ours costs this query, not the batch.
                _log.exception("answering %s", packet.hex())
                reply = None
            if reply.__class__ is bytes and len(reply) <= _SLOT:
                size = len(reply)
                replies[at : at + size] = reply
                sizes[2 * slot + 1] = size
                continue
            self._send(unsent, slot)
            unsent = slot + 1
            if reply is not None:
                self._later(reply, *self._client(slot))
        self._send(unsent, count)

    def _send(self, first: int, end: int) -> None:
        """Send the replies in these slots."""
        if self._destinations:
            for slot in range(first, end):
                self._interfaces[(slot * _CONTROL + _INFO) // _WORD] = 0
        while first < end:
            message = ctypes.addressof(self._out) + first * _MESSAGE
            sent = _transmit(self._udp.fileno(), message, end - first, socket.MSG_DONTWAIT)
            # The first one could not be sent: it is dropped.
            first += max(sent, 1)

    def _client(self, slot: int) -> tuple[str, Send]:
        """Return a client's address, and what sends to it, at any time."""
        port, host = struct.unpack_from("!2xH4s", self._names, slot * _ADDRESS)
        source: bytes | None = None
        if self._destinations:
            _, source, _ = _PKTINFO.unpack_from(self._controls, slot * _CONTROL + _INFO)
        address = socket.inet_ntoa(host)
        return address, partial(_send_from, self._udp, source, (address, port))


def _memory(size: int) -> ctypes.Array[ctypes.c_char]:
    """Return memory that is the process's only once it is written to: few servers ever fill a batch."""
    return (ctypes.c_char * size).from_buffer(mmap.mmap(-1, size))


def _octets(memory: Any) -> memoryview:
    return memoryview(memory).cast("B")


def _send_from(udp: socket.socket, source: bytes | None, client: tuple[str, int], reply: bytes) -> None:
    """Send from the address that the query was sent to."""
    try:
        if source is None:
            udp.sendto(reply, client)
        else:
            control = (socket.IPPROTO_IP, IP_PKTINFO, _PKTINFO.pack(0, source, b"\0\0\0\0"))
            udp.sendmsg((reply,), (control,), 0, client)
    except OSError:
        return
