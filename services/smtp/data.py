"""A message as it travels, and looked at before it is taken.

Theory of operation. A message with a bare CR or LF is refused (RFC 5321 §2.3.8): servers that disagree about
where a line ends can be made to see two messages where one was sent. So nothing is converted, and nothing is
smuggled.
"""

from __future__ import annotations

from services.smtp.framing import END_OF_DATA
from services.smtp.replies import Reply
from services.smtp.trace import hops

MAX_HOPS = 50


def stuffed(content: bytes) -> bytes:
    """Return what follows DATA for this content: its dots doubled, and the end (RFC 5321 §4.5.2).

    A last line without an end gets one, since nothing else can come before the final dot (§4.1.1.4).
    """
    wire = content.replace(b"\r\n.", b"\r\n..")
    ended = not content or content.endswith(b"\r\n")
    return (b"." if content.startswith(b".") else b"") + wire + (b".\r\n" if ended else END_OF_DATA)


def content_objection(content: bytes, *, line_limit: int) -> Reply | None:
    """Refuse a message with lines too long or not ended by CRLF, or that has passed too many servers.

    Source: RFC 5321 §2.3.8, §4.5.3.1.6, §6.3.
    """
    if has_bare_end(content):
        return Reply(554, "5.6.0", "bare CR or LF in the message (RFC 5321 section 2.3.8)")
    if _has_longer_line(content, line_limit):
        return Reply(554, "5.6.0", f"a line of the message exceeds {line_limit} octets")
    if hops(content) >= MAX_HOPS:
        return Reply(554, "5.4.6", f"mail loop: {MAX_HOPS} Received fields")
    return None


def has_bare_end(content: bytes) -> bool:
    """There is a CR or LF that is no part of a CRLF."""
    rest = content.replace(b"\r\n", b"")
    return b"\n" in rest or b"\r" in rest


def _has_longer_line(content: bytes, limit: int) -> bool:
    start = 0
    while len(content) - start > limit:
        end = content.rfind(b"\n", start, start + limit)
        if end < 0:
            return True
        start = end + 1
    return False
