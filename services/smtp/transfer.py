"""Bringing a message to one of its next hops.

Theory of operation. A hop's exchangers are tried in order (routing), without those that are known not to
answer (availability). Each of them decides over some of the recipients:

    2xx, 5xx    settled at once, before the session is closed: the time in which `kill -9` could send a
                message twice is that of one write
    4xx         to the recipient, to MAIL or to the message: the next exchanger may take them, as in Postfix
    no session  refused, timed out, or no greeting: the next exchanger

What is left after the last one is deferred. So it is at once when the session breaks after the message has
gone out: the server may have it, and another one would get it a second time for certain.

A hop has a limited number of places (hops). When no exchanger answers, the message waits in recovery.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from functools import partial

from services.smtp.availability import Availability, BackOff
from services.smtp.client import ClientSession, Stale, Timeouts, Unreachable
from services.smtp.config import MtaConfig
from services.smtp.errors import LookupFailed
from services.smtp.hops import Hop, Hops
from services.smtp.lookup import SharedLookups
from services.smtp.message import QueuedMessage, Recipient
from services.smtp.mx import MailLoop, RoutingError
from services.smtp.outcomes import Ledger, Outcome
from services.smtp.queue import Queue
from services.smtp.recovery import Recovery
from services.smtp.replies import Reply
from services.smtp.routing import Remote, Resolver, Target, targets
from services.smtp.streams import Streams
from services.smtp.undecided import Undecided

log = logging.getLogger(__name__)

# RFC 5321 §4.5.3.1.8: a server must take a hundred recipients, and need not take more.
_RECIPIENTS_AT_ONCE = 100
# How long the session of a call waits for the first message.
_CALL_HELD_S = 1.0
# How the reply begins that tells that nobody could be reached.
NOT_REACHED = "451 4.4.1 "


class _Behind(Exception):
    """The hop answers, and others have waited for it longer."""


class Transfers:
    """The sending side of one MTA."""

    def __init__(
        self,
        config: MtaConfig,
        *,
        queue: Queue,
        ledger: Ledger,
        resolver: Resolver,
        streams: Streams,
        clock: Callable[[], float],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._config = config
        self._queue = queue
        self._ledger = ledger
        self._streams = streams
        self._clock = clock
        self._tls = tls
        self._timeouts = Timeouts(connect_s=config.connect_timeout_s, command_s=config.command_timeout_s)
        self._hops = Hops(config.destination_concurrency)
        self._resolver = resolver
        self._shared = SharedLookups(resolver, clock=clock)
        self._back_off = BackOff(time_scale=config.time_scale)
        # For the connection and for the greeting.
        self._availability = Availability(self._back_off, attempt_s=2 * config.connect_timeout_s)
        self._recovery = Recovery(queue.to_come)
        self._calls: dict[Remote, asyncio.Task[None]] = {}

    async def relay(
        self, message: QueuedMessage, remote: Remote, group: Sequence[Recipient]
    ) -> list[Outcome]:
        """Bring the message to one hop; return what is left to conclude with.

        Between `begin` and `end`. Nothing is left, nor changed, if it goes back to the queue since it is not
        its turn.
        """
        back = False
        try:
            with self._hops.under_way(remote) as hop:
                while await self._recovery.turn(remote, message.id):
                    with suppress(_Behind):
                        async with hop.free:
                            return await self._in_parts(message, hop, remote, group)
            back = True
            self._queue.hasten({message.id: [recipient.address for recipient in group]})
            return []
        finally:
            self._recovery.ends(remote, message.id, back=back)

    def begin(self, message: QueuedMessage, hops: Iterable[Remote]) -> None:
        """Note that an attempt begins; to be called as soon as the queue has handed the message out."""
        for remote in hops:
            self._recovery.begins(remote, message)

    def end(self, message: QueuedMessage, hops: Iterable[Remote]) -> None:
        """Note that the attempt is over, and the queue has the message again."""
        for remote in hops:
            self._recovery.released(remote, message.id)

    def resume(self, waiting: Iterable[tuple[QueuedMessage, Remote, Recipient]]) -> None:
        """Note what the queue says was not reached before this process began."""
        for message, remote, recipient in waiting:
            if recipient.reply.startswith(NOT_REACHED):
                self._wait(remote, message, [recipient])

    def forget_failures(self) -> None:
        """Have hosts that did not answer tried again, as if nothing were known of them."""
        self._availability.forget()

    async def close(self) -> None:
        """End the sessions that were left for the next message; there is none."""
        await self._hops.close()

    async def finish(self) -> None:
        """Give up calling hops that do not answer."""
        calls = list(self._calls.values())
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    async def _in_parts(
        self, message: QueuedMessage, hop: Hop, remote: Remote, group: Sequence[Recipient]
    ) -> list[Outcome]:
        content = await self._queue.content(message.id)
        if len(group) <= _RECIPIENTS_AT_ONCE:
            return await self._part(message, content, hop, remote, group)
        rest = []
        for start in range(0, len(group), _RECIPIENTS_AT_ONCE):
            part = group[start : start + _RECIPIENTS_AT_ONCE]
            rest += await self._part(message, content, hop, remote, part)
        return rest

    async def _part(
        self, message: QueuedMessage, content: bytes, hop: Hop, remote: Remote, group: Sequence[Recipient]
    ) -> list[Outcome]:
        """Transfer the message to the first exchangers that take it for these recipients."""
        undecided = Undecided(group)
        try:
            await self._ask_each(message, content, hop, remote, undecided)
            reply = _decisive(undecided.unreachable)
        except LookupFailed as error:
            lost = Reply(451, error.enhanced_code, str(error))
            return await self._ledger.settle(message, content, undecided.rest(lost))
        except RoutingError as error:
            none = Reply(550, error.enhanced_code, str(error))
            return await self._ledger.settle(message, content, undecided.rest(none))
        if not undecided.recipients:
            return undecided.concluded
        rest = await self._ledger.settle(message, content, undecided.rest(reply))
        if not reply.permanent:
            self._wait(remote, message, undecided.not_reached())
        return undecided.concluded + rest

    async def _ask_each(
        self, message: QueuedMessage, content: bytes, hop: Hop, remote: Remote, undecided: Undecided
    ) -> None:
        """Ask one exchanger after the other, until nobody is undecided or none is left.

        Raises: LookupFailed, RoutingError if there is none to ask; _Behind.
        """
        attempt = f"{message.id}/{max(one.attempts for one in undecided.recipients.values())}"
        async with aclosing(self._targets(hop, remote, attempt)) as candidates:
            async for target in candidates:
                known = self._availability.left_alone(target.address, self._clock())
                if known:
                    undecided.unreachable.append(known)
                    continue
                try:
                    await self._transfer_to(target, message, content, hop, remote, undecided)
                except Unreachable as error:
                    log.info("%s: %s: %s", message.id, target.host, error)
                    undecided.unreachable.append(error.reply)
                    continue
                except MailLoop:
                    # Nobody at this preference or above may be asked (RFC 5321 §5.1).
                    if undecided.untouched:
                        raise
                    return
                if undecided.final:
                    return

    def _targets(self, hop: Hop, remote: Remote, attempt: str) -> AsyncGenerator[Target, None]:
        # What is under way at the same time may share what DNS says. A message alone asks for itself.
        resolver = self._shared if hop.users > 1 else self._resolver
        draw = partial(self._streams.stream, "exchangers", attempt)
        return targets(remote, resolver=resolver, own_names={self._config.hostname}, draw=draw)

    async def _transfer_to(
        self,
        target: Target,
        message: QueuedMessage,
        content: bytes,
        hop: Hop,
        remote: Remote,
        undecided: Undecided,
    ) -> None:
        """Transfer the message to one host, and settle what it decided. Raises as `_connect`; _Behind."""
        envelope = undecided.envelope(message)
        while True:
            # A session that was left may be stale; a new one never is, and so this ends.
            with suppress(Stale):
                async with hop.session(target.address, partial(self._connect, target)) as session:
                    self._availability.worked(target.address)
                    self._hasten(remote)
                    if self._recovery.is_first(remote, message.id):
                        replies = await session.send(envelope, content)
                        decided = undecided.learn(replies, target, reports=session.offers("DSN"))
                        undecided.final = session.uncertain or not undecided.recipients
                        if decided:
                            undecided.concluded += await self._ledger.settle(message, content, decided)
                        return
                    # The first of those that were called takes the session over.
                    await hop.joined(_CALL_HELD_S)
                raise _Behind

    async def _connect(self, target: Target) -> ClientSession:
        """Return a new session with one host, and remember whether there was one.

        Raises: Unreachable; MailLoop if the exchanger is this host under another name.
        """
        try:
            session = await ClientSession.open(
                target.address,
                self._config.remote_port,
                helo=self._config.hostname,
                timeouts=self._timeouts,
                tls=self._tls,
            )
        except Unreachable as error:
            self._availability.failed(target.address, error.reply, self._clock())
            raise
        self._availability.worked(target.address)
        if session.to_itself:
            await session.close()
            raise MailLoop(f"{target.host}, an exchanger of {target.domain}, is this host itself")
        return session

    # Hops that do not answer

    def _wait(self, remote: Remote, message: QueuedMessage, recipients: Iterable[Recipient]) -> None:
        addresses = [recipient.address for recipient in recipients]
        if not addresses:
            return
        self._recovery.waits(remote, message, addresses)
        if remote not in self._calls:
            call = asyncio.create_task(self._call(remote), name=f"calling {remote}")
            self._calls[remote] = call
            call.add_done_callback(lambda task: self._called(remote, task))

    def _called(self, remote: Remote, task: asyncio.Task[None]) -> None:
        self._calls.pop(remote, None)
        if not task.cancelled() and task.exception():
            log.error("%s failed", task.get_name(), exc_info=task.exception())

    async def _call(self, remote: Remote) -> None:
        """Call a hop again and again until it answers, or nothing waits for it any more."""
        again = self._clock() + self._back_off.wait(1)
        while self._still_waiting(remote):
            await asyncio.sleep(max(again - self._clock(), 0.0))
            again = await self._call_once(remote)

    async def _call_once(self, remote: Remote) -> float:
        """Call each exchanger whose time has come; return when to call again."""
        times: list[float] = []
        attempt = f"call {remote}/{self._clock()}"
        with suppress(LookupFailed, RoutingError):
            async with (
                self._hops.place(remote) as hop,
                aclosing(self._targets(hop, remote, attempt)) as found,
            ):
                async for target in found:
                    if not self._availability.left_alone(target.address, self._clock()):
                        with suppress(Unreachable):
                            async with hop.session(target.address, partial(self._connect, target)):
                                self._hasten(remote)
                                # The first message that has waited takes the session over.
                                await hop.joined(_CALL_HELD_S)
                                return 0.0
                    times.append(self._availability.again(target.address))
        return min(times, default=self._clock() + self._back_off.wait(1))

    def _still_waiting(self, remote: Remote) -> bool:
        for queue_id in list(self._recovery.waiting(remote)):
            if not self._queue.waiting(queue_id):
                self._recovery.forget(remote, queue_id)
        return bool(self._recovery.waiting(remote))

    def _hasten(self, remote: Remote) -> None:
        """The hop answers: what waits for it is due."""
        if waited := self._recovery.reached(remote):
            self._queue.hasten(waited)


def _decisive(replies: Sequence[Reply]) -> Reply:
    """Return the reply to act upon when no host could be reached: one that leaves hope, if there is any."""
    temporary = [reply for reply in replies if not reply.permanent]
    return temporary[-1] if temporary else replies[-1] if replies else Reply(451, "4.4.1", "no host reached")
