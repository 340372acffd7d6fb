"""A look into a spool that another process may serve, or of a lab that has ended: no lock is taken.

What does not read is passed over: it is a matter of the process that serves the spool.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from services.smtp import record
from services.smtp.message import BadValues, QueuedMessage
from services.smtp.record import Found


def peek(root: Path) -> list[QueuedMessage]:
    """Return what waits in the spool, in order of arrival."""
    waiting: dict[str, QueuedMessage] = {}
    before: list[Path] | None = None
    # A segment may go while it is read: what it held lies in a later one then, or is gone.
    while before != (paths := _segments(root)):
        before, waiting = paths, {}
        for path in paths:
            with suppress(FileNotFoundError):
                for found in _records(path):
                    record.apply(found.entry, waiting)
    return sorted(waiting.values(), key=lambda message: (message.arrival, message.id))


def peek_content(root: Path, queue_id: str) -> bytes | None:
    """Return the content of a message in the spool, None if it is not there."""
    content = None
    for path in _segments(root):
        with suppress(FileNotFoundError, BadValues):
            for found in _records(path):
                if isinstance(found.entry, QueuedMessage) and found.entry.id == queue_id:
                    content = _content(path, found)
    return content


def _segments(root: Path) -> list[Path]:
    return sorted(path for path in (root / "queue").glob("*.*") if record.segment_of(path))


def _records(path: Path) -> Iterator[Found]:
    name = record.segment_of(path)
    if name is None:
        return
    with path.open("rb") as file:
        for found in record.read(file, name[1]):
            if isinstance(found, Found):
                yield found


def _content(path: Path, found: Found) -> bytes | None:
    name = record.segment_of(path)
    with path.open("rb") as file:
        file.seek(found.offset)
        return record.content_of(file.read(found.length), name[1]) if name else None
