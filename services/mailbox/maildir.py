"""Maildirs: one file a message, delivered whole or not at all, without locks.

Theory of operation. A mailbox lies in `mail/DOMAIN/USER/` with the three directories of a Maildir. A
message is written to `tmp`, synced, renamed into `new`, and the directory synced. Readers move it to
`cur` and append their flags to its name: `NAME:2,S`.

The name comes from the message, not from the moment of delivery: the second of its arrival, its queue
id, the number of the recipient, and the host. So a delivery that is repeated after a crash, because
nobody had noted that it was done, finds its file there already and adds nothing.

Bytes are kept as they came over the wire: lines end with CRLF. What was sent is what is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from services.durable import make_directory, sync_directory, write_file

_SUBDIRECTORIES = ("tmp", "new", "cur")
_NAME = re.compile(r"(?P<arrival>\d+)\.(?P<key>.+?)(?::2,(?P<flags>[A-Za-z]*))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMessage:
    """A message in a mailbox: `arrival` in seconds since 1970, `flags` such as S (seen); `new` if unread."""

    path: Path
    arrival: int
    flags: str
    new: bool
    size: int


def mailbox_path(root: Path, domain: str, user: str) -> Path:
    """Return the directory of a mailbox; what a file name cannot hold is percent-encoded."""
    return root / _file_name(domain) / _file_name(user)


def unique_name(*, arrival: float, queue_id: str, number: int, host: str) -> str:
    """Return the name of a delivery: equal for a repetition of the same one, and for no other."""
    return f"{int(arrival)}.{queue_id}R{number}.{_file_name(host)}"


def deliver(mailbox: Path, name: str, content: bytes) -> Path:
    """Put `content` into the mailbox under `name`: when this returns, it survives any crash.

    Returns the file, which may have lain there before. Makes the mailbox if it is missing.
    Raises: OSError; then nothing of it is left, or it is found by the next try.
    """
    if not (mailbox / _SUBDIRECTORIES[-1]).is_dir():
        _make(mailbox)
    for known in _already(mailbox, name):
        # It may be here because the sync below failed, or never came.
        sync_directory(known.parent)
        return known
    temporary, final = mailbox / "tmp" / name, mailbox / "new" / name
    try:
        write_file(temporary, content)
        os.rename(temporary, final)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(final.parent)
    return final


def list_messages(root: Path, domain: str, user: str) -> list[StoredMessage]:
    """Return the messages of a mailbox by arrival; none if the mailbox does not exist."""
    return list_directory(mailbox_path(root, domain, user))


def list_directory(mailbox: Path) -> list[StoredMessage]:
    """Return the messages of the mailbox in this directory by arrival; none if it does not exist."""
    found = [
        stored for directory in ("new", "cur") for stored in _read_directory(mailbox / directory, directory)
    ]
    return sorted(found, key=lambda stored: (stored.arrival, stored.path.name))


def find(delivered: Path) -> Path | None:
    """Return where the message is that was delivered as this file, whatever its flags; None if gone."""
    mailbox = delivered.parent.parent
    with suppress(FileNotFoundError):
        return next(_already(mailbox, delivered.name.partition(":")[0]), None)
    return None


def list_mailboxes(root: Path) -> list[tuple[str, str]]:
    """Return the (domain, user) of every mailbox below `root`, as their directories are named."""
    return sorted((new.parent.parent.name, new.parent.name) for new in root.glob("*/*/new"))


def read_message(stored: StoredMessage) -> bytes:
    """Return the bytes of a stored message, its lines ended by CRLF."""
    return stored.path.read_bytes()


def _make(mailbox: Path) -> None:
    """Make the mailbox, so that a crash does not take its directories away again."""
    for directory in _SUBDIRECTORIES:
        # The last one is what a mailbox is known by: it is not there before the others are safe.
        make_directory(mailbox / directory)


def _already(mailbox: Path, name: str) -> Iterator[Path]:
    if (mailbox / "new" / name).exists():
        yield mailbox / "new" / name
    yield from (path for path in (mailbox / "cur").iterdir() if path.name.partition(":")[0] == name)


def _read_directory(directory: Path, kind: str) -> Iterator[StoredMessage]:
    with suppress(FileNotFoundError):
        for path in directory.iterdir():
            found = _NAME.fullmatch(path.name)
            # A reader may move a file between the listing and the look at it.
            with suppress(FileNotFoundError):
                if found:
                    yield StoredMessage(
                        path=path,
                        arrival=int(found["arrival"]),
                        flags=found["flags"] or "",
                        new=kind == "new",
                        size=path.stat().st_size,
                    )


def _file_name(text: str) -> str:
    """Return `text` as a file name that stays inside its directory: no slash, no leading dot.

    Letters beyond ASCII stay as they are: file names are in UTF-8, as addresses are (RFC 6531 §3.3).
    """
    quoted = "".join(
        char if not char.isascii() and char.isprintable() else quote(char, safe="+=@'!#$&(),;[]{} ")
        for char in text
    )
    return f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted
