"""The content filter's place in a mail server: between the queue and the next hop.

Theory of operation. An accepted message lies in the queue (250 was given). Before its first attempt it is
judged (services.filters.content), and what comes of it is written down before anything else happens:

    pass            the marked message takes the place of the accepted one, and goes on
    quarantine      into the quarantine; the notice, if there is one, into the queue; then it leaves the queue
    delete          it leaves the queue
    no engine       deferred with 451 4.7.1, and tried again as any mail; it expires as any mail, and then its
                    sender is told

So whoever is killed judges the message once more, and at worst sends one notice twice. Nothing goes on
unjudged, and nothing leaves the queue before it is somewhere else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from services.filters.authentication.collector import Collector
from services.filters.authentication.reports import row
from services.filters.content import ContentFilter, Judgement, told
from services.filters.engines import EngineUnavailable
from services.filters.quarantine import Kept, Quarantine
from services.notices import Notices
from services.smtp.address import printable
from services.smtp.dsn import Entry
from services.smtp.errors import SpoolUnavailable
from services.smtp.message import Progress, QueuedMessage, Recipient
from services.smtp.outcomes import Ledger, outcomes
from services.smtp.queue import Queue
from services.smtp.replies import Reply
from services.smtp.reports import Reports
from services.smtp.trace import field, header_section
from services.smtp.wishes import is_told

log = logging.getLogger(__name__)


class Screening:
    """Judges what is in the queue, and does what follows."""

    def __init__(
        self,
        content_filter: ContentFilter,
        *,
        quarantine: Quarantine,
        collector: Collector,
        queue: Queue,
        ledger: Ledger,
        reports: Reports,
        notices: Notices,
        clock: Callable[[], float],
    ) -> None:
        self._filter = content_filter
        self._quarantine = quarantine
        self._collector = collector
        self._queue = queue
        self._ledger = ledger
        self._reports = reports
        self._notices = notices
        self._clock = clock

    async def screen(self, message: QueuedMessage, due: Sequence[Recipient]) -> QueuedMessage | None:
        """Return the message as it goes on; None if it waits, or does not go on at all.

        Raises: SpoolUnavailable; then nothing has been decided.
        """
        content = await self._queue.content(message.id)
        try:
            judged = await self._filter.judge(content, sender=message.sender)
        except EngineUnavailable as error:
            reply = Reply(451, "4.7.1", f"not judged: {error}")
            rest = await self._ledger.settle(message, content, outcomes(due, reply))
            if rest:
                await self._ledger.conclude(message, content, rest)
            return None
        passed = None
        match judged.verdict.action:
            case "pass":
                passed = await self._queue.amend(message.id, judged.content)
                self._tell(message, judged)
            case "quarantine":
                await self._keep(message, judged)
            case "delete":
                await self._leave(message, judged, "deleted", {})
        self._note(judged)
        return passed

    async def _keep(self, message: QueuedMessage, judged: Judgement) -> None:
        told_of = self._told_of(message) if judged.notify else []
        kept = _record(message, judged, told=bool(told_of), now=self._clock())
        try:
            await asyncio.to_thread(self._quarantine.keep, kept, judged.content)
        except OSError as error:
            raise SpoolUnavailable(f"the quarantine cannot be written: {error.strerror}") from error
        notice_id = await self._notify(message, judged, told_of) if told_of else None
        await self._leave(message, judged, "quarantined", {"quarantine_id": kept.id, "notice_id": notice_id})

    def _told_of(self, message: QueuedMessage) -> list[Recipient]:
        """The recipients whose failure the sender wants to hear of."""
        waiting = self._queue.waiting(message.id)
        return [one for one in waiting if is_told("failed", notify=one.notify, sender=message.sender)]

    async def _notify(
        self, message: QueuedMessage, judged: Judgement, recipients: Sequence[Recipient]
    ) -> str:
        """Tell the sender, with the header alone: malware is not sent about. Raises: SpoolUnavailable."""
        reply = Reply(550, "5.7.1", f"kept in quarantine: {judged.verdict.reason}")
        entries = [
            Entry(action="failed", recipient=one.address, reply=reply, orcpt=one.orcpt) for one in recipients
        ]
        return await self._reports.send(replace(message, ret="HDRS"), header_section(judged.content), entries)

    async def _leave(
        self,
        message: QueuedMessage,
        judged: Judgement,
        fate: Literal["quarantined", "deleted"],
        more: dict[str, object],
    ) -> None:
        """Close all recipients: none of them gets it."""
        reason = judged.verdict.reason
        recipients = self._queue.waiting(message.id)
        await self._queue.record(
            message.id, [Progress(recipient=one.address, fate=fate, reply=reason) for one in recipients]
        )
        self._tell(message, judged)
        for one in recipients:
            self._notices.event(
                fate,
                id=message.id,
                recipient=one.address,
                reason=reason,
                waited_s=round(max(self._clock() - message.arrival, 0.0), 4),
                **more,
            )

    def _tell(self, message: QueuedMessage, judged: Judgement) -> None:
        self._notices.event("filtered", id=message.id, **told(judged.verdict, judged.authentication))

    def _note(self, judged: Judgement) -> None:
        """Keep what the author's domain will be told of it (DMARC's aggregate reports)."""
        found = judged.authentication
        line = row(found, client=judged.origin.client) if found else None
        if line is None:
            return
        try:
            self._collector.add(line, now=self._clock())
        except OSError as error:
            # A full disk: a count is lost, and no mail waits for it.
            log.error("no row for DMARC's report: %s", error)


def _record(message: QueuedMessage, judged: Judgement, *, told: bool, now: float) -> Kept:
    found = judged.authentication
    return Kept(
        id=message.id,
        time=now,
        sender=message.sender,
        recipients=tuple(one.address for one in message.recipients),
        subject=printable(field(judged.content, "Subject") or ""),
        size=len(judged.content),
        reason=judged.verdict.reason,
        virus=judged.verdict.virus,
        client=judged.origin.client,
        authentication=found.header() if found else "",
        told=told,
        body=message.body,
        smtputf8=message.smtputf8,
    )
