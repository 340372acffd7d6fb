"""The summary of a capture, as data and on the command line."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from captures import __main__, pcapng
from captures.pcapng import Reader
from captures.summary import InterfaceSummary, summarise

HEADER = (
    pcapng.section_header()
    + pcapng.interface("a-eth0")
    + pcapng.interface("b-eth0")
    + pcapng.interface("c-eth0")
)
PACKETS = (
    pcapng.packet(0, 20, b"x" * 60, 1000) + pcapng.packet(1, 10, b"y", 1) + pcapng.packet(0, 30, b"z", 1)
)
STATISTICS = [
    pcapng.statistics(number, 40, start_ns=0, end_ns=40, received=received, dropped=dropped)
    for number, received, dropped in ((0, 7, 5), (1, 1, 0), (2, 0, 0))
]


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "network.pcapng"
    path.write_bytes(HEADER + PACKETS + b"".join(STATISTICS))
    return path


def test_each_interface_is_counted() -> None:
    """Packets, bytes on the wire and drops, also of an interface where nothing happened."""
    summary = summarise(Reader(io.BytesIO(HEADER + PACKETS + b"".join(STATISTICS))))
    assert summary.interfaces == (
        InterfaceSummary(name="a-eth0", packets=2, bytes=1001, dropped=5),
        InterfaceSummary(name="b-eth0", packets=1, bytes=1, dropped=0),
        InterfaceSummary(name="c-eth0", packets=0, bytes=0, dropped=0),
    )
    assert (summary.packets, summary.dropped) == (3, 5)
    assert (summary.first_ns, summary.last_ns) == (10, 30)


def test_drops_that_nobody_counted_are_not_known() -> None:
    """After kill -9 there are no statistics: that is not the same as no drops."""
    summary = summarise(Reader(io.BytesIO(HEADER + PACKETS + STATISTICS[0] + STATISTICS[1][:-2])))
    assert [interface.dropped for interface in summary.interfaces] == [5, None, None]
    assert summary.dropped is None
    assert summary.cut


def test_the_command_prints_a_line_for_each_interface(
    capture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Name, packets, bytes and drops."""
    assert __main__.main([str(capture)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["a-eth0", "2", "packets", "1,001", "bytes", "5", "dropped"]
    assert [line[0] for line in lines] == ["a-eth0", "b-eth0", "c-eth0"]


def test_the_command_prints_json(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same for programs."""
    assert __main__.main(["--json", str(capture)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["interfaces"]["a-eth0"] == {"packets": 2, "bytes": 1001, "dropped": 5}
    assert document["dropped"] == 5


def test_the_command_says_that_a_file_is_cut_short(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is there is shown, and where it ends."""
    capture.write_bytes(HEADER + PACKETS + STATISTICS[0][:20])
    assert __main__.main([str(capture)]) == 0
    out = capsys.readouterr().out
    assert "drops not known" in out
    assert f"cut short: the last whole block ends at byte {len(HEADER + PACKETS)}" in out


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("nowhere.pcapng", "No such file or directory", id="missing"),
        pytest.param("notes.txt", "no pcapng file", id="not a capture"),
        pytest.param(".", "Is a directory", id="a directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, reason: str
) -> None:
    """Status 1, and what is wrong with which file."""
    (tmp_path / "notes.txt").write_text("hello")
    assert __main__.main([str(tmp_path / name)]) == 1
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1


def test_a_mistake_in_the_command_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    """As for every command."""
    with pytest.raises(SystemExit) as caught:
        __main__.main([])
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_neither_the_recorder_nor_the_command_imports_scapy() -> None:
    """scapy takes a second to import and much memory."""
    code = "import sys, captures.recorder, captures.__main__; print('scapy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
