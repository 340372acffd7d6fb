"""A list's journal: the entries that its roster is made of, one JSON object a line.

Theory of operation. What is appended is synced before the call returns. A crash may leave a last line that is
cut off; it was promised to nobody, and is taken away when the journal is opened. Any other line that does not
read stops the server: guessing who is on a list would be worse. A journal that has grown long is written anew
when it is opened, beside the old one, and takes its place in one go. Everything here blocks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from services.durable import make_directory, sync_directory, write_all, write_file
from services.errors import ServiceError
from services.lists.roster import BadEntry, Entry, Roster, read_entry
from services.lists.settings import MailingList

_LONG = 1000


class BadJournal(ServiceError):
    """A journal cannot be read: the message names file and line."""


class Journal:
    """The journal in one file; `open` comes first."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self, settings: MailingList, now: float) -> Roster:
        """Return the roster as it was left; that of a new list has the members of the settings.

        Raises: BadJournal, OSError.
        """
        roster = Roster(cookie_life_s=settings.cookie_life_s, bounce_window_s=settings.bounce_window_s)
        make_directory(self._path.parent)
        try:
            entries = self._read()
        except FileNotFoundError:
            entries = [Entry(did="subscribed", at=now, address=member) for member in settings.members]
            self._replace(entries)
        for entry in entries:
            roster.apply(entry)
        if len(entries) > _LONG + 2 * len(kept := list(roster.entries(now))):
            self._replace(kept)
        return roster

    def append(self, entries: Iterable[Entry]) -> None:
        """Put entries on disk. Raises: OSError; then none of them counts."""
        data = _lines(entries)
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            before = os.fstat(fd).st_size
            try:
                write_all(fd, data)
                os.fsync(fd)
            except OSError:
                os.ftruncate(fd, before)
                raise
        finally:
            os.close(fd)

    def _read(self) -> list[Entry]:
        data = self._path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            os.truncate(self._path, len(whole))
        return [self._entry(number, line) for number, line in enumerate(whole.splitlines(), 1)]

    def _entry(self, number: int, line: bytes) -> Entry:
        try:
            values = json.loads(line)
            if not isinstance(values, dict):
                raise BadEntry("it is no object")
            return read_entry(values)
        except ValueError as error:
            raise BadJournal(f"{self._path}:{number}: not an entry of a mailing list: {error}") from error

    def _replace(self, entries: Iterable[Entry]) -> None:
        beside = self._path.with_suffix(".new")
        write_file(beside, _lines(entries))
        os.rename(beside, self._path)
        sync_directory(self._path.parent)


def _lines(entries: Iterable[Entry]) -> bytes:
    return b"".join(json.dumps(entry.values()).encode() + b"\n" for entry in entries)
