"""Passwords over SMTP: the SASL mechanisms PLAIN and LOGIN (RFC 4954, RFC 4616).

Theory of operation. Both carry a name and a password in base 64, which hides nothing: so they are offered
inside TLS alone. PLAIN says everything in one response, LOGIN is asked for one after the other. A response
may stand in the AUTH command itself (`=` is an empty one); `*` gives up (RFC 4954 §4).

An exchange is asked for its next `challenge`, told the response, and has its `credentials` when it is over.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from services.smtp.commands import Refused
from services.smtp.replies import Reply

MECHANISMS = ("LOGIN", "PLAIN")
LONGEST_RESPONSE = 12288
"""Octets of a line, its end included (RFC 4954 §4)."""

_CHALLENGES = {"PLAIN": (b"",), "LOGIN": (b"Username:", b"Password:")}


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who a client says they are, and the password that proves it."""

    name: str
    password: str


class Exchange:
    """One AUTH command, from the mechanism's name to the last response."""

    def __init__(self, argument: str) -> None:
        """Begin with the argument of AUTH. Raises: Refused."""
        words = argument.split()
        if not words:
            raise Refused(Reply(501, "5.5.4", "AUTH needs a mechanism"))
        if len(words) > 2:
            raise Refused(Reply(501, "5.5.4", "too many values"))
        self._mechanism = words[0].upper()
        if self._mechanism not in MECHANISMS:
            raise Refused(Reply(504, "5.5.4", "authentication mechanism not known"))
        self._responses: list[bytes] = []
        if len(words) == 2:
            self._responses.append(b"" if words[1] == "=" else _decoded(words[1].encode("utf-8", "replace")))

    @property
    def challenge(self) -> str | None:
        """The challenge to send, in base 64; None when everything has been said."""
        challenges = _CHALLENGES[self._mechanism]
        if len(self._responses) == len(challenges):
            return None
        return base64.b64encode(challenges[len(self._responses)]).decode()

    def respond(self, line: bytes) -> None:
        """Take the client's response. Raises: Refused, and the exchange is over."""
        if line.strip() == b"*":
            raise Refused(Reply(501, "5.7.0", "authentication given up"))
        self._responses.append(_decoded(line.strip()))

    @property
    def credentials(self) -> Credentials:
        """What the client has said, once there is no challenge left. Raises: Refused."""
        if self._mechanism == "LOGIN":
            name, password = self._responses
        else:
            # An authorisation identity, that may be empty, comes first (RFC 4616 §2).
            parts = self._responses[0].split(b"\0")
            if len(parts) != 3:
                raise Refused(Reply(501, "5.5.2", "PLAIN needs an identity, a name and a password"))
            _, name, password = parts
        return Credentials(name.decode("utf-8", "replace"), password.decode("utf-8", "surrogateescape"))


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise Refused(Reply(501, "5.5.2", "not base 64")) from None
