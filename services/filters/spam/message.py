"""A message as the rules see it: its header fields and its parts, whatever is wrong with them.

Theory of operation. The octets are cut up, never put together again, and nothing that they hold is an error:
what is wrong is noted in `defects`, and reading goes on. Each step is linear in what it reads and stops at a
limit, so that a million parts or a header of many megabytes cost no more than a long letter.

Sources: RFC 5322 §2.2 (fields), RFC 2045 §5, §6 (type and encoding), RFC 2046 §5.1 (parts), RFC 2047 (encoded
words), RFC 2231 (long parameters).
"""

from __future__ import annotations

import binascii
import codecs
import re
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote_to_bytes

MOST_FIELDS = 1000
MOST_PARTS = 200
DEEPEST = 20
_LONGEST_HEADER = 256 * 1024
_LONGEST_TEXT = 256 * 1024

# Possessive throughout: what does not match is not tried in another way.
_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)(?:\n|\Z)")
_LINE = re.compile(rb"[^\n]*+(?:\n[ \t][^\n]*+)*+(?:\n|\Z)")
_HEADER_END = re.compile(rb"(\A|\n)\r?\n")
_WORD = re.compile(r"=\?([^?\s*]{1,40})(?:\*[^?\s]{0,40})?\?([bBqQ])\?([^?\s]{0,2000})\?=")
_BETWEEN_WORDS = re.compile(r"(\?=)[ \t]+(?==\?)")
_PARAMETER = re.compile(r';\s*+([^\s=;"]{1,60})\s*+=\s*+("(?:[^"\\]|\\.)*+"|[^;\s]*+)')
# Not those that are no charsets (hex, rot13), or slow (idna, punycode).
_CHARSETS = re.compile(
    r"utf-(7|8|8-sig|16.*|32.*)|ascii|iso8859-.*|cp\d+|koi8-.|mac-.*|gb.*|big5.*|shift_jis.*|euc_.*|iso2022_.*|"
    r"johab|hz|tis-620|ptcp154|kz1048"
)
_ENCODINGS = ("", "7bit", "8bit", "binary", "base64", "quoted-printable")


@dataclass(frozen=True, slots=True)
class Field:
    """A header field: `value` is unfolded and decoded, `raw` is as it stands there."""

    name: str
    value: str
    raw: str


class Header:
    """The fields of a message or a part, topmost first; `odd_lines` are lines that are no fields."""

    def __init__(self, data: bytes) -> None:
        self.fields: list[Field] = []
        self.odd_lines: list[str] = []
        self.long = len(data) > _LONGEST_HEADER
        self._by_name: dict[str, list[Field]] = {}
        data, at = data[:_LONGEST_HEADER], 0
        while at < len(data) and len(self.fields) + len(self.odd_lines) < MOST_FIELDS:
            found = _FIELD.match(data, at)
            if found:
                self._add(found[1], found[2])
            else:
                found = _LINE.match(data, at)
                if found is None:
                    break
                self.odd_lines.append(found[0][:80].decode("utf-8", "replace").strip())
            at = max(found.end(), at + 1)

    def _add(self, name: bytes, value: bytes) -> None:
        raw = value.replace(b"\r", b"").replace(b"\n", b"").decode("utf-8", "surrogateescape").strip()
        field = Field(name.decode("ascii"), decoded_words(raw), raw)
        self.fields.append(field)
        self._by_name.setdefault(field.name.lower(), []).append(field)

    def all(self, name: str) -> list[Field]:
        """Return the fields of that name."""
        return self._by_name.get(name.lower(), [])

    def get(self, name: str) -> str | None:
        """Return the decoded value of the first field of that name."""
        found = self.all(name)
        return found[0].value if found else None


@dataclass(frozen=True, eq=False)
class Part:
    """A part that holds content, not other parts."""

    header: Header
    body: bytes
    content_type: str
    parameters: dict[str, str]
    depth: int

    @cached_property
    def encoding(self) -> str:
        """Its transfer encoding, in lower case."""
        return (self.header.get("Content-Transfer-Encoding") or "").split(";")[0].strip().lower()

    @cached_property
    def filename(self) -> str:
        """The name that it is to be saved under, if any."""
        disposition = parameters(self.header.get("Content-Disposition") or "")
        return disposition.get("filename") or self.parameters.get("name", "")

    @cached_property
    def is_attachment(self) -> bool:
        """It is not there to be read with the message."""
        given = (self.header.get("Content-Disposition") or "").lower()
        return given.startswith("attachment") or bool(self.filename)

    @property
    def known_encoding(self) -> bool:
        return self.encoding in _ENCODINGS

    @cached_property
    def data(self) -> bytes:
        """The octets that the encoding stands for, of a long part its beginning."""
        # Twice as long encoded, or three times if quoted.
        body = self.body[: 3 * _LONGEST_TEXT]
        if self.encoding == "base64":
            return decoded_base64(body)[:_LONGEST_TEXT]
        if self.encoding == "quoted-printable":
            return binascii.a2b_qp(body)[:_LONGEST_TEXT]
        return body[:_LONGEST_TEXT]

    @cached_property
    def charset(self) -> str | None:
        """The codec of its charset, None if nobody knows it."""
        return charset(self.parameters.get("charset") or "us-ascii")

    @cached_property
    def text(self) -> str:
        """Its text; octets that are none in its charset are replaced."""
        codec = self.charset or "utf-8"
        if codec == "ascii" and not self.data.isascii():
            # What most programs would show.
            codec = "utf-8"
        return self.data.decode(codec, "replace").replace("\r\n", "\n")


CUT_AT = 512 * 1024
"""Who asks about a larger message sends its beginning, as spamc does: that it has no end says nothing."""


class Message:
    """A message, read; `size` is in octets, `defects` say what is wrong with how it is built."""

    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self.defects: list[str] = []
        self.parts: list[Part] = []
        self.containers: list[str] = []
        header, body = _split(data)
        self.header = Header(header)
        waiting = [(self.header, body, 0)]
        while waiting:
            waiting.extend(reversed(self._read(*waiting.pop())))
            if len(self.parts) + len(self.containers) + len(waiting) > MOST_PARTS:
                self._note(f"more than {MOST_PARTS} parts")
                break

    def _read(self, header: Header, body: bytes, depth: int) -> list[tuple[Header, bytes, int]]:
        """Note a part that holds content; return the parts of one that holds parts."""
        value = header.get("Content-Type") or "text/plain"
        content_type = value.partition(";")[0].strip().lower()
        given = parameters(value)
        if depth > DEEPEST:
            self._note(f"parts nested more than {DEEPEST} deep")
            return []
        if content_type == "message/rfc822":
            self.containers.append(content_type)
            inner, rest = _split(body)
            return [(Header(inner), rest, depth + 1)]
        if content_type.startswith("multipart/"):
            self.containers.append(content_type)
            pieces = self._pieces(body, given.get("boundary", ""))
            if pieces is not None:
                return [(Header(head), rest, depth + 1) for head, rest in map(_split, pieces)]
            content_type = "text/plain"
        self.parts.append(Part(header, body, content_type, given, depth))
        return []

    def _pieces(self, body: bytes, boundary: str) -> list[bytes] | None:
        if not boundary:
            self._note("multipart without a boundary")
            return None
        octets = re.escape(boundary[:200].encode("utf-8", "surrogateescape"))
        pieces: list[bytes] = []
        start = None
        for found in re.finditer(rb"(?:\A|\n)--" + octets + rb"(--)?+[ \t]*+\r?(?=\n|\Z)", body):
            if start is not None:
                pieces.append(body[start : found.start()].removesuffix(b"\r"))
            start = found.end() + 1
            if found[1] or len(pieces) > MOST_PARTS:
                return pieces
        if start is None:
            self._note("the boundary of a multipart does not occur")
            return None
        if self.size < CUT_AT:
            self._note("a multipart is not closed")
        return [*pieces, body[start:]]

    def _note(self, defect: str) -> None:
        if defect not in self.defects:
            self.defects.append(defect)

    @cached_property
    def texts(self) -> list[Part]:
        """The parts that are text to be read."""
        return [
            part for part in self.parts if part.content_type.startswith("text/") and not part.is_attachment
        ]

    @cached_property
    def plain(self) -> str:
        """What its plain text parts say."""
        texts = [part.text for part in self.texts if part.content_type != "text/html"]
        return "\n".join(texts)[:_LONGEST_TEXT]

    @cached_property
    def html(self) -> str:
        """Its HTML parts as they stand there."""
        texts = [part.text for part in self.texts if part.content_type == "text/html"]
        return "\n".join(texts)[:_LONGEST_TEXT]


def decoded_words(text: str) -> str:
    """Return the text with its encoded words decoded (RFC 2047); what is none stays as it is."""
    if "=?" not in text:
        return text
    return _WORD.sub(_word, _BETWEEN_WORDS.sub(r"\1", text))


def _word(found: re.Match[str]) -> str:
    octets = found[3].encode("utf-8", "surrogateescape")
    octets = decoded_base64(octets) if found[2] in "bB" else binascii.a2b_qp(octets, header=True)
    return octets.decode(charset(found[1]) or "utf-8", "replace")


def parameters(value: str) -> dict[str, str]:
    """Return the parameters of a field by name in lower case, long ones joined and decoded (RFC 2231)."""
    found: dict[str, str] = {}
    pieces: dict[str, list[str]] = {}
    for name, text in _PARAMETER.findall(value[:8000]):
        if text.startswith('"'):
            text = re.sub(r"\\(.)", r"\1", text[1:-1])
        name, star, _ = name.lower().partition("*")
        if star:
            pieces.setdefault(name, []).append(text)
        else:
            found.setdefault(name, text)
    for name, texts in pieces.items():
        found[name] = _extended("".join(texts))
    return found


def _extended(text: str) -> str:
    codec, first, rest = text.partition("'")
    _, second, value = rest.partition("'")
    if not first or not second:
        codec, value = "utf-8", text
    return unquote_to_bytes(value).decode(charset(codec) or "utf-8", "replace")


def decoded_base64(data: bytes) -> bytes:
    """Return what base64 stands for, as far as it can be read: other characters are skipped."""
    kept = re.sub(rb"[^A-Za-z0-9+/]+", b"", data)
    kept = kept[: len(kept) - 1] if len(kept) % 4 == 1 else kept
    return binascii.a2b_base64(kept + b"=" * (-len(kept) % 4))


def charset(name: str) -> str | None:
    """Return Python's name of a charset, None if there is none."""
    try:
        codec = codecs.lookup(name.strip().strip('"')).name
    except (LookupError, ValueError):
        return None
    return codec if _CHARSETS.fullmatch(codec) else None


def _split(data: bytes) -> tuple[bytes, bytes]:
    found = _HEADER_END.search(data)
    return (data[: found.end(1)], data[found.end() :]) if found else (data, b"")
