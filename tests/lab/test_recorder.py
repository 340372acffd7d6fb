"""The recorder and the tap on a real wire: a veth pair in a namespace of its own.

Only the packet sockets come from inside; the recorder and the taps work outside, as those of a lab do. The
same as root and as an unprivileged user.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from captures import pcapng
from captures.errors import RecordingFailed
from captures.packets import packets
from captures.recorder import CapturePoint, RecorderConfig, record
from captures.summary import summarise
from captures.tap import Tap
from tests.lab.wire import Wire, new_wire

HEADER = b"\xff" * 6 + b"\2\0\0\0\0\1" + b"\x88\xb5"  # to everybody, an EtherType for experiments
PADDING = bytes(80)


@pytest.fixture
def wire() -> Iterator[Wire]:
    with new_wire() as wire:
        yield wire


@dataclass(frozen=True)
class Recording:
    """A recorder at work, and its owner's end of the control socket."""

    path: Path
    control: socket.socket
    process: BaseProcess

    def next(self) -> dict[str, Any]:
        """What the recorder says next."""
        answer: dict[str, Any] = json.loads(self.control.recv(1 << 16))
        return answer

    def ask(self, operation: str) -> dict[str, Any]:
        self.control.send(json.dumps({"op": operation}).encode())
        return self.next()

    def ended(self) -> int | None:
        """Its exit status, once it has ended."""
        self.process.join(10)
        return self.process.exitcode


Record = Callable[..., Recording]


@pytest.fixture
def start(wire: Wire, tmp_path: Path) -> Iterator[Record]:
    """Start a recorder on both ends of the wire, in a process of its own, as a lab does."""
    with contextlib.ExitStack() as stack:

        def begin(ends: Sequence[str] = ("v0", "v1"), **options: Any) -> Recording:
            config = RecorderConfig(**({"path": tmp_path / "network.pcapng"} | options))
            points = [
                CapturePoint(name=f"host-{end}", ifname=end, socket=stack.enter_context(wire.socket()))
                for end in ends
            ]
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            stack.enter_context(ours)
            ours.settimeout(10)

            def child() -> None:
                ours.close()
                with contextlib.suppress(RecordingFailed):
                    record(config, points, theirs)

            process = multiprocessing.get_context("fork").Process(target=child)
            process.start()
            stack.callback(finish, process)
            theirs.close()
            for point in points:
                # Else the ring would live on here.
                point.socket.close()
            return Recording(config.path, ours, process)

        yield begin


def finish(process: BaseProcess) -> None:
    process.kill()
    process.join()
    process.close()


@pytest.fixture
def recording(start: Record) -> Recording:
    """A recorder on both ends that is ready."""
    recording = start()
    assert recording.next() == {"kind": "ready"}
    return recording


def send(sock: socket.socket, numbers: range) -> None:
    """Put a frame with each of the numbers on the wire."""
    for number in numbers:
        sock.send(HEADER + number.to_bytes(4, "big") + PADDING)


def numbers(packets: Sequence[pcapng.Packet]) -> list[int]:
    return [int.from_bytes(packet.data[14:18], "big") for packet in packets]


def read(path: Path) -> tuple[list[pcapng.Packet], pcapng.Reader]:
    with pcapng.open_capture(path) as reader:
        return list(reader), reader


def test_every_packet_of_every_interface_in_the_order_of_time(wire: Wire, recording: Recording) -> None:
    """What crosses the link is recorded whole at both its ends, and counted right."""
    with wire.socket("v0") as one, wire.socket("v1") as other:
        for first in range(0, 3000, 10):
            send(one, range(first, first + 10))
            send(other, range(10_000 + first, 10_000 + first + 10))
    each = {"packets": 6000, "dropped": 0}
    assert recording.ask("stop") == {
        "kind": "stopped",
        "packets": 12_000,
        "dropped": 0,
        "late": 0,
        "interfaces": {"host-v0": each, "host-v1": each},
    }
    assert recording.ended() == 0

    packets, reader = read(recording.path)
    times = [packet.time_ns for packet in packets]
    assert times == sorted(times)
    for interface, sends, hears in (("host-v0", 0, 10_000), ("host-v1", 10_000, 0)):
        here = [packet for packet in packets if packet.interface == interface]
        sent = [packet for packet in here if packet.direction == "out"]
        heard = [packet for packet in here if packet.direction == "in"]
        assert numbers(sent) == list(range(sends, sends + 3000))
        assert numbers(heard) == list(range(hears, hears + 3000))
        statistics = reader.statistics[interface]
        assert (statistics.received, statistics.dropped) == (6000, 0)
        assert statistics.start_ns is not None
        assert statistics.end_ns is not None
        assert statistics.start_ns < times[0] < times[-1] < statistics.end_ns
    assert all(packet.length == len(packet.data) == 98 for packet in packets)


def test_nothing_from_before_it_is_ready(wire: Wire, start: Record) -> None:
    """A socket that is lent but not bound captures nothing."""
    with wire.socket("v0") as sock:
        send(sock, range(100))
        recording = start()
        assert recording.next() == {"kind": "ready"}
        send(sock, range(100, 200))
    recording.ask("stop")
    packets, _ = read(recording.path)
    assert sorted(numbers(packets)) == sorted(2 * [*range(100, 200)])


def test_a_sync_has_everything_from_before_it_in_the_file(wire: Wire, recording: Recording) -> None:
    """Whoever has the answer to a sync finds in the file what was sent before it was asked."""
    with wire.socket("v0") as sock:
        for count in range(1, 51):
            send(sock, range(count))
            answer = recording.ask("sync")
            assert answer["packets"] == count * (count + 1)
            assert answer["dropped"] == 0
            assert answer["bytes"] == recording.path.stat().st_size
    packets, reader = read(recording.path)
    assert len(packets) == 50 * 51
    assert not reader.cut


def test_syncs_and_the_end_while_packets_keep_coming(wire: Wire, recording: Recording) -> None:
    """A ring that is never quiet holds neither up, and what was received at the end is accounted for."""
    with wire.socket("v0") as sock:
        sender = multiprocessing.get_context("fork").Process(target=send, args=(sock, range(10**9)))
        sender.start()
    try:
        while recording.ask("sync")["packets"] == 0:
            # The sender has not begun yet.
            time.sleep(0.01)
        written = [recording.ask("sync")["packets"] for _ in range(5)]
        stopped = recording.ask("stop")
        assert recording.ended() == 0
    finally:
        finish(sender)
    assert written == sorted(written)
    packets, reader = read(recording.path)
    assert len(packets) == stopped["packets"]
    for name, counts in stopped["interfaces"].items():
        assert reader.statistics[name].received == counts["packets"] + counts["dropped"]


@pytest.mark.parametrize("how", ["owner gone", "SIGTERM", "SIGINT"])
def test_other_reasons_to_stop(wire: Wire, recording: Recording, how: str) -> None:
    """When its owner goes away or it gets a signal, it finishes the file as if it had been asked to."""
    with wire.socket("v0") as sock:
        send(sock, range(500))
    if how == "owner gone":
        recording.control.close()
    else:
        assert recording.process.pid
        os.kill(recording.process.pid, getattr(signal, how))
    assert recording.ended() == 0
    packets, reader = read(recording.path)
    assert len(packets) == 1000
    assert {name: statistics.received for name, statistics in reader.statistics.items()} == {
        "host-v0": 500,
        "host-v1": 500,
    }


def test_a_killed_recorder_leaves_a_file_that_can_be_read(wire: Wire, recording: Recording) -> None:
    """Everything up to the last sync is there; that nobody counted the drops is not hidden."""
    with wire.socket("v0") as sock:
        send(sock, range(500))
        assert recording.ask("sync")["packets"] == 1000
        send(sock, range(500, 2000))
    recording.process.kill()
    assert recording.ended() == -signal.SIGKILL
    with pcapng.open_capture(recording.path) as reader:
        summary = summarise(reader)
    assert summary.packets >= 1000
    assert summary.dropped is None


def test_packets_that_the_ring_could_not_take_are_counted(wire: Wire, start: Record) -> None:
    """A recorder that does not run for a while says exactly how many packets it has lost."""
    recording = start(("v1",), ring_kib=512)
    assert recording.next() == {"kind": "ready"}
    assert recording.process.pid
    os.kill(recording.process.pid, signal.SIGSTOP)
    with wire.socket("v0") as sock:
        send(sock, range(10_000))
    os.kill(recording.process.pid, signal.SIGCONT)
    stopped = recording.ask("stop")
    packets, reader = read(recording.path)
    assert len(packets) == stopped["packets"]
    assert stopped["dropped"] > 1000
    assert stopped["packets"] + stopped["dropped"] == 10_000
    statistics = reader.statistics["host-v1"]
    assert (statistics.received, statistics.dropped) == (10_000, stopped["dropped"])


def test_a_full_disk(wire: Wire, start: Record) -> None:
    """It is told once, whole blocks stay, what is missing is counted, and it goes on when there is space."""
    disk = wire.root / "mnt"
    wire.run("mount -t tmpfs -o size=512k tmpfs /mnt && head -c 256k /dev/zero >/mnt/ballast")
    recording = start(("v1",), path=disk / "network.pcapng")
    assert recording.next() == {"kind": "ready"}
    with wire.socket("v0") as sock:
        send(sock, range(4000))
        stalled = recording.next()
        assert stalled["kind"] == "stalled"
        assert "No space left on device" in stalled["reason"]
        synced = recording.ask("sync")
        assert synced["packets"] + synced["dropped"] == 4000
        packets, reader = read(recording.path)
        assert len(packets) == synced["packets"] > 1000
        assert not reader.cut

        (disk / "ballast").unlink()
        # It must have worked for a second before it is said to work.
        time.sleep(1.1)
        send(sock, range(4000, 4100))
        assert recording.next() == {"kind": "resumed", "dropped": synced["dropped"]}
        send(sock, range(4100, 9000))
        assert recording.next()["kind"] == "stalled"
        # The smallest packets there are, so that nothing else has room either.
        for _ in range(200):
            sock.send(HEADER)
    stopped = recording.ask("stop")
    assert stopped["packets"] + stopped["dropped"] == 9200

    packets, reader = read(recording.path)
    assert len(packets) == stopped["packets"]
    assert set(range(4000, 4100)) < set(numbers(packets))
    assert not reader.cut
    # On a disk that still is full.
    assert reader.statistics["host-v1"].dropped == stopped["dropped"] > 0


def test_secrets_stand_before_the_packets_that_follow_them(wire: Wire, start: Record, tmp_path: Path) -> None:
    """A line that was logged before a packet was sent stands before that packet."""
    keylog = tmp_path / "keys.log"
    recording = start(keylog=keylog, names={"198.18.0.1": "alice"})
    assert recording.next() == {"kind": "ready"}
    with wire.socket("v0") as sock, keylog.open("ab", buffering=0) as log:
        for number in range(300):
            log.write(b"SERVER_HANDSHAKE_TRAFFIC_SECRET %d\n" % number)
            send(sock, range(number, number + 1))
            time.sleep(0.001)
        log.write(b"SERVER_HANDSHAKE_TRAFFIC_SECRET 300\nnot complet")
    recording.ask("stop")

    with pcapng.open_capture(recording.path) as reader:
        seen = [(numbers([packet])[0], reader.secrets.count(b"\n")) for packet in reader]
        assert reader.names == {"198.18.0.1": "alice"}
    assert len(seen) == 600
    assert all(lines > number for number, lines in seen)
    assert seen[0][1] < 100, "secrets are written along with the packets, not at the end"
    assert reader.secrets.splitlines() == [b"SERVER_HANDSHAKE_TRAFFIC_SECRET %d" % n for n in range(301)]


def test_an_interface_that_does_not_exist_is_named(start: Record) -> None:
    """Then nothing is captured, and the owner knows why."""
    recording = start(("v0", "v9"))
    failed = recording.next()
    assert failed["kind"] == "failed"
    assert failed["reason"] == "v9: cannot be captured: No such device"
    assert recording.ended() == 0


def test_a_file_that_cannot_be_made_is_named(start: Record, tmp_path: Path) -> None:
    """The same for the file."""
    recording = start(path=tmp_path / "nowhere" / "network.pcapng")
    failed = recording.next()
    assert failed["kind"] == "failed"
    assert failed["reason"].endswith("nowhere/network.pcapng: No such file or directory")


def test_a_request_that_makes_no_sense_is_refused(recording: Recording) -> None:
    """And the recorder goes on."""
    for nonsense in (b"{", b"[]", b'{"op": "dance"}', b"\xff"):
        recording.control.send(nonsense)
        assert recording.next()["kind"] == "refused"
    assert recording.ask("sync")["kind"] == "synced"


def test_a_link_that_goes_down_and_up_again(wire: Wire, recording: Recording) -> None:
    """Recording goes on when the link is back, and costs nothing while it is down."""
    with wire.socket("v0") as sock:
        send(sock, range(10))
        wire.run("ip link set v0 down")
        assert recording.ask("sync")["packets"] == 20
        before = times_woken(recording)
        time.sleep(0.3)
        assert times_woken(recording) - before < 5
        wire.run("ip link set v0 up")
    with wire.socket("v0") as sock:
        send(sock, range(10))
    assert recording.ask("stop")["packets"] == 40


def test_a_link_that_is_removed(wire: Wire, recording: Recording) -> None:
    """What it carried stays recorded."""
    with wire.socket("v0") as sock:
        send(sock, range(10))
    wire.run("ip link del v0")
    assert recording.ask("stop")["packets"] == 20
    assert len(read(recording.path)[0]) == 20


def times_woken(recording: Recording) -> int:
    status = Path(f"/proc/{recording.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("voluntary_ctxt_switches"))


def test_packets_may_be_cut_to_a_length(wire: Wire, start: Record) -> None:
    """With a snap length the beginning of each packet is kept, and its size on the wire."""
    recording = start(snaplen=18)
    assert recording.next() == {"kind": "ready"}
    with wire.socket("v0") as sock:
        send(sock, range(5))
    recording.ask("stop")
    packets, reader = read(recording.path)
    assert {(len(packet.data), packet.length) for packet in packets} == {(18, 98)}
    assert reader.interfaces[0].snaplen == 18


def test_a_vlan_tag_is_in_its_place(wire: Wire, start: Record) -> None:
    """The kernel takes tags out of a frame; in the capture they are where they were on the wire."""
    recording = start(("v1",))
    assert recording.next() == {"kind": "ready"}
    frame = Ether(dst="ff:ff:ff:ff:ff:ff") / Dot1Q(vlan=7, prio=3, type=0x88B5) / Raw(b"tagged")
    with wire.socket("v0") as sock, Tap(wire.socket(), "v1") as tap:
        sock.send(bytes(frame))
        (heard,) = tap.sniff(count=1, timeout=5)
        assert bytes(heard) == bytes(frame)
    recording.ask("stop")
    (packet,) = packets(recording.path)
    assert bytes(packet) == bytes(frame)
    assert packet.wirelen == len(frame)


def test_a_tap_sends_and_sniffs(wire: Wire) -> None:
    """scapy outside the namespace talks and listens inside, with the kernel's time stamps."""
    question = (
        Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
        / IP(src="198.18.0.1", dst="198.18.0.2")
        / UDP(sport=1053, dport=53)
        / DNS(qd=DNSQR(qname="example.org", qtype="MX"))
    )
    with Tap(wire.socket(), "v0") as one, Tap(wire.socket(), "v1") as other:
        before = time.time()
        assert one.send(question) == len(question)
        (heard,) = other.sniff(count=1, timeout=5)
        after = time.time()
        assert heard[DNS].qd[0].qname == b"example.org."
        assert before <= float(heard.time) <= after
        assert bytes(heard) == bytes(question)
        assert len(one.sniff(count=1, timeout=0.05)) == 0, "a tap does not hear itself"


def test_a_tap_asks_and_gets_the_answer(wire: Wire) -> None:
    """`sr1` works on a tap; closing it closes its socket."""
    request = Ether(type=0x88B5) / Raw(b"ping")
    lent = wire.socket()
    with Tap(lent, "v0") as tap, wire.socket() as peer:
        peer.bind(("v1", 0x88B5))
        tap.send(request)
        assert peer.recv(100)[14:] == b"ping"
        peer.send(HEADER + b"pong")
        (heard,) = tap.sniff(count=1, timeout=5)
        assert heard[Raw].load == b"pong"
    assert lent.fileno() == -1


def test_a_tap_on_no_interface(wire: Wire) -> None:
    """The error is the kernel's, and the socket is closed."""
    lent = wire.socket()
    with pytest.raises(OSError, match="No such device"):
        Tap(lent, "v9")
    assert lent.fileno() == -1
