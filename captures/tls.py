"""Opening TLS 1.3 sessions with the secrets that their endpoints logged.

Theory of operation. Each side's bytes are a row of records of up to 16 KiB (RFC 8446 §5.1):

    22 handshake            in the clear: ClientHello, ServerHello; twice with a HelloRetryRequest
    20 change_cipher_spec   says nothing (§5)
    21 alert                in the clear: the handshake failed
    23 application_data     all else, encrypted; the true type is the last octet that is not zero (§5.2)

The client's random names the session in the key log, the ServerHello its cipher. Each side has a secret for
the handshake, one for what follows its Finished, and after each KeyUpdate the next. So a side is opened by
itself, from its beginning, in one pass: no certificate is looked at and no signature, for the tag of each
record proves that the secret is the session's.

A stream may end anywhere: the records that are whole are opened. One that its secret does not open is an
error, for all that follows would be lost.

Source: RFC 8446.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag

from captures.conversations import Piece
from captures.errors import Sealed
from captures.keyschedule import SUITES, Keys, Secrets, Suite

__all__ = ["open_tls", "Opened", "Secrets"]

_ALERT: Final = 21
_HANDSHAKE: Final = 22
_APPLICATION_DATA: Final = 23
_CONTENT_TYPES: Final = frozenset({20, _ALERT, _HANDSHAKE, _APPLICATION_DATA})
_LONGEST_RECORD: Final = (1 << 14) + 256
"""The longest body (§5.2), in octets."""
_LONGEST_HELLO: Final = 1 << 16

_CLIENT_HELLO: Final = 1
_SERVER_HELLO: Final = 2
_FINISHED: Final = 20
_KEY_UPDATE: Final = 24

_SUPPORTED_VERSIONS: Final = 43
_TLS_1_3: Final = b"\x03\x04"
_OLDER: Final = {
    b"\x03\x00": "SSL 3.0",
    b"\x03\x01": "TLS 1.0",
    b"\x03\x02": "TLS 1.1",
    b"\x03\x03": "TLS 1.2",
}

_ALERTS: Final = {
    0: "close notify",
    10: "unexpected message",
    20: "bad record MAC",
    40: "handshake failure",
    42: "bad certificate",
    43: "unsupported certificate",
    44: "certificate revoked",
    45: "certificate expired",
    46: "certificate unknown",
    47: "illegal parameter",
    48: "unknown certificate authority",
    49: "access denied",
    50: "decode error",
    51: "decrypt error",
    70: "protocol version",
    71: "insufficient security",
    80: "internal error",
    90: "user canceled",
    109: "missing extension",
    112: "unrecognized name",
    116: "certificate required",
    120: "no application protocol",
}
"""What the alerts say that end handshakes (§6)."""


@dataclass(slots=True, kw_only=True)
class Opened:
    """What the client sent and what it received, in the clear.

    A piece is the application data of one record, with time and frame of the record's last byte.
    """

    sent: list[Piece]
    received: list[Piece]


def open_tls(sent: Sequence[Piece], received: Sequence[Piece], secrets: bytes | Secrets) -> Opened:
    """Return what was said in a TLS 1.3 session; the streams begin with ClientHello and ServerHello.

    `secrets` is a key log, or what was made of one. Both streams may end anywhere.
    Raises: Sealed, when the session is of another version, no secret is known that opens it, its handshake
    failed, or a record is damaged.
    """
    known = secrets if isinstance(secrets, Secrets) else Secrets(secrets)
    session = known.session(_client_random(sent))
    suite = _suite(received)
    return Opened(
        sent=_Side("client", suite, session).open(sent),
        received=_Side("server", suite, session).open(received),
    )


class _Record(NamedTuple):
    time_ns: int
    frame: int
    kind: int
    header: bytes
    body: bytes


class _Side:
    """One side's records, opened in order."""

    def __init__(self, name: str, suite: Suite, session: dict[str, bytes]) -> None:
        self._name = name
        self._suite = suite
        self._session = session
        self._keys: Keys | None = None
        self._handshake = True
        """Until Finished."""
        self._messages = b""

    def open(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Return the application data up to the side's close_notify or the end of its records."""
        opened = []
        for record in _records(pieces):
            kind, data = record.kind, record.body
            if kind == _APPLICATION_DATA:
                kind, data = self._decrypt(record)
                if kind == _APPLICATION_DATA and data:
                    opened.append(Piece(record.time_ns, record.frame, data))
                elif kind == _HANDSHAKE:
                    self._take(data)
            if kind == _ALERT:
                if self._handshake:
                    raise Sealed(_failed(self._name, data))
                break
        return opened

    def _decrypt(self, record: _Record) -> tuple[int, bytes]:
        """The true type and content of a record (§5.2)."""
        keys = self._keys = self._keys or Keys(self._suite, self._secret())
        try:
            inner = keys.open(record.header, record.body).rstrip(b"\0")
        except InvalidTag:
            where = f"of the {self._name}, in packet {record.frame}"
            raise Sealed(f"the secrets do not open a record {where}") from None
        # Nothing but padding has no type: 0 is none either.
        return (inner[-1], inner[:-1]) if inner else (0, b"")

    def _take(self, data: bytes) -> None:
        """Change keys as handshake messages say, which happens at the end of a record alone (§5.1)."""
        self._messages += data
        while (message := _message(self._messages)) is not None:
            kind, body = message
            self._messages = self._messages[4 + len(body) :]
            if kind == _FINISHED and self._handshake:
                self._handshake, self._keys = False, None
            elif kind == _KEY_UPDATE and self._keys:
                self._keys = self._keys.updated()

    def _secret(self) -> bytes:
        """The logged secret that opens what comes now; asked for when there is something to be opened."""
        label = (
            f"{self._name.upper()}_{'HANDSHAKE_TRAFFIC_SECRET' if self._handshake else 'TRAFFIC_SECRET_0'}"
        )
        if not self._session:
            raise Sealed("the capture holds no secrets of this session")
        if label not in self._session:
            raise Sealed(f"the capture holds no {label} of this session")
        return self._session[label]


def _records(pieces: Sequence[Piece]) -> Iterator[_Record]:
    """The whole records of a stream (§5.1)."""
    buffer = bytearray()
    for time_ns, frame, data in pieces:
        buffer += data
        start = 0
        while len(buffer) - start >= 5:
            kind, major = buffer[start], buffer[start + 1]
            size = buffer[start + 3] << 8 | buffer[start + 4]
            if kind not in _CONTENT_TYPES or major != 3 or size > _LONGEST_RECORD:
                raise Sealed(f"what stands in packet {frame} is no TLS record")
            body, end = start + 5, start + 5 + size
            if len(buffer) < end:
                break
            yield _Record(time_ns, frame, kind, bytes(buffer[start:body]), bytes(buffer[body:end]))
            start = end
        if start:
            del buffer[:start]


def _message(data: bytes) -> tuple[int, bytes] | None:
    """Type and body of the handshake message that `data` begins with; None if it is not whole (§4)."""
    end = 4 + int.from_bytes(data[1:4], "big")
    return (data[0], data[4:end]) if len(data) >= max(4, end) else None


def _hellos(pieces: Sequence[Piece], side: str) -> Iterator[tuple[int, bytes]]:
    """A side's handshake messages in the clear, type and body. Raises: Sealed for an alert in their place."""
    data = b""
    for record in _records(pieces):
        if record.kind == _ALERT:
            raise Sealed(_failed(side, record.body))
        if record.kind == _APPLICATION_DATA or len(data) > _LONGEST_HELLO:
            return
        if record.kind == _HANDSHAKE:
            data += record.body
        while (message := _message(data)) is not None:
            yield message
            data = data[4 + len(message[1]) :]


def _client_random(sent: Sequence[Piece]) -> bytes:
    """The octets 2 to 34 of the ClientHello, which name the session (§4.1.2)."""
    for kind, body in _hellos(sent, "client"):
        if kind == _CLIENT_HELLO and len(body) >= 34:
            return body[2:34]
        raise Sealed("the client does not begin with a ClientHello")
    raise Sealed("the session breaks off before the end of the ClientHello")


def _suite(received: Sequence[Piece]) -> Suite:
    """The cipher suite of the ServerHello (§4.1.3)."""
    # A HelloRetryRequest is one too; the ServerHello after it must choose the same suite (§4.1.4).
    for kind, body in _hellos(received, "server"):
        if kind != _SERVER_HELLO or len(body) < 38:
            raise Sealed("the server does not begin with a ServerHello")
        place = 35 + body[34]
        number = int.from_bytes(body[place : place + 2], "big")
        version = _extensions(body[place + 3 :]).get(_SUPPORTED_VERSIONS, body[:2])
        if version != _TLS_1_3:
            raise Sealed(f"the session is {_OLDER.get(version, 'of an unknown version')}, not TLS 1.3")
        if number not in SUITES:
            raise Sealed(f"the session's cipher suite, {number:#06x}, is not known")
        return SUITES[number]
    raise Sealed("the session breaks off before the end of the ServerHello")


def _extensions(data: bytes) -> dict[int, bytes]:
    """The extensions of a hello by type (§4.2)."""
    found, place = {}, 2
    while place + 4 <= len(data):
        end = place + 4 + int.from_bytes(data[place + 2 : place + 4], "big")
        found[int.from_bytes(data[place : place + 2], "big")] = data[place + 4 : end]
        place = end
    return found


def _failed(side: str, alert: bytes) -> str:
    number = alert[1] if len(alert) == 2 else -1
    return f"the {side} ended the handshake: {_ALERTS.get(number, f'alert {number}')}"
