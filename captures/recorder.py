"""The recorder: one process that writes what crosses many interfaces into one file, in the order of time.

Theory of operation. Every pass of the loop does the same:

    drain the rings ──► hold by time ──► new TLS secrets ──► packets older than the horizon ──► file

The horizon lies `reorder_ms` before the *beginning* of the pass. A ring hands a packet over within its block
time-out, and is readable then; so all that is older than the horizon is in hand once every readable ring has
been drained, however late the pass itself is. Rings without traffic cost a pass nothing. The key log is read
after the rings, and endpoints write to it before they send: so a session's secrets always stand before its
ServerHello.

The owner speaks over a Unix socket of type SOCK_SEQPACKET, one JSON object a datagram:

    {"op": "sync"}   answered by {"kind": "synced", "packets": n, "dropped": n, "bytes": n}
    {"op": "stop"}   answered by {"kind": "stopped", "packets": n, "dropped": n, "late": n, "interfaces": {…}}

and is told unasked

    {"kind": "ready"}                   once, when all interfaces are captured
    {"kind": "failed", "reason"}        instead: nothing is captured, the recorder ends
    {"kind": "stalled", "reason"}       the file cannot be written, packets are being dropped
    {"kind": "resumed", "dropped"}      it can be again

A sync is answered when everything that was on the wire before it is in the file; later packets may be held
still. `interfaces` has {"packets": n, "dropped": n} for each name, and nothing if there are more than 500;
`late` counts packets that stand behind a later one, for a ring handed them over after the horizon.
The end of the owner's connection, SIGTERM and SIGINT stop the recorder as "stop" does.

This module stays light: it runs in a process of its own, forked from one that has everything imported.
"""

from __future__ import annotations

import contextlib
import platform
import resource
import select
import socket
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from captures import pcapng, scaling
from captures.control import Owner, stop_signals
from captures.droplog import DropLog
from captures.errors import RecordingFailed
from captures.garbage import no_garbage_collection
from captures.keylog import KeyLog
from captures.output import Output
from captures.points import DROPS
from captures.reorder import ReorderBuffer
from captures.ring import Ring, close_rings, open_rings
from captures.wire import ETHERNET, RAW

_MS: Final = 1_000_000
_PASS_NS: Final = 4 * _MS
"""A pass begins this long after the one before at the earliest: sixty busy rings must not cause one each."""
_SETTLE_NS: Final = 2 * _MS
"""A packet is in its ring microseconds after its time stamp; this leaves room for a scheduler."""
_CALM_NS: Final = 1000 * _MS
"""So long nothing may fail before the owner is told that writing works again."""
_MOST_NAMED: Final = 500
"""An answer must fit into a datagram; of more interfaces only the file tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturePoint:
    """An interface to capture: `ifname` in the network namespace of `socket`, `name` in the file.

    The socket is of AF_PACKET and SOCK_RAW with protocol 0, not bound. A name that ends with `:drop` stands
    for what a firewall drops; then the socket is of AF_NETLINK and NETLINK_NETFILTER. The recorder closes it.
    """

    name: str
    ifname: str
    socket: socket.socket

    @property
    def drops(self) -> bool:
        return self.name.endswith(DROPS)

    @property
    def linktype(self) -> int:
        return RAW if self.drops else ETHERNET


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderConfig:
    """Where and how to record.

    `names` gives addresses their host names; `keylog` is followed for TLS secrets and need not exist yet;
    `snaplen` is the longest part of a packet to keep, 0 for all of it; `ring_kib` is each interface's ring, 0
    for what captures.scaling gives so many.
    """

    path: Path
    names: Mapping[str, str] = field(default_factory=dict)
    keylog: Path | None = None
    snaplen: int = 0
    ring_kib: int = 0


def record(config: RecorderConfig, points: Sequence[CapturePoint], control: socket.socket) -> None:
    """Capture `points` into `config.path` until the owner says stop or goes away, or SIGTERM or SIGINT comes.

    Every packet that was received is then in the file or counted there as dropped. The points' sockets are
    closed; `control` is not, and is non-blocking.
    Raises: RecordingFailed when it cannot start; the owner has been told the reason by then.
    """
    owner = Owner(control)
    start_ns = time.time_ns()
    try:
        with (
            _new_file(config, points) as output,
            _capturing(config, points) as taps,
            no_garbage_collection(),
            stop_signals() as stop_signal,
        ):
            owner.tell("ready")
            _Recorder(config, taps, output, owner).run(start_ns, stop_signal)
    except RecordingFailed as error:
        owner.tell("failed", reason=str(error))
        raise


class _Tap:
    """A capture point at work: its ring, its place in the file, and what became of its packets."""

    def __init__(self, number: int, point: CapturePoint, ring: Ring | DropLog) -> None:
        self.number = number
        self.name = point.name
        self.ring = ring
        self.written = 0
        self.unwritten = 0

    def blocks(self) -> list[tuple[int, bytes]]:
        """Time and block of each packet that the ring has handed over since the last call."""
        number, outgoing, packet = self.number, socket.PACKET_OUTGOING, pcapng.packet
        return [
            (time_ns, packet(number, time_ns, data, length, "out" if kind == outgoing else "in"))
            for time_ns, length, data, kind in self.ring.drain()
        ]

    def settle(self) -> None:
        """Count as dropped what the kernel received and the file has not: nothing more will be written.

        On a busy machine a packet can be on its way through the kernel for longer than the recorder waits.
        """
        received, dropped = self.ring.statistics()
        self.unwritten += max(0, received - dropped - self.written - self.unwritten)

    @property
    def dropped(self) -> int:
        return self.ring.statistics()[1] + self.unwritten


@contextlib.contextmanager
def _new_file(config: RecorderConfig, points: Sequence[CapturePoint]) -> Iterator[Output]:
    """The file, with all that precedes the first packet."""
    heads = [
        pcapng.section_header(
            hardware=platform.machine(),
            system=f"{platform.system()} {platform.release()}",
            application="mailbed recorder",
        ),
        *(pcapng.interface(point.name, snaplen=config.snaplen, linktype=point.linktype) for point in points),
        pcapng.name_resolution(config.names),
    ]
    try:
        output = Output(config.path)
    except OSError as error:
        raise RecordingFailed(f"{config.path}: {error.strerror}") from error
    with contextlib.closing(output):
        output.append(heads)
        if output.error:
            raise RecordingFailed(f"{config.path}: {output.error.strerror}")
        # For the statistics of all interfaces: they must fit on a disk that is full.
        output.reserve(4096 + 128 * len(points))
        yield output


@contextlib.contextmanager
def _capturing(config: RecorderConfig, points: Sequence[CapturePoint]) -> Iterator[list[_Tap]]:
    """The capture points with their rings, each of which captures from now on."""
    _allow_descriptors(2 * len(points))
    measure = scaling.measure(len(points))
    logs = _drop_logs(points)
    rings = open_rings(
        [(point.socket, point.ifname) for point in points if not point.drops],
        size_kib=config.ring_kib or measure.ring_kib,
        timeout_ms=measure.block_timeout_ms,
        snaplen=config.snaplen,
    )
    taken, logged = iter(rings), iter(logs)
    try:
        yield [
            _Tap(number, point, next(logged) if point.drops else next(taken))
            for number, point in enumerate(points)
        ]
    finally:
        close_rings(rings)
        for log in logs:
            log.close()


def _drop_logs(points: Sequence[CapturePoint]) -> list[DropLog]:
    """The logs of firewalls, which come in from now on. Raises: RecordingFailed; all sockets are closed."""
    logs = []
    for point in points:
        if not point.drops:
            continue
        try:
            logs.append(DropLog(point.socket))
        except OSError as error:
            for each in points:
                each.socket.close()
            raise RecordingFailed(f"{point.name}: cannot be logged: {error.strerror}") from error
    return logs


def _allow_descriptors(more: int) -> None:
    """Let this process open more files: a ring takes one for its socket and one for its memory."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = soft + more
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard < 0 else min(wanted, hard), hard))


class _Recorder:
    def __init__(self, config: RecorderConfig, taps: Sequence[_Tap], output: Output, owner: Owner) -> None:
        self._path = config.path
        self._taps = taps
        self._output = output
        self._owner = owner
        measure = scaling.measure(len(taps))
        self._horizon_ns = measure.reorder_ms * _MS
        # A ring that is never quiet has handed over after this long whatever it held at the beginning.
        self._longest_settle_ns = max(measure.reorder_ms, 2 * measure.block_timeout_ms) * _MS
        self._buffer = ReorderBuffer()
        self._keylog = KeyLog(config.keylog) if config.keylog else None
        self._secrets = b""
        self._syncs: deque[int] = deque()
        self._stop_asked = False
        self._stop_ns: int | None = None
        self._pass_ns = 0
        self._failed_ns: int | None = None

    def run(self, start_ns: int, stop_signal: int) -> None:
        """Record until there is a reason to stop; everything is in the file then, and the owner knows."""
        with contextlib.closing(select.epoll()) as poll:
            taps = {tap.ring.fileno(): tap for tap in self._taps}
            for descriptor in (*taps, self._owner.fileno(), stop_signal):
                poll.register(descriptor, select.EPOLLIN)
            # Without a number it would name a thousand at most, whatever there is.
            most = len(taps) + 2
            end_ns = None
            while end_ns is None:
                events = dict(poll.poll(self._patience_s(), most))
                self._listen(signalled=stop_signal in events)
                now = self._pass_time()
                # Asked again: what became readable while the pass was put off is older than its beginning.
                self._drain(taps, poll.poll(0, most))
                end_ns = self._pass(now)
        self._finish(start_ns, end_ns)

    def _patience_s(self) -> float | None:
        """How long to wait when no ring has anything: for ever if nothing is held."""
        if self._syncs or self._stop_ns is not None:
            return 0.001
        if self._buffer or self._secrets or self._owner.behind:
            return self._horizon_ns / 2e9
        return None

    def _listen(self, *, signalled: bool) -> None:
        self._owner.catch_up()
        for operation in self._owner.requests():
            if operation == "sync":
                self._syncs.append(time.time_ns())
            elif operation == "stop":
                self._stop_asked = True
            else:
                self._owner.tell("refused", reason="the operations are sync and stop")
        if self._stop_ns is None and (signalled or self._stop_asked or self._owner.gone):
            for tap in self._taps:
                tap.ring.shut()
            self._stop_ns = time.time_ns()

    def _drain(self, taps: Mapping[int, _Tap], events: Sequence[tuple[int, int]]) -> None:
        """Hold what the rings that are readable have handed over."""
        for descriptor, event in events:
            tap = taps.get(descriptor)
            if tap is None:
                continue
            if event & select.EPOLLERR:
                tap.ring.clear_error()
            self._buffer.extend(tap.blocks())

    def _pass(self, now: int) -> int | None:
        """Write and answer what is due at `now`, when the rings were drained; return it for the last pass."""
        asked = bool(self._syncs) or self._stop_ns is not None
        quiet = asked and all(tap.ring.quiet for tap in self._taps)
        last = self._stop_ns is not None and self._settled(self._stop_ns, now, quiet=quiet)
        # A clock that was set back would hold the packets from before for as long.
        until_ns = None if last or now < self._pass_ns else now - self._horizon_ns
        self._write(until_ns, now)
        while self._syncs and (last or self._settled(self._syncs[0], now, quiet=quiet)):
            self._write(self._syncs.popleft(), now)
            self._owner.tell("synced", **self._totals(), bytes=self._output.size)
        self._pass_ns = now
        return now if last else None

    def _pass_time(self) -> int:
        """Now; or a little later, if nobody waits for an answer and the last pass was only just."""
        now = time.time_ns()
        rest = self._pass_ns + _PASS_NS - now
        if 0 < rest <= _PASS_NS and not self._syncs and self._stop_ns is None:
            time.sleep(rest / 1e9)
            return time.time_ns()
        return now

    def _settled(self, since_ns: int, now: int, *, quiet: bool) -> bool:
        """Whether the rings have handed over every packet from before `since_ns`."""
        waited = now - since_ns
        return waited < 0 or waited >= (_SETTLE_NS if quiet else self._longest_settle_ns)

    def _write(self, until_ns: int | None, now: int) -> None:
        """Write the packets up to `until_ns`, all for None, and before them the secrets that are new."""
        if self._keylog:
            self._secrets += self._keylog.new_lines()
        blocks = self._buffer.take(until_ns)
        if self._secrets:
            blocks.insert(0, pcapng.secrets(self._secrets))
        if not blocks:
            return
        done = self._output.append(blocks)
        if done:
            self._secrets = b""
        for place, block in enumerate(blocks):
            number = pcapng.packet_interface(block)
            if number is None:
                continue
            if place < done:
                self._taps[number].written += 1
            else:
                self._taps[number].unwritten += 1
        self._tell_of_failure(now)

    def _tell_of_failure(self, now: int) -> None:
        error = self._output.error
        if error:
            if self._failed_ns is None:
                self._owner.tell("stalled", reason=f"{self._path}: {error.strerror}")
            self._failed_ns = now
        elif self._failed_ns is not None and now - self._failed_ns >= _CALM_NS:
            self._failed_ns = None
            self._owner.tell("resumed", dropped=self._totals()["dropped"])

    def _totals(self) -> dict[str, int]:
        return {
            "packets": sum(tap.written for tap in self._taps),
            "dropped": sum(tap.dropped for tap in self._taps),
        }

    def _finish(self, start_ns: int, end_ns: int) -> None:
        for tap in self._taps:
            tap.settle()
        self._output.release_reserve()
        self._output.append([self._statistics(tap, start_ns, end_ns) for tap in self._taps])
        if self._keylog:
            self._keylog.close()
        if self._stop_asked:
            named = self._taps if len(self._taps) <= _MOST_NAMED else ()
            interfaces = {tap.name: {"packets": tap.written, "dropped": tap.dropped} for tap in named}
            self._owner.tell("stopped", **self._totals(), late=self._buffer.late, interfaces=interfaces)

    @staticmethod
    def _statistics(tap: _Tap, start_ns: int, end_ns: int) -> bytes:
        received, _ = tap.ring.statistics()
        times = {"start_ns": start_ns, "end_ns": end_ns}
        return pcapng.statistics(tap.number, end_ns, received=received, dropped=tap.dropped, **times)
