"""A mail program's sending side: one message is submitted as a person's MUA would.

    receipt = await submit(SubmissionConfig(server="msa.example.com", …), message, sender, recipients)

It connects to port 587, takes up TLS and checks the server's certificate, authenticates, and hands the
message over (RFC 6409). Line ends become CRLF, whatever they are on disk; that is the only change. Bcc
fields are not looked at: the recipients are those that the caller names.

An `Outgoing` does the same for several messages, one after the other over one session, as a mail program
empties its outbox.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from services.smtp.address import Address, parse_address
from services.smtp.client import ClientSession, Stale, Timeouts, Unreachable
from services.smtp.connection import Broken, Connection, connect_over, reason
from services.smtp.envelope import Envelope
from services.smtp.errors import SubmissionFailed
from services.smtp.handshake import NotOffered, Offered, Refusal, authenticated, greeted, secured
from services.smtp.replies import Reply
from services.smtp.trace import header_section

_LINE_END = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionConfig:
    """Where and as whom to submit.

    `ca_file` (PEM) vouches for the server, `keylog` is appended to (NSS format). `hostname` is for EHLO;
    if empty, it is the address of this end of the connection, as a literal.
    """

    server: str
    username: str
    password: str = field(repr=False)
    ca_file: Path
    port: int = 587
    keylog: Path | None = None
    hostname: str = ""
    timeout_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The MSA has the message: its queue id, its whole reply, and the recipients it refused with why."""

    queue_id: str
    reply: str
    refused: dict[str, str]


async def submit(config: SubmissionConfig, message: bytes, sender: str, recipients: Sequence[str]) -> Receipt:
    """Submit `message` for the recipients that the MSA takes; return its receipt.

    Raises: SubmissionFailed if it takes none or cannot be reached; BadAddress.
    """
    async with Outgoing(config) as outgoing:
        return await outgoing.submit(message, sender, recipients)


class Outgoing:
    """Submits messages over one session, which is opened for the first and again when it broke.

    Leaving it ends the session.
    """

    def __init__(self, config: SubmissionConfig) -> None:
        self._config = config
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self._close()

    async def submit(self, message: bytes, sender: str, recipients: Sequence[str]) -> Receipt:
        """Submit one message; as the function of that name."""
        content = with_crlf(message)
        envelope = Envelope(
            sender=parse_address(sender) if sender else None,
            recipients=tuple(parse_address(recipient) for recipient in dict.fromkeys(recipients)),
            body="7BIT" if content.isascii() else "8BITMIME",
            smtputf8=not header_section(content).isascii(),
        )
        if not envelope.recipients:
            raise SubmissionFailed("no recipients")
        try:
            replies = await self._send(envelope, content)
        except (Refusal, Unreachable) as error:
            reply = error.reply
            raise SubmissionFailed(
                f"{self._config.server} said: {reply}", reply=str(reply), temporary=not reply.permanent
            ) from error
        except (Broken, NotOffered, OSError) as error:
            raise SubmissionFailed(
                f"{self._config.server}:{self._config.port}: {reason(error)}", temporary=not _final(error)
            ) from error
        return receipt(self._config.server, {str(to): reply for to, reply in replies.items()})

    async def _send(self, envelope: Envelope, content: bytes) -> dict[Address, Reply]:
        if self._session is not None and self._session.usable:
            with suppress(Stale):
                return await self._session.send(envelope, content)
        await self._close()
        self._session = await _session(self._config)
        return await self._session.send(envelope, content)

    async def _close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def receipt(server: str, replies: Mapping[str, Reply]) -> Receipt:
    """Return the receipt that a server's replies to the recipients come to.

    Raises: SubmissionFailed if it took none.
    """
    taken = [reply for reply in replies.values() if reply.positive]
    if not taken:
        worst = next(iter(replies.values()))
        raise SubmissionFailed(
            f"{server} took no recipient: {worst}", reply=str(worst), temporary=not worst.permanent
        )
    refused = {address: str(reply) for address, reply in replies.items() if not reply.positive}
    return Receipt(queue_id=taken[0].queue_id, reply=str(taken[0]), refused=refused)


def with_crlf(message: bytes) -> bytes:
    """Return the message with every line ended by CRLF, the last one too."""
    content = _LINE_END.sub(b"\r\n", message)
    return content if content.endswith(b"\r\n") or not content else content + b"\r\n"


def client_context(ca_file: Path, keylog: Path | None) -> ssl.SSLContext:
    """Return the context of a TLS 1.3 client that trusts `ca_file` alone and logs its secrets.

    Raises: SubmissionFailed if a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=str(ca_file))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if keylog:
            context.keylog_filename = str(keylog)
    except OSError as error:
        raise SubmissionFailed(f"{ca_file}: {error.strerror or error}") from error
    return context


async def _session(config: SubmissionConfig) -> ClientSession:
    context = client_context(config.ca_file, config.keylog)
    sock = await connected(config.server, config.port, config.timeout_s)
    connection = await connect_over(sock)
    try:
        offered = await _logged_in(config, connection, context, f"[{connection.addresses[0]}]")
    except BaseException:
        await connection.close()
        raise
    timeouts = Timeouts(connect_s=config.timeout_s, command_s=config.timeout_s)
    return ClientSession(connection, offered, timeouts)


async def _logged_in(
    config: SubmissionConfig, connection: Connection, context: ssl.SSLContext, literal: str
) -> Offered:
    """Return what the server offers to its user, under TLS. Raises: Refusal, NotOffered, Broken, OSError."""
    helo = config.hostname or literal
    offered = await greeted(connection, helo, timeout_s=config.timeout_s)
    if "starttls" not in offered:
        raise NotOffered("the server does not offer STARTTLS, and passwords never travel in the clear")
    offered = await secured(connection, context, server=config.server, helo=helo, timeout_s=config.timeout_s)
    await authenticated(connection, offered, config.username, config.password, timeout_s=config.timeout_s)
    return offered


async def connected(server: str, port: int, timeout_s: float) -> socket.socket:
    """Return a socket that is connected to the first address of the server that answers. Raises: OSError."""
    loop = asyncio.get_running_loop()
    # The host's own resolv.conf and hosts file decide, as they do for any mail program.
    try:
        found = await loop.getaddrinfo(server, port, family=socket.AF_INET, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise SubmissionFailed(f"{server}: not a host name") from error
    last: OSError | None = None
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        try:
            await asyncio.wait_for(loop.sock_connect(sock, address), timeout_s)
        except OSError as error:
            sock.close()
            last = error
            continue
        except BaseException:
            sock.close()
            raise
        return sock
    raise last or OSError(f"{server} has no IPv4 address")


def _final(error: BaseException) -> bool:
    """Trying again would not help: the server's certificate is wrong, or a name does not exist."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        if isinstance(cause, socket.gaierror):
            return cause.errno != socket.EAI_AGAIN
        cause = cause.__cause__
    return isinstance(error, NotOffered)
