"""The server's side of a session: one reply after the other."""

from __future__ import annotations

from collections.abc import Iterator

from captures.conversations import Piece
from captures.said import printable
from captures.smtp import wording
from captures.smtp.session import Reply
from captures.streams import Stream


class Replies:
    """The replies in a stream, each given out once; lines that belong to no reply are passed over."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._ahead: Reply | None = None

    def next(self) -> Reply | None:
        """Return the next whole reply; None when there are no more."""
        reply, self._ahead = self._ahead, None
        return reply or self._read()

    def before(self, time_ns: int, frame: int) -> Iterator[Reply]:
        """Yield the next replies as long as they were complete before this time and frame."""
        while (reply := self.next()) is not None:
            if reply.time_ns >= time_ns or reply.frame >= frame:
                self._ahead = reply
                return
            yield reply

    def pieces_behind(self) -> list[Piece]:
        """Return the bytes behind the last reply that was given out."""
        return self._stream.pieces_from(self._stream.position)

    def _read(self) -> Reply | None:
        lines: list[str] = []
        while (line := self._stream.line()) is not None:
            parts = wording.reply_line(line)
            if parts is None:
                # Within a reply it is the text of a careless server.
                if lines:
                    lines.append(printable(line))
                continue
            code, more, text = parts
            lines.append(printable(text))
            if not more:
                return Reply(code, "\n".join(lines), *self._stream.mark())
        return None
