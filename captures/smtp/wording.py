"""What the lines of an SMTP session mean, each taken by itself.

Nothing here knows what went before: a line comes in, its parts come out.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Sequence
from typing import Final

_LONGEST: Final = 1000
"""Characters of a line that are kept for people: several times what RFC 5321 §4.5.3.1 allows."""

MASK: Final = "***"
"""What stands for a secret."""

_GREETING: Final = re.compile(rb"(?:220|[45]\d\d)(?:[ \r\n-]|$)|2?2?\Z|[45]\d?\Z")
_COMMAND: Final = re.compile(rb"[A-Za-z]{4,10}(?:[ \r\n]|\Z)")
_REPLY_LINE: Final = re.compile(rb"(\d\d\d)(?:([ -])(.*))?\Z", re.DOTALL)
_CHUNK: Final = re.compile(rb"(\d{1,18})(\s+LAST)?\s*\Z", re.IGNORECASE)

# A path in angle brackets, in which quoted strings may hold brackets; without them, up to white space.
_PATH: Final = re.compile(
    rb"(?:FROM|TO)\s*:\s*(?:<((?:[^<>\"\\]|\\.|\"(?:[^\"\\]|\\.)*+\")*+)>|(\S*+))(.*)",
    re.IGNORECASE | re.DOTALL,
)


def printable(line: bytes) -> str:
    """Return the line as text, cut where it is over-long; what is no printable character is escaped."""
    text = line[: 4 * _LONGEST].decode("utf-8", "backslashreplace")
    if len(text) > _LONGEST:
        text = text[: _LONGEST - 1] + "…"
    return escaped(text)


def escaped(text: str) -> str:
    """Return the text with what is no printable character as an escape: it cannot drive a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def command(line: bytes) -> str:
    """Return a command fit to be shown: an initial response of AUTH, which holds a password, is masked."""
    words = line.split(None, 2)
    if len(words) == 3 and words[0].upper() == b"AUTH":
        return f"{printable(words[0])} {printable(words[1])} {MASK}"
    return printable(line)


def may_greet(data: bytes) -> bool:
    """Tell whether a server that sent `data` first may speak SMTP: 220, or a refusal (RFC 5321 §3.1)."""
    return _GREETING.match(data) is not None


def may_command(data: bytes) -> bool:
    """Tell whether a client that sent `data` first, unanswered, may speak SMTP."""
    return not data or _COMMAND.match(data) is not None


def reply_line(line: bytes) -> tuple[int, bool, bytes] | None:
    """Return code, whether more lines follow, and text; None for what is no line of a reply."""
    found = _REPLY_LINE.match(line)
    return (int(found[1]), found[2] == b"-", found[3] or b"") if found else None


def path(argument: bytes) -> tuple[str, str] | None:
    """Return the address and the parameters of `FROM:<a@b> SIZE=1`; None for another argument.

    A source route is left out, as servers should (RFC 5321 §4.1.1.3).
    """
    found = _PATH.match(argument)
    if not found:
        return None
    address = found[1] if found[1] is not None else found[2]
    if address.startswith(b"@") and b":" in address:
        address = address.partition(b":")[2]
    return printable(address), printable(found[3].strip())


def chunk(argument: bytes) -> tuple[int, bool] | None:
    """Return the size of a BDAT chunk and whether it is the last; None for another argument (RFC 3030 §2)."""
    found = _CHUNK.match(argument)
    return (int(found[1]), found[2] is not None) if found else None


def user(mechanism: str, responses: Sequence[bytes]) -> str:
    """Return who authenticates with these responses of AUTH; empty where they do not tell.

    Sources: RFC 4616 §2 (PLAIN); RFC 2195 §2 (CRAM-MD5).
    """
    if not responses:
        return ""
    try:
        first = b64decode(responses[0], validate=True)
    except binascii.Error:
        return ""
    match mechanism:
        case "PLAIN":
            parts = first.split(b"\0")
            name = parts[1] if len(parts) == 3 else b""
        case "LOGIN":
            name = first
        case "CRAM-MD5":
            name = first.rpartition(b" ")[0]
        case "XOAUTH2":
            name = first.partition(b"\1")[0].removeprefix(b"user=")
        case _:
            name = b""
    return printable(name)
