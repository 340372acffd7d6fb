"""What the lines of an IMAP session mean, each taken by itself."""

from __future__ import annotations

import re
from typing import Final

from captures.said import MASK, printable

_LITERAL: Final = re.compile(rb"\{(\d{1,18})\+?\}\Z")
_FETCH: Final = re.compile(rb"\* (\d{1,10}) FETCH \(", re.IGNORECASE)
_MESSAGE: Final = re.compile(rb"(BODY\[\](?:<(\d{1,18})>)?|RFC822) \{\d+\}\Z", re.IGNORECASE)
_UID: Final = re.compile(rb"[( ]UID (\d{1,10})[ )]", re.IGNORECASE)
_TAGGED: Final = re.compile(
    rb"([^\x00-\x20(){%*\"\\+]{1,200}) ((?:OK|NO|BAD)\b.*)", re.IGNORECASE | re.DOTALL
)
_GREETING: Final = re.compile(rb"\* ((?:OK|PREAUTH|BYE)\b.*)", re.IGNORECASE | re.DOTALL)
_ASTRING: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"|([^ "{]+)')


def literal(line: bytes) -> int | None:
    """Return how many octets follow behind this line, None if it ends here (RFC 3501 §4.3)."""
    found = _LITERAL.search(line)
    return int(found[1]) if found else None


def greeting(line: bytes) -> bytes | None:
    """Return what a server's first line says; None if it is no greeting."""
    found = _GREETING.fullmatch(line)
    return found[1] if found else None


def tagged(line: bytes) -> tuple[bytes, bytes] | None:
    """Return tag and text of the reply that ends a command; None for another line."""
    found = _TAGGED.fullmatch(line)
    return (found[1], found[2]) if found else None


def fetch(line: bytes) -> int | None:
    """Return the number of the message that a FETCH response begins to tell of."""
    found = _FETCH.match(line)
    return int(found[1]) if found else None


def message(line: bytes) -> tuple[str, int] | None:
    """Return item and first octet, if the literal behind this line is a whole message or a piece of it."""
    found = _MESSAGE.search(line)
    return (found[1].decode().upper(), int(found[2] or 0)) if found else None


def uid(response: bytes) -> int | None:
    """Return the UID that a FETCH response tells, its literals left out."""
    found = _UID.search(response)
    return int(found[1]) if found else None


def command(verb: bytes, argument: bytes) -> str:
    """Return a command fit to be shown: what may be a password is masked."""
    if verb == b"LOGIN":
        return f"LOGIN {login(argument) or MASK} {MASK}"
    if verb == b"AUTHENTICATE":
        mechanism, _, response = argument.partition(b" ")
        return f"AUTHENTICATE {printable(mechanism)} {MASK if response else ''}".rstrip()
    return printable(verb + b" " + argument).rstrip()


def login(argument: bytes) -> str:
    """Return the user of LOGIN; empty where that is no string."""
    found = _ASTRING.match(argument)
    if not found:
        return ""
    return printable(re.sub(rb"\\(.)", rb"\1", found[1]) if found[1] is not None else found[2])
