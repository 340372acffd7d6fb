"""Group commit: what is handed in while the disk is busy is written with one write and one sync.

Theory of operation. One batch is on its way to the disk, in a thread; what comes meanwhile is the next. So
one session waits for one sync a message, and a hundred of them share it. A batch that fails is written again
one by one: a message that finds no room must not take with it the note that another one has left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from services.smtp.errors import SpoolUnavailable

log = logging.getLogger(__name__)

_Entry = TypeVar("_Entry")
Done = Callable[[SpoolUnavailable | None], None]
"""Hears how it went: None, when the entry is on disk."""


class GroupCommit(Generic[_Entry]):
    """Writes entries in the order in which they are submitted; `write` is called in a thread of its own."""

    def __init__(self, write: Callable[[Sequence[_Entry]], None]) -> None:
        self._write = write
        self._waiting: list[tuple[_Entry, Done]] = []
        self._busy = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")

    def submit(self, entry: _Entry, done: Done) -> None:
        """Have `entry` written; `done` is called by the event loop, in order, whoever waits or does not."""
        self._waiting.append((entry, done))
        if not self._busy:
            self._busy = True
            self._idle.clear()
            # What else this turn of the loop brings goes with it.
            asyncio.get_running_loop().call_soon(self._next)

    async def close(self) -> None:
        """Return when all that was submitted is written, or failed."""
        await self._idle.wait()
        self._thread.shutdown()

    def _next(self) -> None:
        if not self._waiting:
            self._busy = False
            self._idle.set()
            return
        batch, self._waiting = self._waiting, []
        loop = asyncio.get_running_loop()
        writing = loop.run_in_executor(self._thread, self._write_all, [entry for entry, _ in batch])
        writing.add_done_callback(lambda written: self._written(batch, written.result()))

    def _written(
        self, batch: Sequence[tuple[_Entry, Done]], errors: Sequence[SpoolUnavailable | None]
    ) -> None:
        self._next()
        for (_, done), error in zip(batch, errors, strict=True):
            done(error)

    def _write_all(self, entries: Sequence[_Entry]) -> list[SpoolUnavailable | None]:
        try:
            self._write(entries)
        except SpoolUnavailable as error:
            if len(entries) == 1:
                return [error]
            return [each for entry in entries for each in self._write_all([entry])]
        except Exception as error:
            # A mistake of ours: whoever waits must hear of it, and the next batch must go on.
            log.exception("writing to the spool")
            return [SpoolUnavailable(f"internal error: {error}")] * len(entries)
        return [None] * len(entries)
