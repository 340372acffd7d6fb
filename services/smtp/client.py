"""The sending side of one SMTP session: connect, greet, and transfer messages. The edge to aiosmtplib.

Theory of operation. A session fails in one of three ways. Before the greeting and EHLO are through, the
host is *unreachable*: another exchanger may do better. A session that has carried a message before and is
refused the next MAIL is *stale*: the server has closed it meanwhile, or wants no more of it, and a new one
may do better. In all other cases every recipient gets a reply, be it the server's own or, if the
connection breaks, one that says so and asks to try again.

A session can carry one message after the other, as long as it is `usable`: a transaction that came to
nothing, because no recipient was taken, is ended with RSET before the next MAIL.

Which extensions a message needs is decided before MAIL (`mail_parameters`): 8-bit content needs 8BITMIME
(RFC 6152 §3), an address or a header field beyond ASCII needs SMTPUTF8 (RFC 6531 §3.2). This client does
not convert messages, so that a server without them cannot have the message.

aiosmtplib's own `mail` and `rcpt` pass an address through the email package, which may change it; the
commands are therefore given as bytes. Its `data` makes an empty message one of an empty line, and has one
time-out for the transfer and the reply together, which a large message over a slow link exceeds.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiosmtplib

from services.smtp.address import Address
from services.smtp.data import stuffed
from services.smtp.envelope import Envelope
from services.smtp.errors import SmtpError
from services.smtp.replies import Reply, parse_reply
from services.smtp.trace import header_section

_QUIT_TIMEOUT_S = 5.0


class Unreachable(SmtpError):
    """The host does not take mail now: no connection, or no positive greeting; `reply` says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class Stale(SmtpError):
    """A session that was used before takes no further message; nothing of it was transferred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds to wait: for the connection and the greeting, and for every later reply."""

    connect_s: float = 30.0
    command_s: float = 300.0


def mail_parameters(
    envelope: Envelope, recipients: Sequence[Address], content: bytes, offered: Mapping[str, str]
) -> tuple[list[str], dict[Address, Reply]]:
    """Return the parameters of MAIL, and a refusal for each recipient who cannot be sent to.

    `offered` is what the server announced, by keyword in lower case.
    Source: RFC 1870 §6, RFC 6152 §3, RFC 6531 §3.2 to §3.5.
    """
    parameters = []
    limit = offered.get("size", "")
    if limit.isascii() and limit.isdigit() and 0 < int(limit) < len(content):
        reply = Reply(552, "5.3.4", f"message of {len(content)} bytes exceeds the server's limit of {limit}")
        return [], dict.fromkeys(recipients, reply)
    if "size" in offered:
        parameters.append(f"SIZE={len(content)}")

    if not content.isascii():
        if "8bitmime" not in offered:
            reply = Reply(554, "5.6.3", "8-bit content, and the server does not offer 8BITMIME")
            return [], dict.fromkeys(recipients, reply)
        parameters.append("BODY=8BITMIME")

    utf8_header = envelope.smtputf8 and not header_section(content).isascii()
    utf8_sender = envelope.sender is not None and not envelope.sender.is_ascii
    foreign = [recipient for recipient in recipients if utf8_sender or not recipient.is_ascii]
    if "smtputf8" in offered:
        return [*parameters, "SMTPUTF8"] if utf8_header or foreign else parameters, {}
    refused = {}
    if utf8_header:
        reply = Reply(554, "5.6.9", "header fields beyond ASCII, and the server does not offer SMTPUTF8")
        refused = dict.fromkeys(recipients, reply)
    reply = Reply(550, "5.6.7", "address beyond ASCII, and the server does not offer SMTPUTF8")
    return parameters, {**refused, **dict.fromkeys(foreign, reply)}


class ClientSession:
    """An SMTP session that is past EHLO. Leaving it says QUIT and closes it."""

    def __init__(self, client: aiosmtplib.SMTP, timeouts: Timeouts) -> None:
        self._client = client
        self._timeouts = timeouts
        self._used = False
        self._begun = False
        self._broken = False

    @classmethod
    async def open(cls, address: str, port: int, *, helo: str, timeouts: Timeouts) -> ClientSession:
        """Return a session with the server at `address`. Raises: Unreachable."""
        client = aiosmtplib.SMTP(
            hostname=address, port=port, local_hostname=helo, start_tls=False, timeout=timeouts.command_s
        )
        try:
            await client.connect(timeout=timeouts.connect_s)
            await _greet(client)
        except aiosmtplib.SMTPResponseException as error:
            client.close()
            raise Unreachable(_failure(error)) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            client.close()
            raise Unreachable(Reply(451, "4.4.1", f"{address}: {reason(error)}")) from error
        return cls(client, timeouts)

    @property
    def usable(self) -> bool:
        """It may carry another message: both sides know where they are."""
        return self._client.is_connected and not self._broken

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close(quit_first=error is None)

    async def close(self, *, quit_first: bool = True) -> None:
        """End the session, with QUIT if it is still connected."""
        with suppress(aiosmtplib.SMTPException, OSError):
            if quit_first and self._client.is_connected:
                await self._client.quit(timeout=_QUIT_TIMEOUT_S)
        self._client.close()

    async def send(self, envelope: Envelope, content: bytes) -> dict[Address, Reply]:
        """Transfer one message; return the decisive reply for each of its recipients, in their order.

        A recipient has the message if the reply is positive.
        Raises: Stale, if it is not the session's first message; nothing else for what the server does.
        """
        replies: dict[Address, Reply] = {}
        try:
            await self._transact(envelope, content, replies)
        except aiosmtplib.SMTPResponseException as error:
            self._broken = True
            _rest(envelope, replies, _failure(error))
        except (aiosmtplib.SMTPException, OSError) as error:
            self._broken = True
            _rest(envelope, replies, Reply(451, "4.4.2", f"the session broke: {reason(error)}"))
        return {recipient: replies[recipient] for recipient in envelope.recipients}

    async def _transact(self, envelope: Envelope, content: bytes, replies: dict[Address, Reply]) -> None:
        offered = self._client.esmtp_extensions
        parameters, refused = mail_parameters(envelope, envelope.recipients, content, offered)
        replies.update(refused)
        if len(replies) == len(envelope.recipients):
            return
        mail = await self._begin(f"FROM:<{envelope.reverse_path}>", *parameters)
        if not mail.positive:
            _rest(envelope, replies, mail)
            return
        accepted = []
        for recipient in envelope.recipients:
            if recipient not in replies:
                reply = _recipient_reply(await self._command("RCPT", f"TO:<{recipient}>"))
                if reply.positive:
                    accepted.append(recipient)
                else:
                    replies[recipient] = reply
        if accepted:
            _rest(envelope, replies, await self._data(content))
            self._begun = False

    async def _begin(self, *words: str) -> Reply:
        """Begin a transaction and return the reply to MAIL. Raises: Stale."""
        # A new session has shown by its greeting that somebody is there; an old one must show it now.
        timeout_s = self._timeouts.connect_s if self._used else self._timeouts.command_s
        try:
            if self._begun:
                await self._command("RSET", timeout_s=timeout_s)
            reply = await self._command("MAIL", *words, timeout_s=timeout_s)
        except (aiosmtplib.SMTPException, OSError) as error:
            if self._used:
                raise Stale(f"the session broke: {reason(error)}") from error
            raise
        if self._used and not reply.positive:
            raise Stale(str(reply))
        self._used = self._begun = True
        return reply

    async def _command(self, *words: str, timeout_s: float | None = None) -> Reply:
        code, message = await self._client.execute_command(
            *(word.encode("utf-8") for word in words), timeout=timeout_s or self._timeouts.command_s
        )
        return parse_reply(code, message)

    async def _data(self, content: bytes) -> Reply:
        """Transfer the content and return the reply to its end."""
        code, message = await self._client.execute_command(b"DATA", timeout=self._timeouts.command_s)
        if code != aiosmtplib.SMTPStatus.start_input:
            raise aiosmtplib.SMTPDataError(code, message)
        protocol = self._client.protocol
        if protocol is None:
            raise aiosmtplib.SMTPServerDisconnected("Connection lost")
        protocol.write(stuffed(content))
        # It begins to listen before the loop looks at the socket again: aiosmtplib drops what nobody awaits.
        reading = asyncio.ensure_future(protocol.read_response())
        try:
            await self._while_it_flows(reading)
            code, message = await reading
        finally:
            reading.cancel()
        return parse_reply(code, message)

    async def _while_it_flows(self, reading: asyncio.Future[aiosmtplib.SMTPResponse]) -> None:
        """Wait for the reply as long as the server takes what was written (RFC 5321 §4.5.3.2.5)."""
        unsent = self._unsent()
        while not (await asyncio.wait({reading}, timeout=self._timeouts.command_s))[0]:
            before, unsent = unsent, self._unsent()
            if unsent >= before:
                self._client.close()
                raise aiosmtplib.SMTPReadTimeoutError("Timed out waiting for server response")

    def _unsent(self) -> int:
        transport = self._client.transport
        return transport.get_write_buffer_size() if isinstance(transport, asyncio.WriteTransport) else 0


async def _greet(client: aiosmtplib.SMTP) -> None:
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError:
        # RFC 5321 §3.2: a server without extensions is asked the old way.
        if not client.is_connected:
            raise
        await client.helo()


def _failure(error: aiosmtplib.SMTPResponseException) -> Reply:
    """Return the reply that stopped a session; never a positive one, for nothing was handed over."""
    reply = parse_reply(error.code, error.message)
    if reply.positive:
        # In the wrong place: `250` as a greeting, or to DATA before any message was sent.
        return Reply(451, "4.5.0", f"unexpected reply: {reply}")
    return reply


def _recipient_reply(reply: Reply) -> Reply:
    if reply.code == 552:
        # RFC 5321 §4.5.3.1.10: old servers say so where 452, too many recipients, is meant.
        return Reply(452, "4.5.3", reply.text)
    return reply


def _rest(envelope: Envelope, replies: dict[Address, Reply], reply: Reply) -> None:
    """Give `reply` to each recipient who has none yet."""
    for recipient in envelope.recipients:
        replies.setdefault(recipient, reply)


def reason(error: BaseException) -> str:
    """Return what went wrong on one line: the system's word where there is one."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"certificate refused: {cause.verify_message}"
    if isinstance(cause, OSError) and cause.strerror and not isinstance(cause, ssl.SSLError):
        # asyncio puts a sentence of its own where the system's word should be.
        return os.strerror(cause.errno) if cause.errno and cause.errno > 0 else cause.strerror
    if isinstance(cause, TimeoutError) or isinstance(error, TimeoutError):
        return "timed out"
    return " ".join(str(cause).split()) or type(cause).__name__
