"""The sending side of one SMTP session: connect, greet, and transfer messages.

Theory of operation. A session fails in one of three ways. Before the greeting and EHLO are through, the
host is *unreachable*: another exchanger may do better. A session that has carried a message before and is
refused the next MAIL is *stale*: the server has closed it meanwhile, or wants no more of it, and a new one
may do better. In all other cases every recipient gets a reply, be it the server's own or, if the
connection breaks, one that says so and asks to try again.

A session can carry one message after the other, as long as it is `usable`.

TLS between servers is opportunistic (RFC 7435): it is taken up where it is offered, whatever the certificate.
Where it fails the session begins anew without it: nobody had asked for more than that the message arrives.

The rest is elsewhere: what is said (transaction, handshake), and how (connection).
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from services.smtp import handshake
from services.smtp.address import Address
from services.smtp.connection import Broken, Connection, connect, reason
from services.smtp.data import stuffed
from services.smtp.envelope import Envelope
from services.smtp.errors import SmtpError
from services.smtp.handshake import Offered, Refusal
from services.smtp.replies import Reply
from services.smtp.transaction import Transaction

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


class ClientSession:
    """An SMTP session that is past EHLO. Leaving it says QUIT and closes it.

    `uncertain`: the server may have the last message although it did not say so.
    """

    def __init__(self, connection: Connection, offered: Offered, timeouts: Timeouts) -> None:
        self._connection = connection
        self._offered = offered
        self._timeouts = timeouts
        self._used = False
        self._begun = False
        self._broken = False
        self.uncertain = False

    @classmethod
    async def open(
        cls, address: str, port: int, *, helo: str, timeouts: Timeouts, tls: ssl.SSLContext | None = None
    ) -> ClientSession:
        """Return a session with the server at `address`, under TLS if it has that. Raises: Unreachable."""
        try:
            connection = await connect(address, port, timeout_s=timeouts.connect_s)
        except OSError as error:
            raise Unreachable(Reply(451, "4.4.1", f"{address}: {reason(error)}")) from error
        session = await cls.greet(connection, address, helo=helo, timeouts=timeouts)
        if tls is None or not session.offers("STARTTLS"):
            return session
        try:
            offered = await handshake.secured(
                connection, tls, server=address, helo=helo, timeout_s=timeouts.connect_s
            )
        except (Broken, Refusal, OSError):
            await connection.close()
            return await cls.open(address, port, helo=helo, timeouts=timeouts)
        return cls(connection, offered, timeouts)

    @classmethod
    async def greet(
        cls, connection: Connection, server: str, *, helo: str, timeouts: Timeouts
    ) -> ClientSession:
        """Return the session over a connection, past EHLO. Raises: Unreachable; then it is closed."""
        try:
            offered = await handshake.greeted(connection, helo, timeout_s=timeouts.connect_s)
        except Refusal as error:
            await connection.close()
            raise Unreachable(error.reply) from error
        except Broken as error:
            await connection.close()
            reply = Reply(451, "4.4.1", f"{server}: {error}")
            raise Unreachable(error.replies[-1] if error.replies else reply) from error
        return cls(connection, offered, timeouts)

    @property
    def usable(self) -> bool:
        """It may carry another message: both sides know where they are."""
        return self._connection.usable and not self._broken

    @property
    def to_itself(self) -> bool:
        """The server is this host: both ends have one address, which is none of the loopback's."""
        local, remote = self._connection.addresses
        return local == remote and not local.startswith("127.")

    def offers(self, extension: str) -> bool:
        """The server announced the extension (`DSN`)."""
        return extension.lower() in self._offered

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
        if quit_first and self.usable:
            with suppress(Broken):
                await self._connection.exchange(b"QUIT\r\n", timeout_s=_QUIT_TIMEOUT_S)
        await self._connection.close()

    async def send(self, envelope: Envelope, content: bytes) -> dict[Address, Reply]:
        """Transfer one message; return the decisive reply for each of its recipients, in their order.

        A recipient has the message if the reply is positive.
        Raises: Stale, if it is not the session's first message; nothing else for what the server does.
        """
        transaction = Transaction(envelope, content, self._offered, reset=self._begun)
        while step := transaction.step():
            # A new session has shown by its greeting that somebody is there; an old one must show it now.
            fresh = not self._used or transaction.mail is not None
            timeout_s = self._timeouts.command_s if fresh else self._timeouts.connect_s
            data = stuffed(content) if step.message else step.commands
            try:
                replies = await self._connection.exchange(data, replies=step.replies, timeout_s=timeout_s)
            except Broken as error:
                if error.replies:
                    transaction.take(error.replies)
                transaction.fail(Reply(451, "4.4.2", f"the session broke: {error}"))
            else:
                transaction.take(replies)
            self._refuse_if_stale(transaction)
        self._begun, self.uncertain = transaction.open, transaction.sent
        self._broken = self._broken or transaction.broken
        return {recipient: transaction.replies[recipient] for recipient in envelope.recipients}

    def _refuse_if_stale(self, transaction: Transaction) -> None:
        mail = transaction.mail
        if mail is not None and mail.positive:
            self._used = True
        elif self._used and (mail is not None or transaction.broken):
            self._broken = True
            raise Stale(str(mail or "the session broke"))
