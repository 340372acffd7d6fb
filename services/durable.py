"""Files and directories that survive a crash of the machine.

Theory of operation. What is written lies in memory until it is synced, and a name is part of the directory
that it stands in: a new file is there after a crash if both it and its directory were synced, a new directory
if the one above it was. Everything here blocks, and fails with OSError.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def write_file(path: Path, *parts: bytes) -> None:
    """Make the file hold `parts`, synced, for its owner alone; its name is not synced yet."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        for part in parts:
            write_all(fd, part)
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`, however little the system takes at a time."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_directory(directory: Path) -> None:
    """Sync the names in a directory."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(directory: Path) -> None:
    """Make a directory, and those above it that lack: when this returns, none of them is lost in a crash."""
    if directory.is_dir():
        # An earlier process may have made it and died before it could sync the name. Where that was an
        # administrator with other rights than ours, it was long ago.
        with suppress(PermissionError):
            sync_directory(directory.parent)
        return
    make_directory(directory.parent)
    with suppress(FileExistsError):
        directory.mkdir()
    sync_directory(directory.parent)
