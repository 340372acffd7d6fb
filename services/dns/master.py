"""Master files: zone data as text (RFC 1035 §5).

Theory of operation. The file is cut into entries: one line each, or several where parentheses join
them. An entry is a directive or a record:

    $ORIGIN name            what relative names are completed with, and what @ stands for
    $TTL time               for records that name none (RFC 2308 §4)
    [owner] [TTL] [class] type data...      a line that starts with a blank has the last owner

Times may carry units (`1h30m`). Data of other types are written as `\\# length hex` (RFC 3597 §5). What is
not understood is an error that names the file and the line; nothing is skipped in silence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, NoReturn

import dnslib

from services.dns import names
from services.dns.names import Name
from services.errors import ConfigError

_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r]+) | (?P<comment>;[^\n]*) | (?P<newline>\n) | (?P<open>\() | (?P<close>\))
      | "(?P<quoted>(?:\\.|[^"\\\n])*)" | (?P<word>(?:\\.|[^\s;()"\\])+)""",
    re.VERBOSE,
)
_TIME = re.compile(r"(?:\d+[wdhms])+", re.IGNORECASE)
_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_MAX_TTL = 2**31 - 1  # RFC 2181 §8


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record of a master file; `owner` is in lower case, `line` counts from 1."""

    owner: Name
    ttl: int
    rtype: int
    rdata: dnslib.RD
    line: int


def read(path: Path, origin: Name) -> list[Record]:
    """Return the records of a master file in their order.

    Raises: ConfigError: the file cannot be read, or a line is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"{path}: {reason}") from error
    return parse(text, origin, source=str(path))


def parse(text: str, origin: Name, *, source: str) -> list[Record]:
    """Return the records of `text`; `source` is what errors call it.

    Raises: ConfigError.
    """
    reader = _Reader(origin)
    records = []
    for entry in _entries(text, source):
        try:
            record = reader.read(entry)
        except (ValueError, dnslib.DNSError) as error:
            raise ConfigError(f"{source}:{entry.line}: {error}") from error
        if record is not None:
            records.append(record)
    return records


@dataclass(slots=True)
class _Entry:
    line: int
    blank_owner: bool
    tokens: list[str]


def _entries(text: str, source: str) -> Iterator[_Entry]:
    """Yield what stands on one line, or between parentheses on several."""
    entry: _Entry | None = None
    depth = 0
    for kind, value, line in _tokens(text, source):
        if entry is None:
            entry = _Entry(line, kind == "blank", [])
        if kind in ("quoted", "word"):
            entry.tokens.append(value)
        depth += (kind == "open") - (kind == "close")
        if depth < 0:
            raise ConfigError(f"{source}:{line}: ) without (")
        if kind == "newline" and not depth:
            if entry.tokens:
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

    def read(self, entry: _Entry) -> Record | None:
        if entry.tokens[0].startswith("$") and not entry.blank_owner:
            self._directive(*entry.tokens)
            return None
        tokens = list(entry.tokens)
        if not entry.blank_owner:
            self._owner = names.lower(_name(tokens.pop(0), self._origin))
        if self._owner is None:
            raise ValueError("the first record names no owner")
        ttl = self._ttl_and_class(tokens)
        if not tokens:
            raise ValueError("the record has no type")
        rtype, rdata = _data(tokens.pop(0), tokens, self._origin)
        return Record(owner=self._owner, ttl=ttl, rtype=rtype, rdata=rdata, line=entry.line)

    def _directive(self, directive: str, *arguments: str) -> None:
        if len(arguments) != 1:
            raise ValueError(f"{directive} takes one argument")
        match directive.upper():
            case "$ORIGIN":
                self._origin = names.lower(_name(arguments[0], self._origin))
            case "$TTL":
                self._default_ttl = _time(arguments[0])
            case _:
                raise ValueError(f"{directive} is not supported; $ORIGIN and $TTL are")

    def _ttl_and_class(self, tokens: list[str]) -> int:
        """Take the TTL and the class, in either order, off the tokens (RFC 1035 §5.1)."""
        explicit: int | None = None
        for _ in range(2):
            if tokens and _is_time(tokens[0]) and explicit is None:
                explicit = _time(tokens.pop(0))
            elif tokens and tokens[0].upper() == "IN":
                del tokens[0]
        if explicit is not None:
            self._last_ttl = explicit
            return explicit
        ttl = self._default_ttl if self._default_ttl is not None else self._last_ttl
        if ttl is None:
            raise ValueError("the record has no TTL and there is no $TTL above it")
        return ttl


def _name(text: str, origin: Name) -> Name:
    return origin if text == "@" else names.from_text(text, origin)


def _is_time(text: str) -> bool:
    return text.isdecimal() or _TIME.fullmatch(text) is not None


def _time(text: str) -> int:
    """Return seconds for `3600`, `1h` or `1h30m` (units as in BIND's master files)."""
    if not _is_time(text):
        raise ValueError(f"{text!r} is no time; write seconds or 1w2d3h4m5s")
    if text.isdecimal():
        seconds = int(text)
    else:
        seconds = sum(int(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+)(\D)", text.lower()))
    if seconds > _MAX_TTL:
        raise ValueError(f"{text} seconds is above {_MAX_TTL}")
    return seconds


def _number(limit: int) -> Callable[[str, Name], int]:
    def number(text: str, origin: Name) -> int:  # noqa: ARG001 -- every field is read with the same arguments
        if not text.isdecimal() or int(text) > limit:
            raise ValueError(f"{text!r} is no number from 0 to {limit}")
        return int(text)

    return number


def _label(text: str, origin: Name) -> dnslib.DNSLabel:
    return dnslib.DNSLabel(_name(text, origin))


def _octets(text: str, origin: Name) -> bytes:  # noqa: ARG001 -- every field is read with the same arguments
    octets = names.unescape(text.encode())
    if len(octets) > 255:
        raise ValueError("a string is above 255 octets; write it as several")
    return octets


def _ipv4(text: str, origin: Name) -> tuple[int, ...]:  # noqa: ARG001 -- likewise
    try:
        return tuple(IPv4Address(text).packed)
    except AddressValueError:
        raise ValueError(f"{text!r} is no IPv4 address") from None


def _ipv6(text: str, origin: Name) -> tuple[int, ...]:  # noqa: ARG001 -- likewise
    try:
        return tuple(IPv6Address(text).packed)
    except AddressValueError:
        raise ValueError(f"{text!r} is no IPv6 address") from None


def _seconds(text: str, origin: Name) -> int:  # noqa: ARG001 -- likewise
    return _time(text)


def _caa(flags: int, tag: bytes, value: bytes) -> dnslib.CAA:
    return dnslib.CAA(flags, tag.decode("ascii"), value.decode())


_U8, _U16, _U32 = _number(0xFF), _number(0xFFFF), _number(0xFFFFFFFF)
_Field = Callable[[str, Name], Any]

# Each type: how its fields are read, in the order of the text, and what is made of them.
_FORMATS: dict[str, tuple[tuple[_Field, ...], Callable[..., dnslib.RD]]] = {
    "A": ((_ipv4,), dnslib.A),
    "AAAA": ((_ipv6,), dnslib.AAAA),
    "NS": ((_label,), dnslib.NS),
    "CNAME": ((_label,), dnslib.CNAME),
    "PTR": ((_label,), dnslib.PTR),
    "MX": ((_U16, _label), lambda preference, host: dnslib.MX(host, preference)),
    "SRV": ((_U16, _U16, _U16, _label), dnslib.SRV),
    "CAA": ((_U8, _octets, _octets), _caa),
    "SOA": (
        (_label, _label, _U32, _seconds, _seconds, _seconds, _seconds),
        lambda mname, rname, *times: dnslib.SOA(mname, rname, times),
    ),
}  # fmt: skip


def _data(kind: str, tokens: list[str], origin: Name) -> tuple[int, dnslib.RD]:
    if kind.upper() in ("CH", "HS", "CS"):
        raise ValueError("only class IN is served")
    rtype = names.type_number(kind)
    if tokens[:1] == ["\\#"] and kind.upper() not in _FORMATS:
        return rtype, _generic(tokens[1:])
    if kind.upper() == "TXT":
        if not tokens:
            raise ValueError("TXT needs at least one string")
        return rtype, dnslib.TXT([_octets(token, origin) for token in tokens])
    if kind.upper() not in _FORMATS:
        _unsupported(kind)
    fields, make = _FORMATS[kind.upper()]
    if len(tokens) != len(fields):
        raise ValueError(f"{kind} takes {len(fields)} field{'s'[: len(fields) > 1]}, not {len(tokens)}")
    return rtype, make(*(field(token, origin) for field, token in zip(fields, tokens, strict=True)))


def _unsupported(kind: str) -> NoReturn:
    raise ValueError(f"{kind} has no text form here; write its data as \\# LENGTH HEX (RFC 3597)")


def _generic(tokens: list[str]) -> dnslib.RD:
    try:
        data = bytes.fromhex("".join(tokens[1:]))
        if int(tokens[0]) == len(data) > 0:
            return dnslib.RD(data)
    except (ValueError, IndexError):
        pass
    raise ValueError("data of an unknown type are \\# LENGTH HEX, with LENGTH octets of HEX")
