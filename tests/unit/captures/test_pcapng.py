"""What `blocks` writes, `reader` reads; what other tools write too; and a file may end anywhere."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures import pcapng
from captures.errors import NotACapture
from captures.pcapng import Packet, Reader

NAMES = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=20
)
ADDRESSES = st.ip_addresses().map(str)


def header(*interfaces: str) -> bytes:
    """What stands before the first packet."""
    return pcapng.section_header() + b"".join(pcapng.interface(name) for name in interfaces)


def read(data: bytes) -> tuple[list[Packet], Reader]:
    """All packets, and the reader after the last of them."""
    reader = Reader(io.BytesIO(data))
    return list(reader), reader


@given(data=st.data(), interfaces=st.lists(NAMES, min_size=1, max_size=4, unique=True))
def test_packets_come_back(data: st.DataObject, interfaces: list[str]) -> None:
    """A packet that was written is read with all that was said about it, whatever its size."""
    packets = data.draw(
        st.lists(
            st.builds(
                Packet,
                interface=st.sampled_from(interfaces),
                time_ns=st.integers(0, 2**64 - 1),
                data=st.binary(max_size=100),
                length=st.integers(0, 2**32 - 1),
                direction=st.sampled_from(pcapng.DIRECTIONS),
                comment=st.text(st.characters(blacklist_categories=["Cs"]), max_size=40),
            )
        )
    )
    written = [pcapng.packet(interfaces.index(packet[0]), *packet[1:]) for packet in packets]
    again, reader = read(header(*interfaces) + b"".join(written))
    assert again == packets
    assert [interface.name for interface in reader.interfaces] == interfaces
    assert not reader.cut


@given(names=st.dictionaries(ADDRESSES, NAMES), lines=st.binary(max_size=200))
def test_names_and_secrets_come_back(names: dict[str, str], lines: bytes) -> None:
    """Host names by address and the key log's lines are there once the packets have been read."""
    _, reader = read(header() + pcapng.name_resolution(names) + pcapng.secrets(lines))
    assert reader.names == names
    assert reader.secrets == lines


def test_statistics_come_back() -> None:
    """What an interface received and dropped is read for the interface that it was written for."""
    block = pcapng.statistics(1, 30, start_ns=10, end_ns=2**63, received=2**40, dropped=7)
    _, reader = read(header("core1-eth0", "core2-eth0") + block)
    assert list(reader.statistics) == ["core2-eth0"]
    statistics = reader.statistics["core2-eth0"]
    assert (statistics.start_ns, statistics.end_ns) == (10, 2**63)
    assert (statistics.received, statistics.dropped) == (2**40, 7)


def test_a_packet_block_knows_its_interface() -> None:
    """The interface is read from a packet's block; other blocks have none."""
    assert pcapng.packet_interface(pcapng.packet(3, 0, b"x", 1)) == 3
    assert pcapng.packet_interface(pcapng.interface("core1-eth0")) is None


@given(st.data())
def test_a_file_cut_short_keeps_the_packets_before_the_cut(data: st.DataObject) -> None:
    """However a file was cut, the whole blocks are read, and it is said where they end."""
    blocks = [pcapng.packet(0, number, b"p" * number, number) for number in range(20)]
    whole = header("core1-eth0") + b"".join(blocks)
    start = len(header("core1-eth0"))
    size = data.draw(st.integers(start, len(whole)))
    packets, reader = read(whole[:size])

    ends = [start + sum(map(len, blocks[:count])) for count in range(21)]
    count = max(place for place, end in enumerate(ends) if end <= size)
    assert len(packets) == count
    assert reader.end == ends[count]
    assert reader.cut == (size != ends[count])


@given(st.integers(1, 63))
def test_a_file_may_end_in_its_header(size: int) -> None:
    """A recorder killed at its first write leaves a file without packets, not an error."""
    packets, reader = read(header("core1-eth0")[:size])
    assert packets == []
    assert reader.cut == (size != len(pcapng.section_header()))


def big_endian_microseconds() -> bytes:
    """As another tool on another machine writes: no name, the default resolution, an unknown block."""
    packet = struct.pack(">5I", 0, 0, 1_500_000, 3, 60) + b"abc\0"
    return b"".join(
        struct.pack(">II", kind, len(body) + 12) + body + struct.pack(">I", len(body) + 12)
        for kind, body in (
            (0x0A0D0D0A, struct.pack(">IHHq", 0x1A2B3C4D, 1, 0, -1)),
            (1, struct.pack(">HHI", 1, 0, 65535)),
            (0x0BAD, b"what?!__"),
            (6, packet),
            (3, struct.pack(">I", 2) + b"hi\0\0"),
        )
    )


def test_files_of_other_tools() -> None:
    """Either byte order, any time resolution, nameless interfaces, simple packets, unknown blocks."""
    packets, reader = read(big_endian_microseconds())
    assert packets == [
        Packet("interface 0", 1_500_000_000, b"abc", 60, "", ""),
        Packet("interface 0", 0, b"hi", 2, "", ""),
    ]
    assert reader.linktype("interface 0") == 1


def test_sections_follow_each_other() -> None:
    """Files may be put together: each section counts its interfaces anew, in its own byte order."""
    ours = header("core1-eth0") + pcapng.packet(0, 5, b"x", 1)
    packets, reader = read(ours + big_endian_microseconds() + ours)
    assert [packet.interface for packet in packets] == [
        "core1-eth0",
        "interface 0",
        "interface 0",
        "core1-eth0",
    ]
    assert len(reader.interfaces) == 3


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "begin", id="an empty file"),
        pytest.param(b"root:x:0:0", "begin", id="some other file"),
        pytest.param(header() + pcapng.packet(0, 0, b"", 0), "not described", id="a packet of no interface"),
        pytest.param(header() + b"\6\0\0\0\x0d\0\0\0" + bytes(40), "13 bytes", id="a length not in words"),
        pytest.param(
            header() + b"\6\0\0\0\x10\0\0\0" + bytes(8), "lengths differ", id="lengths that contradict"
        ),
        pytest.param(
            header("a") + pcapng.packet(0, 0, b"abcd", 4).replace(b"\4\0\0\0", b"\xff\0\0\0", 1),
            "longer than its block",
            id="more data than the block has",
        ),
        pytest.param(
            b"\x0a\x0d\x0d\x0a\x1c\0\0\0" + bytes(20), "byte-order", id="a section without byte order"
        ),
        pytest.param(header() + pcapng.statistics(4, 0, start_ns=0, end_ns=0, received=0, dropped=0),
            "type 5", id="statistics of no interface"),
    ],
)  # fmt: skip
def test_damage_is_told(data: bytes, reason: str) -> None:
    """What is no capture, or is damaged within, raises one line that says so."""
    with pytest.raises(NotACapture, match=reason) as caught:
        read(data)
    assert "\n" not in str(caught.value)


def test_the_file_is_named(tmp_path: Path) -> None:
    """An error from reading a file names the file."""
    path = tmp_path / "notes.txt"
    path.write_text("not packets")
    with pytest.raises(NotACapture, match=r"notes\.txt"), pcapng.open_capture(path) as reader:
        list(reader)
