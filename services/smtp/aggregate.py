"""DMARC's aggregate reports, sent by mail at the end of each interval (RFC 7489 §7.2).

What they say and whom they are for is decided in services.filters.authentication (due); here they go into
the queue like any mail: from the null reverse-path, since nobody wants to hear that a report did not arrive,
signed where there is a key, and not judged by this host's own filter. An interval is forgotten when all its
reports are in the queue: who is killed before that sends them again, with the same ids.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from services.filters.authentication.collector import Collector, Ended
from services.filters.authentication.due import Report, due
from services.filters.authentication.lookups import Resolver
from services.filters.signing import Signer
from services.notices import Notices
from services.smtp.address import parse_address
from services.smtp.envelope import Envelope
from services.smtp.errors import BadAddress, SpoolUnavailable
from services.smtp.queue import Queue

log = logging.getLogger(__name__)


class AggregateReports:
    """The reports of one host; `clock` in seconds since 1970."""

    def __init__(
        self,
        collector: Collector,
        *,
        hostname: str,
        resolver: Resolver,
        signer: Signer,
        queue: Queue,
        notices: Notices,
        clock: Callable[[], float],
    ) -> None:
        self._collector = collector
        self._hostname = hostname
        self._resolver = resolver
        self._signer = signer
        self._queue = queue
        self._notices = notices
        self._clock = clock

    async def run(self, interval_s: float) -> None:
        """Send reports after every `interval_s` seconds, until cancelled."""
        while True:
            await asyncio.sleep(interval_s)
            try:
                await self.send()
            except (OSError, SpoolUnavailable) as error:
                # The interval is kept, and its reports are made with those of the next one.
                log.error("no aggregate reports yet: %s", error)

    async def send(self) -> None:
        """Have the reports of all that was collected in the queue. Raises: OSError, SpoolUnavailable."""
        for ended in self._collector.end_interval(self._clock()):
            for report in await self._due(ended):
                await self._commit(report)
            ended.done()

    async def _due(self, ended: Ended) -> list[Report]:
        return await due(
            ended,
            reporter=self._hostname,
            address=f"postmaster@{self._hostname}",
            resolver=self._resolver,
            now=self._clock(),
        )

    async def _commit(self, report: Report) -> None:
        try:
            recipients = tuple(map(parse_address, report.recipients))
        except BadAddress as error:
            log.warning("the record of %s names no address for reports: %s", report.domain, error)
            return
        envelope = Envelope(sender=None, recipients=recipients)

        def compose(_queue_id: str, now: float) -> bytes:
            return self._signer.field(report.content, now=now) + report.content

        message = await self._queue.commit(envelope, compose, filtered=True)
        self._notices.event(
            "aggregate-report", id=message.id, domain=report.domain, recipients=list(report.recipients)
        )
