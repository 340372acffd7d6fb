"""HTML as its reader sees it, and what its author did not want to be seen.

Theory of operation. Tags are found by a pattern that never looks past the next `<`, comments and scripts by
looking for their end, once: so any text is read in linear time. Nothing is required to be well-formed. Each
open element may hide what it holds, by its style or by letters in the colour of the ground.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field

_TAG = re.compile(
    r"<(?:(!--)|(/?)([a-zA-Z][a-zA-Z0-9:-]*+)((?:[^<>\"']++|\"[^\"<]*+\"|'[^'<]*+')*+)/?>|![^<>]*+>|\?[^<>]*+>)"
)
_ATTRIBUTE = re.compile(r"([a-zA-Z-]{1,40})\s*+=\s*+(\"[^\"]*+\"|'[^']*+'|[^\s\"'>]++)")
_HIDING = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*[01](?:px|pt|em|%)?\s*(?:;|$|!)|opacity\s*:\s*0(?:\.0+)?\s*(?:;|$)"
    r"|max-height\s*:\s*0|text-indent\s*:\s*-\d{3,}",
    re.IGNORECASE,
)
_COLOUR = re.compile(r"(?<![-\w])color\s*:\s*(#?\w+)", re.IGNORECASE)
_GROUND = re.compile(r"background(?:-color)?\s*:\s*(#?\w+)", re.IGNORECASE)
_ENTITY = re.compile(r"&#(?:x0*([2-7][0-9a-f])|0*(3[2-9]|[4-9]\d|1[01]\d|12[0-6]));", re.IGNORECASE)
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_BLOCKS = {
    "p",
    "div",
    "br",
    "tr",
    "td",
    "th",
    "li",
    "ul",
    "ol",
    "table",
    "h1",
    "h2",
    "h3",
    "h4",
    "hr",
    "title",
}
_DEEPEST = 200
_NAMES = {"white": "#ffffff", "black": "#000000", "#fff": "#ffffff", "#000": "#000000"}


@dataclass(slots=True)
class Link:
    """Where a link leads, and what it shows."""

    target: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Image:
    """An image; `width` and `height` as given, in pixels."""

    source: str
    width: str
    height: str


@dataclass(slots=True)
class Markup:
    """What was found in an HTML text; `tags` are counted by name in lower case."""

    text: str = ""
    hidden: str = ""
    links: list[Link] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)
    tags: dict[str, int] = field(default_factory=dict)
    split_words: int = 0
    plain_entities: int = 0
    refreshes: str = ""
    form_target: str = ""


@dataclass(frozen=True, slots=True)
class _Open:
    name: str
    hides: bool
    colour: str
    ground: str


class _Reader:
    def __init__(self, source: str) -> None:
        self.source = source
        self.found = Markup()
        self.seen: list[str] = []
        self.unseen: list[str] = []
        self.open = [_Open("", False, "#000000", "#ffffff")]
        self.link: Link | None = None

    def read(self) -> Markup:
        at, source = 0, self.source
        while (tag := _TAG.search(source, at)) is not None:
            self._words(source[at : tag.start()])
            at = tag.end()
            if tag[1]:
                at = self._past("-->", at)
            name = (tag[3] or "").lower()
            if tag[1] or (name and name not in _BLOCKS and not tag[2]):
                # In the middle of a word: nobody sees that, but who compares words does.
                self.found.split_words += _within_word(source, tag.start(), at)
            if tag[2]:
                self._end(name)
            elif name:
                self._start(name, tag[4])
                if name in ("script", "style"):
                    at = self._past(f"</{name}", at)
        self._words(source[at:])
        self.found.text, self.found.hidden = "".join(self.seen), "".join(self.unseen).strip()
        self.found.plain_entities = len(_ENTITY.findall(source))
        return self.found

    def _past(self, end: str, at: int) -> int:
        place = self.source.find(end, at)
        return len(self.source) if place < 0 else place + len(end)

    def _words(self, piece: str) -> None:
        if not piece:
            return
        text = html.unescape(piece) if "&" in piece else piece
        (self.unseen if self.open[-1].hides else self.seen).append(text)
        if self.link is not None and len(self.link.text) < 500:
            self.link.text += text

    def _start(self, name: str, rest: str) -> None:
        found = self.found
        found.tags[name] = found.tags.get(name, 0) + 1
        given = {key.lower(): html.unescape(value.strip("\"'")) for key, value in _ATTRIBUTE.findall(rest)}
        if name in _BLOCKS:
            self._words("\n")
        if name == "a" and given.get("href") and len(found.links) < 500:
            self.link = Link(given["href"].strip())
            found.links.append(self.link)
        elif name == "img" and len(found.images) < 500:
            found.images.append(Image(given.get("src", ""), given.get("width", ""), given.get("height", "")))
        elif name == "form":
            found.form_target = given.get("action", "") or "a form"
        elif name == "meta" and given.get("http-equiv", "").lower() == "refresh":
            found.refreshes = given.get("content", "") or "a refresh"
        if name not in _VOID and len(self.open) < _DEEPEST:
            self.open.append(self._opened(name, given))

    def _opened(self, name: str, given: dict[str, str]) -> _Open:
        above = self.open[-1]
        style = given.get("style", "")
        colour = _named(_first(_COLOUR, style) or given.get("color", "")) or above.colour
        ground = _named(_first(_GROUND, style) or given.get("bgcolor", "")) or above.ground
        # Where an element sets only the ground, what is in it sets the letters.
        own = bool(_first(_COLOUR, style) or given.get("color"))
        hides = above.hides or bool(_HIDING.search(style)) or (own and colour == ground)
        hides = hides or given.get("size") == "0"
        return _Open(name, hides, colour, ground)

    def _end(self, name: str) -> None:
        if name == "a":
            self.link = None
        if name in _BLOCKS:
            self._words("\n")
        for depth in range(len(self.open) - 1, max(len(self.open) - 30, 0), -1):
            if self.open[depth].name == name:
                del self.open[depth:]
                return


def read(source: str) -> Markup:
    """Return what an HTML text shows and hides."""
    return _Reader(source).read()


def _within_word(source: str, start: int, end: int) -> bool:
    return start > 0 and end < len(source) and source[start - 1].isalpha() and source[end].isalpha()


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""


def _named(colour: str) -> str:
    lower = colour.lower()
    return _NAMES.get(lower, lower)
