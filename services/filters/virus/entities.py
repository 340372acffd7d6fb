"""What a MIME entity holds, however badly it is written (RFC 2045, 2046).

Theory of operation. A mail program may read a broken message in another way than we do, and then open what we
did not see. So where a message is ambiguous, every reading counts:

    several Content-Transfer-Encoding fields, or one that says two things    decoded in each way
    an encoding that nobody knows, of what looks like base64                 decoded as that
    several boundaries                                                       cut at each
    a multipart without a boundary                                           cut at what looks like one
    base64 with other characters in it, without its end, or in pieces        decoded as far as it goes
    uuencoded files in a text                                                decoded too

Nothing here calls itself: what is found is handed out, and looked into in its turn.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

from services.filters.header import header_length

_FIELD = re.compile(
    rb"^content-(type|transfer-encoding|disposition)[ \t]*+:(.*+(?:\n[ \t].*+)*+)",
    re.IGNORECASE | re.MULTILINE,
)
_ENCODING = re.compile(
    rb"base64|quoted-printable|x-uuencode|uuencode|x-uue|uue|7bit|8bit|binary", re.IGNORECASE
)
_BOUNDARY = re.compile(
    rb'boundary\*?(?:0\*?)?[ \t\r\n]*=[ \t\r\n]*(?:"((?:[^"\\]|\\.)*+)"|([^\s;"]+))', re.IGNORECASE
)
_NAME = re.compile(rb'name\*?(?:0\*?)?[ \t\r\n]*=[ \t\r\n]*(?:"([^"]*)"|([^\s;"]+))', re.IGNORECASE)
_GUESSED = re.compile(rb"^--([^\s-]\S{0,199})[ \t]*\r?\n(?=content-)", re.IGNORECASE | re.MULTILINE)
_ALPHABET = re.compile(rb"[A-Za-z0-9+/=\s]{64,}\Z")
_BEGIN = re.compile(rb"begin [0-7]{3,4} .*\n")
_UU_LINE = re.compile(rb"[ -`]{1,90}\r?\n?")
_MOST_BOUNDARIES = 4
_MOST_PIECES = 1000
_GUESSED_WITHIN = 1 << 20
_MESSAGES = (b"message/rfc822", b"message/global", b"text/rfc822-headers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What an entity's header says of its content; `kind` is its media type in lower case."""

    kind: bytes
    encodings: tuple[bytes, ...]
    boundaries: tuple[bytes, ...]
    name: str

    @property
    def is_multipart(self) -> bool:
        return self.kind.startswith(b"multipart/") or bool(self.boundaries)

    @property
    def is_message(self) -> bool:
        return self.kind in _MESSAGES


def split(entity: bytes) -> tuple[Head, bytes]:
    """Return what the header of an entity says, and the body."""
    if b"\n" not in entity:
        entity = entity.replace(b"\r", b"\n")
    length = header_length(entity)
    body = entity[length:]
    body = body[2:] if body.startswith(b"\r\n") else body[1:] if body.startswith(b"\n") else body
    return _head(entity[:length]), body


def _head(header: bytes) -> Head:
    kinds: list[bytes] = []
    encodings: list[bytes] = []
    boundaries: list[bytes] = []
    name = b""
    for found in _FIELD.finditer(header):
        field, value = found[1].lower(), found[2]
        if field == b"transfer-encoding":
            encodings += _ENCODING.findall(value.lower()) or [b"unknown"]
            continue
        named = _NAME.search(value)
        name = name or (named[1] or named[2] or b"" if named else b"")
        if field == b"type":
            kinds.append(value.partition(b";")[0].strip().lower())
            boundaries += dict.fromkeys(quoted or plain for quoted, plain in _BOUNDARY.findall(value))
    # Of several types, the one that has others in it.
    kind = next(
        (kind for kind in kinds if kind.startswith((b"multipart/", b"message/"))), (kinds or [b""])[0]
    )
    return Head(
        kind=kind,
        encodings=tuple(dict.fromkeys(encodings)),
        # Readers take the first or the last; nobody looks at all of a million.
        boundaries=tuple(
            dict.fromkeys(map(_unquoted, boundaries[:_MOST_BOUNDARIES] + boundaries[-_MOST_BOUNDARIES:]))
        ),
        name=name.decode("utf-8", "replace"),
    )


def _unquoted(boundary: bytes) -> bytes:
    return re.sub(rb"\\(.)", rb"\1", boundary).rstrip()


def decodings(head: Head, body: bytes) -> list[bytes]:
    """Return what a body may stand for: once for each encoding that its header names."""
    found = [_decoded(encoding, body) for encoding in head.encodings] or [body]
    if head.is_multipart and body not in found:
        # It must not be encoded as a whole (RFC 2045 §6.4), and who does so is read both ways.
        found.append(body)
    return [each for number, each in enumerate(found) if each not in found[:number]]


def _decoded(encoding: bytes, body: bytes) -> bytes:
    if encoding == b"base64":
        return base64(body)
    if encoding == b"quoted-printable":
        return binascii.a2b_qp(body)
    if encoding == b"unknown" and _ALPHABET.match(body):
        return base64(body)
    # uuencoded files are found in every text.
    return body


def base64(text: bytes) -> bytes:
    """Return what base64 stands for (RFC 2045 §6.8), as far as it goes, in several pieces or without end."""
    text = text.rstrip(b"=\r\n\t -")
    pieces = text.split(b"=", _MOST_PIECES) if b"=" in text else [text]
    return b"".join(_base64_piece(piece) for piece in pieces if piece)


def _base64_piece(piece: bytes) -> bytes:
    try:
        return binascii.a2b_base64(piece + b"==")
    except binascii.Error:
        # One character too many: what was cut off there is lost for everybody.
        letters = re.sub(rb"[^A-Za-z0-9+/]", b"", piece)
        return binascii.a2b_base64(letters[: len(letters) // 4 * 4])


def parts(head: Head, body: bytes) -> Iterator[bytes]:
    """Yield the entities of a multipart body, then what stands before and after them."""
    declared = [boundary for boundary in head.boundaries if b"--" + boundary in body]
    for boundary in declared or dict.fromkeys(_GUESSED.findall(body[:_GUESSED_WITHIN])[:_MOST_BOUNDARIES]):
        yield from _cut(body, boundary)


def _cut(body: bytes, boundary: bytes) -> Iterator[bytes]:
    mark = b"--" + boundary
    start, at = -1, 0 if body.startswith(mark) else _next(body, mark, 0)
    if at < 0:
        return
    if at:
        # A preamble has no header; nothing in it is encoded.
        yield b"\n" + body[:at]
    while at >= 0:
        line_end = body.find(b"\n", at)
        tail = body[at + len(mark) : line_end if line_end >= 0 else len(body)].strip()
        if tail in (b"", b"--"):
            if start >= 0:
                yield body[start : at - 1]
            start = -1 if line_end < 0 else line_end + 1
        if line_end < 0:
            return
        at = _next(body, mark, line_end)
    if 0 <= start < len(body):
        yield body[start:]


def _next(body: bytes, mark: bytes, start: int) -> int:
    found = body.find(b"\n" + mark, start)
    return found + 1 if found >= 0 else -1


def looks_like_message(data: bytes) -> bool:
    """Return whether an attachment begins as a message does."""
    return bool(_MESSAGE.match(data))


_MESSAGE = re.compile(
    rb"(?:From .*\n)?(?:return-path|received|from|to|subject|date|message-id|mime-version|content-type"
    rb"|dkim-signature|delivered-to|authentication-results|x-[a-z0-9-]+)[ \t]*:",
    re.IGNORECASE,
)


def uuencoded(text: bytes) -> Iterator[bytes]:
    """Yield the files that are uuencoded in a text, as far as they can be read."""
    at = 0 if text.startswith(b"begin ") else _next_begin(text, 0)
    while at >= 0:
        begin = _BEGIN.match(text, at)
        end = at + 1
        if begin is not None:
            decoded, end = _uu_file(text, begin.end())
            if decoded:
                yield decoded
        at = _next_begin(text, end - 1)


def _next_begin(text: bytes, start: int) -> int:
    found = text.find(b"\nbegin ", start)
    return found + 1 if found >= 0 else -1


def _uu_file(text: bytes, at: int) -> tuple[bytes, int]:
    """Return what the lines there stand for, and where they end."""
    decoded = bytearray()
    while (line := _UU_LINE.match(text, at)) and not line[0].startswith((b"`", b"end")):
        try:
            decoded += binascii.a2b_uu(line[0])
        except binascii.Error:
            break
        at = line.end()
    return bytes(decoded), at
