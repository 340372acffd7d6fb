"""The words of an IMAP command (RFC 3501 §9): atoms, strings, literals, lists, and sets of numbers.

Theory of operation. A `Reader` stands at a place in the command and takes what the command's own grammar
says comes next; what is something else raises BadSyntax, which is answered with BAD. Nothing is looked ahead
further than an octet, nothing is gone through twice, and lists nest only so deep.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_ATOM = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\\]]+')
# As atoms, and `]`; mailbox names in LIST may hold wildcards too.
_ASTRING = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\]+')
_PATTERN = re.compile(rb'[^\x00-\x20\x7f-\xff(){"\\]+')
_QUOTED = re.compile(rb'"((?:[^"\\\r\n\x00]|\\["\\])*)"')
_LITERAL = re.compile(rb"\{(\d{1,10})\+?\}\r?\n")
_NUMBER = re.compile(rb"\d{1,10}")
_SET = re.compile(rb"[0-9*:,]+")
_FLAG = re.compile(rb'\\?[^\x00-\x20\x7f-\xff(){%*"\\\]]+')
_UNQUOTABLE = re.compile(rb"[\x00\r\n\x80-\xff]")
_HIGHEST = 0xFFFFFFFF


class BadSyntax(Exception):
    """The command is not what the grammar allows; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """A set of sequence numbers or UIDs: ranges from low to high, None for `*`, the last one."""

    ranges: tuple[tuple[int | None, int | None], ...]

    def among(self, present: Sequence[int]) -> list[int]:
        """Return those of `present` (ascending) that the set names; `*` is the last of them."""
        if not present:
            return []
        last = present[-1]
        bounds = [sorted((last if a is None else a, last if b is None else b)) for a, b in self.ranges]
        if len(bounds) > 1:
            bounds = _merged(bounds)
        return [n for n in present if any(low <= n <= high for low, high in bounds)]

    def within(self, count: int) -> bool:
        """Whether all are sequence numbers of a mailbox of `count` messages."""
        named = [number for pair in self.ranges for number in pair]
        return all(number <= count if number is not None else count > 0 for number in named)


def _merged(bounds: list[list[int]]) -> list[list[int]]:
    merged: list[list[int]] = []
    for low, high in sorted(bounds):
        if merged and low <= merged[-1][1] + 1:
            merged[-1][1] = max(merged[-1][1], high)
        else:
            merged.append([low, high])
    return merged


class Reader:
    """Takes a command apart, from left to right."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    def peek(self) -> bytes:
        """Return the next octet, empty at the end."""
        return self._octets[self._at : self._at + 1]

    def skip(self, octets: bytes) -> bool:
        """Go past these octets if they come next, in any case; say whether they did."""
        end = self._at + len(octets)
        if self._octets[self._at : end].upper() == octets:
            self._at = end
            return True
        return False

    def expect(self, octets: bytes) -> None:
        if not self.skip(octets):
            raise BadSyntax("a space is missing" if octets == b" " else f"{octets.decode()} is missing")

    def space(self) -> None:
        self.expect(b" ")

    def end(self) -> None:
        """Refuse what is left over."""
        self.skip(b" ")
        if self._at != len(self._octets):
            raise BadSyntax("there is more than this command takes")

    def atom(self) -> str:
        """Return an atom, such as the name of a command, in upper case."""
        return self._take(_ATOM, "a word").decode().upper()

    def number(self) -> int:
        found = int(self._take(_NUMBER, "a number"))
        if found > _HIGHEST:
            raise BadSyntax("a number is too large")
        return found

    def string(self) -> bytes:
        """Return a quoted string or a literal."""
        quoted = _QUOTED.match(self._octets, self._at)
        if quoted:
            self._at = quoted.end()
            return re.sub(rb"\\(.)", rb"\1", quoted[1])
        literal = _LITERAL.match(self._octets, self._at)
        if literal is None:
            raise BadSyntax("a string is missing")
        end = literal.end() + int(literal[1])
        if end > len(self._octets):
            raise BadSyntax("a literal is cut off")
        self._at = end
        return self._octets[literal.end() : end]

    def astring(self, pattern: bool = False) -> bytes:
        """Return a string or an atom; with `pattern` also wildcards."""
        if self.peek() in (b'"', b"{"):
            return self.string()
        return self._take(_PATTERN if pattern else _ASTRING, "a string")

    def flags(self) -> list[str]:
        """Return flags, with or without parentheses around them."""
        if not self.skip(b"("):
            found = [self._flag()]
            while self.skip(b" "):
                found.append(self._flag())
            return found
        found = []
        while not self.skip(b")"):
            if found:
                self.space()
            found.append(self._flag())
        return found

    def numbers(self) -> Numbers:
        """Return a set such as `1:3,7,9:*`."""
        ranges = []
        for part in self._take(_SET, "a set of numbers").split(b","):
            low, colon, high = part.partition(b":")
            ranges.append((_number(low), _number(high if colon else low)))
        return Numbers(tuple(ranges))

    def words(self) -> list[bytes]:
        """Return strings in parentheses, one at least."""
        self.expect(b"(")
        found = [self.astring()]
        while not self.skip(b")"):
            self.space()
            found.append(self.astring())
        return found

    def _flag(self) -> str:
        return self._take(_FLAG, "a flag").decode()

    def _take(self, expression: re.Pattern[bytes], what: str) -> bytes:
        found = expression.match(self._octets, self._at)
        if found is None:
            raise BadSyntax(f"{what} is missing")
        self._at = found.end()
        return found[0]


def _number(text: bytes) -> int | None:
    if text == b"*":
        return None
    if not text.isdigit() or not 0 < int(text) <= _HIGHEST:
        raise BadSyntax("a set of numbers is wrong")
    return int(text)


def quoted(octets: bytes) -> bytes:
    """Return a string as the server sends it: quoted if it can be, else a literal."""
    if len(octets) > 1000 or _UNQUOTABLE.search(octets):
        return literal(octets)
    return b'"' + re.sub(rb'(["\\])', rb"\\\1", octets) + b'"'


def literal(octets: bytes) -> bytes:
    """Return a literal: how many octets, and these, unchanged."""
    return b"{%d}\r\n" % len(octets) + octets


def nstring(octets: bytes | None) -> bytes:
    """Return a string, or NIL where there is none."""
    return b"NIL" if octets is None else quoted(octets)
