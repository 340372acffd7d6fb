"""The records of a spool: how messages and what happens to them are written one after the other.

Theory of operation. A segment of the spool is a row of records, each a line and, for a message, its content:

    MARK LINE-CRC LENGTH CONTENT-CRC {"arrived": {"id": …}}      an accepted message; its content follows
    MARK LINE-CRC 0 0 {"noted": "ID", "steps": [{…}]}            what attempts came to
    MARK LINE-CRC 0 0 {"held": "ID", "hold": true}               it is held, or not any more
    MARK LINE-CRC 0 0 {"gone": "ID", "reason": "removed"}        it is not sent, since somebody wants it so

LINE-CRC is that of the line behind it, in hexadecimal like the other. The mark names the format and is the
segment's own, random one: so a reader that has lost its way finds the next record by it, and no message can
hold what would be taken for a record. A line that a crash cut off is no record; anything else that does not
read is damage, and said so. The content's checksum is left to whoever reads the content.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from services.smtp.message import (
    BadValues,
    Progress,
    QueuedMessage,
    message_values,
    progress_values,
    read_message,
    read_progress,
)

FORMAT = "mailbed.spool/2"

_NAME = re.compile(r"(\d{8})\.([0-9a-f]{16})")
_LONGEST_LINE = 4 << 20
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A message and its content. One that is there already is replaced: it was moved to a later segment."""

    message: QueuedMessage
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """What attempts at a message came to; `last` if no recipient is left (a reader finds that by itself)."""

    id: str
    steps: Sequence[Progress]
    last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A message is held, or not any more."""

    id: str
    hold: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """A message leaves without being sent."""

    id: str
    reason: str


Entry = Arrived | Noted | Held | Gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A record at `offset`, its content not read: `entry` is the message itself where it arrived."""

    offset: int
    length: int
    entry: QueuedMessage | Noted | Held | Gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Bytes that do not read; `cut` if they are what a crash leaves of the last record."""

    offset: int
    length: int
    reason: str
    cut: bool = False


def mark(nonce: str) -> bytes:
    """Return the mark of the segment with that nonce."""
    return f"{FORMAT}:{nonce}".encode()


def segment_name(number: int, nonce: str) -> str:
    """Return the file name of a segment; `nonce` is 16 hexadecimal digits."""
    return f"{number:08d}.{nonce}"


def segment_of(path: Path) -> tuple[int, bytes] | None:
    """Return a segment's number and mark, as its file name tells; None if it is no segment."""
    found = _NAME.fullmatch(path.name)
    return (int(found[1]), mark(found[2])) if found else None


def encode(entry: Entry, mark: bytes) -> bytes:
    """Return a record as it is written."""
    if isinstance(entry, Arrived):
        content = entry.content
        return _line({"arrived": message_values(entry.message)}, mark, content) + content
    if isinstance(entry, Noted):
        return _line({"noted": entry.id, "steps": [progress_values(step) for step in entry.steps]}, mark)
    if isinstance(entry, Held):
        return _line({"held": entry.id, "hold": entry.hold}, mark)
    return _line({"gone": entry.id, "reason": entry.reason}, mark)


def _line(values: dict[str, object], mark: bytes, content: bytes = b"") -> bytes:
    line = b"%d %08x %s" % (len(content), zlib.crc32(content), _encode(values).encode())
    return b"%s %08x %s\n" % (mark, zlib.crc32(line), line)


def content_of(data: bytes, mark: bytes) -> bytes | None:
    """Return the content in a message's record, None if `data` ends before it does. Raises: BadValues."""
    end = data.find(b"\n")
    if end < 0:
        return None
    length, checksum, _ = _checked(data[: end + 1], mark)
    content = data[end + 1 : end + 1 + length]
    if len(content) < length:
        return None
    if zlib.crc32(content) != checksum:
        raise BadValues("the content does not match its checksum")
    return content


def read(file: BinaryIO, mark: bytes) -> Iterator[Found | Damage]:
    """Yield the records of a segment in order, and what does not read; contents are passed over."""
    size = file.seek(0, 2)
    offset = file.seek(0)
    while line := file.readline(_LONGEST_LINE):
        try:
            length, _, text = _checked(line, mark)
            end = offset + len(line) + length
            if end > size:
                yield Damage(offset=offset, length=size - offset, reason="the content is cut off", cut=True)
                return
            found: Found | Damage = Found(offset=offset, length=end - offset, entry=_entry(text))
        except BadValues as error:
            end = _next(file, offset, mark) or size
            cut = end == size and not line.endswith(b"\n") and (line + mark).startswith(mark[: len(line)])
            found = Damage(offset=offset, length=end - offset, reason=str(error), cut=cut)
        yield found
        offset = end
        file.seek(offset)


def apply(entry: QueuedMessage | Noted | Held | Gone, waiting: dict[str, QueuedMessage]) -> None:
    """Change what waits, by id, as a record says; what it says of others does not matter."""
    if isinstance(entry, QueuedMessage):
        waiting[entry.id] = entry
        return
    message = waiting.get(entry.id)
    if message is None:
        return
    if isinstance(entry, Held):
        waiting[entry.id] = replace(message, held=entry.hold)
        return
    for step in entry.steps if isinstance(entry, Noted) else ():
        message = message.after(step)
    waiting[entry.id] = message
    if isinstance(entry, Gone) or not message.recipients:
        del waiting[entry.id]


def _next(file: BinaryIO, offset: int, mark: bytes) -> int | None:
    """Return where the next record may begin."""
    file.seek(offset + 1)
    found = file.read().find(mark + b" ")
    return offset + 1 + found if found >= 0 else None


def _checked(line: bytes, mark: bytes) -> tuple[int, int, bytes]:
    """Return a line's length and checksum of the content, and its JSON. Raises: BadValues."""
    if not line.endswith(b"\n"):
        raise BadValues("the line has no end")
    head = len(mark) + 10
    if not line.startswith(mark + b" "):
        raise BadValues("there is no record")
    if line[len(mark) + 1 : head - 1] != b"%08x" % zlib.crc32(line[head:-1]):
        raise BadValues("the line does not match its checksum")
    length, checksum, text = line[head:-1].split(b" ", 2)
    return int(length), int(checksum, 16), text


def _entry(text: bytes) -> QueuedMessage | Noted | Held | Gone:
    try:
        values = json.loads(text)
        if "arrived" in values:
            return read_message(values["arrived"])
        if "noted" in values:
            return Noted(id=values["noted"], steps=[read_progress(step) for step in values["steps"]])
        if "held" in values:
            return Held(id=values["held"], hold=bool(values["hold"]))
        return Gone(id=values["gone"], reason=values["reason"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadValues(f"a value lacks or is garbled: {error}") from error
