"""The parts of a message as FETCH names them: sections, ENVELOPE, BODYSTRUCTURE (RFC 3501 §6.4.5, §7.4.2).

Theory of operation. A message is never taken apart and put together again: a `Part` is two places in the
octets as they were delivered, so that every section is a piece of these. Header fields are read with the
standard library; what makes no sense there (a boundary that never comes, a type that is none) is text/plain.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import compat32
from email.utils import getaddresses

from services.imap.syntax import nstring, quoted

_HEADER_END = re.compile(rb"\n\r?\n")
_FIELD = re.compile(rb"([^\s:][^:\r\n]*?)[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*(?:\n|\Z)")
_DEEPEST = 30
_MOST_PARTS = 1000


@dataclass(slots=True, kw_only=True)
class Part:
    """A message or a part of one: its header ends, and its body begins, at `body`."""

    octets: bytes = field(repr=False)
    start: int
    body: int
    end: int
    fields: Message
    children: list[Part] = field(default_factory=list)
    embedded: Part | None = None

    @property
    def header(self) -> bytes:
        return self.octets[self.start : self.body]

    @property
    def content(self) -> bytes:
        return self.octets[self.body : self.end]

    @property
    def type(self) -> tuple[str, str]:
        return self.fields.get_content_maintype(), self.fields.get_content_subtype()


def parse(octets: bytes) -> Part:
    """Return the message in its parts."""
    return _part(octets, 0, len(octets), "text/plain", _DEEPEST)


def _part(octets: bytes, start: int, end: int, default: str, depth: int) -> Part:
    if octets.startswith((b"\r\n", b"\n"), start, end):
        # No header at all.
        body = octets.index(b"\n", start) + 1
    else:
        blank = _HEADER_END.search(octets, start, end)
        body = blank.end() if blank else end
    fields = BytesHeaderParser(policy=compat32).parsebytes(octets[start:body])
    fields.set_default_type(default)
    part = Part(octets=octets, start=start, body=body, end=end, fields=fields)
    if depth and part.type[0] == "multipart":
        inner = "message/rfc822" if part.type[1] == "digest" else "text/plain"
        for low, high in _pieces(part):
            part.children.append(_part(octets, low, high, inner, depth - 1))
    elif depth and part.type == ("message", "rfc822"):
        part.embedded = _part(octets, body, end, "text/plain", depth - 1)
    return part


def _pieces(part: Part) -> list[tuple[int, int]]:
    """Where the parts of a multipart lie (RFC 2046 §5.1.1): the line end before a boundary belongs to it."""
    name = part.fields.get_boundary()
    if not name:
        return []
    boundary = re.escape(name.encode("ascii", "surrogateescape"))
    line = re.compile(rb"(?:\A|(?<=\n))--" + boundary + rb"(--)?[ \t]*(?:\r?\n|\Z)")
    found: list[tuple[int, int]] = []
    begin: int | None = None
    for match in line.finditer(part.content):
        at = part.body + match.start()
        if begin is not None:
            found.append((begin, max(begin, at - _line_end(part.octets, at))))
        begin = part.body + match.end()
        if match[1] or len(found) >= _MOST_PARTS:
            return found
    if begin is not None:
        found.append((begin, part.end))
    return found


def _line_end(octets: bytes, at: int) -> int:
    return 2 if octets[at - 2 : at] == b"\r\n" else 1


def find(whole: Part, numbers: Sequence[int]) -> Part | None:
    """Return the part that numbers such as 2.1 name, or None.

    A message that is no multipart has a part 1, its body (RFC 3501 §6.4.5).
    """
    part = whole
    for place, number in enumerate(numbers):
        inside = part.embedded if place and part.embedded is not None else part
        if inside.children:
            if not 1 <= number <= len(inside.children):
                return None
            part = inside.children[number - 1]
        elif number != 1 or (place and inside is part):
            return None
        else:
            part = inside
    return part


def selected_fields(header: bytes, names: Sequence[bytes], *, others: bool) -> bytes:
    """Return the fields of these names, or all `others`, with the empty line that ends a header."""
    wanted = {name.lower() for name in names}
    kept = [match[0] for match in _FIELD.finditer(header) if (match[1].lower() in wanted) is not others]
    return b"".join(kept) + b"\r\n"


def envelope(part: Part) -> bytes:
    """Return the ENVELOPE of a message."""
    text = part.fields
    sender = _addresses(text, "From")
    items = [nstring(_value(text, "Date")), nstring(_value(text, "Subject")), sender]
    items += [_addresses(text, name) if _value(text, name) else sender for name in ("Sender", "Reply-To")]
    items += [_addresses(text, name) for name in ("To", "Cc", "Bcc")]
    items += [nstring(_value(text, name)) for name in ("In-Reply-To", "Message-ID")]
    return b"(" + b" ".join(items) + b")"


def field_value(fields: Message, name: str) -> bytes | None:
    """Return what a field holds, unfolded, or None."""
    return _value(fields, name)


def _value(fields: Message, name: str) -> bytes | None:
    value = fields.get(name)
    if value is None:
        return None
    # Bytes beyond ASCII come as surrogates, or wrapped in a Header, which says its text.
    raw = next(text for key, text in fields.raw_items() if key.lower() == name.lower())
    return re.sub(rb"\r?\n(?=[ \t])|[\r\n\0]", b"", _octets(str(raw))).strip()


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _addresses(fields: Message, name: str) -> bytes:
    value = _value(fields, name)
    if not value:
        return b"NIL"
    found = []
    for display, address in getaddresses([value.decode("utf-8", "surrogateescape")]):
        local, _, domain = address.rpartition("@")
        if address:
            parts = [_octets(display) or None, None, _octets(local or domain), _octets(domain)]
            found.append(b"(" + b" ".join(map(nstring, parts)) + b")")
    return b"(" + b"".join(found) + b")" if found else b"NIL"


def structure(part: Part, *, extended: bool) -> bytes:
    """Return the BODY of a part, or with `extended` its BODYSTRUCTURE."""
    kind, sub = part.type
    if part.children:
        text = b"".join(structure(child, extended=extended) for child in part.children)
        text += b" " + _upper(sub)
        if extended:
            text += b" " + _parameters(part.fields, "content-type") + b" " + _extension(part.fields)
        return b"(" + text + b")"
    if kind == "multipart":
        # Nothing in it can be told apart.
        kind, sub = "text", "plain"
    items = [
        _upper(kind),
        _upper(sub),
        _parameters(part.fields, "content-type"),
        nstring(_value(part.fields, "Content-ID")),
        nstring(_value(part.fields, "Content-Description")),
        quoted((_value(part.fields, "Content-Transfer-Encoding") or b"7bit").upper()),
        b"%d" % (part.end - part.body),
    ]
    if part.embedded is not None:
        items += [envelope(part.embedded), structure(part.embedded, extended=extended)]
    if kind == "text" or part.embedded is not None:
        items.append(b"%d" % part.content.count(b"\n"))
    if extended:
        items += [nstring(_value(part.fields, "Content-MD5")), _extension(part.fields)]
    return b"(" + b" ".join(items) + b")"


def _upper(text: str) -> bytes:
    return quoted(_octets(text.upper()))


def _extension(fields: Message) -> bytes:
    disposition = b"NIL"
    value = _value(fields, "Content-Disposition")
    if value:
        kind = value.partition(b";")[0].strip()
        disposition = b"(" + quoted(kind.upper()) + b" " + _parameters(fields, "content-disposition") + b")"
    language = _value(fields, "Content-Language")
    return b" ".join((disposition, nstring(language), nstring(_value(fields, "Content-Location"))))


def _parameters(fields: Message, header: str) -> bytes:
    try:
        given = (fields.get_params(header=header, unquote=True) or [])[1:]
    except (ValueError, LookupError):
        return b"NIL"
    found = []
    for name, value in given:
        text = value if isinstance(value, str) else value[2]
        found.append(_upper(name) + b" " + quoted(_octets(text)))
    if not found:
        return b'("CHARSET" "US-ASCII")' if header == "content-type" and _plain(fields) else b"NIL"
    return b"(" + b" ".join(found) + b")"


def _plain(fields: Message) -> bool:
    return fields.get_content_type() == "text/plain"
