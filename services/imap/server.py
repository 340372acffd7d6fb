"""The IMAP server: sessions on sockets, and TLS.

    load      its configuration (services.imap.config)
    serve     run it until cancelled

Reading a Maildir blocks, and is done in the one thread there is: as a rule a message is in memory, and in
a lab few read at a time. Clients that idle are looked after together, twice a second: a look at two
directories tells whether anything has changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import ssl
import time
from collections.abc import Callable

from services.errors import ConfigError, ServiceError
from services.imap.config import ImapConfig, load
from services.imap.session import Session
from services.imap.settings import Settings
from services.mailbox.folder import Folder
from services.mailbox.maildir import mailbox_path
from services.notices import Notices
from services.smtp.address import Address

__all__ = ["ImapConfig", "load", "serve"]

log = logging.getLogger("services.imap")

_LOOK_EACH_S = 0.5
_LOGIN_WITHIN_S = 60.0
_HANDSHAKE_WITHIN_S = 60.0


class Mailboxes:
    """The accounts of this host and their folders."""

    def __init__(self, config: ImapConfig, clock: Callable[[], float]) -> None:
        self._root = config.mailboxes
        self._clock = clock
        self._accounts = {str(account.address.canonical): account for account in config.users}
        self._folders: dict[str, Folder] = {}

    def authenticate(self, name: str, password: str) -> str | None:
        """Return the address of the user of that name and password."""
        local, _, domain = name.rpartition("@")
        user = str(Address(local=local, domain=domain).canonical)
        account = self._accounts.get(user)
        known = account.password if account else ""
        matches = hmac.compare_digest(known.encode(), password.encode())
        return user if known and matches else None

    def folder(self, user: str) -> Folder:
        """Return a user's INBOX, one for all sessions. Raises: OSError."""
        found = self._folders.get(user)
        if found is None:
            local, _, domain = user.rpartition("@")
            found = Folder(mailbox_path(self._root, domain, local), clock=self._clock)
            self._folders[user] = found
        return found


class _Connection(asyncio.Protocol):
    """A session on its socket."""

    def __init__(
        self,
        settings: Settings,
        config: ImapConfig,
        connections: set[_Connection],
        context: ssl.SSLContext,
        *,
        secure: bool,
    ) -> None:
        self._settings = settings
        self._config = config
        self._connections = connections
        self._context = context
        self._secure = secure
        self._upgrade: asyncio.Task[None] | None = None
        self._early = b""
        self._heard = 0.0
        self._transport: asyncio.Transport | None = None
        self.session: Session | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - asyncio promises it for streams
        self._transport = transport
        self._heard = asyncio.get_running_loop().time()
        peer = transport.get_extra_info("peername")
        self.session = Session(self._settings, client=str(peer[0]) if peer else "", secure=self._secure)
        self._connections.add(self)
        if len(self._connections) > self._config.session_limit:
            self.session.bye("too many sessions, come again later")
        self.flush()

    def data_received(self, data: bytes) -> None:
        self._heard = asyncio.get_running_loop().time()
        if self.session is None:
            return
        if self._upgrade is not None:
            # Under TLS already, but the task that took it up has not had its turn: nothing else is read now.
            self._early += data
            return
        try:
            self.session.receive(data)
        except Exception:
            # A mistake of ours ends this session, and no other.
            log.exception("session")
            self.session.bye("the server made a mistake")
        self.flush()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._connections.discard(self)
        if self._upgrade is not None:
            self._upgrade.cancel()

    def pause_writing(self) -> None:
        # Who does not read what was asked for cannot ask for more.
        if self._transport is not None and self._upgrade is None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None and self._upgrade is None:
            self._transport.resume_reading()

    def flush(self) -> None:
        """Send what the session has to say, and do what it asks for."""
        session, transport = self.session, self._transport
        if session is None or transport is None:
            return
        if session.output:
            chunks, session.output = session.output, []
            transport.writelines(chunks)
        if session.closing:
            # Once: a TLS transport that is closed twice cannot be aborted any more.
            if not transport.is_closing():
                transport.close()
        elif session.wants_tls and self._upgrade is None:
            transport.pause_reading()
            self._upgrade = asyncio.get_running_loop().create_task(self._start_tls(session, transport))

    async def _start_tls(self, session: Session, transport: asyncio.Transport) -> None:
        try:
            self._transport = await asyncio.get_running_loop().start_tls(
                transport,
                self,
                self._context,
                server_side=True,
                ssl_handshake_timeout=_HANDSHAKE_WITHIN_S,
            )
        except OSError as error:
            log.info("no TLS: %s", error)
            transport.abort()
            return
        session.secured()
        self._upgrade = None
        early, self._early = self._early, b""
        if early:
            self.data_received(early)

    def look(self, now: float) -> None:
        """Tell an idle client what is new; send away who has not been heard of for long."""
        session = self.session
        if session is None:
            return
        limit = self._config.idle_limit_s if session.authenticated else _LOGIN_WITHIN_S
        if now - self._heard > limit:
            session.bye("nothing was heard for too long")
        else:
            session.poll()
        self.flush()

    def close(self) -> None:
        """Send the client away."""
        if self.session is not None:
            self.session.bye("the server shuts down")
            self.flush()

    def abort(self) -> None:
        """End the connection, whatever is still to be sent."""
        if self._transport is not None:
            self._transport.abort()


async def serve(config: ImapConfig, notices: Notices, *, clock: Callable[[], float] = time.time) -> None:
    """Run the IMAP server until cancelled; sessions then get a BYE.

    Raises: ConfigError, ServiceError (a port is taken).
    """
    context = _server_context(config)
    settings = Settings(
        hostname=config.hostname,
        host=config.host,
        accounts=Mailboxes(config, clock),
        tls=True,
        message_limit=config.size_limit,
        told=notices.event,
    )
    connections: set[_Connection] = set()
    servers: list[asyncio.Server] = []
    try:
        for port, secure in ((config.port, False), (config.tls_port, True)):
            for address in config.listen if port else ():

                def protocol(secure: bool = secure) -> _Connection:
                    return _Connection(settings, config, connections, context, secure=secure)

                servers.append(await _listen(protocol, address, port, context if secure else None))
        notices.ready()
        while True:
            await asyncio.sleep(_LOOK_EACH_S)
            now = asyncio.get_running_loop().time()
            for connection in list(connections):
                connection.look(now)
    finally:
        for server in servers:
            server.close()
        for connection in list(connections):
            connection.close()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        for connection in list(connections):
            connection.abort()


async def _listen(
    protocol: Callable[[], _Connection], address: str, port: int, context: ssl.SSLContext | None
) -> asyncio.Server:
    try:
        return await asyncio.get_running_loop().create_server(
            protocol, address, port, backlog=1024, ssl=context
        )
    except OSError as error:
        raise ServiceError(f"{address}:{port} cannot be bound: {error.strerror}") from error


def _server_context(config: ImapConfig) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(config.tls.cert, config.tls.key)
        if config.tls.keylog:
            context.keylog_filename = str(config.tls.keylog)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"tls: {config.tls.cert}, {config.tls.key}: {error.strerror or error}") from error
    return context
