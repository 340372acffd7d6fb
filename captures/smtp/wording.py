"""What the lines of an SMTP session mean, each taken by itself.

Nothing here knows what went before: a line comes in, its parts come out.
"""

from __future__ import annotations

import re
from typing import Final

from captures.said import MASK, printable

_GREETING: Final = re.compile(rb"(?:220|[45]\d\d)(?:[ \r\n-]|$)|2?2?\Z|[45]\d?\Z")
_COMMAND: Final = re.compile(rb"[A-Za-z]{4,10}(?:[ \r\n]|\Z)")
_REPLY_LINE: Final = re.compile(rb"(\d\d\d)(?:([ -])(.*))?\Z", re.DOTALL)
_CHUNK: Final = re.compile(rb"(\d{1,18})(\s+LAST)?\s*\Z", re.IGNORECASE)

# A path in angle brackets, in which quoted strings may hold brackets; without them, up to white space.
_PATH: Final = re.compile(
    rb"(?:FROM|TO)\s*:\s*(?:<((?:[^<>\"\\]|\\.|\"(?:[^\"\\]|\\.)*+\")*+)>|(\S*+))(.*)",
    re.IGNORECASE | re.DOTALL,
)


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
