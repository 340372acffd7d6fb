"""Serial numbers of zones: 32 bits that go round (RFC 1982).

A serial is newer than another if it is less than half the circle ahead of it. Of two that lie exactly half
the circle apart neither is newer: such a step is to be avoided.
"""

from __future__ import annotations

_CIRCLE = 1 << 32
_HALF = 1 << 31


def is_newer(serial: int, than: int) -> bool:
    """Tell whether `serial` comes after `than`. Source: RFC 1982 §3.2."""
    return 0 < (serial - than) % _CIRCLE < _HALF


def following(serial: int) -> int:
    """Return the next serial; 0 is passed over, since some programs take it for "none"."""
    return (serial + 1) % _CIRCLE or 1
