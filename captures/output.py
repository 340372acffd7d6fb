"""The file that a capture is written to: it ends with a whole block at any time but during a write.

Theory of operation. Blocks are written in batches. When a write fails half-way, as on a full disk, the file
is cut back to the last whole block, so that it can be read, and written on when there is space again.

A capture that lost packets must say how many, even on a disk that is still full at the end. So a second file,
which has no name and vanishes with the process, holds some space from the beginning and gives it up for the
last blocks.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path


class Output:
    """A new capture file; whatever was there before is gone."""

    def __init__(self, path: Path) -> None:
        """Create the file. Raises: OSError."""
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        self._reserve: int | None = None
        self._directory = path.parent
        self.size = 0
        """Bytes written, all of them whole blocks."""
        self.error: OSError | None = None
        """Why the last `append` was not complete; None when it was."""

    def append(self, blocks: Sequence[bytes]) -> int:
        """Return how many of the blocks, from the first on, are in the file now."""
        data = memoryview(b"".join(blocks))
        done = 0
        self.error = None
        try:
            while done < len(data):
                # By offset: where the file ends does not depend on what was cut off before.
                done += os.pwrite(self._file, data[done:], self.size + done)
        except OSError as error:
            self.error = error
            return self._cut_back(blocks, done)
        self.size += done
        return len(blocks)

    def reserve(self, size: int) -> None:
        """Hold `size` bytes of disk space for later, where the file system can."""
        with contextlib.suppress(OSError):
            self._reserve = os.open(self._directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            os.posix_fallocate(self._reserve, 0, size)

    def release_reserve(self) -> None:
        """Give the space up that `reserve` holds."""
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None

    def close(self) -> None:
        """Close the file."""
        self.release_reserve()
        os.close(self._file)

    def _cut_back(self, blocks: Sequence[bytes], done: int) -> int:
        whole = count = 0
        for block in blocks:
            if whole + len(block) > done:
                break
            whole += len(block)
            count += 1
        self.size += whole
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, self.size)
        return count
