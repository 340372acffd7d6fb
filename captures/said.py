"""What parties to a session say, made fit for people to read; SMTP and IMAP share it, SASL included."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Sequence
from typing import Final

_LONGEST: Final = 1000
"""Characters of a line that are kept for people: several times what RFC 5321 §4.5.3.1 allows."""

MASK: Final = "***"
"""What stands for a secret."""


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
