"""A mail server with a content filter: what the filter consists of, put together from the configuration.

load, serve     as any mail server (services.smtp.mta)
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from services.filters.authentication import HostResolver
from services.filters.authentication.collector import Collector
from services.filters.content import ContentFilter, Settings
from services.filters.quarantine import Quarantine
from services.filters.signing import Signer
from services.notices import Notices
from services.smtp.aggregate import AggregateReports
from services.smtp.config import MtaConfig
from services.smtp.custody import Custody
from services.smtp.mta import load, serve
from services.smtp.outcomes import Ledger
from services.smtp.queue import Queue
from services.smtp.reports import Reports
from services.smtp.screening import Screening
from services.smtp.streams import Streams

__all__ = ["content_filter", "load", "serve"]


def content_filter(
    config: MtaConfig,
    *,
    queue: Queue,
    ledger: Ledger,
    signer: Signer,
    notices: Notices,
    streams: Streams,
    clock: Callable[[], float],
) -> tuple[Screening, Callable[[], Coroutine[Any, Any, None]]]:
    """Return what judges messages, and what sends aggregate reports until it is cancelled.

    From now on questions about the quarantine are answered. Raises: OSError.
    """
    told = config.content_filter
    assert told is not None  # noqa: S101 - the caller has looked
    resolver = HostResolver(
        config.nameservers, port=config.nameserver_port, rng=streams.stream("authentication", "")
    )
    settings = Settings(
        authserv_id=told.authserv_id,
        border=told.border,
        inside=told.inside,
        virus_port=told.virus_port,
        spam_port=told.spam_port,
        engine_timeout_s=told.engine_timeout_s,
        trusted_sealers=told.trusted_sealers,
    )
    quarantine, collector = Quarantine(told.quarantine), Collector(told.reports)
    screening = Screening(
        ContentFilter(settings, resolver=resolver, clock=clock),
        quarantine=quarantine,
        collector=collector,
        queue=queue,
        ledger=ledger,
        reports=Reports(
            hostname=config.hostname, retry=config.retry, queue=queue, notices=notices, signer=signer
        ),
        notices=notices,
        clock=clock,
    )
    Custody(quarantine, queue, notices, hostname=config.hostname).serve(notices)
    reports = AggregateReports(
        collector,
        hostname=config.hostname,
        resolver=resolver,
        signer=signer,
        queue=queue,
        notices=notices,
        clock=clock,
    )
    return screening, partial(reports.run, told.report_interval_s / config.time_scale)
