"""The receiving side of one SMTP session, on port 25 (MTA) or 587 (MSA). The edge to aiosmtpd.

Theory of operation. aiosmtpd reads commands, keeps the state of a session and does STARTTLS and AUTH.
What it leaves to this module, or does differently from what a mail server needs, is overridden here:

    MAIL, RCPT      paths are read by `address`, not by the email package, which is slow and refuses
                    valid ones; the parameters are those that EHLO announces
    DATA            read in large pieces, and refused where it is ambiguous (data)
    replies         all carry an enhanced code (RFC 2034)

On port 587 STARTTLS comes first, then AUTH, then mail (RFC 6409 §4.3, RFC 4954 §4, RFC 3207 §4).
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword, TLSSetupException
from aiosmtpd.smtp import Envelope as AiosmtpdEnvelope
from aiosmtpd.smtp import Session as AiosmtpdSession

from services.filters.signing import UNSIGNED, Signer, body_hash
from services.notices import Notices
from services.smtp.address import Address, printable
from services.smtp.commands import Dialect, Refused, read_mail, read_rcpt, too_large
from services.smtp.config import User
from services.smtp.data import content_objection, read_message
from services.smtp.envelope import Body, Envelope
from services.smtp.errors import SpoolUnavailable
from services.smtp.message import QueuedMessage
from services.smtp.policy import Directory, Policy
from services.smtp.queue import Queue
from services.smtp.replies import Reply, with_enhanced_code
from services.smtp.trace import Arrival, field, missing_fields, protocol_name, received

log = logging.getLogger(__name__)

_PIECE = 65536
_MAX_RECIPIENTS = 1000
_HELO_NAME = re.compile(r"[A-Za-z0-9._\-]+|\[[0-9A-Za-z.:\-]+\]")
_MAX_HELO_NAME = 255  # RFC 5321 §4.5.3.1.2; it stands on one line of Received
_GREETING = "ESMTP Mailbed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """What the sessions of one listener share. `submission`: it is an MSA."""

    hostname: str
    submission: bool
    tls: ssl.SSLContext | None
    size_limit: int
    session_limit: int
    command_timeout_s: float
    directory: Directory
    policy: Policy
    queue: Queue
    notices: Notices
    signer: Signer = UNSIGNED


class _Transaction(AiosmtpdEnvelope):
    """A mail transaction: from MAIL to the end of DATA."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = False
        self.sender: Address | None = None
        self.recipients: list[Address] = []
        self.body: Body = "7BIT"


class _Handler:
    """aiosmtpd's hooks: only what a session cannot override itself."""

    async def handle_exception(self, error: Exception) -> str:
        if isinstance(error, TLSSetupException):
            log.info("TLS handshake failed: %s", error.__cause__)
        else:
            log.error("unexpected error in a session", exc_info=error)
        return "451 4.3.0 internal error"


class ServerSession(SMTP):
    """One client's session; it is one of `sessions` from its beginning to its end."""

    line_length_limit = _PIECE
    AuthLoginUsernameChallenge = "Username:"
    AuthLoginPasswordChallenge = "Password:"

    def __init__(self, reception: Reception, sessions: set[ServerSession]) -> None:
        self._reception = reception
        self._sessions = sessions
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        super().__init__(
            _Handler(),
            data_size_limit=reception.size_limit,
            enable_SMTPUTF8=True,
            hostname=reception.hostname,
            ident=_GREETING,
            tls_context=reception.tls,
            require_starttls=reception.submission,
            auth_required=reception.submission,
            authenticator=self._check_password,
            timeout=reception.command_timeout_s,
            loop=asyncio.get_running_loop(),
        )
        # aiosmtpd keeps these for all sessions together, and lets each EHLO raise them. RFC 4954 §4 asks
        # for AUTH lines of 12288 bytes; the rest has room for long addresses and parameters.
        self.command_size_limits = defaultdict(lambda: 2048, AUTH=12288)
        self.command_size_limit = 2048

    # Life of a session

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # With STARTTLS a session has a second connection, below which the first goes on.
        if self not in self._sessions and len(self._sessions) >= self._reception.session_limit:
            self._turn_away(transport)
            return
        self._sessions.add(self)
        super().connection_made(transport)

    def _turn_away(self, transport: asyncio.BaseTransport) -> None:
        """Tell the client to come again, without a session (RFC 5321 §4.2.2: 421)."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  (what create_server makes)
        reply = Reply(421, "4.3.2", f"{self.hostname} has too many sessions, try again later")
        peer = transport.get_extra_info("peername")
        self._reception.notices.event("rejected", client=str(peer[0]), stage="connect", reply=str(reply))
        transport.set_protocol(asyncio.Protocol())
        transport.write(f"{reply}\r\n".encode())
        transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._end()
        # aiosmtpd reports a failed handshake as an error that nobody would ever look at.
        super().connection_lost(None if isinstance(error, TLSSetupException) else error)

    def _create_envelope(self) -> _Transaction:
        return _Transaction()

    def shut_down(self) -> None:
        """Tell the client that the server is going away, and close (RFC 5321 §3.8)."""
        if self._tls_protocol and not self._current().ssl:
            self.abort()  # In the middle of a handshake nothing can be said.
        elif self.transport is not None and not self.transport.is_closing():
            self._writer.write(f"421 4.3.2 {self.hostname} is shutting down\r\n".encode())
            self.transport.close()

    def abort(self) -> None:
        """Close at once, whether or not the client takes what was written to it."""
        transport = self._original_transport or self.transport
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()
        if self._handler_coroutine:
            self._handler_coroutine.cancel()
        self._end()

    def _end(self) -> None:
        self._sessions.discard(self)
        if not self.gone.done():
            self.gone.set_result(None)

    async def push(self, status: str | bytes) -> None:
        line = status.decode("utf-8", "surrogateescape") if isinstance(status, bytes) else status
        # The greeting has none (RFC 2034 §3), nor have the answers to HELO and EHLO.
        if not line.startswith(f"220 {self.hostname} "):
            line = with_enhanced_code(line)
        await super().push(printable(line).encode("utf-8", "backslashreplace"))

    # What is known of the client (no properties: aiosmtpd reads every one of them before there is a session)

    def _transaction(self) -> _Transaction:
        assert isinstance(self.envelope, _Transaction)  # noqa: S101  (made by _create_envelope)
        return self.envelope

    def _current(self) -> AiosmtpdSession:
        assert self.session is not None  # noqa: S101  (there is one from connection_made on)
        return self.session

    def _client(self) -> str:
        peer: object = self._current().peer
        return str(peer[0]) if isinstance(peer, tuple) else ""

    def _user(self) -> User | None:
        user: object = self._current().auth_data
        return user if isinstance(user, User) else None

    def _dialect(self) -> Dialect:
        return Dialect(
            hostname=self.hostname,
            extended=self._current().extended_smtp,
            submission=self._reception.submission,
            size_limit=self._reception.size_limit,
        )

    # Commands

    async def smtp_HELO(self, hostname: str | None) -> None:  # noqa: N802  (aiosmtpd finds it by this name)
        await self._greet(hostname, extended=False)

    async def smtp_EHLO(self, hostname: str | None) -> None:  # noqa: N802
        await self._greet(hostname, extended=True)

    async def _greet(self, name: str | None, *, extended: bool) -> None:
        if not name or len(name) > _MAX_HELO_NAME or not _HELO_NAME.fullmatch(name):
            await self.push("501 5.5.4 a host name or an address literal is needed")
            return
        self.envelope = _Transaction()
        self._current().extended_smtp = extended
        self._current().host_name = name
        if not extended:
            await super().push(f"250 {self.hostname}")
            return
        lines = [self.hostname, *self._extensions()]
        for line in lines[:-1]:
            await self.push(f"250-{line}")
        await super().push(f"250 {lines[-1]}")

    def _extensions(self) -> list[str]:
        offered = [
            "PIPELINING",
            f"SIZE {self._reception.size_limit}",
            "8BITMIME",
            "SMTPUTF8",
            "ENHANCEDSTATUSCODES",
        ]
        if self.tls_context and not self._tls_protocol:
            offered.append("STARTTLS")
        if self._reception.submission and self._tls_protocol:
            offered.append("AUTH LOGIN PLAIN")
        return offered

    async def smtp_AUTH(self, arg: str | None) -> None:  # noqa: N802
        if not self._reception.submission:
            await self.push("502 5.5.1 AUTH is for submission, on port 587")
            return
        # The mechanism's name is taken in either case (RFC 4954 §4).
        mechanism, space, rest = (arg or "").partition(" ")
        await super().smtp_AUTH(mechanism.upper() + space + rest)

    def _check_password(
        self,
        _server: SMTP,
        _session: AiosmtpdSession,
        _envelope: AiosmtpdEnvelope,
        _mechanism: str,
        credentials: LoginPassword,
    ) -> AuthResult:
        name = credentials.login.decode("utf-8", "replace")
        user = self._reception.directory.authenticate(name, credentials.password.decode("utf-8", "replace"))
        if user is None:
            reply = Reply(535, "5.7.8", "authentication credentials invalid")
            self._tell_rejected("AUTH", reply)
            return AuthResult(success=False, handled=False, message=str(reply))
        return AuthResult(success=True, auth_data=user)

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802
        if await self.check_helo_needed() or await self.check_auth_needed("MAIL"):
            return
        await self._answer("MAIL", lambda: self._mail(arg or ""))

    async def _mail(self, arg: str) -> Reply:
        if self._transaction().begun:
            raise Refused(Reply(503, "5.5.1", "nested MAIL command"))
        arguments = read_mail(arg, self._dialect())
        objection = self._reception.policy.sender(arguments.sender, user=self._user())
        if objection:
            raise Refused(objection)
        transaction = _Transaction()
        transaction.begun, transaction.sender = True, arguments.sender
        transaction.body, transaction.smtp_utf8 = arguments.body, arguments.smtputf8
        self.envelope = transaction
        return Reply(250, "2.1.0", "Ok")

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802
        if await self.check_helo_needed() or await self.check_auth_needed("RCPT"):
            return
        await self._answer("RCPT", lambda: self._rcpt(arg or ""))

    async def _rcpt(self, arg: str) -> Reply:
        transaction = self._transaction()
        if not transaction.begun:
            raise Refused(Reply(503, "5.5.1", "MAIL first"))
        recipient = read_rcpt(arg, self._dialect(), smtputf8=transaction.smtp_utf8)
        if len(transaction.recipients) >= _MAX_RECIPIENTS:
            raise Refused(Reply(452, "4.5.3", "too many recipients"))
        objection = self._reception.policy.recipient(recipient, client=self._client(), user=self._user())
        if objection:
            raise Refused(objection)
        if recipient not in transaction.recipients:
            transaction.recipients.append(recipient)
        return Reply(250, "2.1.5", "Ok")

    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802
        if await self.check_helo_needed() or await self.check_auth_needed("DATA"):
            return
        await self._answer("DATA", lambda: self._data(arg))

    async def _data(self, arg: str | None) -> Reply:
        if arg:
            raise Refused(Reply(501, "5.5.4", "DATA takes no argument"))
        if not self._transaction().begun:
            raise Refused(Reply(503, "5.5.1", "MAIL first"))
        if not self._transaction().recipients:
            raise Refused(Reply(554, "5.5.1", "no valid recipients"))
        await self.push("354 end data with <CR><LF>.<CR><LF>")
        content = await read_message(
            self._reader, limit=self._reception.size_limit, progress=self._reset_timeout
        )
        transaction = self._transaction()
        self.envelope = _Transaction()
        if content is None:
            raise Refused(too_large(self._reception.size_limit))
        objection = content_objection(content)
        if objection:
            raise Refused(objection)
        return await self._accept(transaction, content)

    async def _accept(self, transaction: _Transaction, content: bytes) -> Reply:
        envelope = Envelope(
            sender=transaction.sender,
            recipients=tuple(transaction.recipients),
            body=transaction.body,
            smtputf8=transaction.smtp_utf8,
        )
        arrival = Arrival(
            helo=self._current().host_name or "",
            client=self._client(),
            by=self.hostname,
            protocol=protocol_name(
                extended=self._current().extended_smtp,
                tls=self._tls_protocol is not None,
                authenticated=self._user() is not None,
                utf8=transaction.smtp_utf8,
            ),
            recipients=tuple(map(str, transaction.recipients)),
        )

        def tell(message: QueuedMessage) -> None:
            self._reception.notices.event(
                "accepted",
                id=message.id,
                client=arrival.client,
                protocol=arrival.protocol,
                sender=message.sender,
                recipients=list(arrival.recipients),
                size=len(content),
                message_id=field(content, "Message-ID") or f"<{message.id}@{self.hostname}>",
            )

        compose = self._composed(arrival, content, await self._hashed(content))
        try:
            message = await self._reception.queue.commit(envelope, compose, tell=tell)
        except SpoolUnavailable as error:
            log.error("message refused: %s", error)
            raise Refused(Reply(452, "4.3.1", "insufficient system storage")) from error
        return Reply(250, "2.0.0", f"Ok: queued as {message.id}")

    async def _hashed(self, content: bytes) -> bytes | None:
        """The hash of a long body, made while others are served."""
        if len(content) <= _PIECE or not self._reception.submission:
            return None
        return await asyncio.to_thread(body_hash, content)

    def _composed(
        self, arrival: Arrival, content: bytes, body: bytes | None
    ) -> Callable[[str, float], bytes]:
        def compose(queue_id: str, now: float) -> bytes:
            added = received(arrival, queue_id=queue_id, now=now)
            if not self._reception.submission:
                return added + content
            missing = missing_fields(content, hostname=arrival.by, queue_id=queue_id, now=now)
            signature = self._reception.signer.field(missing + content, now=now, body=body)
            return added + signature + missing + content

        return compose

    async def smtp_VRFY(self, arg: str | None) -> None:  # noqa: N802
        # RFC 5321 §7.3: who exists here is told to those who have a message for them.
        await self.push(
            "252 2.5.0 cannot verify, but will take a message" if arg else "501 5.5.4 VRFY <address>"
        )

    # Answers

    async def _answer(self, stage: str, command: Callable[[], Awaitable[Reply]]) -> None:
        try:
            reply = await command()
        except Refused as refused:
            reply = refused.reply
            self._tell_rejected(stage, reply)
        await self.push(str(reply))

    def _tell_rejected(self, stage: str, reply: Reply) -> None:
        self._reception.notices.event("rejected", client=self._client(), stage=stage, reply=str(reply))
