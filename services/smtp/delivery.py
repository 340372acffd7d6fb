"""The queue runner: takes what is due and brings it to its next hops.

Theory of operation. An attempt at a message goes like this:

    due recipients  ->  grouped by next hop  ->  each hop served at the same time
        mailboxes here      one Maildir after the other; a list's address has the list act on it
        a domain            its exchangers in order; the next one if a host cannot be reached

What came of it is settled hop by hop (outcomes), before the session is closed: the time in which a crash
could send a message twice is the time of one write. Failures and delays are collected, so that a sender gets
one report of each an attempt.

Where there is a content filter, a message is judged before it goes to any hop, and waits as long as that
cannot be done (screening).

A hop has a limited number of places (transfer), so that a full queue does not fall upon one host; many more
messages may wait for their hop, so that a dead one does not hold up the rest. The content is read once for a
hop, when its turn has come: what waits has only its envelope in memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from services.mailbox import maildir
from services.smtp.address import parse_address
from services.smtp.config import MtaConfig
from services.smtp.errors import SpoolUnavailable
from services.smtp.listagent import ListAgent
from services.smtp.message import QueuedMessage, Recipient
from services.smtp.mx import RoutingError
from services.smtp.outcomes import Ledger, Outcome, outcomes
from services.smtp.policy import Directory, Mailbox
from services.smtp.queue import Queue
from services.smtp.replies import Reply
from services.smtp.routing import NextHop, Remote, next_hop, route_table
from services.smtp.trace import return_path
from services.smtp.transfer import NOT_REACHED, Transfers

log = logging.getLogger(__name__)

# Each of them is worth kilobytes while it is attempted.
_MESSAGES_AT_ONCE = 500


class Screen(Protocol):
    """What judges messages before they go on (services.smtp.screening)."""

    async def screen(self, message: QueuedMessage, due: Sequence[Recipient]) -> QueuedMessage | None:
        """Return the message as it goes on, None if this attempt is over. Raises: SpoolUnavailable."""


@dataclass(slots=True)
class _Attempt:
    """One attempt at a message: who is due, with a mailbox here, by which hop, or cannot be reached.

    `mistake`: that could not even be found out.
    """

    message: QueuedMessage
    due: list[Recipient]
    local: list[tuple[Recipient, Mailbox]] = field(default_factory=list)
    remote: dict[Remote, list[Recipient]] = field(default_factory=dict)
    failed: list[Outcome] = field(default_factory=list)
    mistake: Exception | None = None


class Runner:
    """The queue runner of one MTA."""

    def __init__(
        self,
        config: MtaConfig,
        *,
        queue: Queue,
        ledger: Ledger,
        directory: Directory,
        transfers: Transfers,
        lists: ListAgent,
        clock: Callable[[], float],
        screen: Screen | None = None,
    ) -> None:
        self._config = config
        self._screen = screen
        self._queue = queue
        self._ledger = ledger
        self._directory = directory
        self._lists = lists
        self._clock = clock
        self._routes = route_table(config.routes)
        # Neither the users here nor the routes change while the server runs.
        self._next_hop = lru_cache(maxsize=4096)(self._look_up)
        self._attempts: set[asyncio.Task[None]] = set()
        self._free = asyncio.Semaphore(_MESSAGES_AT_ONCE)
        self._filing = asyncio.Semaphore(config.destination_concurrency)
        self._transfers = transfers

    async def run(self) -> None:
        """Serve the queue until cancelled. Attempts under way go on: see `finish`."""
        self._transfers.resume(self._not_reached())
        while True:
            await self._free.acquire()
            try:
                message = await self._queue.take()
            except asyncio.CancelledError:
                self._free.release()
                raise
            task = asyncio.create_task(self._attempt(self._begun(message)), name=f"attempt {message.id}")
            self._attempts.add(task)
            task.add_done_callback(self._ended)

    async def finish(self, grace_s: float) -> None:
        """Wait up to `grace_s` seconds for the attempts under way, then cancel them."""
        await self._transfers.finish()
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=grace_s)
        rest = list(self._attempts)
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await self._transfers.close()

    def _not_reached(self) -> Iterator[tuple[QueuedMessage, Remote, Recipient]]:
        """Yield who waits because nobody could be reached, and for which hop."""
        for message in self._queue.messages():
            for recipient in message.recipients:
                if recipient.reply.startswith(NOT_REACHED):
                    _, remote, _ = self._grouped([recipient])
                    yield from ((message, hop, recipient) for hop in remote)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._attempts.discard(task)
        self._free.release()
        if not task.cancelled() and task.exception():
            log.error("%s failed", task.get_name(), exc_info=task.exception())

    def _begun(self, message: QueuedMessage) -> _Attempt:
        """Return the attempt at a message that the queue has handed out; its hops know of it at once."""
        now = self._clock()
        attempt = _Attempt(message, [recipient for recipient in message.recipients if recipient.due <= now])
        try:
            attempt.local, attempt.remote, attempt.failed = self._grouped(attempt.due)
        except Exception as error:
            attempt.mistake = error
        self._transfers.begin(message, attempt.remote)
        return attempt

    async def _attempt(self, attempt: _Attempt) -> None:
        message = attempt.message
        try:
            await self._try(attempt)
        except Exception as error:
            await self._postpone(message, attempt.due, error)
        self._queue.release(message.id)
        self._transfers.end(message, attempt.remote)

    async def _try(self, attempt: _Attempt) -> None:
        """Bring the message to where its recipients are, unless it is kept back here."""
        message = attempt.message
        if attempt.mistake:
            raise attempt.mistake
        if self._screen and not message.filtered:
            passed = await self._screen.screen(message, attempt.due)
            if passed is None:
                return
            message = passed
        work = [self._relay(message, hop, group) for hop, group in attempt.remote.items()]
        if attempt.local:
            work.append(self._file(message, attempt.local))
        rest = attempt.failed
        # Most messages have one hop only, and need no task for it.
        for unfinished in [await work[0]] if len(work) == 1 else await asyncio.gather(*work):
            rest += unfinished
        if rest:
            await self._ledger.conclude(message, await self._queue.content(message.id), rest)

    def _grouped(
        self, due: Iterable[Recipient]
    ) -> tuple[list[tuple[Recipient, Mailbox]], dict[Remote, list[Recipient]], list[Outcome]]:
        """Return who has a mailbox here, who is reached by which hop, and who cannot be reached."""
        local: list[tuple[Recipient, Mailbox]] = []
        remote: dict[Remote, list[Recipient]] = defaultdict(list)
        failed = []
        for recipient in due:
            try:
                hop = self._next_hop(recipient.address)
            except RoutingError as error:
                failed.append(Outcome(recipient=recipient, reply=Reply(550, error.enhanced_code, str(error))))
                continue
            if isinstance(hop, Mailbox):
                local.append((recipient, hop))
            else:
                remote[hop].append(recipient)
        return local, remote, failed

    def _look_up(self, recipient: str) -> NextHop:
        return next_hop(parse_address(recipient), directory=self._directory, routes=self._routes)

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
                        await self._lists.heed(message, content, recipient, mailbox)
                        filed.append((recipient, mailbox, file))
                    except SpoolUnavailable as error:
                        reply = Reply(451, "4.3.1", str(error))
                        stuck.append(Outcome(recipient=recipient, reply=reply))
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
        try:
            return await self._transfers.relay(message, remote, group)
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
