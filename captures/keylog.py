"""Following a TLS key log while endpoints append to it.

Theory of operation. Every endpoint appends a session's secrets (NSS key log format, one secret a line) before
it puts its ServerHello on the wire. A line may be read while it is being written: the part behind the last
line end is left for the next time.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_PIECE: Final = 1 << 18


class KeyLog:
    """A key log that need not exist yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._offset = 0

    def new_lines(self) -> bytes:
        """Return the complete lines added since the last call, each once; empty when there are none."""
        if self._file is None:
            try:
                self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                return b""
        size = os.fstat(self._file).st_size
        if size < self._offset:
            # Emptied and begun anew.
            self._offset = 0
        if size == self._offset:
            return b""
        whole, end, _ = _read(self._file, self._offset, size).rpartition(b"\n")
        self._offset += len(whole + end)
        # Client and server both write their session's secrets.
        return b"".join(line + b"\n" for line in dict.fromkeys(whole.split(b"\n")) if line)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _read(file: int, start: int, end: int) -> bytes:
    pieces = []
    while start < end:
        piece = os.pread(file, min(_PIECE, end - start), start)
        if not piece:
            break
        pieces.append(piece)
        start += len(piece)
    return b"".join(pieces)
