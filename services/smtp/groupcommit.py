"""Group commit: what is handed in while the disk is busy is written with one write and one sync.

Theory of operation. One batch is on its way to the disk, in a thread; what comes meanwhile is the next, and
also what the next turns of the event loop bring, until they bring nothing more or a few have passed: a sync
costs more than such turns. So one session waits for one sync a message, and a hundred of them share it. A
batch that fails is written again one by one: a message that finds no room must not take with it the note that
another one has left.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Generic, TypeVar

from services.smtp.errors import SpoolUnavailable

log = logging.getLogger(__name__)

# How many turns of the event loop are waited for, at most, and how many of them in a row may bring nothing.
_TURNS = 8
_QUIET = 3

_Entry = TypeVar("_Entry")
Done = Callable[[SpoolUnavailable | None], None]
"""Hears how it went: None, when the entry is on disk."""


class GroupCommit(Generic[_Entry]):
    """Writes entries in the order in which they are submitted; `write` is called in a thread of its own."""

    def __init__(self, write: Callable[[Sequence[_Entry]], None]) -> None:
        self._write = write
        self._waiting: list[tuple[_Entry, Done]] = []
        self._batches: SimpleQueue[list[tuple[_Entry, Done]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._busy = False
        self._idle = asyncio.Event()
        self._idle.set()

    def submit(self, entry: _Entry, done: Done) -> None:
        """Have `entry` written; `done` is called by the event loop, in order, whoever waits or does not."""
        self._waiting.append((entry, done))
        if not self._busy:
            self._busy = True
            self._idle.clear()
            asyncio.get_running_loop().call_soon(self._gather, 0, _TURNS, _QUIET)

    async def close(self) -> None:
        """Return when all that was submitted is written, or failed."""
        await self._idle.wait()
        if self._thread:
            self._batches.put(None)
            self._thread.join()
            self._thread = None

    def _gather(self, before: int, turns: int, quiet: int) -> None:
        """Have what waits written once it does not grow any more.

        `before` entries waited a turn ago; `turns`, and `quiet` ones in a row, may still pass.
        """
        loop = asyncio.get_running_loop()
        quiet = _QUIET if len(self._waiting) > before else quiet - 1
        if turns and quiet:
            loop.call_soon(self._gather, len(self._waiting), turns - 1, quiet)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, args=(loop,), name="spool", daemon=True)
            self._thread.start()
        batch, self._waiting = self._waiting, []
        self._batches.put(batch)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """Write one batch after the other; the thread's own."""
        while (batch := self._batches.get()) is not None:
            errors = self._write_all([entry for entry, _ in batch])
            loop.call_soon_threadsafe(self._written, batch, errors)

    def _written(
        self, batch: Sequence[tuple[_Entry, Done]], errors: Sequence[SpoolUnavailable | None]
    ) -> None:
        if self._waiting:
            self._gather(0, _TURNS, _QUIET)
        else:
            self._busy = False
            self._idle.set()
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
