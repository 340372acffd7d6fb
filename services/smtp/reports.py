"""Reports to senders: whom to tell, and the notification put into the queue.

A report goes the way of all mail: it is a message from the null reverse-path, in the queue and so on disk
when `send` returns. What it says is dsn's, whether it is wanted is wishes'.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.filters.signing import UNSIGNED, Signer
from services.notices import Notices
from services.smtp.address import parse_address
from services.smtp.dsn import Entry, Reporter, notification
from services.smtp.envelope import Envelope
from services.smtp.message import QueuedMessage
from services.smtp.queue import Queue
from services.smtp.retry import RetryPolicy


class Reports:
    """Reports of one host."""

    def __init__(
        self,
        *,
        hostname: str,
        retry: RetryPolicy,
        queue: Queue,
        notices: Notices,
        signer: Signer = UNSIGNED,
    ) -> None:
        self._hostname = hostname
        self._retry = retry
        self._queue = queue
        self._notices = notices
        self._signer = signer

    async def send(self, message: QueuedMessage, content: bytes, entries: Sequence[Entry]) -> str:
        """Put one report of all `entries`, which are of one kind, into the queue; return its queue id.

        The caller has asked whether the sender is to be told (wishes).
        Raises: SpoolUnavailable.
        """

        def compose(queue_id: str, now: float) -> bytes:
            until = self._retry.until(message.arrival)
            by = Reporter(hostname=self._hostname, queue_id=queue_id, now=now, until=until)
            report = notification(message, content, entries, by)
            return self._signer.field(report, now=now) + report

        sender = parse_address(message.sender)
        envelope = Envelope(sender=None, recipients=(sender,), smtputf8=message.smtputf8)
        report = await self._queue.commit(envelope, compose)
        self._notices.event(
            "reported",
            id=message.id,
            action=entries[0].action,
            recipients=[entry.recipient for entry in entries],
            report_id=report.id,
        )
        return report.id
