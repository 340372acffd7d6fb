"""What our own server found out about a message's sender: the Authentication-Results field, read (RFC 8601).

Only a field with our authserv-id counts, and of several the topmost: whoever asks the engine has put it
there, and has taken out what came from elsewhere in our name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_COMMENT = re.compile(r"\([^()]*+\)")
# A quoted string may hold a semicolon.
_PIECE = re.compile(r'(?:"(?:[^"\\]|\\.)*+"|[^";])++')
_RESULT = re.compile(r"\s*([a-z0-9-]+)\s*(?:/\s*\d+\s*)?=\s*([a-z]+)(.*)", re.IGNORECASE | re.DOTALL)
_PROPERTY = re.compile(r'([a-z0-9-]+(?:\.[a-z0-9-]+)?)\s*=\s*("(?:[^"\\]|\\.)*+"|[^\s;]++)', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Found:
    """One method's result (`pass`, `fail`, …) and what it speaks of, by property (`header.d`)."""

    method: str
    result: str
    properties: dict[str, str] = field(default_factory=dict)

    @property
    def about(self) -> str:
        """What the result speaks of, in one line."""
        return " ".join(f"{name}={value}" for name, value in self.properties.items())[:200]


class Results:
    """The results of our own server; `known` says that there are any at all."""

    def __init__(self, found: Sequence[Found], *, known: bool) -> None:
        self.found = tuple(found)
        self.known = known

    def all(self, method: str) -> list[Found]:
        """Return the results of one method: DKIM has one for each signature."""
        return [each for each in self.found if each.method == method]

    def first(self, method: str, *results: str) -> Found | None:
        """Return the first of a method's results that is one of these."""
        return next((each for each in self.all(method) if each.result in results), None)


def read(fields: Sequence[str], authserv_id: str) -> Results:
    """Return the results in the values of Authentication-Results fields, topmost first."""
    for value in fields:
        pieces = _PIECE.findall(_COMMENT.sub(" ", value[:8000]))
        name = pieces[0].split() if pieces else []
        if name and name[0].strip('"').lower() == authserv_id.lower():
            return Results([each for piece in pieces[1:] if (each := _found(piece))], known=True)
    return Results([], known=False)


def _found(piece: str) -> Found | None:
    matched = _RESULT.match(piece)
    if not matched:
        return None
    properties = {name.lower(): value.strip('"') for name, value in _PROPERTY.findall(matched[3])}
    return Found(matched[1].lower(), matched[2].lower(), properties)
