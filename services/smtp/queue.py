"""The queue: which messages wait, which is due next, and the promise that none is lost.

Theory of operation. The queue keeps the envelopes in memory and everything on disk:

    commit      a new message goes to the spool, then into memory; only then is it acknowledged
    take        waits for a message with a recipient due, and hands it out to one attempt
    record      what the attempt came to goes into memory, then to the spool
    release     the attempt is over: the message waits for its next recipient, or is gone

A commit goes on when its caller is cancelled (a client that hangs up): a message that reached the disk
is in the queue whether or not anybody heard of it. If the spool cannot be written, a commit fails and
the client is told to come again, but a record must not fail, for the message *has* been sent: it stays
in memory and is written together with the next one, or when the spool is tried again.

All that is written goes through a group commit, in order (services.smtp.groupcommit). Content is read when an
attempt needs it, and checked: what is not as it was accepted is set aside and not sent. What an administrator
does to messages (hold, remove) is on disk when the call returns; an attempt that is under way is not stopped.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from services.smtp.address import Address
from services.smtp.envelope import Envelope, Wishes
from services.smtp.errors import CorruptContent, SpoolUnavailable
from services.smtp.groupcommit import GroupCommit
from services.smtp.message import Progress, QueuedMessage, Recipient
from services.smtp.record import Arrived, Entry, Gone, Held, Noted
from services.smtp.spool import Spool, is_light
from services.smtp.streams import Streams

log = logging.getLogger(__name__)

_SPOOL_RETRY_S = 1.0
_NO_WISHES = Wishes()
_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"  # RFC 4648 §6
_PAIRS = [first + second for first in _BASE32 for second in _BASE32]

SetAside = Callable[[str, str, Path], None]
"""Hears of a message that does not read: its id, the reason, and where it lies now."""


class Queue:
    """The queue over one spool. Not to be used before `open` nor after `close`."""

    def __init__(
        self,
        spool: Spool,
        *,
        streams: Streams,
        clock: Callable[[], float],
        set_aside: SetAside = lambda *_: None,
    ) -> None:
        self._spool = spool
        self._streams = streams
        self._clock = clock
        self._tell_set_aside = set_aside
        self._messages: dict[str, QueuedMessage] = {}
        self._active: set[str] = set()
        self._unwritten: dict[str, list[Progress]] = {}
        self._schedule: list[tuple[float, str]] = []
        self._changed = asyncio.Event()
        self._disk: GroupCommit[Entry] = GroupCommit(spool.write, light=is_light)
        self._moving: asyncio.Task[None] | None = None
        # A move must not bring the old content back behind the new one.
        self._moving_one = asyncio.Lock()
        self._amending: set[str] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._messages)

    async def open(self) -> None:
        """Read the spool back; what is damaged is set aside and told, the rest is due as it was.

        Raises: SmtpError.
        """
        self._spool.open()
        for entry in self._spool.load():
            if isinstance(entry, Path):
                log.error("damage in the spool set aside: %s", entry)
                self._tell_set_aside("", "damage in the spool", entry)
                continue
            self._messages[entry.id] = entry
            self._enter(entry)

    async def close(self) -> None:
        """Write what could not be written before, wait for what is being written, give the spool back."""
        if self._moving:
            self._moving.cancel()
            await asyncio.wait([self._moving])
        for queue_id in list(self._unwritten):
            self._write_again(queue_id)
        self._closed = True
        await self._disk.close()
        self._spool.close()

    def messages(self) -> list[QueuedMessage]:
        """Return what waits, in order of arrival."""
        waiting = [message for message in self._messages.values() if message.recipients]
        return sorted(waiting, key=lambda message: (message.arrival, message.id))

    def waiting(self, queue_id: str) -> tuple[Recipient, ...]:
        """Return the recipients of a message that are not done."""
        message = self._messages.get(queue_id)
        return message.recipients if message else ()

    def under_way(self, queue_id: str) -> bool:
        """Return whether an attempt at the message is under way."""
        return queue_id in self._active

    def to_come(self, queue_id: str) -> bool:
        """Return whether the message is about to be handed out, before all that arrived later (`hasten`)."""
        message = self._messages.get(queue_id)
        return bool(
            message
            and message.recipients
            and not message.held
            and queue_id not in self._active
            and message.next_due <= message.arrival
        )

    async def commit(
        self,
        envelope: Envelope,
        compose: Callable[[str, float], bytes],
        *,
        tell: Callable[[QueuedMessage], None] = lambda _: None,
        filtered: bool = False,
    ) -> QueuedMessage:
        """Put a new message on disk and into the queue: when this returns, it is never lost.

        `compose` makes the content, given the queue id and the time of arrival; `tell` hears of the
        message before any attempt at it begins, even if the caller no longer waits. One that is `filtered`
        is not judged again.
        Raises: SpoolUnavailable; then the message is not in the queue.
        """
        written = asyncio.get_running_loop().create_future()

        def done(message: QueuedMessage, error: SpoolUnavailable | None) -> None:
            _resolve(written, error)
            taken.append(message)

        taken: list[QueuedMessage] = []
        self.submit(envelope, compose, done, tell=tell, filtered=filtered)
        await written
        return taken[0]

    def submit(
        self,
        envelope: Envelope,
        compose: Callable[[str, float], bytes],
        done: Callable[[QueuedMessage, SpoolUnavailable | None], None],
        *,
        tell: Callable[[QueuedMessage], None] = lambda _: None,
        filtered: bool = False,
    ) -> None:
        """Do as `commit` does, and tell `done` what came of it, later.

        Raises: SpoolUnavailable if it fails at once; then `done` hears nothing.
        """
        queue_id = self._next_id()
        now = self._clock()
        content = compose(queue_id, now)
        message = _message(envelope, queue_id, now, len(content), filtered=filtered)

        def written(error: SpoolUnavailable | None) -> None:
            if error is None:
                self._messages[queue_id] = message
                tell(message)
                self._enter(message)
            done(message, error)

        self._disk.submit(Arrived(message=message, content=content), written)

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
            if message and message.recipients and not message.held and queue_id not in self._active:
                self._active.add(queue_id)
                return message

    async def record(self, queue_id: str, progress: Sequence[Progress]) -> None:
        """Write down what an attempt came to; returns when it is written, or kept for when it can be."""
        message = self._messages.get(queue_id)
        if message is None:
            return  # It was removed meanwhile.
        for step in progress:
            message = message.after(step)
        self._messages[queue_id] = message
        written = asyncio.get_running_loop().create_future()
        self._note(queue_id, progress, lambda _: _resolve(written))
        await written

    async def amend(self, queue_id: str, content: bytes) -> QueuedMessage | None:
        """Have the content filter's version of a message on disk in place of the one that was accepted.

        Returns the message, which counts as filtered, None if it was removed meanwhile. Whoever is killed
        before this returns finds either the one or the other. Raises: SpoolUnavailable.
        """
        self._amending.add(queue_id)
        try:
            async with self._moving_one:
                message = self._messages.get(queue_id)
            if message is None:
                return None
            amended = replace(message, size=len(content), filtered=True)
            await self._written(Arrived(message=amended, content=content))
            message = self._messages.get(queue_id)
            if message is None:
                # Removed while it was written, and it must not come back.
                await self._written(Gone(id=queue_id, reason="removed"))
                return None
            self._messages[queue_id] = replace(message, size=len(content), filtered=True)
            return self._messages[queue_id]
        finally:
            self._amending.discard(queue_id)

    def release(self, queue_id: str) -> None:
        """End an attempt: the message waits for its next recipient, or leaves if none is left."""
        self._active.discard(queue_id)
        message = self._messages.get(queue_id)
        if message and message.recipients:
            self._enter(message)

    async def content(self, queue_id: str) -> bytes:
        """Return the content of a message. Raises: SpoolUnavailable, also if it had to be set aside."""
        at_hand = self._spool.content_at_hand(queue_id)
        if at_hand is not None:
            return at_hand
        try:
            return await asyncio.to_thread(self._spool.content, queue_id)
        except CorruptContent as error:
            await self._set_aside(queue_id, str(error))
            raise SpoolUnavailable(f"message {queue_id} was set aside: {error}") from error

    def flush(self, ids: Iterable[str] | None = None) -> list[str]:
        """Make every recipient due now, of all messages or of these; return the ids of those found."""
        flushed = self._known(self._messages if ids is None else ids)
        self.hasten({each.id: [one.address for one in each.recipients] for each in flushed})
        return [message.id for message in flushed]

    def hasten(self, waiting: Mapping[str, Collection[str]]) -> None:
        """Make these recipients of these messages (by id) due now, in the order of the messages' arrival."""
        for message in self._known(waiting):
            # What arrived earlier has been due for longer, and so comes first.
            self._due(message.id, dict.fromkeys(waiting[message.id], message.arrival))

    async def hold(self, ids: Iterable[str], *, hold: bool) -> list[str]:
        """Hold messages, or have them attempted again, at once; return the ids of those that were found.

        What is held does not expire, as in Postfix: only an attempt that fails finds that, and there is none.

        Raises: SpoolUnavailable.
        """
        changed = [message.id for message in self._known(ids) if message.held != hold]
        await asyncio.gather(*(self._written(Held(id=queue_id, hold=hold)) for queue_id in changed))
        for message in self._known(changed):
            self._messages[message.id] = replace(message, held=hold)
        if not hold:
            self.flush(changed)
        return changed

    async def remove(self, ids: Iterable[str]) -> list[QueuedMessage]:
        """Forget messages without sending them; return them, with the recipients that were due.

        What an attempt under way brings to its recipients all the same cannot be helped.
        Raises: SpoolUnavailable.
        """
        removed = self._known(ids)
        await asyncio.gather(*(self._written(Gone(id=each.id, reason="removed")) for each in removed))
        return [self._messages.pop(message.id) for message in removed if message.id in self._messages]

    def _known(self, ids: Iterable[str]) -> list[QueuedMessage]:
        found = [self._messages[queue_id] for queue_id in dict.fromkeys(ids) if queue_id in self._messages]
        # Without recipients it is done; only that could not be noted yet.
        return [message for message in found if message.recipients]

    def _due(self, queue_id: str, when: Mapping[str, float]) -> None:
        message = self._messages[queue_id]
        recipients = tuple(replace(one, due=when.get(one.address, one.due)) for one in message.recipients)
        self._messages[queue_id] = replace(message, recipients=recipients)
        if queue_id not in self._active:
            self._enter(self._messages[queue_id])

    def _note(
        self, queue_id: str, progress: Sequence[Progress], done: Callable[[SpoolUnavailable | None], None]
    ) -> None:
        steps = [*self._unwritten.pop(queue_id, ()), *progress]
        last = not self._messages[queue_id].recipients

        def noted(error: SpoolUnavailable | None) -> None:
            if error is None and last:
                self._messages.pop(queue_id, None)
                self._move_surplus()
            elif error is not None and queue_id in self._messages:
                log.error("%s: progress not written yet: %s", queue_id, error)
                self._unwritten[queue_id] = steps + self._unwritten.get(queue_id, [])
                if not self._closed:
                    asyncio.get_running_loop().call_later(_SPOOL_RETRY_S, self._write_again, queue_id)
            done(error)

        self._disk.submit(Noted(id=queue_id, steps=steps, last=last), noted)

    def _write_again(self, queue_id: str) -> None:
        if queue_id in self._unwritten and queue_id in self._messages and not self._closed:
            self._note(queue_id, (), lambda _: None)

    async def _written(self, entry: Entry) -> None:
        written = asyncio.get_running_loop().create_future()
        self._disk.submit(entry, lambda error: _resolve(written, error))
        await written

    async def _set_aside(self, queue_id: str, reason: str) -> None:
        if queue_id not in self._messages:
            return
        place = await asyncio.to_thread(self._spool.set_aside, queue_id, reason)
        log.error("%s: set aside, %s: %s", queue_id, reason, place)
        if self._messages.pop(queue_id, None):
            self._tell_set_aside(queue_id, reason, place)
            await self._written(Gone(id=queue_id, reason=reason))

    def _move_surplus(self) -> None:
        """Have old messages written once more, so that segments can go, if they keep too many of them."""
        if self._moving is None and (ids := self._spool.surplus()):
            self._moving = asyncio.get_running_loop().create_task(self._move(ids))
            self._moving.add_done_callback(self._moved)

    async def _move(self, ids: Iterable[str]) -> None:
        for queue_id in ids:
            async with self._moving_one:
                if queue_id in self._amending:
                    continue
                content = await self.content(queue_id)
                for message in self._known([queue_id]):
                    await self._written(Arrived(message=message, content=content))

    def _moved(self, task: asyncio.Task[None]) -> None:
        self._moving = None
        if not task.cancelled() and task.exception():
            log.error("old messages could not be moved: %s", task.exception())

    def _next_id(self) -> str:
        while True:
            digest = self._streams.digest("queue id", str(self._spool.next_number()))
            # Base 32 has neither 0 nor 1 to mistake for letters; fifty bits are unique enough, and
            # an id that still lies in the spool is passed over.
            bits = int.from_bytes(digest[:8])
            queue_id = "".join([_PAIRS[bits >> shift & 1023] for shift in (54, 44, 34, 24, 14)])
            if queue_id not in self._messages:
                return queue_id

    def _enter(self, message: QueuedMessage) -> None:
        heapq.heappush(self._schedule, (message.next_due, message.id))
        self._changed.set()

    def _until_next(self) -> float | None:
        return self._schedule[0][0] - self._clock() if self._schedule else None

    async def _wait_for_change(self, seconds: float | None) -> None:
        try:
            # Not wait_for: in Python 3.11 it forgets a cancellation that comes together with the change.
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return


def _resolve(written: asyncio.Future[None], error: SpoolUnavailable | None = None) -> None:
    if written.done():
        return  # Nobody waits any more.
    if error is None:
        written.set_result(None)
    else:
        written.set_exception(error)


def _message(envelope: Envelope, queue_id: str, now: float, size: int, *, filtered: bool) -> QueuedMessage:
    return QueuedMessage(
        id=queue_id,
        arrival=now,
        sender=envelope.reverse_path,
        recipients=tuple(
            _recipient(address, number, now, envelope.wishes.get(address, _NO_WISHES))
            for number, address in enumerate(envelope.recipients)
        ),
        body=envelope.body,
        smtputf8=envelope.smtputf8,
        size=size,
        ret=envelope.ret,
        envid=envelope.envid,
        filtered=filtered,
    )


def _recipient(address: Address, number: int, due: float, wishes: Wishes) -> Recipient:
    return Recipient(address=str(address), number=number, due=due, notify=wishes.notify, orcpt=wishes.orcpt)
