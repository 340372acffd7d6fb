r"""What ENVID and ORCPT hold, in the two encodings that carry it over a command line.

Theory of operation. A value travels as xtext (RFC 3461 §4): what is no printable ASCII, and `+`, `=` and
space, becomes `+` and two hexadecimal digits. An original recipient is a type and such an address:

    rfc822;bob+2Btag@example.org        xtext
    utf-8;b\x{F8}b@example.org          for addresses beyond ASCII (RFC 6533 §3); or the letters themselves

A report names it decoded. What breaks the rules stands in a report as it came: it was somebody else's choice.
"""

from __future__ import annotations

import re

_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_HEX = re.compile(r"\+([0-9A-F]{2})")
_EMBEDDED = re.compile(r"\\x\{([0-9A-F]{2,6})\}")
_UTF8_ADDRESS = re.compile(r"(?:[!-*,-<>-\[\]-~\u0080-\U0010ffff]|\\x\{[0-9A-F]{2,6}\})+")
_NOT_IN_UTF8_ADDRESS = re.compile(r"[^!-*,-<>-\[\]-~]")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")


def is_xtext(text: str) -> bool:
    """`text` may stand as a value of ENVID (RFC 3461 §4.4)."""
    return bool(_XTEXT.fullmatch(text))


def is_original_recipient(text: str) -> bool:
    """`text` may stand as the value of ORCPT: a type and an address (RFC 3461 §4.2, RFC 6533 §3)."""
    kind, semicolon, address = text.partition(";")
    if not semicolon or not address or not _ADDRESS_TYPE.fullmatch(kind):
        return False
    return bool(_UTF8_ADDRESS.fullmatch(address)) if kind.lower() == "utf-8" else is_xtext(address)


def decoded(text: str) -> str:
    """Return what xtext stands for; `text` itself if it is none, or stands for what no line can hold."""
    if not is_xtext(text):
        return text
    raw = _HEX.sub(lambda found: chr(int(found[1], 16)), text)
    return raw if raw.isprintable() and raw.isascii() else text


def encoded(text: str) -> str:
    """Return ASCII text as xtext."""
    return "".join(char if _XTEXT.fullmatch(char) and char != "+" else f"+{ord(char):02X}" for char in text)


def original_recipient(orcpt: str) -> tuple[str, str]:
    """Return the type and the address of a value of ORCPT, decoded."""
    kind, _, address = orcpt.partition(";")
    if kind.lower() != "utf-8":
        return kind, decoded(address)
    return kind, _EMBEDDED.sub(lambda found: _letter(found[0], int(found[1], 16)), address)


def on_the_wire(orcpt: str) -> str:
    """Return a value of ORCPT for a server that may not know SMTPUTF8 (RFC 6533 §3: utf-8-addr-xtext)."""
    return _BEYOND_ASCII.sub(_embedded, orcpt)


def seven_bit(address: str) -> str:
    r"""Return an address of the type `utf-8` without letters beyond ASCII: `b\x{F8}b@example.org`."""
    return _NOT_IN_UTF8_ADDRESS.sub(_embedded, address)


def _embedded(found: re.Match[str]) -> str:
    return f"\\x{{{ord(found[0]):02X}}}"


def _letter(written: str, point: int) -> str:
    return chr(point) if point <= 0x10FFFF and chr(point).isprintable() else written
