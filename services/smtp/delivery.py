"""The queue runner: takes what is due and brings it to its next hops.

Theory of operation. An attempt at a message goes like this:

    due recipients  ->  grouped by next hop  ->  each hop served at the same time
        mailboxes here      one Maildir after the other
        a domain            its exchangers in order; the next one if a host cannot be reached

What came of it is settled hop by hop (outcomes), before the session is closed: the time in which a crash
could send a message twice is the time of one write. Failures and delays are collected, so that a sender gets
one report of each an attempt.

A hop has a limited number of places (hops), so that a full queue does not fall upon one host; many more
messages may wait for their hop, so that a dead one does not hold up the rest. The content is read once for a
hop, when its turn has come: what waits has only its envelope in memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing, suppress

from services.mailbox import maildir
from services.smtp.address import Address, parse_address
from services.smtp.client import ClientSession, Stale, Timeouts, Unreachable
from services.smtp.config import MtaConfig
from services.smtp.envelope import Envelope, Wishes
from services.smtp.errors import LookupFailed, SpoolUnavailable
from services.smtp.hops import Hop, Hops
from services.smtp.message import QueuedMessage, Recipient
from services.smtp.mx import RoutingError
from services.smtp.outcomes import Ledger, Outcome, outcomes
from services.smtp.policy import Directory, Mailbox
from services.smtp.queue import Queue
from services.smtp.replies import Reply
from services.smtp.routing import Remote, Resolver, Target, next_hop, route_table, targets
from services.smtp.streams import Streams
from services.smtp.trace import return_path

log = logging.getLogger(__name__)

# RFC 5321 §4.5.3.1.8: a server must take a hundred recipients, and need not take more.
_RECIPIENTS_AT_ONCE = 100
_MESSAGES_AT_ONCE = 2000


class Runner:
    """The queue runner of one MTA."""

    def __init__(
        self,
        config: MtaConfig,
        *,
        queue: Queue,
        ledger: Ledger,
        directory: Directory,
        resolver: Resolver,
        streams: Streams,
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._queue = queue
        self._ledger = ledger
        self._directory = directory
        self._resolver = resolver
        self._streams = streams
        self._clock = clock
        self._routes = route_table(config.routes)
        self._timeouts = Timeouts(connect_s=config.connect_timeout_s, command_s=config.command_timeout_s)
        self._attempts: set[asyncio.Task[None]] = set()
        self._free = asyncio.Semaphore(_MESSAGES_AT_ONCE)
        self._filing = asyncio.Semaphore(config.destination_concurrency)
        self._hops = Hops(config.destination_concurrency)

    async def run(self) -> None:
        """Serve the queue until cancelled. Attempts under way go on: see `finish`."""
        while True:
            await self._free.acquire()
            try:
                message = await self._queue.take()
            except asyncio.CancelledError:
                self._free.release()
                raise
            task = asyncio.create_task(self._attempt(message), name=f"attempt {message.id}")
            self._attempts.add(task)
            task.add_done_callback(self._ended)

    async def finish(self, grace_s: float) -> None:
        """Wait up to `grace_s` seconds for the attempts under way, then cancel them."""
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=grace_s)
        rest = list(self._attempts)
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._attempts.discard(task)
        self._free.release()
        if not task.cancelled() and task.exception():
            log.error("%s failed", task.get_name(), exc_info=task.exception())

    async def _attempt(self, message: QueuedMessage) -> None:
        now = self._clock()
        due = [recipient for recipient in message.recipients if recipient.due <= now]
        try:
            local, remote, rest = self._grouped(due)
            work = [self._relay(message, hop, group) for hop, group in remote.items()]
            if local:
                work.append(self._file(message, local))
            for unfinished in await asyncio.gather(*work):
                rest += unfinished
            if rest:
                await self._ledger.conclude(message, await self._queue.content(message.id), rest)
        except Exception as error:
            await self._postpone(message, due, error)
        self._queue.release(message.id)

    def _grouped(
        self, due: Iterable[Recipient]
    ) -> tuple[list[tuple[Recipient, Mailbox]], dict[Remote, list[Recipient]], list[Outcome]]:
        """Return who has a mailbox here, who is reached by which hop, and who cannot be reached."""
        local: list[tuple[Recipient, Mailbox]] = []
        remote: dict[Remote, list[Recipient]] = defaultdict(list)
        failed = []
        for recipient in due:
            try:
                address = parse_address(recipient.address)
                hop = next_hop(address, directory=self._directory, routes=self._routes)
            except RoutingError as error:
                failed.append(Outcome(recipient=recipient, reply=Reply(550, error.enhanced_code, str(error))))
                continue
            if isinstance(hop, Mailbox):
                local.append((recipient, hop))
            else:
                remote[hop].append(recipient)
        return local, remote, failed

    async def _file(
        self, message: QueuedMessage, local: Sequence[tuple[Recipient, Mailbox]]
    ) -> list[Outcome]:
        """Put the message into the mailboxes here; return what is left to conclude with."""
        async with self._filing:
            try:
                content = await self._queue.content(message.id)
                data = return_path(message.sender) + content
                filed: list[tuple[Recipient, Mailbox, str]] = []
                stuck: list[Outcome] = []
                for recipient, mailbox in local:
                    try:
                        file = await self._file_one(message, data, recipient, mailbox)
                        filed.append((recipient, mailbox, file))
                    except OSError as error:
                        reply = Reply(451, "4.3.1", f"the mailbox cannot be written: {error.strerror}")
                        stuck.append(Outcome(recipient=recipient, reply=reply))
                await self._ledger.filed(message, content, filed)
                return await self._ledger.settle(message, content, stuck)
            except Exception as error:
                await self._postpone(message, [recipient for recipient, _ in local], error)
                return []

    async def _relay(
        self, message: QueuedMessage, remote: Remote, group: Sequence[Recipient]
    ) -> list[Outcome]:
        """Bring the message to one hop; return what is left to conclude with."""
        async with self._hops.place(remote) as hop:
            try:
                content = await self._queue.content(message.id)
                rest = []
                for start in range(0, len(group), _RECIPIENTS_AT_ONCE):
                    part = group[start : start + _RECIPIENTS_AT_ONCE]
                    rest += await self._transfer(message, content, hop, remote, part)
                return rest
            except Exception as error:
                await self._postpone(message, group, error)
                return []

    async def _postpone(
        self, message: QueuedMessage, recipients: Iterable[Recipient], error: Exception
    ) -> None:
        """Try again later what an error of this host stopped: not even a mistake here may cost mail."""
        if isinstance(error, SpoolUnavailable):
            reply = Reply(451, "4.3.1", str(error))
        else:
            log.error("%s: unexpected error", message.id, exc_info=error)
            reply = Reply(451, "4.3.0", "internal error")
        waiting = {recipient.address for recipient in self._queue.waiting(message.id)}
        rest = [recipient for recipient in recipients if recipient.address in waiting]
        await self._ledger.postpone(message, outcomes(rest, reply))

    async def _file_one(
        self, message: QueuedMessage, data: bytes, recipient: Recipient, mailbox: Mailbox
    ) -> str:
        """Put the message into a mailbox, once for each recipient that leads there; return the file.

        Raises: OSError.
        """
        path = maildir.mailbox_path(self._config.mailboxes, mailbox.domain, mailbox.user)
        name = maildir.unique_name(
            arrival=message.arrival, queue_id=message.id, number=recipient.number, host=self._config.host
        )
        file = await asyncio.to_thread(maildir.deliver, path, name, data)
        return str(file.relative_to(self._config.mailboxes))

    async def _transfer(
        self, message: QueuedMessage, content: bytes, hop: Hop, remote: Remote, group: Sequence[Recipient]
    ) -> list[Outcome]:
        """Transfer the message to the first exchanger that can be reached."""
        attempt = max(recipient.attempts for recipient in group)
        rng = self._streams.stream("exchangers", f"{message.id}/{attempt}")
        candidates = targets(remote, resolver=self._resolver, own_names={self._config.hostname}, rng=rng)
        unreachable: list[Reply] = []
        try:
            async with aclosing(candidates):
                async for target in candidates:
                    try:
                        return await self._transfer_to(target, message, content, hop, group)
                    except Unreachable as error:
                        log.info("%s: %s: %s", message.id, target.host, error)
                        unreachable.append(error.reply)
            reply = _decisive(unreachable)
        except LookupFailed as error:
            reply = Reply(451, error.enhanced_code, str(error))
        except RoutingError as error:
            reply = Reply(550, error.enhanced_code, str(error))
        return await self._ledger.settle(message, content, outcomes(group, reply))

    async def _transfer_to(
        self, target: Target, message: QueuedMessage, content: bytes, hop: Hop, group: Sequence[Recipient]
    ) -> list[Outcome]:
        """Transfer the message to one host. Raises: Unreachable."""
        by_address: dict[Address, Recipient] = {parse_address(item.address): item for item in group}
        envelope = Envelope(
            sender=parse_address(message.sender) if message.sender else None,
            recipients=tuple(by_address),
            body=message.body,
            smtputf8=message.smtputf8,
            ret=message.ret,
            envid=message.envid,
            wishes={
                address: Wishes(notify=item.notify, orcpt=item.orcpt) for address, item in by_address.items()
            },
        )

        async def connect() -> ClientSession:
            return await ClientSession.open(
                target.address, self._config.remote_port, helo=self._config.hostname, timeouts=self._timeouts
            )

        while True:
            # A session that was left may be stale; a new one never is, and so this ends.
            with suppress(Stale):
                async with hop.session(target.address, connect) as session:
                    replies = await session.send(envelope, content)
                    results = [
                        Outcome(
                            recipient=by_address[address],
                            reply=reply,
                            target=target,
                            reports=session.offers("DSN"),
                        )
                        for address, reply in replies.items()
                    ]
                    return await self._ledger.settle(message, content, results)


def _decisive(replies: Sequence[Reply]) -> Reply:
    """Return the reply to act upon when no host could be reached: one that leaves hope, if there is any."""
    temporary = [reply for reply in replies if not reply.permanent]
    return temporary[-1] if temporary else replies[-1]
