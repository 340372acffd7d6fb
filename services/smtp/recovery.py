"""Mail that waits for a hop that nobody could reach, and moves on in order once it can be reached again.

Theory of operation. When none of a hop's exchangers answers, its mail is deferred, each message for as long
as retry says. But once the hop is back none of it need wait any longer. So what waits is noted by hop, and

    it is called again      as soon as one of its exchangers may be tried (availability), with a session that
                            carries nothing yet; so no message uses up an attempt while nobody answers
    it answers              a call, or any message, gets through: all that waits is due at once, in order
                            of arrival, and goes one after the other until the last of it is through

So a secondary hands its mail to the primary as soon as that is back, in order, and no message twice.
Nothing of this is on disk: after a restart what the queue says was not reached waits as before.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

from services.smtp.routing import Remote

Recipients = tuple[str, ...]


class _InOrder:
    def __init__(self, ids: Iterable[str]) -> None:
        self.turn = asyncio.Lock()
        self.left = set(ids)


class Recovery:
    """What waits for which hop, and which hops are catching up."""

    def __init__(self) -> None:
        self._waiting: dict[Remote, dict[str, Recipients]] = {}
        self._catching_up: dict[Remote, _InOrder] = {}

    def waits(self, remote: Remote, queue_id: str, recipients: Iterable[str]) -> None:
        """Note that a message waits for the hop with these recipients."""
        self._waiting.setdefault(remote, {})[queue_id] = tuple(recipients)

    def forget(self, remote: Remote, queue_id: str) -> None:
        """Note that a message does not wait any more: it is tried, or gone."""
        waiting = self._waiting.get(remote, {})
        waiting.pop(queue_id, None)
        if not waiting:
            self._waiting.pop(remote, None)

    def waiting(self, remote: Remote) -> Mapping[str, Recipients]:
        """Return what waits for the hop, by queue id."""
        return self._waiting.get(remote, {})

    def reached(self, remote: Remote) -> Mapping[str, Recipients]:
        """Note that the hop can be reached; return what waited, which then goes one after the other."""
        found = self._waiting.pop(remote, {})
        if found:
            known = self._catching_up.setdefault(remote, _InOrder(()))
            known.left |= set(found)
        return found

    @asynccontextmanager
    async def turn(self, remote: Remote, queue_id: str, *, alone: bool) -> AsyncIterator[None]:
        """Wait for this message's turn, if the hop is catching up. `alone`: nobody else is under way."""
        known = self._catching_up.get(remote)
        if known is None:
            yield
            return
        try:
            async with known.turn:
                yield
        finally:
            known.left.discard(queue_id)
            # What was removed from the queue meanwhile never comes.
            if not known.left or alone:
                self._catching_up.pop(remote, None)
