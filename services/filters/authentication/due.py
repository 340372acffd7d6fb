"""The reports that are due when an interval has ended: which domains get one, and where it goes.

What a filter does at the end of each interval::

    for ended in collector.end_interval(now):
        for report in await due(ended, …):
            … put report.content into the queue, for report.recipients …
        ended.done()
"""

from __future__ import annotations

from dataclasses import dataclass

from services.filters.authentication.checking import organisation
from services.filters.authentication.collector import Ended
from services.filters.authentication.lookups import Resolver
from services.filters.authentication.reports import Interval, by_domain, destinations, message


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A report about `domain`, to be sent to `recipients`; `content` has its lines in CRLF."""

    domain: str
    recipients: tuple[str, ...]
    content: bytes


async def due(ended: Ended, *, reporter: str, address: str, resolver: Resolver, now: float) -> list[Report]:
    """Return the reports about an interval, for the domains that want one, in alphabetical order.

    `reporter` is who reports (a domain or host name), `address` whom the report is from. Made again they are
    the same but for their date, `now` (seconds since 1970). Never raises for what DNS does not answer.
    """
    interval = Interval(begin=ended.begin, end=ended.end, organisation=reporter, address=address)
    found = []
    for domain, rows in sorted(by_domain(ended.rows).items()):
        to = await destinations(domain, rows[-1].record, resolver=resolver, organisation=organisation)
        if to:
            identifier = interval.report_id(domain)
            content = message(domain, rows, interval, to, now=now, message_id=identifier)
            found.append(Report(domain=domain, recipients=tuple(to), content=content))
    return found
