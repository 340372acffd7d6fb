"""The spool: a journal on disk, written so that any process may be killed at any moment.

Theory of operation.

    spool/queue/NUMBER.NONCE    a segment: records one after the other (services.smtp.record)
    spool/corrupt/…             set aside because it does not read, with the reason beside it in ….reason
    spool/next-id               ids below this number may have been given out
    spool/lock                  held by the process that serves the spool; the kernel frees it when that dies

Records are only ever appended, to the latest segment: all that come together with one write and one sync,
after which a server may say 250. A step that fails (a full disk, a lost mount) is taken back as a whole.
Notes of what became of messages are not synced for their own sake, as in Postfix: they outlive the process
as soon as they are written, and a machine that loses its power may send once more what it sent just before.

What waits is what the segments say, read from the first to the last. So a segment may go only when nothing
that waits lies in it and none is before it. Where old messages keep many segments, `surplus` names those of
the first one: they are written once more at the end, as they are now, and the first one goes.

Some room is left free on the disk: new messages are refused before it is full, so that what becomes of the
old ones can still be written down or moved, and they leave.

Everything here blocks. `write` and `next_number` are for one thread at a time; `content` and `surplus` for
any.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from services.durable import make_directory, sync_directory, write_all, write_file
from services.smtp import record
from services.smtp.errors import CorruptContent, SmtpError, SpoolUnavailable
from services.smtp.message import BadValues, QueuedMessage
from services.smtp.record import Arrived, Damage, Entry, Held, Noted

# Numbers are reserved in blocks, so that a new message costs no write of its own for its id.
_BLOCK = 1000
_SEGMENT_BYTES = 16 << 20
_FREE_BYTES = 1 << 20
# A place is a segment's number and an offset in one whole number: one object for each message that waits.
_OFFSET_BITS = 40
_OFFSET = (1 << _OFFSET_BITS) - 1
_LINE_GUESS = 1024


@dataclass(slots=True)
class _Segment:
    path: Path
    mark: bytes
    size: int = 0
    waiting: int = 0


class Spool:
    """The spool in `root`, for one process alone."""

    def __init__(self, root: Path, *, segment_bytes: int = _SEGMENT_BYTES) -> None:
        self._root = root
        self._queue = root / "queue"
        self._corrupt = root / "corrupt"
        self._segment_bytes = segment_bytes
        self._segments: dict[int, _Segment] = {}
        self._last = 0
        self._places: dict[str, int] = {}
        self._bytes_waiting = 0
        self._sizes: dict[str, int] = {}
        self._fd: int | None = None
        self._at = -1  # where the next octet written to it goes, as far as is known
        self._lock: int | None = None
        self._next_number = 0
        self._reserved = 0

    def open(self) -> None:
        """Make the directories where they lack, and take the lock.

        Raises: SmtpError if another process has the spool or it cannot be written.
        """
        try:
            for directory in (self._queue, self._corrupt):
                make_directory(directory)
            self._lock = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.close()
                raise SmtpError(f"{self._root}: another process serves this spool") from None
            self._reserved = self._next_number = self._read_number()
            disk = os.statvfs(self._root)
            # On a small disk small segments, so that what is done does not keep it full.
            self._segment_bytes = min(self._segment_bytes, max(disk.f_blocks * disk.f_frsize // 16, 1))
        except OSError as error:
            raise SmtpError(f"{self._root}: the spool cannot be used: {error.strerror}") from error

    def close(self) -> None:
        """Give the lock back."""
        for fd in (self._fd, self._lock):
            if fd is not None:
                os.close(fd)
        self._fd = self._lock = None

    def load(self) -> Iterator[QueuedMessage | Path]:
        """Yield what an earlier process left: each message, or the place where a copy of damage now lies."""
        waiting: dict[str, QueuedMessage] = {}
        paths = sorted(self._queue.iterdir())
        for path in paths:
            name = record.segment_of(path)
            if name is None:
                yield self._set_aside(path.name, path.read_bytes(), "no segment of a spool")
                path.unlink()
                continue
            number, mark = name
            self._last = number
            segment = self._segments[number] = _Segment(path, mark)
            with path.open("rb") as file:
                for found in record.read(file, segment.mark):
                    if isinstance(found, Damage) and found.cut and path == paths[-1]:
                        # Nobody was told that it is there, and the next record must not come behind a stump.
                        os.truncate(path, found.offset)
                        break
                    segment.size = found.offset + found.length
                    if isinstance(found, Damage):
                        yield self._damaged(segment, found)
                        continue
                    record.apply(found.entry, waiting)
                    if isinstance(found.entry, QueuedMessage):
                        self._places[found.entry.id] = (number << _OFFSET_BITS) | found.offset
        self._places = {queue_id: self._places[queue_id] for queue_id in waiting}
        for queue_id, place in self._places.items():
            self._segments[place >> _OFFSET_BITS].waiting += 1
            self._bytes_waiting += waiting[queue_id].size
            self._sizes[queue_id] = waiting[queue_id].size
        yield from waiting.values()

    def next_number(self) -> int:
        """Return a number that no other call has returned, not even before a restart.

        Once in a while it is written, which takes a moment. Raises: SpoolUnavailable.
        """
        if self._reserved == self._next_number:
            number = str(self._next_number + _BLOCK).encode()
            with _unavailable():
                self._replace(self._root / "next-id", number)
            self._reserved = self._next_number + _BLOCK
        self._next_number += 1
        return self._next_number - 1

    def write(self, entries: Sequence[Entry]) -> None:
        """Put all the entries on disk: when this returns, they survive any crash.

        Unless all are notes: then they survive that of the process (`is_light`).
        Raises: SpoolUnavailable; then none of them is there.
        """
        try:
            self._write(entries)
        except OSError as error:
            for entry in entries:
                if isinstance(entry, Noted):
                    # If it is done it is done, noted or not: where nothing else waits its segment may go,
                    # which notes it as well, and makes room.
                    self._count(entry, 0)
            raise SpoolUnavailable(f"the spool cannot be written: {error.strerror}") from error
        finally:
            self._tidy()

    def _write(self, entries: Sequence[Entry]) -> None:
        number, segment, fd = self._latest()
        data = [record.encode(entry, segment.mark) for entry in entries]
        if any(isinstance(entry, Arrived) and entry.message.id not in self._places for entry in entries):
            _check_room(fd, sum(map(len, data)))
        self._append(segment, fd, b"".join(data), sync=not all(map(is_light, entries)))
        for entry, written in zip(entries, data, strict=True):
            self._count(entry, (number << _OFFSET_BITS) | segment.size)
            segment.size += len(written)

    def content(self, queue_id: str) -> bytes:
        """Return the content of a message that waits, as it is to be sent.

        Raises: SpoolUnavailable, CorruptContent.
        """
        with _unavailable():
            while True:
                place = self._places.get(queue_id)
                if place is None:
                    raise SpoolUnavailable(f"message {queue_id} is not in the spool any more")
                try:
                    return self._read(queue_id, place)
                except FileNotFoundError:
                    # It has been moved meanwhile, and its segment is gone; or it has not, and there is none.
                    if self._places.get(queue_id) == place:
                        raise

    def content_at_hand(self, queue_id: str) -> bytes | None:
        """Return the content of a message if that takes no wait for the disk; None means: ask `content`."""
        place, fd = self._places.get(queue_id), self._fd
        segment = self._segments.get(place >> _OFFSET_BITS) if place is not None else None
        if place is None or segment is None or fd is None or place >> _OFFSET_BITS != self._last:
            return None
        data = bytearray(_LINE_GUESS + self._sizes.get(queue_id, 0))
        try:
            length = os.preadv(fd, [data], place & _OFFSET, os.RWF_NOWAIT)
            # Whatever is wrong with it, `content` finds that out: the descriptor may be another's by now.
            return record.content_of(bytes(data[:length]), segment.mark)
        except (OSError, BadValues):
            return None

    def set_aside(self, queue_id: str, reason: str) -> Path:
        """Keep a copy of a message that does not read, with the reason; return where.

        Raises: SpoolUnavailable.
        """
        place, size = self._places.get(queue_id), self._sizes.get(queue_id)
        segment = self._segments.get(place >> _OFFSET_BITS) if place is not None else None
        if place is None or segment is None:
            raise SpoolUnavailable(f"message {queue_id} is not in the spool any more")
        with _unavailable(), segment.path.open("rb") as file:
            file.seek(place & _OFFSET)
            line = file.readline()
            return self._set_aside(queue_id, line + file.read(size), reason)

    def surplus(self) -> list[str]:
        """Return the messages that keep the first segment, if the segments hold much that does not wait."""
        if len(self._segments) < 2:
            return []
        first = next(iter(self._segments), 0)
        whole = sum(segment.size for segment in list(self._segments.values()))
        if whole < 2 * self._bytes_waiting + 2 * self._segment_bytes:
            return []
        return [queue_id for queue_id, place in list(self._places.items()) if place >> _OFFSET_BITS == first]

    # The segments

    def _latest(self) -> tuple[int, _Segment, int]:
        """Return the segment to append to, and its descriptor."""
        number = self._last
        segment = self._segments.get(number)
        if segment and segment.size < self._segment_bytes:
            if self._fd is None:
                self._fd, self._at = os.open(segment.path, os.O_RDWR | os.O_CLOEXEC), -1
            return number, segment, self._fd
        number, nonce = number + 1, secrets.token_hex(8)
        segment = _Segment(self._queue / record.segment_name(number, nonce), record.mark(nonce))
        fd = os.open(segment.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            sync_directory(self._queue)
        except OSError:
            with suppress(OSError):
                segment.path.unlink()
            os.close(fd)
            raise
        full, self._fd, self._at = self._fd, fd, 0
        self._segments[number], self._last = segment, number
        if full is not None:
            with suppress(OSError):
                # The messages in it have been synced. Only in the last segment is a torn note no damage.
                os.fdatasync(full)
            with suppress(OSError):
                os.close(full)
        return number, segment, fd

    def _append(self, segment: _Segment, fd: int, data: bytes, *, sync: bool) -> None:
        try:
            if self._at != segment.size:
                os.lseek(fd, segment.size, os.SEEK_SET)
            self._at = -1
            write_all(fd, data)
            if sync:
                os.fdatasync(fd)
            self._at = segment.size + len(data)
        except OSError:
            # The clients will be told that it is not there, and come again: so it must not be found later.
            with suppress(OSError):
                os.ftruncate(fd, segment.size)
                os.fdatasync(fd)
            raise

    def _count(self, entry: Entry, place: int) -> None:
        """Keep account of where what waits lies."""
        if isinstance(entry, Held) or (isinstance(entry, Noted) and not entry.last):
            return
        queue_id = entry.message.id if isinstance(entry, Arrived) else entry.id
        before = self._places.pop(queue_id, None)
        if before is not None:
            self._segments[before >> _OFFSET_BITS].waiting -= 1
            self._bytes_waiting -= self._sizes.pop(queue_id)
        if isinstance(entry, Arrived):
            self._places[queue_id] = place
            self._segments[place >> _OFFSET_BITS].waiting += 1
            self._bytes_waiting += entry.message.size
            self._sizes[queue_id] = entry.message.size

    def _tidy(self) -> None:
        """Remove the first segments, as far as nothing that waits lies in them; empty the last one.

        File systems keep the order of such changes, so no sync is needed: what is back after a crash of the
        machine is back with all that followed it.
        """
        try:
            while len(self._segments) > 1:
                number, segment = next(iter(self._segments.items()))
                if segment.waiting:
                    return
                segment.path.unlink()
                del self._segments[number]
            last = self._segments.get(self._last)
            if last and not last.waiting and last.size >= self._segment_bytes // 4 and self._fd is not None:
                os.ftruncate(self._fd, 0)
                last.size = 0
        except OSError:
            return

    def _read(self, queue_id: str, place: int) -> bytes:
        segment, offset = self._segments.get(place >> _OFFSET_BITS), place & _OFFSET
        if segment is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        fd = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            length = _LINE_GUESS + self._sizes.get(queue_id, 0)
            while True:
                data = os.pread(fd, length, offset)
                try:
                    content = record.content_of(data, segment.mark)
                except BadValues as error:
                    raise CorruptContent(str(error)) from error
                if content is not None:
                    return content
                if len(data) < length:
                    raise CorruptContent("the content is cut off")
                length *= 2
        finally:
            os.close(fd)

    # What does not read

    def _damaged(self, segment: _Segment, damage: Damage) -> Path:
        with segment.path.open("rb") as file:
            file.seek(damage.offset)
            data = file.read(damage.length)
        return self._set_aside(f"{segment.path.name}+{damage.offset}", data, damage.reason)

    def _set_aside(self, name: str, data: bytes, reason: str) -> Path:
        place = self._corrupt / name
        with suppress(OSError):  # A full disk must not keep the server from starting.
            place.write_bytes(data)
            place.with_name(f"{name}.reason").write_text(reason + "\n", encoding="utf-8")
        return place

    # Numbers

    def _replace(self, path: Path, data: bytes) -> None:
        temporary = path.with_suffix(".new")
        try:
            write_file(temporary, data)
            os.rename(temporary, path)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_directory(path.parent)

    def _read_number(self) -> int:
        try:
            return int((self._root / "next-id").read_bytes())
        except (FileNotFoundError, ValueError):
            return 0


def is_light(entry: Entry) -> bool:
    """Return whether an entry is a note, which is written without a sync."""
    return isinstance(entry, Noted)


def _check_room(fd: int, wanted: int) -> None:
    """Refuse what would fill the disk: of a small one an eighth is left free."""
    disk = os.fstatvfs(fd)
    keep = min(_FREE_BYTES, disk.f_blocks * disk.f_frsize // 8)
    if disk.f_bavail * disk.f_frsize < wanted + keep:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpoolUnavailable(f"the spool cannot be written: {error.strerror}") from error
