"""A packet socket's receive ring: the kernel writes packets into memory that we read.

Theory of operation. A ring is a row of blocks, shared with the kernel through mmap. The kernel fills the
*open* block with packets and *retires* it, that is hands it over, when it is full or when `timeout_ms` have
passed since it was opened. We read a retired block from front to back and release it. So a thousand packets
cost one system call, and no packet costs one. When all blocks are retired and none is released, packets are
dropped, and the kernel counts them.

    kernel:  fill ──► retire                 block status 0 ──► 1
    we:               drain ──► release      block status 1 ──► 0

The socket is opened by the caller, inside the node's network namespace, with protocol 0: nothing is captured
until `open_rings` binds it. Binding works from outside that namespace, for the kernel resolves an interface's
name in the namespace of the *socket*.

Setting up or closing a ring waits for an RCU grace period (some 10 ms), one ring after another unless threads
do it at the same time. Python holds its lock during setsockopt, so that call goes through ctypes. How large a
ring should be, and how long its time-out, when there are many: captures.scaling.

Source: Linux Documentation/networking/packet_mmap.rst; include/uapi/linux/if_packet.h.
"""

from __future__ import annotations

import array
import ctypes
import mmap
import os
import socket
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, TypeVar

from captures.errors import RecordingFailed
from captures.scaling import LARGEST_KIB, SHORTEST_MS, block_size

_SOL_PACKET: Final = 263
_PACKET_RX_RING: Final = 5
_PACKET_STATISTICS: Final = 6
_PACKET_VERSION: Final = 10
_TPACKET_V3: Final = 2
_ETH_P_ALL: Final = 3
_SO_ATTACH_FILTER: Final = 26
_RETURN: Final = 6
"""BPF_RET | BPF_K: accept as many bytes of the packet as the instruction says."""

_VLAN_VALID: Final = 1 << 4
_VLAN_TPID_VALID: Final = 1 << 6

# struct tpacket_block_desc: status, packets in the block and where the first of them stands.
_block_head = struct.Struct("=8xIII").unpack_from
_open_block = struct.Struct("=8xII").unpack_from
_release = struct.Struct("=8xII").pack_into
# struct tpacket3_hdr and, 48 bytes behind its start, struct sockaddr_ll with the packet's type.
_frame_head = struct.Struct("=IIIIIIH32xB").unpack_from
_vlan_head = struct.Struct("=32xIH").unpack_from

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Frame(NamedTuple):
    """What `Ring.drain` returns of each packet: `length` bytes on the wire, of which `data` was captured."""

    time_ns: int
    length: int
    data: bytes
    kind: int
    """socket.PACKET_HOST, PACKET_BROADCAST, …; PACKET_OUTGOING for what the host sends."""


class Ring:
    """A receive ring over `sock`, which it owns from now on; captures nothing before `bind`."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        size_kib: int = LARGEST_KIB,
        timeout_ms: int = SHORTEST_MS,
        snaplen: int = 0,
    ) -> None:
        """Set the ring up. `size_kib` is rounded to whole blocks, two at least. Raises: OSError."""
        self._socket = sock
        self._block = block_size(size_kib)
        self._blocks = max(2, size_kib * 1024 // self._block)
        self._next = 0
        self._packets = 0
        self._drops = 0
        sock.setblocking(False)
        sock.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V3)
        if snaplen:
            self._attach(snaplen)
        _set_ring(sock, self._block, self._blocks, timeout_ms)
        self._memory = mmap.mmap(sock.fileno(), self._blocks * self._block)

    def fileno(self) -> int:
        """Return the descriptor, which is readable while a retired block waits."""
        return self._socket.fileno()

    def bind(self, ifname: str) -> None:
        """Capture what `ifname` in the socket's namespace sends and receives from now on. Raises: OSError."""
        self._socket.bind((ifname, _ETH_P_ALL))

    def drain(self) -> list[Frame]:
        """Return the packets of all blocks retired so far, in the ring's order, and release the blocks."""
        memory, frames = self._memory, list[Frame]()
        for _ in range(self._blocks):
            start = self._next * self._block
            status, count, first = _block_head(memory, start)
            if not status & 1:
                break
            # The kernel sets the status last, and Python between here and the data is barrier enough.
            _read_block(memory, start + first, count, frames.append)
            _release(memory, start, 0, 0)
            self._next = (self._next + 1) % self._blocks
        return frames

    @property
    def quiet(self) -> bool:
        """Whether the ring holds no packet that `drain` has not returned.

        The open block's count is the kernel's own; a released block's is set to 0.
        """
        status: int
        count: int
        status, count = _open_block(self._memory, self._next * self._block)
        return not status and not count

    def statistics(self) -> tuple[int, int]:
        """Return how many packets the interface had since `bind`, and how many of them were dropped."""
        # Reading sets the kernel's counters to 0.
        answer = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 12)
        packets, drops, _ = struct.unpack("=III", answer)
        self._packets += packets
        self._drops += drops
        return self._packets, self._drops

    def clear_error(self) -> None:
        """Forget that the interface went down, which would make the descriptor readable for ever."""
        self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def shut(self) -> None:
        """Capture nothing more. What is in the ring stays there, and counts as received."""
        self._attach(0)

    def close(self) -> None:
        """Release the memory and the socket."""
        self._memory.close()
        self._socket.close()

    def _attach(self, size: int) -> None:
        """Accept `size` bytes of each packet; with 0 the kernel passes a packet by without counting it."""
        program = array.array("B", struct.pack("=HBBI", _RETURN, 0, 0, size))
        address, _ = program.buffer_info()
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", 1, address))


def open_rings(
    ends: Sequence[tuple[socket.socket, str]], *, size_kib: int, timeout_ms: int, snaplen: int
) -> list[Ring]:
    """Return a capturing ring for each pair of socket and interface name.

    Raises: RecordingFailed, naming the interface; all sockets are closed then.
    """

    def set_up(end: tuple[socket.socket, str]) -> Ring | OSError:
        try:
            return Ring(end[0], size_kib=size_kib, timeout_ms=timeout_ms, snaplen=snaplen)
        except OSError as error:
            return error

    outcomes = _at_once(set_up, ends)
    rings = [outcome for outcome in outcomes if isinstance(outcome, Ring)]
    try:
        for outcome, (_, ifname) in zip(outcomes, ends, strict=True):
            if isinstance(outcome, OSError):
                raise RecordingFailed(f"{ifname}: no receive ring: {outcome.strerror}")
            _bind(outcome, ifname)
    except RecordingFailed:
        close_rings(rings)
        for sock, _ in ends:
            sock.close()
        raise
    return rings


def _bind(ring: Ring, ifname: str) -> None:
    try:
        ring.bind(ifname)
    except OSError as error:
        raise RecordingFailed(f"{ifname}: cannot be captured: {error.strerror}") from error


def close_rings(rings: Sequence[Ring]) -> None:
    """Close all of them, at the same time."""
    _at_once(Ring.close, rings)


def _at_once(work: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    if not items:
        return []
    with ThreadPoolExecutor(max_workers=min(64, len(items))) as pool:
        return list(pool.map(work, items))


def _read_block(memory: mmap.mmap, start: int, count: int, add: Callable[[Frame], None]) -> None:
    """Hand each of a block's `count` frames, the first of which is at `start`, to `add`."""
    for _ in range(count):
        step, seconds, nanoseconds, size, length, status, mac, kind = _frame_head(memory, start)
        data_start = start + mac
        data = memory[data_start : data_start + size]
        if status & _VLAN_VALID:
            data, length = _with_vlan_tag(data, status, *_vlan_head(memory, start)), length + 4
        add(Frame(seconds * 1_000_000_000 + nanoseconds, length, data, kind))
        start += step


def _with_vlan_tag(data: bytes, status: int, tci: int, tpid: int) -> bytes:
    """The frame as it was on the wire: the kernel takes the tag out and puts it beside."""
    kind = tpid if status & _VLAN_TPID_VALID else 0x8100
    return data[:12] + struct.pack("!HH", kind, tci & 0xFFFF) + data[12:]


def _set_ring(sock: socket.socket, block: int, blocks: int, timeout_ms: int) -> None:
    frame = 2048  # has no meaning in version 3, but must divide the block
    request = struct.pack("=7I", block, blocks, frame, blocks * block // frame, timeout_ms, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setsockopt(sock.fileno(), _SOL_PACKET, _PACKET_RX_RING, request, len(request)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
