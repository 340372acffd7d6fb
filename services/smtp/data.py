"""The message of a DATA command: as it travels, read off the wire, and looked at before it is taken.

Theory of operation. A message ends with CRLF.CRLF and with nothing that merely resembles it. The line end
of the DATA command counts as the one before the first line (RFC 5321 §4.1.1.4), so that an empty message
is a lone dot. A line that begins with a dot was given a second one on the way, which goes (§4.5.2).

A message with a bare CR or LF is refused (§2.3.8): servers that disagree about where a line ends can be
made to see two messages where one was sent. So nothing is converted, and nothing is smuggled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from services.smtp.replies import Reply
from services.smtp.trace import hops

END_OF_DATA = b"\r\n.\r\n"
MAX_HOPS = 50

# Beginnings of END_OF_DATA: while what was read ends with one of them, its rest may be what comes next.
_BEGUN = (b"\r", b"\r\n", b"\r\n.", b"\r\n.\r")


def stuffed(content: bytes) -> bytes:
    """Return what follows DATA for this content: its dots doubled, and the end (RFC 5321 §4.5.2).

    A last line without an end gets one, since nothing else can come before the final dot (§4.1.1.4).
    """
    wire = content.replace(b"\r\n.", b"\r\n..")
    ended = not content or content.endswith(b"\r\n")
    return (b"." if content.startswith(b".") else b"") + wire + (b".\r\n" if ended else END_OF_DATA)


async def read_message(
    reader: asyncio.StreamReader, *, limit: int, progress: Callable[[], None] = lambda: None
) -> bytes | None:
    """Return the message that follows DATA, its dots unstuffed; None if it has more than `limit` bytes.

    A message that is too large is read to its end all the same, for only then the client listens.
    `progress` is called for each piece. Raises: asyncio.IncompleteReadError.
    """
    data = bytearray(b"\r\n")
    # Octet by octet as long as the end may be half over, then in pieces as large as the reader holds.
    while data.endswith(_BEGUN):
        data += await reader.readexactly(1)
        if data.endswith(END_OF_DATA):
            break
    too_large = False
    while not data.endswith(END_OF_DATA):
        progress()
        try:
            data += await reader.readuntil(END_OF_DATA)
        except asyncio.LimitOverrunError as error:
            data += await reader.readexactly(error.consumed)
        # Dots that were added do not count; at worst there is one to every three octets.
        if len(data) > limit + limit // 3 + 2 * len(END_OF_DATA):
            too_large = True
            del data[: -len(END_OF_DATA)]
    content = None if too_large else _unstuffed(data)
    return None if content is None or len(content) > limit else content


def _unstuffed(data: bytearray) -> bytes:
    """Return the content between the line end of DATA and the final dot; of many megabytes in few copies."""
    start = 3 if data.startswith(b"\r\n.") and len(data) > len(END_OF_DATA) else 2
    with memoryview(data) as view:
        content = bytes(view[start : 2 - len(END_OF_DATA)])
    return content.replace(b"\r\n.", b"\r\n")


def content_objection(content: bytes) -> Reply | None:
    """Refuse a message whose lines are not all ended by CRLF, or that has passed too many servers.

    Source: RFC 5321 §2.3.8, §6.3.
    """
    ends = content.count(b"\r\n")
    if content.count(b"\n") != ends or content.count(b"\r") != ends:
        return Reply(554, "5.6.0", "bare CR or LF in the message (RFC 5321 section 2.3.8)")
    if hops(content) >= MAX_HOPS:
        return Reply(554, "5.4.6", f"mail loop: {MAX_HOPS} Received fields")
    return None
