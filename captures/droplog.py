"""What a firewall drops, as the kernel logs it: the packets of an NFLOG group.

Theory of operation. A firewall's rule says `log group N`; whoever has bound a netlink socket to that group,
in the firewall's network namespace, is sent each such packet from its IP header on. `DropLog` looks to the
recorder like a ring (captures.ring): what has come is drained, what was lost is counted. The kernel numbers
the messages, so that a gap tells how many did not fit into the socket.

    message     length, type, flags, sequence, port | family, version, group | attributes
    attribute   length, type, value, padded to 32 bits

The socket is opened by the caller, inside the firewall's namespace.

Source: Linux include/uapi/linux/netfilter/nfnetlink_log.h, netlink.h.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
import time
from collections.abc import Iterator
from typing import Final

from captures.ring import Frame

GROUP: Final = 1
_ULOG: Final = 4  # the subsystem
_PACKET: Final = _ULOG << 8
_CONFIG: Final = _ULOG << 8 | 1
_REQUEST: Final = 1
_CFG_CMD, _CFG_MODE, _CFG_QTHRESH, _CFG_FLAGS = 1, 2, 5, 6
_BIND, _UNBIND = 1, 2
_COPY_PACKET: Final = 2
_NUMBERED: Final = 1
_PAYLOAD, _NUMBER = 9, 12
_BUFFER: Final = 4 << 20
_LARGEST: Final = 1 << 17

_message_head = struct.Struct("=IHHII")
_group_head = struct.Struct("=BBH")
_attribute = struct.Struct("=HH")


class DropLog:
    """The packets logged to NFLOG group 1 where `sock` was opened; it is owned from now on."""

    def __init__(self, sock: socket.socket) -> None:
        """Have the kernel log to the socket from now on. Raises: OSError."""
        self._socket = sock
        self._received = 0
        self._lost = 0
        self._expected: int | None = None
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._tell(_command(_BIND))
        self._tell(_option(_CFG_MODE, struct.pack("=IBx", socket.htonl(0xFFFF), _COPY_PACKET)))
        # One by one and at once: the recorder puts packets in order of time, and does not wait for long.
        self._tell(_option(_CFG_QTHRESH, struct.pack("!I", 1)))
        self._tell(_option(_CFG_FLAGS, struct.pack("!H", _NUMBERED)))

    def fileno(self) -> int:
        """Return the descriptor, which is readable while something waits."""
        return self._socket.fileno()

    def drain(self) -> list[Frame]:
        """Return the packets that have come, in order; their time is that of the call."""
        frames: list[Frame] = []
        while True:
            try:
                data = self._socket.recv(_LARGEST)
            except BlockingIOError:
                return frames
            except OSError as error:
                # Some did not fit; their numbers tell how many.
                if error.errno != errno.ENOBUFS:
                    raise
                continue
            for number, payload in packets(data):
                self._count(number)
                frames.append(Frame(time.time_ns(), _length(payload), payload, socket.PACKET_HOST))

    @property
    def quiet(self) -> bool:
        """Whether nothing waits to be drained."""
        return not select.select([self._socket], [], [], 0)[0]

    def statistics(self) -> tuple[int, int]:
        """Return how many packets were logged, and how many of them were lost on the way here."""
        return self._received + self._lost, self._lost

    def clear_error(self) -> None:
        """Forget an error, which would make the descriptor readable for ever."""
        self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def shut(self) -> None:
        """Have nothing more logged. What has come stays to be drained."""
        with contextlib.suppress(OSError):
            self._socket.send(_config(_command(_UNBIND)))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _count(self, number: int | None) -> None:
        self._received += 1
        if number is not None:
            if self._expected is not None and number > self._expected:
                self._lost += number - self._expected
            self._expected = number + 1

    def _tell(self, attribute: bytes) -> None:
        self._socket.send(_config(attribute))


def packets(data: bytes) -> Iterator[tuple[int | None, bytes]]:
    """Yield the number and the bytes of each packet in what was received from the socket."""
    at = 0
    while at + _message_head.size <= len(data):
        length, kind, _, _, _ = _message_head.unpack_from(data, at)
        if length < _message_head.size or at + length > len(data):
            return
        if kind == _PACKET:
            found = _attributes(data, at + _message_head.size + _group_head.size, at + length)
            number = found.get(_NUMBER)
            if _PAYLOAD in found:
                yield (int.from_bytes(number, "big") if number else None), found[_PAYLOAD]
        at += length + -length % 4


def _attributes(data: bytes, at: int, end: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while at + _attribute.size <= end:
        length, kind = _attribute.unpack_from(data, at)
        if length < _attribute.size or at + length > end:
            break
        found[kind & 0x7FFF] = data[at + _attribute.size : at + length]
        at += length + -length % 4
    return found


def _length(payload: bytes) -> int:
    """The packet's length by its IP header, of which all that matters was copied."""
    return int.from_bytes(payload[2:4], "big") or len(payload) if len(payload) >= 4 else len(payload)


def _command(command: int) -> bytes:
    return _option(_CFG_CMD, bytes([command]))


def _option(kind: int, value: bytes) -> bytes:
    length = _attribute.size + len(value)
    return _attribute.pack(length, kind) + value + bytes(-length % 4)


def _config(attribute: bytes) -> bytes:
    body = _group_head.pack(socket.AF_UNSPEC, 0, socket.htons(GROUP)) + attribute
    return _message_head.pack(_message_head.size + len(body), _CONFIG, _REQUEST, 0, 0) + body
