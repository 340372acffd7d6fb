"""What a filter keeps back: messages on disk, each with a record of why.

Theory of operation.

    quarantine/ID.eml     the message, as it was when it was judged
    quarantine/ID.json    the record: why, from whom, to whom; written last, so there only with its message

The id is the message's queue id: who is killed between this and the note in the queue keeps the message once
more under the same name. A message is in the quarantine from `keep` until `remove` returns. Everything here
blocks, and fails with OSError.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from services.durable import make_directory, sync_directory, write_file

_SHOWN = 256 * 1024
_ID = re.compile(r"[A-Za-z0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A message in quarantine: `time` when it was put there, in seconds since 1970; envelope and reason.

    `told`: the sender was sent a notice. `authentication` is the header field's text, empty if not checked.
    """

    id: str
    time: float
    sender: str
    recipients: tuple[str, ...]
    subject: str
    size: int
    reason: str
    virus: str = ""
    client: str = ""
    authentication: str = ""
    told: bool = False
    body: str = "7BIT"
    smtputf8: bool = False


class Quarantine:
    """The quarantine in `directory`, which the first message makes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, kept: Kept, content: bytes) -> None:
        """Put a message on disk with its record; when this returns, both survive any crash."""
        make_directory(self._directory)
        self._place(kept.id, "eml", content)
        self._place(kept.id, "json", json.dumps(asdict(kept), ensure_ascii=False, indent=1).encode() + b"\n")

    def all(self) -> list[Kept]:
        """Return what is kept, oldest first."""
        return sorted(self._read(), key=lambda kept: (kept.time, kept.id))

    def find(self, kept_id: str) -> Kept | None:
        """Return one record, None if there is none of that id that reads."""
        if not _ID.fullmatch(kept_id):
            return None
        with suppress(FileNotFoundError, ValueError, TypeError, KeyError):
            return _kept(json.loads((self._directory / f"{kept_id}.json").read_bytes()))
        return None

    def content(self, kept_id: str) -> bytes:
        """Return the message of a record."""
        return (self._directory / f"{kept_id}.eml").read_bytes()

    def remove(self, kept_id: str) -> None:
        """Forget a message for good."""
        for suffix in ("json", "eml"):
            (self._directory / f"{kept_id}.{suffix}").unlink(missing_ok=True)
        sync_directory(self._directory)

    def _read(self) -> Iterator[Kept]:
        for path in self._directory.glob("*.json"):
            kept = self.find(path.stem)
            if kept:
                yield kept

    def _place(self, kept_id: str, suffix: str, data: bytes) -> None:
        path = self._directory / f"{kept_id}.{suffix}"
        temporary = path.with_suffix(f".{suffix}.new")
        write_file(temporary, data)
        os.rename(temporary, path)
        sync_directory(self._directory)


def shown(content: bytes) -> str:
    """Return a message as people read it, of a long one the beginning."""
    return content[:_SHOWN].decode("utf-8", "replace").replace("\r\n", "\n")


def _kept(values: dict[str, Any]) -> Kept:
    return Kept(**{**values, "recipients": tuple(values["recipients"])})
