"""Text that came over the wire, fit to be shown.

A mail's subject, an address or a server's reply may hold anything: control characters that end a line or
drive a terminal, marks that turn the writing direction of what follows, halves of surrogate pairs that no
file can hold. Each of these is shown as a sign of its own; all other text stays as it is.
"""

from __future__ import annotations

import re

_UNFIT = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # writing direction
    "\u2028\u2029\ufeff"  # line ends of their own, a mark without width
    "\ud800-\udfff\ufffe\uffff]"  # no characters
)


def visible(text: str) -> str:
    """Return the text on one line, with a sign in place of each character that is not for showing."""
    return _UNFIT.sub(_sign, text)


def shortened(text: str, longest: int) -> str:
    """Return the text with at most `longest` characters; an ellipsis stands for those left out."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _sign(found: re.Match[str]) -> str:
    code = ord(found.group())
    if code in (0x09, 0x0A, 0x0D):
        return " "
    if code < 0x20:
        # U+2400 and what follows are pictures of the control characters.
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"
