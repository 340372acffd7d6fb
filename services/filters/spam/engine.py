"""A message in, a judgement out: the rules, DNS and the classifier together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from services.filters.spam import bayes, score
from services.filters.spam.database import Database, Kind
from services.filters.spam.examined import Examined, Site
from services.filters.spam.lookups import Origins
from services.filters.spam.message import Message
from services.filters.spam.score import Judgement

_LARGE = 64 * 1024


class Engine:
    """Judges messages; without `origins` DNS is not asked, without a `database` there is no classifier.

    `clock` is in seconds since 1970.
    """

    def __init__(
        self,
        site: Site,
        *,
        clock: Callable[[], float],
        required: float = score.REQUIRED,
        origins: Origins | None = None,
        database: Database | None = None,
    ) -> None:
        self._site = site
        self._clock = clock
        self._required = required
        self._origins = origins
        self._database = database

    async def judge(self, data: bytes) -> Judgement:
        """Return the judgement on a message. Raises: ServiceError if the database cannot be read."""
        # What takes long must not make others wait.
        large = len(data) > _LARGE
        examined = await asyncio.to_thread(self._examined, data) if large else self._examined(data)
        if self._origins is not None:
            examined.findings = await self._origins.find(examined)
        return await asyncio.to_thread(self._judged, examined) if large else self._judged(examined)

    async def teach(self, data: bytes, kind: Kind | None) -> bool:
        """Learn a message as spam or ham, None: forget it; return whether that changed anything.

        Raises: ServiceError, ValueError without a database.
        """
        if self._database is None:
            raise ValueError("there is no database to learn into")
        tokens = bayes.tokens(self._examined(data))
        if kind is None:
            return self._database.forget(data, tokens)
        return self._database.teach(data, tokens, kind)

    def _examined(self, data: bytes) -> Examined:
        examined = Examined(message=Message(data), site=self._site, now=self._clock())
        # Read now, in the thread that this is called in.
        _ = examined.urls, examined.trace
        return examined

    def _judged(self, examined: Examined) -> Judgement:
        if self._database is not None:
            totals = self._database.totals()
            if totals.enough:
                examined.taught = bayes.classify(self._database.counts(bayes.tokens(examined)), totals)
        return score.judge(examined, required=self._required)
