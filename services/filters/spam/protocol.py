"""spamd's protocol, both ends of it, on bytes alone.

    CHECK SPAMC/1.5                     SPAMD/1.1 0 EX_OK
    Content-length: 1034                Content-length: 0
                                        Spam: True ; 7.1 / 5.0
    (the message)

Theory of operation. A connection carries one request; `Request` takes its bytes as they come and says when it
is complete. Without a length the client ends the message by closing its half. What is answered:

    PING        that somebody is there
    CHECK       the verdict alone
    SYMBOLS     and the names of the rules that fired
    REPORT      and the whole report; REPORT_IFSPAM: only if it is spam
    PROCESS     and the message with the header fields added
    HEADERS     and its header with them
    TELL        learn the message (`Message-class`, `Set: local`) or forget it (`Remove: local`)
    SKIP        nothing

Source: SpamAssassin's spamd/PROTOCOL.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

METHODS = frozenset(
    ("PING", "CHECK", "SYMBOLS", "REPORT", "REPORT_IFSPAM", "PROCESS", "HEADERS", "TELL", "SKIP")
)
_LONGEST_HEAD = 16 * 1024
_LINE = re.compile(rb"([A-Z_]{1,20}) SPAMC/(\d\.\d)")
# What sysexits.h calls them.
OK, USAGE, DATA, TOO_LARGE, SOFTWARE, PROTOCOL = 0, 64, 65, 98, 70, 76
_NAMES = {
    OK: "EX_OK",
    USAGE: "EX_USAGE",
    DATA: "EX_DATAERR",
    TOO_LARGE: "EX_TOOBIG",
    SOFTWARE: "EX_SOFTWARE",
    PROTOCOL: "EX_PROTOCOL",
}


class BadRequest(Exception):
    """The client does not speak the protocol, or asks for too much; `code` is what it is told."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True, kw_only=True)
class Request:
    """A request as it comes in: give it what arrives (`feed`), then what it `is_complete` with."""

    limit: int
    method: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    _head: bytearray = field(default_factory=bytearray)
    _pieces: list[bytes] = field(default_factory=list)
    _size: int = 0
    _length: int | None = None
    _ended: bool = False

    def feed(self, data: bytes) -> None:
        """Take bytes that arrived. Raises: BadRequest."""
        if self.method:
            self._add(data)
            return
        self._head += data
        end = re.search(rb"\r?\n\r?\n", self._head)
        if end:
            self._start(bytes(self._head[: end.start()]))
            self._add(bytes(self._head[end.end() :]))
            self._head.clear()
        elif len(self._head) > _LONGEST_HEAD:
            raise BadRequest(PROTOCOL, "the request has no end")
        elif len(self._head) > 32 and not _LINE.match(self._head):
            raise BadRequest(PROTOCOL, "this is not spamd's protocol")

    def end(self) -> None:
        """The client says no more. Raises: BadRequest if that is too early."""
        if not self.method and re.fullmatch(rb"(PING|SKIP) SPAMC/\d\.\d\s*", self._head):
            # PING with a single line.
            self._start(bytes(self._head).strip())
        if not self.method:
            raise BadRequest(PROTOCOL, "the request is not complete")
        if self._length is not None and self._size < self._length:
            raise BadRequest(DATA, f"{self._size} of {self._length} octets arrived")
        self._ended = True

    @property
    def is_complete(self) -> bool:
        """All of it is here."""
        if not self.method:
            return False
        return self._ended or self.method in ("PING", "SKIP") or self._size == self._length

    def message(self) -> bytes:
        """Return the message. Raises: BadRequest if it was compressed and cannot be opened."""
        data = b"".join(self._pieces)
        if self.headers.get("compress", "").lower() != "zlib":
            return data
        opener = zlib.decompressobj()
        try:
            opened = opener.decompress(data, self.limit + 1)
        except zlib.error as error:
            raise BadRequest(DATA, f"the message cannot be decompressed: {error}") from error
        if len(opened) > self.limit:
            raise BadRequest(TOO_LARGE, f"the message is larger than {self.limit} octets")
        return opened

    def _start(self, head: bytes) -> None:
        line, *lines = head.decode("latin-1").splitlines() or [""]
        found = _LINE.fullmatch(line.strip().encode("latin-1"))
        if not found:
            raise BadRequest(PROTOCOL, "this is not spamd's protocol")
        method = found[1].decode()
        if method not in METHODS:
            raise BadRequest(PROTOCOL, f"{method} is not known here")
        pairs = (each.partition(":") for each in lines)
        self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        length = self.headers.get("content-length")
        if length is not None:
            if not re.fullmatch(r"\d{1,12}", length):
                raise BadRequest(PROTOCOL, "the length is no number")
            self._length = int(length)
            if self._length > self.limit:
                raise BadRequest(TOO_LARGE, f"the message is larger than {self.limit} octets")
        self.method = method

    def _add(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._length is not None and self._size > self._length:
            raise BadRequest(DATA, "more arrived than was announced")
        if self._size > self.limit:
            raise BadRequest(TOO_LARGE, f"the message is larger than {self.limit} octets")


def request(method: str, message: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """Return a request's bytes."""
    lines = [f"{method} SPAMC/1.5"]
    if message or method not in ("PING", "SKIP"):
        lines.append(f"Content-length: {len(message)}")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + message


def response(code: int, headers: Mapping[str, str] | None = None, body: bytes = b"", text: str = "") -> bytes:
    """Return a response's bytes; `text` replaces the code's name."""
    lines = [f"SPAMD/1.1 {code} {text or _NAMES[code]}"]
    lines += [
        f"{name}: {value}" for name, value in {"Content-length": str(len(body)), **(headers or {})}.items()
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def pong() -> bytes:
    """Return the answer to PING."""
    return b"SPAMD/1.5 0 PONG\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What an engine answered: `text` is the code's name or what is wrong."""

    code: int
    text: str
    headers: Mapping[str, str]
    body: bytes


def read_response(data: bytes) -> Response:
    """Return a whole response, read. Raises: ValueError if it is none."""
    head, _, body = data.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").splitlines() or [""]
    found = re.fullmatch(r"SPAMD/\d\.\d (\d+) (.*)", line.strip())
    if not found:
        raise ValueError("this is no response of a spamd")
    pairs = (each.partition(":") for each in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    length = headers.get("content-length", "")
    if length.isdigit() and int(length) > len(body):
        raise ValueError("the response is cut off")
    return Response(code=int(found[1]), text=found[2], headers=headers, body=body)
