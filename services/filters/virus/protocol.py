"""clamd's protocol, the engine's side of it (pure): octets in, requests out (clamd(8), "COMMANDS").

    zCOMMAND NUL, nCOMMAND LF, COMMAND LF     the reply ends as the command does
    INSTREAM                                  then chunks, each behind its length (4 octets), the last empty
    IDSESSION … END                           several commands, each reply with its command's number

Theory of operation. A `Dialogue` is given what arrives and gives what is asked for, in order. Files of this
machine are not scanned by name (SCAN, CONTSCAN, …): whoever has a message sends it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

_LONGEST_COMMAND = 1024
_SIZE = 4
COMMANDS = ("PING", "VERSION", "VERSIONCOMMANDS", "RELOAD", "STATS", "INSTREAM", "IDSESSION", "END")


class Kind(enum.Enum):
    """What a client asks for."""

    PING = "PING"
    VERSION = "VERSION"
    COMMANDS = "VERSIONCOMMANDS"
    RELOAD = "RELOAD"
    STATS = "STATS"
    SCAN = "INSTREAM"
    TOO_LARGE = "too large"
    UNKNOWN = "unknown"
    END = "END"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One thing asked for, with the message if it is a scan; after the `last` the connection is closed."""

    kind: Kind
    number: int = 0
    message: bytes = b""
    terminator: bytes = b"\n"
    last: bool = True

    def reply(self, text: str) -> bytes:
        """Return a reply on the wire; in a session it names the command's number."""
        number = f"{self.number}: " if self.number else ""
        return f"{number}{text}".encode() + self.terminator


class Dialogue:
    """One connection. A message above `limit` octets is not kept, and ends the connection."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._message: bytearray | None = None
        self._terminator = b"\n"
        self._session = False
        self._number = 0
        self._over = False

    def feed(self, data: bytes) -> Iterator[Request]:
        """Take what arrived; yield what is asked for by now. After a last request nothing counts any more."""
        self._buffer += data
        while not self._over:
            request = self._chunks() if self._message is not None else self._command()
            if request is None:
                return
            self._over = request.last
            yield request

    def _command(self) -> Request | None:
        while self._buffer and not self._over:
            prefix = bytes(self._buffer[:1])
            self._terminator = b"\0" if prefix == b"z" else b"\n"
            end = self._buffer.find(self._terminator)
            if end < 0:
                return self._asked(Kind.UNKNOWN) if len(self._buffer) > _LONGEST_COMMAND else None
            line = bytes(self._buffer[:end]).removesuffix(b"\r")
            del self._buffer[: end + 1]
            name = (line[1:] if prefix in (b"z", b"n") else line).decode("ascii", "replace")
            if name == "IDSESSION" and not self._session:
                self._session = True
            elif name == "INSTREAM":
                self._message = bytearray()
                return self._chunks()
            else:
                return self._named(name)
        return None

    def _named(self, name: str) -> Request:
        kind = Kind(name) if name in COMMANDS and name != "IDSESSION" else Kind.UNKNOWN
        return self._asked(kind)

    def _asked(self, kind: Kind, message: bytes = b"") -> Request:
        self._number += self._session
        last = not self._session or kind in (Kind.END, Kind.UNKNOWN, Kind.TOO_LARGE)
        return Request(
            kind=kind, number=self._number, message=message, terminator=self._terminator, last=last
        )

    def _chunks(self) -> Request | None:
        assert self._message is not None  # noqa: S101 -- asked only while a message is on its way
        while len(self._buffer) >= _SIZE:
            size = int.from_bytes(self._buffer[:_SIZE], "big")
            if not size:
                del self._buffer[:_SIZE]
                message, self._message = bytes(self._message), None
                return self._asked(Kind.SCAN, message)
            if len(self._message) + size > self._limit:
                self._message = None
                self._buffer.clear()
                return self._asked(Kind.TOO_LARGE)
            if len(self._buffer) < _SIZE + size:
                return None
            self._message += memoryview(self._buffer)[_SIZE : _SIZE + size]
            del self._buffer[: _SIZE + size]
        return None
