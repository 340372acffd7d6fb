"""A capture file ends with a whole block, even when the disk is full."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from captures.output import Output

BLOCKS = [b"aaaa", b"bbbbbbbb", b"cccc"]


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Output]:
    file = Output(tmp_path / "network.pcapng")
    yield file
    file.close()


class Disk:
    """Stands in for os.pwrite: takes `space` bytes, in pieces of at most three, and is full then."""

    def __init__(self, space: int) -> None:
        self.space = space
        self._pwrite = os.pwrite

    def __call__(self, file: int, data: memoryview, offset: int) -> int:
        size = min(3, self.space, len(data))
        if not size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.space -= size
        return self._pwrite(file, data[:size], offset)


def test_blocks_are_appended(output: Output, tmp_path: Path) -> None:
    """Each batch follows the one before."""
    assert output.append(BLOCKS) == 3
    assert output.append([b"dddd"]) == 1
    assert (tmp_path / "network.pcapng").read_bytes() == b"aaaabbbbbbbbccccdddd"
    assert output.size == 20
    assert output.error is None


@pytest.mark.parametrize(
    ("space", "left"),
    [
        pytest.param(0, b"", id="full before the first byte"),
        pytest.param(3, b"", id="full within the first block"),
        pytest.param(4, b"aaaa", id="full at the end of a block"),
        pytest.param(11, b"aaaa", id="full within the second"),
        pytest.param(15, b"aaaabbbbbbbb", id="full one byte before the end"),
        pytest.param(16, b"aaaabbbbbbbbcccc", id="just enough"),
    ],
)
def test_a_full_disk_leaves_whole_blocks(
    output: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, space: int, left: bytes
) -> None:
    """The file is cut back to the last whole block, and goes on from there when there is space."""
    disk = Disk(space)
    monkeypatch.setattr(os, "pwrite", disk)
    done = output.append(BLOCKS)
    path = tmp_path / "network.pcapng"
    assert path.read_bytes() == left == b"".join(BLOCKS[:done])
    assert (output.error is None) == (done == 3)

    disk.space = 100
    assert output.append(BLOCKS[done:]) == 3 - done
    assert path.read_bytes() == b"".join(BLOCKS)
    assert output.error is None


def test_reserved_space_has_no_name_and_is_given_up(output: Output, tmp_path: Path) -> None:
    """The reserve is not seen beside the capture."""
    output.reserve(4096)
    assert [path.name for path in tmp_path.iterdir()] == ["network.pcapng"]
    output.release_reserve()
    output.release_reserve()
