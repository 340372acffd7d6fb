"""Packets of a capture file get comments; nothing else of the file changes."""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
import struct
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures import pcapng
from captures.errors import NotACapture
from captures.pcapng import Reader, blocks
from captures.reports import annotate
from captures.reports.commenting import Commented

COMMENT = "E: MX lookup of example.org at m-root"
HEADER = pcapng.section_header(application="mailbed") + pcapng.interface("corp-mta1-eth0")
TIME_NS = 1_795_000_000_000_000_000


def packet(number: int, size: int = 60, comment: str = "", direction: pcapng.Direction = "out") -> bytes:
    return pcapng.packet(0, TIME_NS + number, bytes([number % 256]) * size, 1500, direction, comment)


def commented(capture: bytes, comments: Mapping[int, str], piece: int = 1 << 20) -> bytes:
    """The capture with the comments, read in pieces of at most that size."""

    class Stream(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(piece if size is None or size < 0 else min(size, piece))

    return b"".join(Commented(Stream(capture), comments))


def split(capture: bytes, order: str = "<") -> list[bytes]:
    """The whole blocks of a file."""
    found = []
    while len(capture) >= 12:
        total = struct.unpack_from(f"{order}I", capture, 4)[0]
        found.append(capture[:total])
        capture = capture[total:]
    return found


def comments_of(capture: bytes) -> dict[int, str]:
    return {
        number: packet.comment
        for number, packet in enumerate(Reader(io.BytesIO(capture)), 1)
        if packet.comment
    }


def test_only_the_packet_changes() -> None:
    """The packet gets the comment as an option more; every other block is the same, byte for byte."""
    capture = HEADER + packet(1) + packet(2) + packet(3)
    before, after = split(capture), split(commented(capture, {2: COMMENT}))
    assert after[:3] + after[4:] == before[:3] + before[4:]
    option = (
        struct.pack("<HH", blocks.OPT_COMMENT, len(COMMENT)) + COMMENT.encode() + bytes(-len(COMMENT) % 4)
    )
    length = struct.pack("<I", len(before[3]) + len(option))
    assert after[3] == before[3][:4] + length + before[3][8:-8] + option + before[3][-8:-4] + length


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(packet(7), id="with a direction"),
        pytest.param(packet(7, direction=""), id="without options"),
        pytest.param(packet(7, size=61), id="of an odd size"),
        pytest.param(packet(7, size=0), id="of no size"),
    ],
)
def test_packets(block: bytes) -> None:
    """Whatever options a packet has, it keeps them, its data and its time."""
    capture = HEADER + block + packet(2)
    first, second = Reader(io.BytesIO(commented(capture, {1: COMMENT})))
    expected, same = Reader(io.BytesIO(capture))
    assert first == expected._replace(comment=COMMENT)
    assert second == same


def test_a_packet_whose_options_have_no_end() -> None:
    """An end of options is not required; it is added, where options are (§3.5)."""
    whole = packet(1)
    body = whole[8:-8]
    block = whole[:4] + struct.pack("<I", 12 + len(body)) + body + struct.pack("<I", 12 + len(body))
    result = commented(HEADER + block, {1: COMMENT})
    assert result == commented(HEADER + whole, {1: COMMENT})


def test_others_comments_stay() -> None:
    """A comment that is there already comes first, and is kept as it is."""
    capture = HEADER + packet(1, comment="look here")
    result = commented(capture, {1: COMMENT})
    assert comments_of(result) == {1: "look here"}
    assert split(result)[2].count(COMMENT.encode()) == 1


def test_twice_is_as_once() -> None:
    """Comments that are there are not added again."""
    capture = HEADER + packet(1, comment="look here") + packet(2)
    once = commented(capture, {1: COMMENT, 2: COMMENT})
    again = Commented(io.BytesIO(once), {1: COMMENT, 2: COMMENT})
    assert b"".join(again) == once
    assert again.added == 0


@pytest.mark.parametrize(
    ("comments", "expected"),
    [
        pytest.param({}, {}, id="none"),
        pytest.param({0: COMMENT, -1: COMMENT, 5: COMMENT}, {}, id="for no packet of the file"),
        pytest.param({1: "", 2: "x"}, {2: "x"}, id="empty"),
        pytest.param({1: "ä" * 40000}, {1: "ä" * 32767}, id="too long: cut between characters"),
        pytest.param({1: "\udc80"}, {1: "?"}, id="no text at all"),
    ],
)
def test_comments(comments: dict[int, str], expected: dict[int, str]) -> None:
    """What cannot be said is left out, or as much of it as cannot."""
    result = commented(HEADER + packet(1) + packet(2), comments)
    assert comments_of(result) == expected


def test_simple_packets_count() -> None:
    """A simple packet has a number, but no room for a comment."""
    simple = struct.pack("<IIII4sI", blocks.SIMPLE_PACKET, 20, 4, 0, b"", 20)[:16] + struct.pack("<I", 20)
    capture = HEADER + packet(1) + simple + packet(3)
    result = commented(capture, {2: "lost", 3: COMMENT})
    assert comments_of(result) == {3: COMMENT}
    assert split(result)[3] == simple


def test_sections() -> None:
    """Packets are counted through; a section in the other byte order is written in it."""
    big = b"".join(
        [
            struct.pack(">IIIHHqI", blocks.SECTION_HEADER, 28, blocks.BYTE_ORDER_MAGIC, 1, 0, -1, 28),
            struct.pack(">IIHHII", blocks.INTERFACE_DESCRIPTION, 20, 1, 0, 0, 20),
            struct.pack(">IIIIIII4sI", blocks.ENHANCED_PACKET, 36, 0, 0, 0, 4, 4, b"data", 36),
        ]
    )
    capture = HEADER + packet(1) + big + HEADER + packet(3)
    result = commented(capture, {2: "second", 3: "third"})
    assert comments_of(result) == {2: "second", 3: "third"}
    assert [found.data[:4] for found in Reader(io.BytesIO(result))][1] == b"data"


def test_a_section_that_tells_its_length() -> None:
    """Its length is not known any more; where no comment follows, it stays."""
    packets = pcapng.interface("a") + packet(1)
    told = pcapng.section_header()[:16] + struct.pack("<q", len(packets)) + pcapng.section_header()[24:]
    first, second = 16, len(told + packets) + 16
    result = commented(told + packets + told + packets, {1: COMMENT})
    grown = len(result) - 2 * len(told + packets)
    assert struct.unpack_from("<q", result, first) == (-1,)
    assert struct.unpack_from("<q", result, second + grown) == (len(packets),)


def test_a_file_that_was_cut() -> None:
    """What stands behind the last whole block is passed on."""
    capture = HEADER + packet(1) + packet(2)[:-5]
    result = commented(capture, {1: COMMENT, 2: "not there"})
    assert result.endswith(packet(2)[:-5])
    assert comments_of(result) == {1: COMMENT}


@pytest.mark.parametrize(
    "capture",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xd4\xc3\xb2\xa1" + bytes(20), id="another format"),
        pytest.param(HEADER + bytes(64), id="no block"),
        pytest.param(HEADER + packet(1)[:-4] + bytes(4) + packet(2), id="two lengths"),
        pytest.param(HEADER[:8] + bytes(4) + HEADER[12:], id="no byte order"),
        pytest.param(HEADER + packet(1).replace(struct.pack("<I", 60), struct.pack("<I", 600)), id="data"),
    ],
)
def test_damage(capture: bytes) -> None:
    """A damaged file is said to be one."""
    with pytest.raises(NotACapture):
        commented(capture, {1: COMMENT})


@given(
    sizes=st.lists(st.tuples(st.integers(0, 90), st.sampled_from(["", "in", "out"]), st.text(max_size=9))),
    comments=st.dictionaries(st.integers(1, 12), st.text(st.characters(exclude_categories=["Cs"]))),
    piece=st.integers(1, 200),
)
def test_any_capture(
    sizes: list[tuple[int, pcapng.Direction, str]], comments: dict[int, str], piece: int
) -> None:
    """Whatever is commented, and however the file is read: without the comments it is the file it was."""
    capture = HEADER + b"".join(
        packet(number, size, comment, direction) for number, (size, direction, comment) in enumerate(sizes, 1)
    )
    result = commented(capture, comments, piece)
    before, after = list(Reader(io.BytesIO(capture))), list(Reader(io.BytesIO(result)))
    assert [found._replace(comment="") for found in after] == [found._replace(comment="") for found in before]
    for number, (old, new) in enumerate(zip(before, after, strict=True), 1):
        assert new.comment == (old.comment or comments.get(number, ""))
    assert commented(result, comments) == result


# The file.


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """A capture of two packets, alone in its directory."""
    path = tmp_path / "network.pcapng"
    path.write_bytes(HEADER + packet(1) + packet(2))
    return path


def test_annotate(capture: Path) -> None:
    """The file has the comments, and how many are new is told; the second time it is not touched."""
    assert annotate(capture, {1: COMMENT, 2: COMMENT}) == 2
    assert comments_of(capture.read_bytes()) == {1: COMMENT, 2: COMMENT}
    before = capture.stat()
    assert annotate(capture, {1: COMMENT, 2: COMMENT}) == 0
    assert capture.stat() == before
    assert annotate(capture, {}) == 0
    assert list(capture.parent.iterdir()) == [capture]


def test_mode_and_owner(capture: Path) -> None:
    """The file belongs to whom it did, who may read it as before."""
    capture.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(capture, 12345, 23456)
    before = capture.stat()
    annotate(capture, {1: COMMENT})
    after = capture.stat()
    assert stat.S_IMODE(after.st_mode) == 0o640
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)


def test_a_link_to_the_file(capture: Path) -> None:
    """A symbolic link stays one; the file that it names has the comments."""
    link = capture.parent / "link.pcapng"
    link.symlink_to(capture.name)
    annotate(link, {1: COMMENT})
    assert link.is_symlink()
    assert comments_of(capture.read_bytes()) == {1: COMMENT}


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("fdatasync", OSError(errno.ENOSPC, "No space left on device")),
        ("fchmod", KeyboardInterrupt()),
        ("replace", OSError(errno.EIO, "Input/output error")),
    ],
)
def test_failures(capture: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    """A full disk or Ctrl-C leaves the capture as it was, and nothing beside it."""
    before = capture.read_bytes()

    def fails(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(os, name, fails)
    with pytest.raises(type(error)):
        annotate(capture, {1: COMMENT})
    assert capture.read_bytes() == before
    assert list(capture.parent.iterdir()) == [capture]


def test_damage_names_the_file(capture: Path) -> None:
    """Damage far into the file is found when half the copy is written; that is removed."""
    capture.write_bytes(HEADER + packet(1) + bytes(64))
    before = capture.read_bytes()
    with pytest.raises(NotACapture, match=r"network\.pcapng: damaged"):
        annotate(capture, {1: COMMENT, 2: COMMENT})
    assert capture.read_bytes() == before
    assert list(capture.parent.iterdir()) == [capture]


def test_a_capture_that_grows(capture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its recorder still writes to it: it is not replaced, and loses nothing."""
    sync: Callable[[int], None] = os.fdatasync

    def recorded(file: int) -> None:
        with capture.open("ab") as more:
            more.write(packet(3))
        sync(file)

    monkeypatch.setattr(os, "fdatasync", recorded)
    with pytest.raises(OSError, match="changed") as caught:
        annotate(capture, {1: COMMENT})
    assert caught.value.errno == errno.EBUSY
    assert capture.read_bytes() == HEADER + packet(1) + packet(2) + packet(3)
    assert list(capture.parent.iterdir()) == [capture]


def test_tshark_shows_them(capture: Path) -> None:
    """Wireshark's own reader shows each comment at its packet, also the second one."""
    program = shutil.which("tshark")
    if program is None:
        pytest.fail("tshark is not installed: this test compares with it (Debian package: tshark)")
    capture.write_bytes(HEADER + packet(1) + packet(2, comment="look here") + packet(3))
    annotate(capture, {2: COMMENT, 3: "G: ✓ in the mailbox"})
    command = [program, "-r", str(capture), "-Y", "frame.comment", "-T", "fields", "-E", "aggregator=|"]
    lines = subprocess.run(
        [*command, "-e", "frame.number", "-e", "frame.comment"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert lines == [f"2\tlook here|{COMMENT}", "3\tG: ✓ in the mailbox"]
