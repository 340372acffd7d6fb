"""The spool: message files on a disk, written so that any process may be killed at any moment.

Theory of operation.

    spool/tmp/ID        being written; nobody has been told of it, so a start discards it
    spool/queue/ID      acknowledged (services.smtp.message says what is in it)
    spool/corrupt/ID    set aside because it does not read, with the reason in ID.reason
    spool/next-id       ids below this number may have been given out
    spool/lock          held by the process that serves the spool; the kernel frees it when that dies

A message is written to tmp/, synced, renamed into queue/, and the directory synced: only then may a
server say 250. Later each recipient's progress is appended and synced, and the file removed when none is
due. The steps fail singly (a full disk, a lost mount) and leave nothing half done: what was written of a
failed step is taken back.

Everything here blocks; the queue calls it in a thread.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from services.durable import make_directory, sync_directory, write_all, write_file
from services.smtp.errors import SmtpError, SpoolUnavailable
from services.smtp.message import (
    CorruptMessage,
    Progress,
    QueuedMessage,
    content_size,
    header_line,
    journal_line,
    read_message,
)

# Numbers are reserved in blocks, so that a new message costs no write of its own for its id.
_BLOCK = 1000


class Spool:
    """The spool in `root`, for one process alone."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._tmp = root / "tmp"
        self._queue = root / "queue"
        self._corrupt = root / "corrupt"
        self._lock: int | None = None
        self._next_number = 0
        self._reserved = 0

    def open(self) -> None:
        """Make the directories where they lack, take the lock and discard what was never acknowledged.

        Raises: SmtpError if another process has the spool or it cannot be written.
        """
        try:
            for directory in (self._tmp, self._queue, self._corrupt):
                make_directory(directory)
            self._lock = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.close()
                raise SmtpError(f"{self._root}: another process serves this spool") from None
            for leftover in self._tmp.iterdir():
                leftover.unlink()
            self._reserved = self._next_number = self._read_number()
        except OSError as error:
            raise SmtpError(f"{self._root}: the spool cannot be used: {error.strerror}") from error

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def load(self) -> Iterator[QueuedMessage | Path]:
        """Yield what an earlier process left: each message, or the place where a corrupt file now lies."""
        for path in sorted(self._queue.iterdir()):
            try:
                data = path.read_bytes()
                message, length = read_message(data)
                if message.id != path.name:
                    raise CorruptMessage(f"the header says that its id is {message.id!r}")
            except CorruptMessage as error:
                yield self._set_aside(path, str(error))
                continue
            if length < len(data):
                # Cut off by a crash; the next line must not be appended to its stump.
                os.truncate(path, length)
            if message.recipients:
                yield message
            else:
                path.unlink()

    def next_number(self) -> int:
        """Return a number that no other call has returned, not even before a restart.

        Raises: SpoolUnavailable.
        """
        if self._next_number >= self._reserved:
            with _unavailable():
                self._write(self._root, "next-id", str(self._next_number + _BLOCK).encode())
            self._reserved = self._next_number + _BLOCK
        self._next_number += 1
        return self._next_number - 1

    def write(self, message: QueuedMessage, content: bytes) -> None:
        """Put the message on disk: when this returns, it survives any crash.

        Raises: SpoolUnavailable; then nothing of it is left.
        """
        with _unavailable():
            self._write(self._queue, message.id, header_line(message, content), content)

    def append(self, message_id: str, progress: list[Progress]) -> None:
        """Record what happened to recipients of a message: when this returns, it survives any crash.

        Raises: SpoolUnavailable; then nothing of it is recorded.
        """
        with _unavailable():
            fd = os.open(self._queue / message_id, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                before = os.fstat(fd).st_size
                try:
                    write_all(fd, b"".join(map(journal_line, progress)))
                    os.fdatasync(fd)
                except OSError:
                    os.ftruncate(fd, before)
                    raise
            finally:
                os.close(fd)

    def remove(self, message_id: str) -> None:
        """Forget a message that has no recipient left."""
        with _unavailable(), suppress(FileNotFoundError):
            (self._queue / message_id).unlink()

    def content(self, message_id: str) -> bytes:
        """Return the content of a message, as it is to be sent.

        Raises: SpoolUnavailable.
        """
        with _unavailable(), (self._queue / message_id).open("rb") as file:
            return file.read(content_size(file.readline()))

    def _write(self, directory: Path, name: str, *parts: bytes) -> None:
        """Make `directory/name` hold `parts`, wholly or not at all."""
        temporary = self._tmp / name
        try:
            write_file(temporary, *parts)
            os.rename(temporary, directory / name)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            raise
        try:
            sync_directory(directory)
        except OSError:
            # It is not known whether the name is on disk. The client will be told that it is not, and
            # will come again: so it must not be found here later.
            with suppress(OSError):
                (directory / name).unlink()
            raise

    def _read_number(self) -> int:
        try:
            return int((self._root / "next-id").read_bytes())
        except (FileNotFoundError, ValueError):
            return 0

    def _set_aside(self, path: Path, reason: str) -> Path:
        place = self._corrupt / path.name
        os.replace(path, place)
        with suppress(OSError):  # A full disk must not keep the server from starting.
            place.with_name(f"{place.name}.reason").write_text(reason + "\n", encoding="utf-8")
        return place


def peek(root: Path) -> list[QueuedMessage]:
    """Return what waits in a spool that another process serves, in order of arrival; takes no lock."""
    found = []
    for path in (root / "queue").glob("*"):
        # A message may leave between the listing and the reading; a corrupt one is its server's business.
        with suppress(FileNotFoundError, CorruptMessage):
            message, _ = read_message(path.read_bytes())
            found.append(message)
    return sorted(found, key=lambda message: (message.arrival, message.id))


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpoolUnavailable(f"the spool cannot be written: {error.strerror}") from error
