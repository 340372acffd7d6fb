"""Netlink messages as the kernel reads them: each is compared with its bytes, written out by field.

Bytes are in the order of a little-endian machine. Source: rtnetlink(7), linux/rtnetlink.h, linux/if_link.h.
"""

from __future__ import annotations

import errno
import struct
import sys
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from topologies import netlink
from topologies.netlink import Message, RouteSocket, VethEnd

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the bytes are a little-endian machine's")

# Message types and flags.
NEWLINK, NEWADDR, NEWROUTE, DELROUTE = 16, 20, 24, 25
CREATE_EXCLUSIVE, CREATE_REPLACE = 0x600, 0x500

MESSAGES = [
    pytest.param(
        netlink.set_link(101, up=True),
        (NEWLINK, 0),
        "00 00 0000 65000000 01000000 01000000",  # ifinfomsg: family, type, index 101, flags UP, change UP
        id="up",
    ),
    pytest.param(
        netlink.set_link(101, up=False), (NEWLINK, 0), "00 00 0000 65000000 00000000 01000000", id="down"
    ),
    pytest.param(
        netlink.set_link(10_003, up=True, master=1000),
        (NEWLINK, 0),
        "00 00 0000 13270000 01000000 01000000  0800 0a00 e8030000",  # IFLA_MASTER 1000
        id="into a bridge",
    ),
    pytest.param(
        netlink.bridge("lan", 1000),
        (NEWLINK, CREATE_EXCLUSIVE),
        "00 00 0000 e8030000 01000000 01000000"
        "0800 0300 6c616e00"  # IFLA_IFNAME lan
        "2400 1200"  # IFLA_LINKINFO
        "0b00 0100 62726964676500 00"  # kind bridge
        "1400 0200"  # data
        "0800 0100 00000000"  # IFLA_BR_FORWARD_DELAY 0
        "0500 1700 00 000000",  # IFLA_BR_MCAST_SNOOPING 0
        id="a bridge",
    ),
    pytest.param(
        netlink.veth(
            VethEnd(name="a-eth0", index=100, mac="02:00:c6:12:01:0a", netns=7),
            VethEnd(name="lan-eth1", index=10_000, mac="02:01:00:00:00:00", netns=9),
        ),
        (NEWLINK, CREATE_EXCLUSIVE),
        "00 00 0000 64000000 00000000 00000000"
        "0b00 0300 612d6574683000 00"  # IFLA_IFNAME a-eth0
        "0a00 0100 0200c612010a 0000"  # IFLA_ADDRESS
        "0800 1c00 07000000"  # IFLA_NET_NS_FD 7
        "4c00 1200"  # IFLA_LINKINFO
        "0900 0100 7665746800 000000"  # kind veth
        "3c00 0200"  # data
        "3800 0100"  # VETH_INFO_PEER, an ifinfomsg and attributes again
        "00 00 0000 10270000 00000000 00000000"
        "0d00 0300 6c616e2d6574683100 000000"
        "0a00 0100 020100000000 0000"
        "0800 1c00 09000000",
        id="a pair",
    ),
    pytest.param(
        netlink.add_address(100, IPv4Interface("198.18.1.10/24")),
        (NEWADDR, CREATE_EXCLUSIVE),
        "02 18 00 00 64000000"  # ifaddrmsg: AF_INET, prefix 24, flags, scope, index 100
        "0800 0100 c612010a"  # IFA_ADDRESS
        "0800 0200 c612010a"  # IFA_LOCAL
        "0800 0400 c61201ff",  # IFA_BROADCAST
        id="an address",
    ),
    pytest.param(
        netlink.add_address(100, IPv4Interface("198.41.0.4/31")),
        (NEWADDR, CREATE_EXCLUSIVE),
        "02 1f 00 00 64000000  0800 0100 c6290004  0800 0200 c6290004",
        id="an address of a pair has no broadcast",
    ),
    pytest.param(
        netlink.replace_route(IPv4Network("198.18.2.0/24"), IPv4Address("198.18.1.1"), 100),
        (NEWROUTE, CREATE_REPLACE),
        "02 18 00 00 fe 04 00 01 00000000"  # rtmsg: AF_INET, 24, src, tos, main, static, universe, unicast
        "0800 0100 c6120200"  # RTA_DST
        "0800 0500 c6120101"  # RTA_GATEWAY
        "0800 0400 64000000",  # RTA_OIF
        id="a route",
    ),
    pytest.param(
        netlink.replace_route(IPv4Network("0.0.0.0/0"), IPv4Address("198.18.1.1"), 100),
        (NEWROUTE, CREATE_REPLACE),
        "02 00 00 00 fe 04 00 01 00000000  0800 0500 c6120101  0800 0400 64000000",
        id="a default route names no destination",
    ),
    pytest.param(
        netlink.delete_route(IPv4Network("198.18.2.0/24"), IPv4Address("198.18.1.1"), 100),
        (DELROUTE, 0),
        "02 18 00 00 fe 04 00 01 00000000  0800 0100 c6120200  0800 0500 c6120101  0800 0400 64000000",
        id="a route forgotten",
    ),
]


@pytest.mark.parametrize(("message", "header", "body"), MESSAGES)
def test_messages(message: Message, header: tuple[int, int], body: str) -> None:
    """A message has the kernel's type and flags, its fixed structure, and its attributes padded to four."""
    assert (message.kind, message.flags) == header
    assert message.body.hex(" ") == bytes.fromhex(body).hex(" ")


class Kernel:
    """The other end of a netlink socket: notes what it gets and answers each message with a code."""

    def __init__(self, *codes: int) -> None:
        self._codes = iter(codes)
        self.batches: list[list[tuple[int, int, int, bytes]]] = []
        self._answers: list[bytes] = []

    def bind(self, _address: object) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""

    def send(self, data: bytes) -> None:
        batch = list(_split(data))
        self.batches.append(batch)
        acks = [
            struct.pack("=IHHIIi16s", 36, 2, 0, seq, 0, -next(self._codes, 0), b"") for _, _, seq, _ in batch
        ]
        # The kernel puts several answers into one datagram, or not.
        self._answers += [b"".join(acks[:2]), *acks[2:]]

    def recv(self, _size: int) -> bytes:
        return self._answers.pop(0)


def _split(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    while data:
        length, kind, flags, sequence, port = struct.unpack_from("=IHHII", data)
        assert port == 0
        yield kind, flags, sequence, data[16:length]
        data = data[length:]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[RouteSocket, Kernel]]:
    """A function that returns a socket to a kernel that answers with those codes."""

    def make(*codes: int) -> tuple[RouteSocket, Kernel]:
        kernel = Kernel(*codes)
        with monkeypatch.context() as patch:
            patch.setattr("socket.socket", lambda *_: kernel)
            return RouteSocket(), kernel

    return make


Connect = Callable[..., tuple[RouteSocket, Kernel]]
UP = [netlink.set_link(index, up=True) for index in range(100, 230)]


def test_many_messages_travel_together(connect: Connect) -> None:
    """Messages go to the kernel in batches, in order, numbered on, each asking for an acknowledgement."""
    route, kernel = connect()
    route.send(UP)
    assert [len(batch) for batch in kernel.batches] == [64, 64, 2]
    sent = [message for batch in kernel.batches for message in batch]
    assert [body for _, _, _, body in sent] == [message.body for message in UP]
    assert [sequence for _, _, sequence, _ in sent] == list(range(1, 131))
    assert all(flags & 0x5 == 0x5 for _, flags, _, _ in sent)
    route.send([])
    assert len(kernel.batches) == 3


def test_a_refusal_names_what_was_refused(connect: Connect) -> None:
    """The error is that of the first message that failed, with its name."""
    route, _ = connect(0, errno.EEXIST, errno.EPERM)
    with pytest.raises(OSError, match="set interface 101 up: File exists") as caught:
        route.send(UP[:5])
    assert caught.value.errno == errno.EEXIST


def test_a_refusal_spoils_nothing_that_comes_later(connect: Connect) -> None:
    """All answers of a batch are read, so that the next batch gets its own."""
    route, _ = connect(errno.EPERM, 0, 0, 0, errno.EEXIST)
    with pytest.raises(PermissionError):
        route.send(UP[:4])
    with pytest.raises(FileExistsError, match="set interface 104 up"):
        route.send(UP[4:6])


@pytest.mark.parametrize("code", [errno.ESRCH, errno.ENOENT, errno.ENETUNREACH])
def test_what_is_gone_may_be_absent(connect: Connect, code: int) -> None:
    """A route that the kernel dropped by itself need not be there to be forgotten."""
    gone = [netlink.delete_route(IPv4Network("198.18.2.0/24"), IPv4Address("198.18.1.1"), 100)]
    route, _ = connect(code, code)
    route.send(gone, absent_ok=True)
    with pytest.raises(OSError, match=r"route 198\.18\.2\.0/24 via 198\.18\.1\.1"):
        route.send(gone)
