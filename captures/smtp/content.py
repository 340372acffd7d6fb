"""What a message says of itself, read from its bytes: header fields, and the queue ids in its trace.

Every server puts a Received field on top that names itself and, mostly, the id under which it queued the
message (RFC 5321 §4.4). So the ids, topmost first, are the message's way backwards:

    Received: from A ([address])
            by B with ESMTP id QUEUE-ID
            for <recipient>; date
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.errors import HeaderParseError
from email.header import decode_header
from typing import Final

from captures.said import escaped

_LONGEST_HEADER: Final = 1 << 20
"""Bytes that are searched for fields: more than any server takes as a header."""
_LONGEST_TRACE: Final = 4096

_BLANK_LINE: Final = re.compile(rb"\r?\n\r?\n")
_FOLD: Final = re.compile(rb"\r?\n[ \t]+")
_COMMENT: Final = re.compile(r"\([^()]*\)")
_DEEPEST_COMMENT: Final = 4
_CLAUSES: Final = frozenset({"from", "by", "via", "with", "id", "for"})


def header_field(content: bytes, name: str) -> str | None:
    """Return the value of the first field `name`, unfolded and decoded (RFC 2047); None if there is none."""
    value = next(_values(content, name), None)
    return None if value is None else _decoded(value)


def received_ids(content: bytes) -> list[tuple[str, str]]:
    """Return host and queue id of each Received field, topmost first; no id is an empty one.

    Fields that name no host (`by`) are left out: they are no server's.
    """
    traces = (_trace_clauses(value) for value in _values(content, "Received"))
    return [(clauses["by"], clauses.get("id", "")) for clauses in traces if "by" in clauses]


def _values(content: bytes, name: str) -> Iterator[str]:
    """Yield the unfolded values of the fields `name`, in order."""
    end = _BLANK_LINE.search(content, 0, _LONGEST_HEADER)
    if content[:2] == b"\r\n" or content[:1] == b"\n":
        return
    header = content[: end.start() if end else _LONGEST_HEADER]
    pattern = rb"^" + re.escape(name.encode()) + rb"[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)"
    for found in re.finditer(pattern, header, re.IGNORECASE | re.MULTILINE):
        yield escaped(_FOLD.sub(b" ", found[1]).decode("utf-8", "replace").strip())


def _decoded(value: str) -> str:
    """Return the value with its encoded words decoded; as it stands where they are damaged."""
    if "=?" not in value:
        return value
    try:
        parts = decode_header(value)
    except (HeaderParseError, ValueError):
        return value
    return escaped("".join(p if isinstance(p, str) else _text(p, charset) for p, charset in parts))


def _text(part: bytes, charset: str | None) -> str:
    try:
        # What stands between encoded words comes back as decode_header stored it.
        return part.decode(charset or "raw-unicode-escape", "replace")
    except (LookupError, ValueError):
        return part.decode("ascii", "replace")


def _trace_clauses(value: str) -> dict[str, str]:
    """Return the clauses of a Received field (`by`, `id`, …), comments and date left out."""
    text = value[:_LONGEST_TRACE]
    for _ in range(_DEEPEST_COMMENT):
        text, count = _COMMENT.subn(" ", text)
        if not count:
            break
    words = iter(text.partition(";")[0].split())
    clauses: dict[str, str] = {}
    for word in words:
        if word.lower() in _CLAUSES:
            clauses.setdefault(word.lower(), next(words, "").strip("<>"))
    return clauses
