"""Master files: zone data as text (RFC 1035 §5).

Theory of operation. The file is cut into entries: one line each, or several where parentheses join
them. An entry is a directive or a record:

    $ORIGIN name            what relative names are completed with, and what @ stands for
    $TTL time               for records that name none (RFC 2308 §4)
    $INCLUDE file [name]    the entries of another file, with that origin; then origin and owner are as before
    [owner] [TTL] [class] type data...      a line that starts with a blank has the last owner

Times may carry units (`1h30m`). The types are in `fields` and `structured`; data of any type may be written
as `\\# LENGTH HEX` (RFC 3597 §5). What is not understood is an error that names the file and the line;
nothing is skipped in silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dnslib

from services.dns import fields, names, structured
from services.dns.fields import Word, Words
from services.dns.names import Name
from services.dns.records import rdata
from services.errors import ConfigError

_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r]+) | (?P<comment>;[^\n]*) | (?P<newline>\n) | (?P<open>\() | (?P<close>\))
      | "(?P<quoted>(?:\\.|[^"\\\n])*)" | (?P<word>(?:\\.|[^\s;()"\\])+)""",
    re.VERBOSE,
)
_FORMATS = fields.FORMATS | structured.FORMATS
_MAX_INCLUDED = 10
_CLASSES = ("IN", "CLASS1")
_OTHER_CLASSES = ("CH", "HS", "CS", "NONE", "ANY")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record of a master file; `owner` is in lower case, `line` counts from 1 in the file `source`."""

    owner: Name
    ttl: int
    rtype: int
    rdata: dnslib.RD
    line: int
    source: str = ""


def read(path: Path, origin: Name) -> list[Record]:
    """Return the records of a master file in their order.

    Raises: ConfigError: the file cannot be read, or a line is wrong.
    """
    return parse(_text(path), origin, source=str(path), directory=path.parent)


def parse(text: str, origin: Name, *, source: str, directory: Path = Path()) -> list[Record]:
    """Return the records of `text`; `source` is what errors call it, included files are in `directory`.

    Raises: ConfigError.
    """
    return list(_Reader(origin).records(text, source, directory))


def _text(path: Path) -> str:
    try:
        # Comments and strings may be in any encoding; their octets are kept.
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error


@dataclass(slots=True)
class _Entry:
    line: int
    blank_owner: bool
    words: list[Word]


def _entries(text: str, source: str) -> Iterator[_Entry]:
    """Yield what stands on one line, or between parentheses on several."""
    entry: _Entry | None = None
    depth = 0
    before = ""
    for kind, value, line in _tokens(text, source):
        if entry is None:
            entry = _Entry(line, kind == "blank", [])
        if kind in ("quoted", "word"):
            entry.words.append(
                Word(value, is_quoted=kind == "quoted", is_joined=before in ("quoted", "word"))
            )
        depth += (kind == "open") - (kind == "close")
        before = kind
        if depth < 0:
            raise ConfigError(f"{source}:{line}: ) without (")
        if kind == "newline" and not depth:
            if entry.words:
                yield entry
            entry = None
    if entry is not None:
        raise ConfigError(f"{source}:{entry.line}: ( without )")


def _tokens(text: str, source: str) -> Iterator[tuple[str, str, int]]:
    """Yield kind, text and line of each token; the last one is always a newline."""
    line, position = 1, 0
    text += "\n"
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise ConfigError(f"{source}:{line}: unbalanced quote or stray backslash")
        yield match.lastgroup, match[match.lastgroup], line
        line += match.lastgroup == "newline"
        position = match.end()


class _Reader:
    """Reads entries in their order; remembers origin, owner and TTL from one to the next."""

    def __init__(self, origin: Name) -> None:
        self._origin = origin
        self._owner: Name | None = None
        self._default_ttl: int | None = None
        self._last_ttl: int | None = None
        self._depth = 0

    def records(self, text: str, source: str, directory: Path) -> Iterator[Record]:
        """Yield the records of a text and of the files that it includes."""
        for entry in _entries(text, source):
            try:
                if entry.words[0].startswith("$") and not entry.blank_owner:
                    included = self._directive(*entry.words)
                    if included is not None:
                        yield from self._include(directory / included[0], included[1])
                else:
                    yield self._record(entry, source)
            except (ValueError, dnslib.DNSError) as error:
                raise ConfigError(f"{source}:{entry.line}: {error}") from error

    def _record(self, entry: _Entry, source: str) -> Record:
        words = list(entry.words)
        if not entry.blank_owner:
            self._owner = names.lower(self._name(words.pop(0)))
        if self._owner is None:
            raise ValueError("the first record names no owner")
        ttl = self._ttl_and_class(words)
        if not words:
            raise ValueError("the record has no type")
        rtype, data = _data(words.pop(0), words, self._origin)
        return Record(owner=self._owner, ttl=ttl, rtype=rtype, rdata=data, line=entry.line, source=source)

    def _directive(self, directive: Word, *arguments: Word) -> tuple[str, Name] | None:
        """Follow a directive; return file and origin if it includes one."""
        match directive.upper(), arguments:
            case "$ORIGIN", (name,):
                self._origin = names.lower(self._name(name))
            case "$TTL", (time,):
                self._default_ttl = fields.time(time)
            case "$INCLUDE", (path,):
                return str(path), self._origin
            case "$INCLUDE", (path, origin):
                return str(path), names.lower(self._name(origin))
            case (("$ORIGIN" | "$TTL" | "$INCLUDE"), _):
                raise ValueError(
                    f"{directive} takes one argument{', or two' * directive.upper().endswith('E')}"
                )
            case _:
                raise ValueError(f"{directive} is not supported; $ORIGIN, $TTL and $INCLUDE are")
        return None

    def _include(self, path: Path, origin: Name) -> Iterator[Record]:
        if self._depth == _MAX_INCLUDED:
            raise ValueError(f"files include each other more than {_MAX_INCLUDED} deep")
        before = self._origin, self._owner
        self._origin, self._depth = origin, self._depth + 1
        try:
            text = _text(path)
        except ConfigError as error:
            raise ValueError(f"$INCLUDE: {error}") from error
        yield from self.records(text, str(path), path.parent)
        self._depth -= 1
        self._origin, self._owner = before

    def _name(self, word: Word) -> Name:
        if word == "@" and not word.is_quoted:
            return self._origin
        return names.from_text(word, self._origin)

    def _ttl_and_class(self, words: list[Word]) -> int:
        """Take the TTL and the class, in either order, off the words (RFC 1035 §5.1)."""
        explicit: int | None = None
        has_class = False
        for _ in range(2):
            if words and fields.is_time(words[0]) and explicit is None:
                explicit = fields.time(words.pop(0))
            elif words and words[0].upper() in _CLASSES and not has_class:
                has_class = True
                del words[0]
        if explicit is not None:
            self._last_ttl = explicit
            return explicit
        ttl = self._default_ttl if self._default_ttl is not None else self._last_ttl
        if ttl is None:
            raise ValueError("the record has no TTL and there is no $TTL above it")
        return ttl


def _data(kind: str, words: list[Word], origin: Name) -> tuple[int, dnslib.RD]:
    if kind.upper() in _OTHER_CLASSES:
        raise ValueError("only class IN is served")
    rtype = names.type_number(kind)
    if rtype == names.OPT or 128 <= rtype <= 255:
        raise ValueError(f"{kind} is no type of data (RFC 6895 §3.1)")
    if words and words[0] == "\\#" and not words[0].is_quoted:
        return rtype, rdata(rtype, _generic(words[1:]))
    form = _FORMATS.get(names.type_text(rtype))
    if form is None:
        raise ValueError(f"{kind} has no text form here; write its data as \\# LENGTH HEX (RFC 3597)")
    left = Words(words, origin)
    try:
        data = b"".join([read(left) for read in form])
        if len(left):
            raise ValueError(f"{left.take()!r} is more than its data")
    except names.BadName:
        raise
    except ValueError as error:
        raise ValueError(f"{names.type_text(rtype)}: {error}") from error
    return rtype, rdata(rtype, data)


def _generic(words: list[Word]) -> bytes:
    try:
        data = bytes.fromhex("".join(words[1:]))
        if int(words[0]) == len(data):
            return data
    except (ValueError, IndexError):
        pass
    raise ValueError("data of any type are \\# LENGTH HEX, with LENGTH octets of HEX")
