"""What the classifier was taught, in a file that survives a crash.

Theory of operation. SQLite keeps, for each token's digest, in how many spam and ham messages it stood, and
for each message that was taught, as which: to teach it again changes nothing, to teach it as the other kind
first takes back what it was taught as. A message is taught as a whole or not at all.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from services.errors import ServiceError
from services.filters.spam.bayes import Totals, digest

Kind = Literal["spam", "ham"]

_AT_ONCE = 500
_SCHEMA = """
CREATE TABLE IF NOT EXISTS token (digest INTEGER PRIMARY KEY, spam INTEGER NOT NULL, ham INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS message (digest BLOB PRIMARY KEY, kind TEXT NOT NULL) WITHOUT ROWID;
"""


class Database:
    """The taught tokens, in the file `path`. Raises: ServiceError, here and in each method."""

    def __init__(self, path: Path | str) -> None:
        self._path = path
        try:
            # Autocommit: transactions are made by hand. One thread at a time uses it.
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise ServiceError(f"{path}: {error}") from error
        self._totals: Totals | None = None

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def totals(self) -> Totals:
        """Return how many messages of each kind were taught."""
        if self._totals is None:
            rows = dict(self._all("SELECT kind, count(*) FROM message GROUP BY kind"))
            self._totals = Totals(spam=rows.get("spam", 0), ham=rows.get("ham", 0))
        return self._totals

    def counts(self, tokens: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Return in how many spam and ham messages each token stood; those in none are left out."""
        names = {digest(token): token for token in tokens}
        digests, found = list(names), {}
        for at in range(0, len(digests), _AT_ONCE):
            some = digests[at : at + _AT_ONCE]
            marks = ",".join("?" * len(some))
            # The marks are question marks, however many there are.
            query = f"SELECT digest, spam, ham FROM token WHERE digest IN ({marks})"  # noqa: S608
            found.update({names[number]: (spam, ham) for number, spam, ham in self._all(query, some)})
        return found

    def teach(self, message: bytes, tokens: Iterable[str], kind: Kind) -> bool:
        """Learn a message's tokens as `kind`, synced; return whether that was new."""
        return self._change(message, tokens, kind)

    def forget(self, message: bytes, tokens: Iterable[str]) -> bool:
        """Take back what a message was taught as; return whether it was taught."""
        return self._change(message, tokens, None)

    def _change(self, message: bytes, tokens: Iterable[str], kind: Kind | None) -> bool:
        name = hashlib.blake2b(message, digest_size=16).digest()
        numbers = [digest(token) for token in tokens]
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                changed = self._written(name, numbers, kind)
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise ServiceError(f"{self._path}: {error}") from error
        self._totals = None
        return changed

    def _written(self, name: bytes, numbers: list[int], kind: Kind | None) -> bool:
        rows = self._all("SELECT kind FROM message WHERE digest = ?", [name])
        before = rows[0][0] if rows else None
        if before == kind:
            return False
        if before is not None:
            self._add(numbers, before, -1)
            self._connection.execute("DELETE FROM message WHERE digest = ?", [name])
        if kind is not None:
            self._add(numbers, kind, 1)
            self._connection.execute("INSERT INTO message VALUES (?, ?)", [name, kind])
        return True

    def _add(self, numbers: list[int], kind: str, change: int) -> None:
        spam, ham = (change, 0) if kind == "spam" else (0, change)
        self._connection.executemany(
            "INSERT INTO token VALUES (?1, max(?2, 0), max(?3, 0)) "
            "ON CONFLICT (digest) DO UPDATE SET spam = max(spam + ?2, 0), ham = max(ham + ?3, 0)",
            [(number, spam, ham) for number in numbers],
        )

    def _all(self, query: str, values: Iterable[object] = ()) -> list[Any]:
        try:
            return self._connection.execute(query, tuple(values)).fetchall()
        except sqlite3.Error as error:
            raise ServiceError(f"{self._path}: {error}") from error
