"""What became of recipients: written down, told, and where it failed for good, reported to the sender.

Theory of operation. Each reply of an attempt decides over one recipient:

    2xx     relayed     done
    4xx     deferred    again later (retry), until the message is too old; then it counts as 5xx
    5xx     failed      the sender gets a notification (dsn), unless the sender is nobody; then done

The order is always: on disk first, then the event. A notification is queued before its cause is closed,
so that a crash between the two repeats it rather than loses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from services.notices import Notices
from services.smtp.address import parse_address
from services.smtp.dsn import Failure, notification
from services.smtp.envelope import Envelope
from services.smtp.errors import SpoolUnavailable
from services.smtp.message import Progress, QueuedMessage, Recipient
from services.smtp.policy import Mailbox
from services.smtp.queue import Queue
from services.smtp.replies import Reply
from services.smtp.retry import RetryPolicy
from services.smtp.routing import Target
from services.smtp.streams import Streams


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one recipient got from an attempt, and from whom (None: from this host)."""

    recipient: Recipient
    reply: Reply
    target: Target | None = None


def outcomes(recipients: Iterable[Recipient], reply: Reply) -> list[Outcome]:
    """Return the same reply of this host for each of the recipients."""
    return [Outcome(recipient=recipient, reply=reply) for recipient in recipients]


class Ledger:
    """Keeps the queue and the world informed of what attempts come to."""

    def __init__(
        self,
        *,
        hostname: str,
        retry: RetryPolicy,
        queue: Queue,
        notices: Notices,
        streams: Streams,
        clock: Callable[[], float],
    ) -> None:
        self._hostname = hostname
        self._retry = retry
        self._queue = queue
        self._notices = notices
        self._streams = streams
        self._clock = clock

    async def filed(
        self, message: QueuedMessage, recipient: Recipient, *, mailbox: Mailbox, file: str
    ) -> None:
        """Close a recipient whose message lies in a mailbox here, in `file` below the mailboxes."""
        step = Progress(recipient=recipient.address, fate="delivered", reply="250 2.1.5 filed")
        await self._queue.record(message.id, [step])
        self._notices.event(
            "delivered",
            id=message.id,
            recipient=recipient.address,
            mailbox=f"{mailbox.user}@{mailbox.domain}",
            file=file,
        )

    async def settle(self, message: QueuedMessage, results: Sequence[Outcome]) -> list[Outcome]:
        """Close what was relayed, postpone what was deferred, and return what failed for good."""
        relayed = [outcome for outcome in results if outcome.reply.positive]
        failed = [outcome for outcome in results if outcome.reply.permanent]
        deferred = [outcome for outcome in results if not (outcome.reply.positive or outcome.reply.permanent)]
        if self._retry.expired(self._clock() - message.arrival):
            failed += [replace(outcome, reply=_given_up(outcome.reply)) for outcome in deferred]
            deferred = []
        done = [
            Progress(recipient=outcome.recipient.address, fate="relayed", reply=str(outcome.reply))
            for outcome in relayed
        ]
        postponed = [self._postponed(message, outcome) for outcome in deferred]
        if done or postponed:
            await self._queue.record(message.id, [*done, *postponed])
        for outcome in relayed:
            self._tell_relayed(message, outcome)
        self._tell_deferred(message, postponed)
        return failed

    async def postpone(self, message: QueuedMessage, results: Sequence[Outcome]) -> None:
        """Try recipients again later, however old the message is: this host could not do its part.

        Were they left due, the queue would hand the message out again at once, and so without end.
        """
        postponed = [self._postponed(message, outcome) for outcome in results]
        if postponed:
            await self._queue.record(message.id, postponed)
        self._tell_deferred(message, postponed)

    async def bounce(self, message: QueuedMessage, content: bytes, failed: Sequence[Outcome]) -> None:
        """Tell the sender, then close the failed recipients; nobody is told of a failed notification."""
        try:
            bounce_id = await self._notify(message, content, failed) if message.sender else None
        except SpoolUnavailable as error:
            # There is no room to tell the sender. The recipients stay due, and so will fail again.
            reply = Reply(451, "4.3.1", str(error))
            await self.postpone(message, [replace(outcome, reply=reply) for outcome in failed])
            return
        closed = [
            Progress(recipient=outcome.recipient.address, fate="bounced", reply=str(outcome.reply))
            for outcome in failed
        ]
        await self._queue.record(message.id, closed)
        for step in closed:
            self._notices.event(
                "bounced", id=message.id, recipient=step.recipient, reply=step.reply, bounce_id=bounce_id
            )

    async def _notify(self, message: QueuedMessage, content: bytes, failed: Sequence[Outcome]) -> str:
        failures = [
            Failure(
                recipient=outcome.recipient.address,
                reply=outcome.reply,
                remote=outcome.target.host if outcome.target else "",
            )
            for outcome in failed
        ]

        def compose(queue_id: str, now: float) -> bytes:
            return notification(
                message, content, failures, hostname=self._hostname, queue_id=queue_id, now=now
            )

        recipient = parse_address(message.sender)
        envelope = Envelope(sender=None, recipients=(recipient,), smtputf8=message.smtputf8)
        bounce = await self._queue.commit(envelope, compose)
        return bounce.id

    def _postponed(self, message: QueuedMessage, outcome: Outcome) -> Progress:
        attempts = outcome.recipient.attempts + 1
        rng = self._streams.stream("retry", f"{message.id}/{outcome.recipient.address}/{attempts}")
        return Progress(
            recipient=outcome.recipient.address,
            fate="deferred",
            reply=str(outcome.reply),
            attempts=attempts,
            due=self._clock() + self._retry.wait(attempts, rng=rng),
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
        )

    def _tell_deferred(self, message: QueuedMessage, steps: Sequence[Progress]) -> None:
        now = self._clock()
        for step in steps:
            self._notices.event(
                "deferred",
                id=message.id,
                recipient=step.recipient,
                reply=step.reply,
                next_attempt_s=round(max(step.due - now, 0.0), 3),
            )


def _given_up(reply: Reply) -> Reply:
    return Reply(550, "5.4.7", f"delivery time expired; the last attempt got: {reply}")
