"""The queue: which messages wait, which is due next, and the promise that none is lost.

Theory of operation. The queue keeps the envelopes in memory and everything on disk:

    commit      a new message goes to the spool, then into memory; only then is it acknowledged
    take        waits for a message with a recipient due, and hands it out to one attempt
    record      what the attempt came to goes to the spool, then into memory
    release     the attempt is over: the message waits for its next recipient, or is gone

A commit goes on when its caller is cancelled (a client that hangs up): a message that reached the disk
is in the queue whether or not anybody heard of it. If the spool cannot be written, a commit fails and
the client is told to come again, but a record must not fail, for the message *has* been sent: it stays
in memory and is written together with the next one, or when the spool is tried again.

`commit` and `record` are the only places that wait for the disk: group commit belongs there.
"""

from __future__ import annotations

import asyncio
import base64
import heapq
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from services.smtp.address import Address
from services.smtp.envelope import Envelope, Wishes
from services.smtp.errors import SpoolUnavailable
from services.smtp.message import Progress, QueuedMessage, Recipient
from services.smtp.spool import Spool
from services.smtp.streams import Streams

log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

_SPOOL_RETRY_S = 1.0


class Queue:
    """The queue over one spool. Not to be used before `open` nor after `close`."""

    def __init__(self, spool: Spool, *, streams: Streams, clock: Callable[[], float]) -> None:
        self._spool = spool
        self._streams = streams
        self._clock = clock
        self._messages: dict[str, QueuedMessage] = {}
        self._active: set[str] = set()
        self._unwritten: dict[str, list[Progress]] = {}
        self._schedule: list[tuple[float, str]] = []
        self._changed = asyncio.Event()
        self._writes: set[asyncio.Task[object]] = set()
        self._disk = ThreadPoolExecutor(max_workers=4, thread_name_prefix="spool")
        # Ids are handed out in the order of asking, or equal seeds would not give equal ids.
        self._numbering = asyncio.Lock()
        self._closed = False

    def __len__(self) -> int:
        return len(self._messages)

    async def open(self) -> None:
        """Read the spool back; corrupt files are set aside and logged, the rest is due as it was.

        Raises: SmtpError.
        """
        self._spool.open()
        for entry in self._spool.load():
            if isinstance(entry, Path):
                log.error("corrupt message set aside: %s", entry)
                continue
            self._messages[entry.id] = entry
            self._enter(entry)

    async def close(self) -> None:
        """Write what could not be written before, wait for what is being written, give the spool back."""
        for queue_id in list(self._unwritten):
            self._write_again(queue_id)
        self._closed = True
        while self._writes:
            await asyncio.wait(self._writes)
        self._disk.shutdown()
        self._spool.close()

    def messages(self) -> list[QueuedMessage]:
        """Return what waits, in order of arrival."""
        return sorted(self._messages.values(), key=lambda message: (message.arrival, message.id))

    def waiting(self, queue_id: str) -> tuple[Recipient, ...]:
        """Return the recipients of a message that are not done."""
        message = self._messages.get(queue_id)
        return message.recipients if message else ()

    async def commit(
        self,
        envelope: Envelope,
        compose: Callable[[str, float], bytes],
        *,
        tell: Callable[[QueuedMessage], None] = lambda _: None,
    ) -> QueuedMessage:
        """Put a new message on disk and into the queue: when this returns, it is never lost.

        `compose` makes the content, given the queue id and the time of arrival; `tell` hears of the
        message before any attempt at it begins, even if the caller no longer waits.
        Raises: SpoolUnavailable; then the message is not in the queue.
        """
        return await self._undisturbed(self._commit(envelope, compose, tell))

    async def _commit(
        self,
        envelope: Envelope,
        compose: Callable[[str, float], bytes],
        tell: Callable[[QueuedMessage], None],
    ) -> QueuedMessage:
        queue_id, now = await self._next_id(), self._clock()
        content = compose(queue_id, now)
        message = QueuedMessage(
            id=queue_id,
            arrival=now,
            sender=envelope.reverse_path,
            recipients=tuple(
                _recipient(address, number, now, envelope.wishes.get(address, Wishes()))
                for number, address in enumerate(envelope.recipients)
            ),
            body=envelope.body,
            smtputf8=envelope.smtputf8,
            size=len(content),
            ret=envelope.ret,
            envid=envelope.envid,
        )
        await self._in_thread(lambda: self._spool.write(message, content))
        self._messages[queue_id] = message
        tell(message)
        self._enter(message)
        return message

    async def take(self) -> QueuedMessage:
        """Wait for a message with a recipient due and return it; nobody else gets it until `release`."""
        while True:
            self._changed.clear()
            wait = self._until_next()
            if wait is None or wait > 0:
                await self._wait_for_change(wait)
                continue
            _, queue_id = heapq.heappop(self._schedule)
            message = self._messages.get(queue_id)
            if message and queue_id not in self._active:
                self._active.add(queue_id)
                return message

    async def record(self, queue_id: str, progress: Sequence[Progress]) -> None:
        """Write down what an attempt came to; returns when it is on disk, or kept for when it can be."""
        await self._undisturbed(self._record(queue_id, progress))

    async def _record(self, queue_id: str, progress: Sequence[Progress]) -> None:
        for step in progress:
            self._messages[queue_id] = self._messages[queue_id].after(step)
        self._unwritten.setdefault(queue_id, []).extend(progress)
        await self._write_progress(queue_id)

    def release(self, queue_id: str) -> None:
        """End an attempt: the message waits for its next recipient, or leaves if none is left."""
        self._active.discard(queue_id)
        message = self._messages.get(queue_id)
        if message and message.recipients:
            self._enter(message)

    async def content(self, queue_id: str) -> bytes:
        """Return the content of a message. Raises: SpoolUnavailable."""
        return await self._in_thread(lambda: self._spool.content(queue_id))

    def flush(self) -> None:
        """Make every recipient due now."""
        now = self._clock()
        for queue_id, message in self._messages.items():
            if not message.recipients:
                continue  # Done; only its file could not be removed yet.
            recipients = tuple(replace(recipient, due=now) for recipient in message.recipients)
            self._messages[queue_id] = replace(message, recipients=recipients)
            if queue_id not in self._active:
                self._enter(self._messages[queue_id])

    def hasten(self, waiting: Mapping[str, Collection[str]]) -> None:
        """Make these recipients of these messages (by id) due now, in the order of the messages' arrival."""
        for queue_id in waiting:
            message = self._messages.get(queue_id)
            if not message or not message.recipients:
                continue
            # What arrived earlier has been due for longer, and so comes first.
            recipients = tuple(
                replace(one, due=message.arrival) if one.address in waiting[queue_id] else one
                for one in message.recipients
            )
            self._messages[queue_id] = replace(message, recipients=recipients)
            if queue_id not in self._active:
                self._enter(self._messages[queue_id])

    async def _write_progress(self, queue_id: str) -> None:
        steps = self._unwritten.pop(queue_id, [])
        finished = not self._messages[queue_id].recipients
        try:
            if finished:
                await self._in_thread(lambda: self._spool.remove(queue_id))
                del self._messages[queue_id]
                self._unwritten.pop(queue_id, None)
            elif steps:
                await self._in_thread(lambda: self._spool.append(queue_id, steps))
        except SpoolUnavailable as error:
            if queue_id not in self._messages:
                return  # Another hop was the last one, and has removed the file meanwhile.
            log.error("%s: progress not written yet: %s", queue_id, error)
            self._unwritten[queue_id] = steps + self._unwritten.get(queue_id, [])
            if not self._closed:
                asyncio.get_running_loop().call_later(_SPOOL_RETRY_S, self._write_again, queue_id)

    def _write_again(self, queue_id: str) -> None:
        if queue_id in self._unwritten and not self._closed:
            self._start(self._write_progress(queue_id))

    async def _next_id(self) -> str:
        async with self._numbering:
            while True:
                number = await self._in_thread(self._spool.next_number)
                digest = self._streams.digest("queue id", str(number))
                # Base 32 has neither 0 nor 1 to mistake for letters; fifty bits are unique enough, and
                # an id that still lies in the spool is passed over.
                queue_id = base64.b32encode(digest)[:10].decode("ascii")
                if queue_id not in self._messages:
                    return queue_id

    def _enter(self, message: QueuedMessage) -> None:
        heapq.heappush(self._schedule, (message.next_due, message.id))
        self._changed.set()

    def _until_next(self) -> float | None:
        return self._schedule[0][0] - self._clock() if self._schedule else None

    async def _wait_for_change(self, seconds: float | None) -> None:
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)

    def _start(self, work: Coroutine[object, object, _Result]) -> asyncio.Task[_Result]:
        task = asyncio.get_running_loop().create_task(work)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        return task

    async def _undisturbed(self, work: Coroutine[object, object, _Result]) -> _Result:
        """Await `work`, which goes on even if the waiting is cancelled."""
        return await asyncio.shield(self._start(work))


def _recipient(address: Address, number: int, due: float, wishes: Wishes) -> Recipient:
    return Recipient(address=str(address), number=number, due=due, notify=wishes.notify, orcpt=wishes.orcpt)
