"""The mail server: listeners, queue and queue runner, put together from a configuration.

    MtaConfig, load     what it is told (services.smtp.config)
    serve               run it until cancelled

One process is what its configuration makes of it: an MTA with `smtp_port`, an MSA with
`submission_port`, an MDA for its local domains, and any of them together.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from services.errors import ConfigError, ServiceError
from services.filters.greylisting import Greylist
from services.filters.greylisting import Terms as GreylistTerms
from services.filters.signing import Signer, read_key
from services.notices import Handler, Notices
from services.smtp.administration import Administration
from services.smtp.config import Domain, MtaConfig, Route, TlsConfig, User, load
from services.smtp.conversation import Greylisting, Terms
from services.smtp.delivery import Runner
from services.smtp.listagent import ListAgent
from services.smtp.lookup import StubLookups
from services.smtp.outcomes import Ledger
from services.smtp.policy import Directory, Policy
from services.smtp.queue import Queue
from services.smtp.routing import Resolver
from services.smtp.server import Reception, ServerSession, Sessions
from services.smtp.spool import Spool
from services.smtp.streams import Streams
from services.smtp.transfer import Transfers
from services.smtp.wire import Listener, Wire, listen

__all__ = ["MtaConfig", "load", "serve", "Domain", "User", "Route", "TlsConfig"]

log = logging.getLogger("services.smtp")

# How long attempts under way may go on when the server is told to stop.
_GRACE_S = 5.0
_CLOSING_S = 1.0


class _LoggedNotices:
    """Notices that are also one line each in the log."""

    def __init__(self, notices: Notices) -> None:
        self._notices = notices

    def ready(self) -> None:
        log.info("ready")
        self._notices.ready()

    def event(self, kind: str, **fields: object) -> None:
        log.info("%s %s", kind, " ".join(f"{name}={value!r}" for name, value in fields.items()))
        self._notices.event(kind, **fields)

    def handle(self, method: str, handler: Handler) -> None:
        self._notices.handle(method, handler)


async def serve(
    config: MtaConfig,
    notices: Notices,
    *,
    resolver: Resolver | None = None,
    clock: Callable[[], float] = time.time,
) -> None:
    """Run the mail server until cancelled; sessions then get a 421 and deliveries a few seconds.

    `resolver` stands in for the name servers of the configuration.
    Raises: ConfigError, ServiceError (a port or the spool is taken, a certificate cannot be read).
    """
    if log.isEnabledFor(logging.INFO):
        notices = _LoggedNotices(notices)
    parts = _assembled(config, notices, resolver, clock)
    receptions = list(_receptions(config, parts, notices, clock))
    listeners = _Listeners()
    reporting: asyncio.Task[None] | None = None
    try:
        await parts.queue.open()
        await parts.lists.open()
        for port, reception in receptions:
            listeners.open(config.listen, port, reception)
        notices.ready()
        if parts.reporting:
            reporting = asyncio.create_task(parts.reporting(), name="aggregate reports")
        await parts.runner.run()
    finally:
        if reporting:
            reporting.cancel()
        await listeners.close()
        await parts.runner.finish(_GRACE_S)
        await parts.queue.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What a mail server consists of, apart from its listeners; `reporting` sends DMARC's reports."""

    queue: Queue
    directory: Directory
    signer: Signer
    lists: ListAgent
    runner: Runner
    reporting: Callable[[], Coroutine[None, None, None]] | None


def _assembled(
    config: MtaConfig, notices: Notices, resolver: Resolver | None, clock: Callable[[], float]
) -> _Parts:
    """The parts, each given those that it needs; what administrators ask is answered. Raises: ConfigError."""
    streams = Streams(seed=config.seed, host=config.host, role="mta")
    directory = Directory(config)
    queue = _queue(config, notices, streams, clock)
    signer = _signer(config)
    ledger = _ledger(config, queue, notices, streams, clock, signer)
    transfers = Transfers(
        config,
        queue=queue,
        ledger=ledger,
        resolver=resolver or _lookups(config, streams),
        streams=streams,
        clock=clock,
        tls=client_context(config.tls) if config.tls and config.opportunistic_tls else None,
    )
    screen, reporting = None, None
    if config.content_filter:
        # What checks signatures and DMARC takes long to import: only who filters does so.
        from services.smtp.filtering import content_filter

        screen, reporting = content_filter(
            config, queue=queue, ledger=ledger, signer=signer, notices=notices, streams=streams, clock=clock
        )
    lists = ListAgent(config, queue=queue, notices=notices, signer=signer, streams=streams, clock=clock)
    runner = Runner(
        config,
        queue=queue,
        ledger=ledger,
        directory=directory,
        transfers=transfers,
        lists=lists,
        clock=clock,
        screen=screen,
    )
    Administration(queue, transfers.forget_failures, notices).serve()
    return _Parts(
        queue=queue, directory=directory, signer=signer, lists=lists, runner=runner, reporting=reporting
    )


def _receptions(
    config: MtaConfig, parts: _Parts, notices: Notices, clock: Callable[[], float]
) -> Iterator[tuple[int, Reception]]:
    """Each port that is listened on, and how its sessions are received. Raises: ConfigError."""
    tls = server_context(config.tls) if config.tls else None
    policy = Policy(
        parts.directory, config.relay_from, hostname=config.hostname, source_routes=config.source_routes
    )
    greylist = _greylist(config, clock)
    for port, submission in ((config.smtp_port, False), (config.submission_port, True)):
        if port:
            yield (
                port,
                Reception(
                    terms=_terms(config, policy, greylist, submission=submission),
                    tls=tls,
                    session_limit=config.session_limit,
                    client_session_limit=config.client_session_limit,
                    command_timeout_s=config.command_timeout_s,
                    queue=parts.queue,
                    notices=notices,
                    signer=parts.signer,
                ),
            )


class _Listeners:
    """The ports that are listened on, and the sessions that came of it."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._sessions: list[Sessions] = []

    def open(self, addresses: tuple[str, ...], port: int, reception: Reception) -> None:
        """Listen on a port of each address. Raises: ServiceError."""
        self._sessions.append(Sessions())
        self._listeners += _listen(addresses, port, reception, self._sessions[-1])

    async def close(self) -> None:
        """Listen no more, and end all sessions."""
        for listener in self._listeners:
            listener.close()
        await _close([session for some in self._sessions for session in some])


def _signer(config: MtaConfig) -> Signer:
    """The DKIM keys that the configuration names. Raises: ConfigError."""
    keys = []
    for signing in config.signing:
        try:
            pem = signing.key.read_bytes()
        except OSError as error:
            raise ConfigError(f"signing: {signing.key}: {error.strerror}") from error
        keys.append(read_key(pem, domain=signing.domain, selector=signing.selector))
    return Signer(keys)


def _queue(config: MtaConfig, notices: Notices, streams: Streams, clock: Callable[[], float]) -> Queue:
    def set_aside(queue_id: str, reason: str, place: Path) -> None:
        file = str(place.relative_to(config.spool))
        notices.event("set-aside", id=queue_id, reason=reason, file=file)

    return Queue(Spool(config.spool), streams=streams, clock=clock, set_aside=set_aside)


def _terms(config: MtaConfig, policy: Policy, greylist: Greylisting | None, *, submission: bool) -> Terms:
    return Terms(
        hostname=config.hostname,
        submission=submission,
        starttls=config.tls is not None,
        size_limit=config.size_limit,
        recipient_limit=config.recipient_limit,
        error_limit=config.error_limit,
        line_limit=config.line_limit,
        policy=policy,
        greylist=greylist,
    )


def _greylist(config: MtaConfig, clock: Callable[[], float]) -> Greylisting | None:
    if not config.greylist_delay_s:
        return None
    greylist = Greylist(GreylistTerms(delay_s=config.greylist_delay_s / config.time_scale))
    return lambda client, sender, recipient: greylist.waits(client, sender, recipient, clock())


def _ledger(
    config: MtaConfig,
    queue: Queue,
    notices: Notices,
    streams: Streams,
    clock: Callable[[], float],
    signer: Signer,
) -> Ledger:
    return Ledger(
        hostname=config.hostname,
        retry=config.retry,
        queue=queue,
        notices=notices,
        streams=streams,
        clock=clock,
        signer=signer,
    )


def server_context(tls: TlsConfig) -> ssl.SSLContext:
    """Return the context of a TLS 1.3 server that logs its secrets. Raises: ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(tls.cert, tls.key)
        if tls.keylog:
            context.keylog_filename = str(tls.keylog)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"tls: {tls.cert}, {tls.key}: {error.strerror or error}") from error
    return context


def client_context(tls: TlsConfig) -> ssl.SSLContext:
    """Return the context of a client that takes any certificate (RFC 7435) and logs its secrets.

    Raises: ConfigError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        if tls.keylog:
            context.keylog_filename = str(tls.keylog)
    except OSError as error:
        raise ConfigError(f"tls: {tls.keylog}: {error.strerror}") from error
    return context


def _listen(
    addresses: tuple[str, ...], port: int, reception: Reception, sessions: Sessions
) -> list[Listener]:
    def made(wire: Wire) -> None:
        ServerSession(reception, sessions, wire)

    listeners: list[Listener] = []
    for address in addresses:
        try:
            listeners += listen(address, port, made)
        except OSError as error:
            for earlier in listeners:
                earlier.close()
            # Python adds the address to the system's word.
            reason = str(error.strerror).partition(" (while")[0]
            raise ServiceError(f"{address}:{port} cannot be bound: {reason}") from error
    return listeners


async def _close(sessions: Collection[ServerSession]) -> None:
    """End every session, those whose client does not listen after a moment."""
    for session in sessions:
        session.shut_down()
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSING_S):
            await asyncio.gather(*(session.gone() for session in sessions))
    for session in sessions:
        session.abort()
    # The transports of TLS close in the loop's next turn, those below them in the one after it.
    for _ in range(2):
        await asyncio.sleep(0)


def _lookups(config: MtaConfig, streams: Streams) -> StubLookups:
    return StubLookups(
        config.nameservers, port=config.nameserver_port, rng=streams.stream("stub resolver", "")
    )
