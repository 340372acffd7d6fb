"""What FETCH asks for and what it is answered (RFC 3501 §6.4.5, §7.4.2)."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from services.imap import parts
from services.imap.parts import Part
from services.imap.syntax import BadSyntax, Reader, literal
from services.mailbox.folder import Entry

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MACROS = {
    "FAST": ("FLAGS", "INTERNALDATE", "RFC822.SIZE"),
    "ALL": ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"),
    "FULL": ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY"),
}
_SIMPLE = {"UID", "FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY", "BODYSTRUCTURE"}
_OLD = {"RFC822": ("", False), "RFC822.HEADER": ("HEADER", True), "RFC822.TEXT": ("TEXT", False)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing asked for. A section has `text` (HEADER, TEXT, MIME, HEADER.FIELDS, … or empty: all of it).

    `partial` is the first octet and how many.
    """

    name: str
    section: bool = False
    peek: bool = True
    numbers: tuple[int, ...] = ()
    text: str = ""
    fields: tuple[bytes, ...] = ()
    partial: tuple[int, int] | None = None

    @property
    def needs_content(self) -> bool:
        return self.section or self.name in ("ENVELOPE", "BODY", "BODYSTRUCTURE")


def read_items(reader: Reader) -> tuple[Item, ...]:
    """Return what is asked for. Raises: BadSyntax."""
    if not reader.skip(b"("):
        return _items(reader, macros=True)
    found = list(_items(reader))
    while not reader.skip(b")"):
        reader.space()
        found += _items(reader)
    return tuple(found)


def _items(reader: Reader, *, macros: bool = False) -> tuple[Item, ...]:
    # `[` is no octet of these words, though atoms may hold it.
    name = ""
    while (octet := reader.peek()) and (octet.isalnum() or octet == b"."):
        reader.skip(octet.upper())
        name += octet.decode().upper()
    if macros and name in _MACROS:
        return tuple(Item(name=each) for each in _MACROS[name])
    if name in _OLD:
        text, peek = _OLD[name]
        return (Item(name=name, section=True, peek=peek, text=text),)
    if name in ("BODY", "BODY.PEEK") and reader.skip(b"["):
        return (_section(reader, peek=name == "BODY.PEEK"),)
    if name in _SIMPLE:
        return (Item(name=name),)
    raise BadSyntax(f"{name or 'nothing'} is nothing that can be fetched")


def _section(reader: Reader, *, peek: bool) -> Item:
    numbers: list[int] = []
    text = ""
    while reader.peek().isdigit():
        numbers.append(reader.number())
        if not reader.skip(b"."):
            break
    else:
        for word in (b"HEADER.FIELDS.NOT", b"HEADER.FIELDS", b"HEADER", b"TEXT", b"MIME"):
            if reader.skip(word):
                text = word.decode()
                break
    if text == "MIME" and not numbers:
        raise BadSyntax("MIME belongs to a part")
    fields: list[bytes] = []
    if text.startswith("HEADER.FIELDS"):
        reader.space()
        fields = reader.words()
    reader.expect(b"]")
    partial = None
    if reader.skip(b"<"):
        first = reader.number()
        reader.expect(b".")
        partial = first, reader.number()
        reader.expect(b">")
    name = ".".join([*map(str, numbers), *([text] if text else [])])
    if fields:
        name += " (" + " ".join(each.decode("ascii", "replace") for each in fields) + ")"
    return Item(
        name=f"BODY[{name}]",
        section=True,
        peek=peek,
        numbers=tuple(numbers),
        text=text,
        fields=tuple(fields),
        partial=partial,
    )


def answer(items: Iterable[Item], entry: Entry, flags: Iterable[str], content: Callable[[], bytes]) -> bytes:
    """Return what stands in the parentheses of a FETCH response; `content` gives the message's octets."""
    whole: Part | None = None
    found = []
    for item in items:
        if item.section and not item.numbers and not item.text:
            # The message itself need not be looked into.
            value = _cut(content(), item)
        elif item.needs_content:
            whole = whole or parts.parse(content())
            value = _of_part(item, whole)
        else:
            value = _of_entry(item.name, entry, flags)
        found.append(_label(item) + b" " + value)
    return b" ".join(found)


def _label(item: Item) -> bytes:
    origin = f"<{item.partial[0]}>" if item.partial else ""
    return f"{item.name}{origin}".encode()


def _of_entry(name: str, entry: Entry, flags: Iterable[str]) -> bytes:
    if name == "UID":
        return b"%d" % entry.uid
    if name == "RFC822.SIZE":
        return b"%d" % entry.size
    if name == "INTERNALDATE":
        return internal_date(entry.arrival)
    return b"(" + " ".join(flags).encode() + b")"


def _of_part(item: Item, whole: Part) -> bytes:
    if item.name == "ENVELOPE":
        return parts.envelope(whole)
    if not item.section:
        return parts.structure(whole, extended=item.name == "BODYSTRUCTURE")
    octets = _section_octets(item, whole)
    return b"NIL" if octets is None else _cut(octets, item)


def _section_octets(item: Item, whole: Part) -> bytes | None:
    part = parts.find(whole, item.numbers)
    if part is None:
        return None
    if not item.text:
        return part.content
    if item.text == "MIME":
        return part.header
    # HEADER and TEXT are of a message: the whole one, or one that a part holds.
    message = part.embedded if item.numbers else part
    if message is None:
        return None
    if item.text == "TEXT":
        return message.content
    if item.text == "HEADER":
        return message.header
    return parts.selected_fields(message.header, item.fields, others=item.text.endswith("NOT"))


def _cut(octets: bytes, item: Item) -> bytes:
    if item.partial is not None:
        first, count = item.partial
        octets = octets[first : first + count]
    return literal(octets)


def internal_date(arrival: float) -> bytes:
    """Return the time as IMAP writes it, in UTC."""
    when = datetime.datetime.fromtimestamp(arrival, datetime.UTC)
    return f'"{when.day:2}-{_MONTHS[when.month - 1]}-{when:%Y %H:%M:%S} +0000"'.encode()


def read_date(text: bytes) -> datetime.date:
    """Return a date such as 24-Nov-2026. Raises: BadSyntax."""
    try:
        day, month, year = text.decode("ascii").split("-")
        return datetime.date(int(year), _MONTHS.index(month.capitalize()) + 1, int(day))
    except (ValueError, UnicodeError):
        raise BadSyntax("a date is wrong: it looks like 24-Nov-2026") from None


def read_date_time(text: bytes) -> float:
    """Return the time (s since 1970) in ` 4-Nov-2026 10:11:12 +0100`. Raises: BadSyntax."""
    try:
        date, clock, zone = text.decode("ascii").split()
        offset = datetime.timedelta(hours=int(zone[1:3]), minutes=int(zone[3:5]))
        shift = -offset if zone[0] == "-" else offset
        time = datetime.time.fromisoformat(clock)
        moment = datetime.datetime.combine(read_date(date.encode()), time, datetime.timezone(shift))
        return max(0.0, moment.timestamp())
    except (ValueError, UnicodeError, IndexError, OverflowError):
        raise BadSyntax("a date and time is wrong") from None
