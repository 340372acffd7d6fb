"""Where a command, a message or a chunk ends in the octets that a client sends.

Theory of operation. What is next is never guessed from what comes, only from what was said before:

    a command     up to its line end (RFC 5321 §2.3.8); one that is too long is read to its end and dropped
    a message     after DATA, up to CRLF.CRLF and nothing that merely resembles it
    a chunk       after BDAT, as many octets as it announced (RFC 3030 §2)

The line end of the DATA command counts as the one before the first line of the message (RFC 5321 §4.1.1.4),
so that an empty message is a lone dot. A line that begins with a dot was given a second one on the way,
which goes (§4.5.2). What is too large is read to its end all the same, for only then does the client listen;
it is not kept. So whatever is refused, both sides agree on where the next command begins.
"""

from __future__ import annotations

from typing import Final, Literal

END_OF_DATA = b"\r\n.\r\n"


class TooLong(Exception):
    """A command line was longer than its limit; `begin` are its first octets."""

    def __init__(self, begin: bytes) -> None:
        super().__init__(begin)
        self.begin = begin


class TooLarge:
    """A message or chunk had more octets than were to be kept: all of it is gone."""


TOO_LARGE: Final = TooLarge()
_Mode = Literal["commands", "message", "chunk"]


class Framer:
    """The octets of one session, cut into commands, messages and chunks. `mode` is what comes next.

    `buffer` is what has come and was not taken.
    """

    def __init__(self) -> None:
        self.mode: _Mode = "commands"
        self.buffer = bytearray()
        self._scanned = 0  # how much of the buffer is known not to hold the end that is looked for
        self._limit = 0
        self._chunk = 0
        self._begin = b""  # of a line that is being dropped
        self._dropping = False

    def __len__(self) -> int:
        return len(self.buffer)

    def feed(self, data: bytes) -> None:
        """Take octets as they come."""
        self.buffer += data

    def clear(self) -> None:
        """Forget what has come and was not taken."""
        self.buffer.clear()
        self._scanned = 0

    def line(self, limit: int) -> bytes | None:
        """Return the next line without its end; None if it is not all there. Raises: TooLong."""
        end = self.buffer.find(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(self.buffer)
            if self._scanned > limit:
                self._begin = self._begin or bytes(self.buffer[:8])
                self.clear()
            return None
        if end + 1 == len(self.buffer):  # as with everybody who waits for replies
            line = bytes(self.buffer)[:-1]
            self.buffer.clear()
        else:
            line = bytes(self.buffer[:end])
            del self.buffer[: end + 1]
        self._scanned = 0
        if self._begin or end >= limit:
            begin, self._begin = self._begin or line[:8], b""
            raise TooLong(begin)
        return line[:-1] if line.endswith(b"\r") else line

    def begin_message(self, limit: int) -> None:
        """What follows is a message, of which at most `limit` octets are kept."""
        self.mode, self._limit, self._dropping = "message", limit, False
        self.buffer[:0] = b"\r\n"
        self._scanned = 0

    def message(self) -> bytes | TooLarge | None:
        """Return the message, its dots unstuffed; None if it is not all there."""
        # The end may have begun in what was looked at before.
        end = self.buffer.find(END_OF_DATA, max(0, self._scanned - len(END_OF_DATA) + 1))
        if end < 0:
            # Dots that were added do not count; at worst there is one to every three octets.
            if len(self.buffer) > self._limit + self._limit // 3 + 2 * len(END_OF_DATA):
                self._dropping = True
                del self.buffer[: 1 - len(END_OF_DATA)]
            self._scanned = len(self.buffer)
            return None
        content = None if self._dropping else self._unstuffed(end + 2)
        del self.buffer[: end + len(END_OF_DATA)]
        self.mode, self._scanned = "commands", 0
        return TOO_LARGE if content is None or len(content) > self._limit else content

    def _unstuffed(self, end: int) -> bytes:
        """Return the content up to `end`; of many megabytes in few copies."""
        start = 3 if end > 2 and self.buffer.startswith(b"\r\n.") else 2
        with memoryview(self.buffer) as view:
            content = bytes(view[start:end])
        return content.replace(b"\r\n.", b"\r\n")

    def begin_chunk(self, size: int, *, keep: bool) -> None:
        """What follows is a chunk of `size` octets, dropped as they come unless they are to be kept."""
        self.mode, self._chunk, self._dropping = "chunk", size, not keep

    def chunk(self) -> bytes | TooLarge | None:
        """Return the chunk, TOO_LARGE if it was not to be kept; None if it is not all there."""
        if self._dropping:
            gone = min(self._chunk, len(self.buffer))
            del self.buffer[:gone]
            self._chunk -= gone
            if self._chunk:
                return None
        elif len(self.buffer) < self._chunk:
            return None
        content = bytes(self.buffer[: self._chunk]) if not self._dropping else TOO_LARGE
        if not self._dropping:
            del self.buffer[: self._chunk]
        self.mode, self._scanned = "commands", 0
        return content
