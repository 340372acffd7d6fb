"""Network configuration by rtnetlink, in batches.

Theory of operation. Mininet runs one `ip` or `ifconfig` process for each setting, through a shell in the
host. Here a message is bytes; many of them go to the kernel in one write, and their acknowledgements come
back in order. A socket stays in the network namespace in which it was opened, so that one thread configures
any number of namespaces without entering them.

    Header    length, type, flags, sequence, port
    Body      a fixed structure that depends on the type
    Rest      attributes: length, type, value, padded to four bytes; some nest

Interfaces get indexes that we choose (`-ethN` is INDEX_BASE + N, per namespace), so that later messages
of a batch can name them without asking. Source: rtnetlink(7), linux/rtnetlink.h, linux/if_link.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

INDEX_BASE = 100

_NLMSG_ERROR = 2
_RTM_NEWLINK = 16
_RTM_NEWADDR = 20
_RTM_NEWROUTE = 24
_RTM_DELROUTE = 25

_REQUEST_ACK = 0x1 | 0x4
_CREATE = 0x400
_EXCLUSIVE = 0x200
_REPLACE = 0x100

_IFLA_ADDRESS = 1
_IFLA_IFNAME = 3
_IFLA_MASTER = 10
_IFLA_LINKINFO = 18
_IFLA_NET_NS_FD = 28
_IFLA_INFO_KIND = 1
_IFLA_INFO_DATA = 2
_VETH_INFO_PEER = 1
_IFLA_BR_FORWARD_DELAY = 1
_IFLA_BR_MCAST_SNOOPING = 23

_IFF_UP = 0x1
_RT_SCOPE_UNIVERSE = 0
_RT_TABLE_MAIN = 254
_RTPROT_STATIC = 4
_RTN_UNICAST = 1


@dataclass(frozen=True, slots=True)
class Message:
    """One request without its header; `what` names it in an error."""

    kind: int
    flags: int
    body: bytes
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VethEnd:
    """One end of a veth pair: its name, its index and hardware address, and the namespace it lives in."""

    name: str
    index: int
    mac: str
    netns: int


def veth(one: VethEnd, other: VethEnd) -> Message:
    """Create a pair, each end in its namespace, both down (a peer cannot be created up)."""
    peer = _link_header(other.index) + _end(other)
    data = _attribute(_VETH_INFO_PEER, peer)
    body = _link_header(one.index) + _end(one) + _link_info("veth", data)
    return Message(_RTM_NEWLINK, _CREATE | _EXCLUSIVE, body, f"create {one.name} and {other.name}")


def bridge(name: str, index: int) -> Message:
    """Create a bridge that forwards at once: no spanning tree delay, no multicast snooping."""
    data = _attribute(_IFLA_BR_FORWARD_DELAY, struct.pack("=I", 0))
    data += _attribute(_IFLA_BR_MCAST_SNOOPING, b"\0")
    body = _link_header(index, up=True) + _attribute(_IFLA_IFNAME, _text(name))
    return Message(_RTM_NEWLINK, _CREATE | _EXCLUSIVE, body + _link_info("bridge", data), f"create {name}")


def set_link(index: int, *, up: bool, master: int | None = None) -> Message:
    """Set an interface up or down, and into a bridge."""
    body = _link_header(index, up=up, change=True)
    if master is not None:
        body += _attribute(_IFLA_MASTER, struct.pack("=I", master))
    return Message(_RTM_NEWLINK, 0, body, f"set interface {index} {'up' if up else 'down'}")


def add_address(index: int, address: IPv4Interface) -> Message:
    """Give an interface an address, with the subnet's route."""
    prefix = address.network.prefixlen
    body = struct.pack("=BBBBI", socket.AF_INET, prefix, 0, _RT_SCOPE_UNIVERSE, index)
    body += _attribute(1, address.ip.packed) + _attribute(2, address.ip.packed)
    if prefix < 31:
        body += _attribute(4, address.network.broadcast_address.packed)
    return Message(_RTM_NEWADDR, _CREATE | _EXCLUSIVE, body, f"add address {address}")


def replace_route(destination: IPv4Network, via: IPv4Address, index: int) -> Message:
    """Route `destination` to the neighbour `via`, in place of what was there."""
    return _route(_RTM_NEWROUTE, _CREATE | _REPLACE, destination, via, index)


def delete_route(destination: IPv4Network, via: IPv4Address, index: int) -> Message:
    """Forget a route."""
    return _route(_RTM_DELROUTE, 0, destination, via, index)


def _route(kind: int, flags: int, destination: IPv4Network, via: IPv4Address, index: int) -> Message:
    prefix = destination.prefixlen
    body = struct.pack(
        "=BBBBBBBBI",
        socket.AF_INET,
        prefix,
        0,
        0,
        _RT_TABLE_MAIN,
        _RTPROT_STATIC,
        _RT_SCOPE_UNIVERSE,
        _RTN_UNICAST,
        0,
    )
    if prefix:
        body += _attribute(1, destination.network_address.packed)
    body += _attribute(5, via.packed) + _attribute(4, struct.pack("=I", index))
    return Message(kind, flags, body, f"route {destination} via {via}")


class RouteSocket:
    """A netlink socket into the network namespace in which it was made."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._sequence = 0

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, messages: Sequence[Message], *, absent_ok: bool = False) -> None:
        """Apply messages in order. Raises: OSError for the first that failed, naming it.

        With `absent_ok`, what cannot be found is passed over: the kernel drops the routes of a link that
        goes down by itself.
        """
        # Few enough that the acknowledgements fit into the socket's receive buffer.
        for start in range(0, len(messages), 64):
            self._send_batch(messages[start : start + 64], absent_ok)

    def _send_batch(self, messages: Sequence[Message], absent_ok: bool) -> None:
        first = self._sequence + 1
        parts = []
        for message in messages:
            self._sequence += 1
            flags = _REQUEST_ACK | message.flags
            length = 16 + len(message.body)
            parts.append(struct.pack("=IHHII", length, message.kind, flags, self._sequence, 0))
            parts.append(message.body)
        self._socket.send(b"".join(parts))
        tolerated = {errno.ESRCH, errno.ENOENT, errno.ENETUNREACH} if absent_ok else set()
        failed: tuple[int, str] | None = None
        for sequence, code in self._acknowledgements(len(messages)):
            if code and code not in tolerated and failed is None:
                failed = code, messages[sequence - first].what
        if failed is not None:
            raise OSError(failed[0], f"{failed[1]}: {os.strerror(failed[0])}")

    def _acknowledgements(self, count: int) -> Iterable[tuple[int, int]]:
        while count:
            data = self._socket.recv(65536)
            offset = 0
            while offset < len(data):
                length, kind, _, sequence, _ = struct.unpack_from("=IHHII", data, offset)
                if kind == _NLMSG_ERROR:
                    (code,) = struct.unpack_from("=i", data, offset + 16)
                    yield sequence, -code
                    count -= 1
                offset += (length + 3) & ~3


def _attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + b"\0" * (-length % 4)


def _text(text: str) -> bytes:
    return text.encode() + b"\0"


def _link_header(index: int, *, up: bool = False, change: bool = False) -> bytes:
    flags = _IFF_UP if up else 0
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flags, _IFF_UP if up or change else 0)


def _link_info(kind: str, data: bytes) -> bytes:
    return _attribute(
        _IFLA_LINKINFO, _attribute(_IFLA_INFO_KIND, _text(kind)) + _attribute(_IFLA_INFO_DATA, data)
    )


def _end(end: VethEnd) -> bytes:
    return (
        _attribute(_IFLA_IFNAME, _text(end.name))
        + _attribute(_IFLA_ADDRESS, bytes.fromhex(end.mac.replace(":", "")))
        + _attribute(_IFLA_NET_NS_FD, struct.pack("=I", end.netns))
    )
