"""What comes before mail in a session, seen from the client: greeting, EHLO, STARTTLS, AUTH.

Theory of operation. A server greets; it is asked with EHLO what it offers, or with HELO if it does not know
that (RFC 5321 §3.2). With STARTTLS all of it begins anew, and what it offered before does not count any more
(RFC 3207 §4.2). Each refusal is a Refusal, which bears the server's reply.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping

from services.smtp.connection import Connection
from services.smtp.errors import SmtpError
from services.smtp.replies import Reply

Offered = Mapping[str, str]


class Refusal(SmtpError):
    """The server does not go on; `reply` is what it said, never a positive one."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class NotOffered(SmtpError):
    """The server lacks an extension without which nothing can be sent."""


async def greeted(connection: Connection, helo: str, *, timeout_s: float) -> Offered:
    """Return what the server offers, by keyword in lower case, once it has greeted.

    Raises: Refusal, Broken.
    """
    _demand(await _say(connection, b"", timeout_s), 220)
    return await introduced(connection, helo, timeout_s=timeout_s)


async def introduced(connection: Connection, helo: str, *, timeout_s: float) -> Offered:
    """Say EHLO, or HELO; return what the server offers. Raises: Refusal, Broken."""
    reply = await _say(connection, f"EHLO {helo}\r\n".encode(), timeout_s)
    if reply.code == 250:
        return offers(connection.last_lines)
    if reply.code == 421:
        raise Refusal(reply)
    _demand(await _say(connection, f"HELO {helo}\r\n".encode(), timeout_s), 250)
    return {}


def offers(lines: tuple[str, ...]) -> Offered:
    """Return the extensions in the lines of a reply to EHLO, the first of which is the server's name."""
    words = (line.split(maxsplit=1) for line in lines[1:])
    return {parts[0].lower(): parts[1].strip() if len(parts) > 1 else "" for parts in words if parts}


async def secured(
    connection: Connection, context: ssl.SSLContext, *, server: str, helo: str, timeout_s: float
) -> Offered:
    """Take up TLS and return what the server offers then. Raises: Refusal, Broken, OSError."""
    _demand(await _say(connection, b"STARTTLS\r\n", timeout_s), 220)
    await connection.start_tls(context, server, timeout_s=timeout_s)
    return await introduced(connection, helo, timeout_s=timeout_s)


async def authenticated(
    connection: Connection, offered: Offered, username: str, password: str, *, timeout_s: float
) -> None:
    """Log in, by PLAIN or LOGIN (RFC 4954). Raises: NotOffered, Refusal, Broken."""
    mechanisms = offered.get("auth", "").upper().split()
    if "PLAIN" in mechanisms:
        secret = _encoded(f"\0{username}\0{password}")
        _demand(await _say(connection, b"AUTH PLAIN " + secret + b"\r\n", timeout_s), 235)
        return
    if "LOGIN" not in mechanisms:
        raise NotOffered("the server offers no way to log in (AUTH PLAIN or LOGIN)")
    _demand(await _say(connection, b"AUTH LOGIN\r\n", timeout_s), 334)
    _demand(await _say(connection, _encoded(username) + b"\r\n", timeout_s), 334)
    _demand(await _say(connection, _encoded(password) + b"\r\n", timeout_s), 235)


def _encoded(text: str) -> bytes:
    return base64.b64encode(text.encode("utf-8"))


async def _say(connection: Connection, command: bytes, timeout_s: float) -> Reply:
    return (await connection.exchange(command, timeout_s=timeout_s))[0]


def _demand(reply: Reply, code: int) -> None:
    if reply.code == code:
        return
    if reply.code < 400:
        # In the wrong place, such as `250` as a greeting.
        reply = Reply(451, "4.5.0", f"unexpected reply: {reply}")
    raise Refusal(reply)
