"""JSON objects and file descriptors over a Unix socket that keeps message boundaries (SOCK_SEQPACKET).

This is how the processes inside a sandbox talk: supervisor, zygote, services and recorder. More descriptors
than the kernel takes at once (SCM_MAX_FD is 253) travel in further packets that hold nothing else.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

_FDS_PER_PACKET = 200
_LARGEST = 1 << 20


def pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets, with room for large messages."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LARGEST)
    return ends


def send(sock: socket.socket, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
    """Send one object with descriptors. Raises: OSError."""
    head, rest = fds[:_FDS_PER_PACKET], fds[_FDS_PER_PACKET:]
    data = json.dumps({**message, "fds": len(fds)} if fds else message).encode()
    socket.send_fds(sock, [data], list(head))
    while rest:
        head, rest = rest[:_FDS_PER_PACKET], rest[_FDS_PER_PACKET:]
        socket.send_fds(sock, [b"+"], list(head))


def receive(sock: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Return the next object and its descriptors (which do not survive an exec), or None at the end.

    Raises: OSError, BlockingIOError if the socket does not block and nothing is there.
    """
    data, fds, _, _ = socket.recv_fds(sock, _LARGEST, _FDS_PER_PACKET)
    if not data:
        return None
    message = json.loads(data)
    wanted = message.pop("fds", 0)
    while len(fds) < wanted:
        _, more, _, _ = socket.recv_fds(sock, 16, _FDS_PER_PACKET)
        if not more:
            return None
        fds += more
    for fd in fds:
        # Unlike what else Python opens, these are inheritable (and recv_fds passes over its flags).
        os.set_inheritable(fd, False)
    return message, list(fds)
