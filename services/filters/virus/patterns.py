"""One signature of octets with wildcards, as ClamAV writes them in .ndb files, and where it matches.

    4d5a          these octets, in hexadecimal
    ??  4?  ?d    any octet, any with that half
    *             any number of octets
    {7} {3-7} {-7} {3-}   that many octets
    (41|4243)     one of these

Theory of operation. A signature is cut at each `*`: what is between them is a regular expression of bounded
length. These are searched one after the other, each from where the one before it ended, which is linear. The
longest run of fixed octets must be there in any case, and `in` finds it at the speed of memory; so what holds
no signature is hardly ever searched with an expression.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"(?P<octet>[0-9a-f]{2})|(?P<any>\?\?)|(?P<high>[0-9a-f]\?)|(?P<low>\?[0-9a-f])|(?P<all>\*)"
    r"|\{(?P<least>\d*)(?P<dash>-?)(?P<most>\d*)\}|\((?P<choice>(?:[0-9a-f]{2})+(?:\|(?:[0-9a-f]{2})+)*)\)"
)
_LONGEST_GAP = 4096
_MOST_WAYS = 4096
_SHORTEST = 2
_ANYWHERE = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """A signature's octets: `segments` follow each other at any distance, `literal` is in all that match.

    The first begins at `offset`, or up to `shift` octets behind it; counted from the end with `from_end`.
    Without an offset (-1) it begins anywhere.
    """

    segments: tuple[re.Pattern[bytes], ...]
    literal: bytes
    offset: int = _ANYWHERE
    shift: int = 0
    from_end: bool = False

    @property
    def floats(self) -> bool:
        """Whether it may begin anywhere."""
        return self.offset == _ANYWHERE

    def matches(self, data: bytes) -> bool:
        """Return whether it is in `data`."""
        if self.floats:
            if self.literal not in data:
                return False
            found = self.segments[0].search(data)
        else:
            found = self._at(data, len(data) - self.offset if self.from_end else self.offset)
        for segment in self.segments[1:]:
            if found is None:
                return False
            found = segment.search(data, found.end())
        return found is not None

    def _at(self, data: bytes, start: int) -> re.Match[bytes] | None:
        last = min(start + self.shift, len(data))
        places = range(max(start, 0), last + 1)
        return next((found for at in places if (found := self.segments[0].match(data, at))), None)


def pattern(offset: str, hexadecimal: str) -> Pattern:
    """Return the pattern that the fields Offset and HexSignature of a .ndb line describe.

    Raises: ValueError: it is wrong, or cannot be searched in bounded time; the message says why.
    """
    at, shift, from_end = _offset(offset)
    reader = _Reader()
    text = hexadecimal.lower()
    position = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise ValueError(f"cannot read {hexadecimal[position : position + 12]!r} in the signature")
        reader.take(token)
        position = token.end()
    segments, literal = reader.done()
    return Pattern(segments=segments, literal=literal, offset=at, shift=shift, from_end=from_end)


def _offset(text: str) -> tuple[int, int, bool]:
    if text == "*":
        return _ANYWHERE, 0, False
    found = re.fullmatch(r"(EOF-)?(\d{1,9})(?:,(\d{1,9}))?", text)
    if found is None:
        raise ValueError(f"the offset {text!r} is neither *, a number, NUMBER,SHIFT nor EOF-NUMBER")
    shift = int(found[3] or 0)
    if shift > _LONGEST_GAP:
        raise ValueError(f"the offset may shift by {_LONGEST_GAP} octets at most")
    return int(found[2]), shift, bool(found[1])


class _Reader:
    """Makes expressions of tokens."""

    def __init__(self) -> None:
        self._segments: list[list[bytes]] = [[]]
        self._ways = 1
        self._run = b""
        self._longest = b""

    def take(self, token: re.Match[str]) -> None:
        if token["octet"]:
            octet = bytes.fromhex(token["octet"])
            self._run += octet
            self._longest = max(self._longest, self._run, key=len)
            self._segments[-1].append(re.escape(octet))
            return
        self._run = b""
        if token["all"]:
            self._next_segment()
        elif token["any"]:
            self._segments[-1].append(b".")
        elif token["high"] or token["low"]:
            self._segments[-1].append(_half(token[0]))
        elif token["choice"]:
            options = [re.escape(bytes.fromhex(option)) for option in token["choice"].split("|")]
            self._segments[-1].append(b"(?:" + b"|".join(options) + b")")
        else:
            self._gap(token["least"], bool(token["dash"]), token["most"])

    def _gap(self, least: str, dash: bool, most: str) -> None:
        low = int(least or 0)
        high = int(most or 0) if dash else low
        if not least and not most:
            raise ValueError("{} and {-} say no number")
        if max(low, high) > _LONGEST_GAP:
            raise ValueError(f"a gap may have {_LONGEST_GAP} octets at most; * is any number")
        if dash and not most:
            self._segments[-1].append(b".{%d}" % low)
            self._next_segment()
            return
        if high < low:
            raise ValueError(f"the gap {{{low}-{high}}} ends before it begins")
        self._ways *= high - low + 1
        if self._ways > _MOST_WAYS:
            raise ValueError("the gaps between two * may vary in too many ways")
        self._segments[-1].append(b".{%d,%d}?" % (low, high))

    def _next_segment(self) -> None:
        self._segments.append([])
        self._ways = 1

    def done(self) -> tuple[tuple[re.Pattern[bytes], ...], bytes]:
        if len(self._longest) < _SHORTEST:
            raise ValueError(f"a signature needs {_SHORTEST} fixed octets in a row")
        parts = [b"".join(segment) for segment in self._segments if segment]
        return tuple(re.compile(part, re.DOTALL) for part in parts), self._longest


def _half(text: str) -> bytes:
    """A class of the octets that have one half in common."""
    octets = [text.replace("?", f"{digit:x}") for digit in range(16)]
    return b"[" + b"".join(re.escape(bytes.fromhex(octet)) for octet in octets) + b"]"
