"""A Maildir as IMAP sees it: messages that have numbers for good (UIDs) and flags.

Theory of operation. The MDA knows nothing of numbers: it delivers files. Whoever looks into the folder gives
the files that have no UID yet the next ones, in the order of their arrival, and adds them to `imap-uids`, a
line each (`UID NAME`) below the folder's UIDVALIDITY. Lines are only ever added, so a UID is never given
twice, also when its message is gone. A crash in the middle of a line leaves a piece, which
the next reader drops; the message then gets its number again.

Flags are letters at the end of a file's name (`NAME:2,FS`): to change them is to rename the file. Others
may do so, or deliver or remove files, at any time; `refresh` looks again if a directory has changed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from services.durable import make_directory, sync_directory, write_all, write_file
from services.mailbox import maildir

FLAGS = {"\\Answered": "R", "\\Flagged": "F", "\\Deleted": "T", "\\Seen": "S", "\\Draft": "D"}
"""IMAP's flags and the letters of Maildir."""

_INDEX = "imap-uids"
_LINE = re.compile(r"(\d{1,10}) ([^\n]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A message in the folder: `letters` are its flags in Maildir's way, `new` if nobody has seen it."""

    uid: int
    name: str
    path: Path
    letters: str
    arrival: int
    size: int
    new: bool

    @property
    def flags(self) -> list[str]:
        return [flag for flag, letter in FLAGS.items() if letter in self.letters]


class Folder:
    """One Maildir. Two folders of the same directory must not be used at a time: share one."""

    def __init__(self, directory: Path, *, clock: Callable[[], float]) -> None:
        """Open the Maildir, making it if it is not there. Raises: OSError."""
        self._directory = directory
        self._clock = clock
        for name in ("tmp", "new", "cur"):
            make_directory(directory / name)
        self._uids: dict[str, int] = {}
        self._stamp: tuple[int, ...] = ()
        self._appended = 0
        self.validity = 0
        self.next_uid = 1
        self.entries: dict[int, Entry] = {}
        self._read_index()
        self.refresh()

    def refresh(self) -> None:
        """Look for what has changed: `entries` then are the messages by UID, ascending. Raises: OSError."""
        stamp = self.stamp()
        if stamp == self._stamp:
            return
        found = maildir.list_directory(self._directory)
        # By arrival, so that numbers grow with time.
        unknown = [stored for stored in found if _base(stored.path) not in self._uids]
        self._number([_base(stored.path) for stored in unknown])
        entries = [self._entry(stored) for stored in found]
        self.entries = {entry.uid: entry for entry in sorted(entries, key=lambda entry: entry.uid)}
        # Names may change within one tick of the clock that stamps directories: then look again next time.
        recent = max(stamp) > int(self._clock() * 1e9) - 50_000_000
        self._stamp = () if recent else stamp

    def stamp(self) -> tuple[int, ...]:
        """Return what differs if the folder has changed."""
        return tuple((self._directory / name).stat().st_mtime_ns for name in ("new", "cur"))

    def read(self, uid: int) -> bytes | None:
        """Return a message's octets as they were delivered; None if it is gone. Raises: OSError."""
        for _ in range(2):
            entry = self.entries.get(uid)
            if entry is None:
                return None
            with suppress(FileNotFoundError):
                return entry.path.read_bytes()
            # Renamed by somebody else.
            self._look_again()
        return None

    def set_letters(self, uid: int, letters: Iterable[str]) -> bool:
        """Give a message these flags, so that it is not new any more; say if it is there. Raises: OSError."""
        text = "".join(sorted(set(letters)))
        for _ in range(2):
            entry = self.entries.get(uid)
            if entry is None:
                return False
            path = self._directory / "cur" / f"{entry.name}:2,{text}"
            if path == entry.path:
                return True
            with suppress(FileNotFoundError):
                os.rename(entry.path, path)
                self.entries[uid] = Entry(
                    uid=uid,
                    name=entry.name,
                    path=path,
                    letters=text,
                    arrival=entry.arrival,
                    size=entry.size,
                    new=False,
                )
                self._stamp = ()
                return True
            self._look_again()
        return False

    def remove(self, uid: int) -> None:
        """Remove a message for good. Raises: OSError."""
        entry = self.entries.pop(uid, None)
        if entry is not None:
            with suppress(FileNotFoundError):
                entry.path.unlink()
            self._stamp = ()

    def append(self, content: bytes, letters: Iterable[str], arrival: float | None, host: str) -> int:
        """Put a message into the folder, synced, and return its UID. Raises: OSError."""
        self._appended += 1
        key = f"A{int(self._clock() * 1e6):x}P{os.getpid()}N{self._appended}"
        when = self._clock() if arrival is None else arrival
        name = maildir.unique_name(arrival=when, queue_id=key, number=0, host=host)
        maildir.deliver(self._directory, name, content)
        self._look_again()
        uid = self._uids[name]
        letters = list(letters)
        if letters:
            self.set_letters(uid, letters)
        return uid

    def _look_again(self) -> None:
        self._stamp = ()
        self.refresh()

    def _entry(self, stored: maildir.StoredMessage) -> Entry:
        name = _base(stored.path)
        return Entry(
            uid=self._uids[name],
            name=name,
            path=stored.path,
            letters=stored.flags,
            arrival=stored.arrival,
            size=stored.size,
            new=stored.new,
        )

    def _read_index(self) -> None:
        text = _index(self._directory)
        whole = text[: text.rfind("\n") + 1]
        first, *lines = whole.splitlines() or [""]
        if not first.isdigit():
            first, lines = str(max(1, int(self._clock()))), []
        self.validity = int(first)
        self._uids = _numbered(lines)
        self.next_uid = max(self._uids.values(), default=0) + 1
        kept = "\n".join((first, *lines)) + "\n"
        if kept != text:
            self._rewrite(kept)

    def _rewrite(self, text: str) -> None:
        temporary = self._directory / "tmp" / _INDEX
        write_file(temporary, text.encode("utf-8", "surrogateescape"))
        os.rename(temporary, self._directory / _INDEX)
        sync_directory(self._directory)

    def _number(self, names: list[str]) -> None:
        """Give each name the next UID, on disk before anybody is told of it."""
        if not names:
            return
        numbered = {name: self.next_uid + place for place, name in enumerate(names)}
        lines = "".join(f"{uid} {name}\n" for name, uid in numbered.items())
        fd = os.open(self._directory / _INDEX, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            write_all(fd, lines.encode("utf-8", "surrogateescape"))
            os.fdatasync(fd)
        finally:
            os.close(fd)
        self._uids |= numbered
        self.next_uid += len(names)


def numbers(directory: Path) -> dict[str, int]:
    """Return the UIDs of a Maildir's messages by name, as far as they have any; nothing is changed."""
    text = _index(directory)
    return _numbered(text[: text.rfind("\n") + 1].splitlines()[1:])


def _index(directory: Path) -> str:
    try:
        return (directory / _INDEX).read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return ""


def _numbered(lines: Iterable[str]) -> dict[str, int]:
    found = [match for match in map(_LINE.fullmatch, lines) if match]
    return {match[2]: int(match[1]) for match in found}


def _base(path: Path) -> str:
    return path.name.partition(":")[0]
