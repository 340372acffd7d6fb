"""What became of recipients: written down, told, and reported to the sender who is to know.

Theory of operation. Each reply of an attempt decides over one recipient:

    2xx     relayed     done; reported if the sender asked for that and the next server will not do so
    4xx     deferred    again later (retry); reported once it has lasted; until the message is too old
    5xx     failed      reported, unless the sender is nobody or did not want to know; then done

The order is always: written down first, then the event. A report of failure or delivery is queued before its
cause is closed, so that a crash between the two repeats it rather than loses it. Of what was relayed the
report comes afterwards: until that is written down, a crash would send the message itself twice.

Failures and delays are collected (`settle` returns them), so that a sender gets one report of each an
attempt.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from services.filters.signing import UNSIGNED, Signer
from services.notices import Notices
from services.smtp.dsn import Entry
from services.smtp.errors import SpoolUnavailable
from services.smtp.message import Fate, Progress, QueuedMessage, Recipient
from services.smtp.policy import Mailbox
from services.smtp.queue import Queue
from services.smtp.replies import Reply
from services.smtp.reports import Reports
from services.smtp.retry import RetryPolicy
from services.smtp.routing import Target
from services.smtp.streams import Streams
from services.smtp.wishes import Action, is_told

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one recipient got from an attempt, and from whom (None: from this host).

    `reports`: the server that took the message has promised to report on it (it offers DSN). `expired`: the
    message has waited too long, so that a reply which leaves hope is the last.
    """

    recipient: Recipient
    reply: Reply
    target: Target | None = None
    reports: bool = False
    expired: bool = False

    @property
    def failed(self) -> bool:
        """It will not be tried again."""
        return self.reply.permanent or self.expired

    @property
    def decision(self) -> Reply:
        """The reply that decided, as events and the journal tell it."""
        return _given_up(self.reply) if self.expired else self.reply


def outcomes(recipients: Iterable[Recipient], reply: Reply) -> list[Outcome]:
    """Return the same reply of this host for each of the recipients."""
    return [Outcome(recipient=recipient, reply=reply) for recipient in recipients]


class Ledger:
    """Keeps the queue, the senders and the world informed of what attempts come to."""

    def __init__(
        self,
        *,
        hostname: str,
        retry: RetryPolicy,
        queue: Queue,
        notices: Notices,
        streams: Streams,
        clock: Callable[[], float],
        signer: Signer = UNSIGNED,
    ) -> None:
        self._retry = retry
        self._queue = queue
        self._notices = notices
        self._streams = streams
        self._clock = clock
        self._reports = Reports(hostname=hostname, retry=retry, queue=queue, notices=notices, signer=signer)

    async def filed(
        self, message: QueuedMessage, content: bytes, files: Sequence[tuple[Recipient, Mailbox, str]]
    ) -> None:
        """Close recipients whose message lies in mailboxes here, in a file each below the mailboxes."""
        filed = outcomes((recipient for recipient, _, _ in files), Reply(250, "2.1.5", "filed"))
        try:
            await self._report(message, content, filed, "delivered")
        except SpoolUnavailable as error:
            # They are filed once more, under the same names, when there is room for the report too.
            await self._wait_for_room(message, filed, error)
            return
        await self._close(message, filed, "delivered")
        for recipient, mailbox, file in files:
            self._notices.event(
                "delivered",
                id=message.id,
                recipient=recipient.address,
                mailbox=f"{mailbox.user}@{mailbox.domain}",
                file=file,
                waited_s=self._waited(message),
            )

    async def settle(
        self, message: QueuedMessage, content: bytes, results: Sequence[Outcome]
    ) -> list[Outcome]:
        """Close what was relayed, postpone what was deferred; return what is left to `conclude` with."""
        age = self._clock() - message.arrival
        relayed = [outcome for outcome in results if outcome.reply.positive]
        rest = [outcome for outcome in results if not outcome.reply.positive]
        if self._retry.expired(age):
            rest = [replace(outcome, expired=not outcome.reply.permanent) for outcome in rest]
        failed = [outcome for outcome in rest if outcome.failed]
        deferred = [outcome for outcome in rest if not outcome.failed]
        delayed = [outcome for outcome in deferred if self._to_be_warned(message, outcome, age)]

        done = [_closed(outcome, "relayed") for outcome in relayed]
        postponed = [self._postponed(message, outcome) for outcome in deferred]
        if done or postponed:
            await self._queue.record(message.id, [*done, *postponed])
        for outcome in relayed:
            self._tell_relayed(message, outcome)
        if postponed:
            self._tell_deferred(message, postponed, warning=delayed)
        unreported = [outcome for outcome in relayed if not outcome.reports]
        try:
            await self._report(message, content, unreported, "relayed")
        except SpoolUnavailable as error:
            log.error("%s: no report of what was relayed: %s", message.id, error)
        return failed + delayed

    async def postpone(self, message: QueuedMessage, results: Sequence[Outcome]) -> None:
        """Try recipients again later, however old the message is: this host could not do its part.

        Were they left due, the queue would hand the message out again at once, and so without end.
        """
        postponed = [self._postponed(message, outcome) for outcome in results]
        if postponed:
            await self._queue.record(message.id, postponed)
        self._tell_deferred(message, postponed)

    async def conclude(self, message: QueuedMessage, content: bytes, rest: Sequence[Outcome]) -> None:
        """End an attempt: close what failed and keep what is delayed, the sender having been told of both."""
        await self._bounce(message, content, [outcome for outcome in rest if outcome.failed])
        await self._warn(message, content, [outcome for outcome in rest if not outcome.failed])

    async def _bounce(self, message: QueuedMessage, content: bytes, failed: Sequence[Outcome]) -> None:
        """Tell the sender, then close the failed recipients; nobody is told of a failed report."""
        try:
            bounce_id = await self._report(message, content, failed, "failed")
        except SpoolUnavailable as error:
            # The recipients stay due, and so will fail again.
            await self._wait_for_room(message, failed, error)
            return
        await self._close(message, failed, "bounced")
        for outcome in failed:
            told = bounce_id if _is_told(message, outcome, "failed") else None
            self._notices.event(
                "bounced",
                id=message.id,
                recipient=outcome.recipient.address,
                reply=str(outcome.decision),
                bounce_id=told,
                waited_s=self._waited(message),
            )

    async def _warn(self, message: QueuedMessage, content: bytes, delayed: Sequence[Outcome]) -> None:
        try:
            await self._report(message, content, delayed, "delayed")
        except SpoolUnavailable as error:
            log.error("%s: no warning yet: %s", message.id, error)
            return
        warned = {outcome.recipient.address for outcome in delayed}
        steps = [
            Progress(
                recipient=recipient.address,
                fate="deferred",
                reply=recipient.reply,
                attempts=recipient.attempts,
                due=recipient.due,
                warned=True,
            )
            for recipient in self._queue.waiting(message.id)
            if recipient.address in warned
        ]
        if steps:
            await self._queue.record(message.id, steps)

    async def _report(
        self, message: QueuedMessage, content: bytes, results: Sequence[Outcome], action: Action
    ) -> str | None:
        """Report what the sender is to be told; return the report's id, None if that is nothing.

        Raises: SpoolUnavailable.
        """
        entries = [
            Entry(
                action=action,
                recipient=outcome.recipient.address,
                reply=outcome.reply,
                remote=outcome.target.host if outcome.target else "",
                orcpt=outcome.recipient.orcpt,
                expired=outcome.expired,
            )
            for outcome in results
            if _is_told(message, outcome, action)
        ]
        return await self._reports.send(message, content, entries) if entries else None

    async def _wait_for_room(
        self, message: QueuedMessage, results: Sequence[Outcome], error: SpoolUnavailable
    ) -> None:
        reply = Reply(451, "4.3.1", str(error))
        await self.postpone(message, [replace(outcome, reply=reply) for outcome in results])

    async def _close(self, message: QueuedMessage, results: Sequence[Outcome], fate: Fate) -> None:
        if results:
            await self._queue.record(message.id, [_closed(outcome, fate) for outcome in results])

    def _to_be_warned(self, message: QueuedMessage, outcome: Outcome, age: float) -> bool:
        due = self._retry.delayed(age) and not outcome.recipient.warned
        return due and _is_told(message, outcome, "delayed")

    def _postponed(self, message: QueuedMessage, outcome: Outcome) -> Progress:
        attempts = outcome.recipient.attempts + 1
        rng = self._streams.stream("retry", f"{message.id}/{outcome.recipient.address}/{attempts}")
        return Progress(
            recipient=outcome.recipient.address,
            fate="deferred",
            reply=str(outcome.reply),
            attempts=attempts,
            due=self._retry.due(attempts, arrival=message.arrival, now=self._clock(), rng=rng),
        )

    def _tell_relayed(self, message: QueuedMessage, outcome: Outcome) -> None:
        target = outcome.target
        self._notices.event(
            "relayed",
            id=message.id,
            recipient=outcome.recipient.address,
            next_domain=target.domain if target else "",
            next_host=target.host if target else "",
            next_address=target.address if target else "",
            reply=str(outcome.reply),
            remote_id=outcome.reply.queue_id,
            waited_s=self._waited(message),
        )

    def _waited(self, message: QueuedMessage) -> float:
        return round(max(self._clock() - message.arrival, 0.0), 4)

    def _tell_deferred(
        self, message: QueuedMessage, steps: Sequence[Progress], *, warning: Sequence[Outcome] = ()
    ) -> None:
        now = self._clock()
        warned = {outcome.recipient.address for outcome in warning}
        for step in steps:
            self._notices.event(
                "deferred",
                id=message.id,
                recipient=step.recipient,
                reply=step.reply,
                next_attempt_s=round(max(step.due - now, 0.0), 3),
                warning=step.recipient in warned,
            )


def _is_told(message: QueuedMessage, outcome: Outcome, action: Action) -> bool:
    return is_told(action, notify=outcome.recipient.notify, sender=message.sender)


def _closed(outcome: Outcome, fate: Fate) -> Progress:
    return Progress(recipient=outcome.recipient.address, fate=fate, reply=str(outcome.decision))


def _given_up(reply: Reply) -> Reply:
    return Reply(550, "5.4.7", f"delivery time expired; the last attempt got: {reply}")
