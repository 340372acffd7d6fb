"""SEARCH: which messages answer a description (RFC 3501 §6.4.4).

Theory of operation. A search is read into a condition, a function of a candidate; it is then asked of each.
The message's octets are read only if the condition comes to need them. Text is compared without case, in
fields and bodies as they stand and, where they are encoded (RFC 2047, quoted-printable, base64), as they are
meant.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.header import decode_header, make_header
from email.utils import parsedate_to_datetime
from functools import cached_property

from services.imap import parts
from services.imap.fetching import read_date
from services.imap.parts import Part
from services.imap.syntax import BadSyntax, Numbers, Reader
from services.mailbox.folder import FLAGS, Entry

_CHARSETS = ("US-ASCII", "UTF-8")
_DEEPEST = 50


class BadCharset(Exception):
    """The search is in a charset that nobody here reads."""


# Not slotted: what is read of the message is kept.
@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A message that is asked about; `read` gives its octets."""

    number: int
    last: int
    entry: Entry
    last_uid: int
    recent: bool
    read: Callable[[], bytes]

    @cached_property
    def whole(self) -> Part:
        return parts.parse(self.read())


Condition = Callable[[Candidate], bool]


def read_search(reader: Reader) -> Condition:
    """Return the condition that a search describes. Raises: BadSyntax, BadCharset."""
    if reader.skip(b"CHARSET "):
        charset = reader.astring().decode("ascii", "replace").upper()
        if charset not in _CHARSETS:
            raise BadCharset(charset)
        reader.space()
    return _all(_keys(reader, 0))


def _keys(reader: Reader, depth: int) -> list[Condition]:
    found = [_key(reader, depth)]
    while reader.skip(b" "):
        found.append(_key(reader, depth))
    return found


def _all(conditions: Sequence[Condition]) -> Condition:
    return lambda message: all(condition(message) for condition in conditions)


def _key(reader: Reader, depth: int) -> Condition:
    if depth > _DEEPEST:
        raise BadSyntax("this search is nested too deep")
    if reader.skip(b"("):
        inner = _all(_keys(reader, depth + 1))
        reader.expect(b")")
        return inner
    if reader.peek().isdigit() or reader.peek() == b"*":
        return _by_number(reader.numbers())
    name = reader.atom()
    if name in _FLAG_KEYS:
        return _FLAG_KEYS[name]
    if name in ("NOT", "OR"):
        reader.space()
        first = _key(reader, depth + 1)
        if name == "NOT":
            return lambda message: not first(message)
        reader.space()
        second = _key(reader, depth + 1)
        return lambda message: first(message) or second(message)
    if name not in _WITH_ARGUMENT:
        raise BadSyntax(f"{name} is nothing to search for")
    reader.space()
    return _WITH_ARGUMENT[name](reader)


def _by_number(numbers: Numbers) -> Condition:
    return lambda message: _numbers_of(numbers, message.number, message.last)


def _with_last(number: int, last: int) -> list[int]:
    """The number, asked as if it were all there is; `*` is the last one of the mailbox."""
    return [number] if number == last else [number, last]


def _numbers_of(numbers: Numbers, number: int, last: int) -> bool:
    return number in numbers.among(_with_last(number, last))


def _uid(reader: Reader) -> Condition:
    numbers = reader.numbers()
    return lambda message: _numbers_of(numbers, message.entry.uid, message.last_uid)


def _flagged(flag: str, wanted: bool) -> Condition:
    return lambda message: (FLAGS[flag] in message.entry.letters) is wanted


_FLAG_KEYS: dict[str, Condition] = {
    "ALL": lambda _: True,
    "RECENT": lambda message: message.recent,
    "OLD": lambda message: not message.recent,
    "NEW": lambda message: message.recent and "S" not in message.entry.letters,
}
for _flag in FLAGS:
    _FLAG_KEYS[_flag[1:].upper()] = _flagged(_flag, True)
    _FLAG_KEYS["UN" + _flag[1:].upper()] = _flagged(_flag, False)


def _size(larger: bool) -> Callable[[Reader], Condition]:
    def read(reader: Reader) -> Condition:
        limit = reader.number()
        if larger:
            return lambda message: message.entry.size > limit
        return lambda message: message.entry.size < limit

    return read


def _keyword(present: bool) -> Callable[[Reader], Condition]:
    def read(reader: Reader) -> Condition:
        # None is ever kept.
        reader.atom()
        return lambda _: not present

    return read


def _arrived(message: Candidate) -> datetime.date | None:
    return datetime.datetime.fromtimestamp(message.entry.arrival, datetime.UTC).date()


def _dated(message: Candidate) -> datetime.date | None:
    value = parts.field_value(message.whole.fields, "Date")
    try:
        return parsedate_to_datetime((value or b"").decode("ascii", "replace")).date()
    except (ValueError, OverflowError):
        return None


def _date(
    of: Callable[[Candidate], datetime.date | None],
    holds: Callable[[datetime.date, datetime.date], bool],
) -> Callable[[Reader], Condition]:
    def read(reader: Reader) -> Condition:
        bound = read_date(reader.astring())

        def condition(message: Candidate) -> bool:
            when = of(message)
            return when is not None and holds(when, bound)

        return condition

    return read


def _field(name: str) -> Callable[[Reader], Condition]:
    def read(reader: Reader) -> Condition:
        return _holds(name, _folded(reader.astring()))

    return read


def _header(reader: Reader) -> Condition:
    name = reader.astring().decode("ascii", "replace")
    reader.space()
    return _holds(name, _folded(reader.astring()))


def _holds(name: str, needle: str) -> Condition:
    def condition(message: Candidate) -> bool:
        values = [str(v) for key, v in message.whole.fields.raw_items() if key.lower() == name.lower()]
        return any(needle in _meant(value) for value in values)

    return condition


def _text(header: bool) -> Callable[[Reader], Condition]:
    def read(reader: Reader) -> Condition:
        needle = _folded(reader.astring())

        def condition(message: Candidate) -> bool:
            whole = message.whole
            if header and needle in _folded(whole.header):
                return True
            if header and any(needle in _meant(str(value)) for _, value in whole.fields.raw_items()):
                return True
            return needle in _folded(whole.content) or any(needle in text for text in _texts(whole))

        return condition

    return read


def _texts(part: Part) -> list[str]:
    """The texts in a message as they are meant, without case."""
    inside = [*part.children, *([part.embedded] if part.embedded else [])]
    if inside:
        return [text for child in inside for text in _texts(child)]
    if part.type[0] != "text":
        return []
    part.fields.set_payload(part.content.decode("ascii", "surrogateescape"))
    payload = part.fields.get_payload(decode=True)
    octets = payload if isinstance(payload, bytes) else part.content
    charset = str(part.fields.get_content_charset() or "utf-8")
    try:
        return [octets.decode(charset, "replace").casefold()]
    except LookupError:
        return [_folded(octets)]


def _folded(octets: bytes) -> str:
    return octets.decode("utf-8", "replace").casefold()


def _meant(value: str) -> str:
    """A field's text without case, unfolded, its encoded words decoded."""
    text = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\r\n", "")
    try:
        return str(make_header(decode_header(text))).casefold()
    except (ValueError, LookupError):
        return text.casefold()


_WITH_ARGUMENT: dict[str, Callable[[Reader], Condition]] = {
    "UID": _uid,
    "LARGER": _size(True),
    "SMALLER": _size(False),
    "KEYWORD": _keyword(True),
    "UNKEYWORD": _keyword(False),
    "BEFORE": _date(_arrived, lambda when, bound: when < bound),
    "ON": _date(_arrived, lambda when, bound: when == bound),
    "SINCE": _date(_arrived, lambda when, bound: when >= bound),
    "SENTBEFORE": _date(_dated, lambda when, bound: when < bound),
    "SENTON": _date(_dated, lambda when, bound: when == bound),
    "SENTSINCE": _date(_dated, lambda when, bound: when >= bound),
    "BCC": _field("Bcc"),
    "CC": _field("Cc"),
    "FROM": _field("From"),
    "SUBJECT": _field("Subject"),
    "TO": _field("To"),
    "HEADER": _header,
    "BODY": _text(False),
    "TEXT": _text(True),
}
