"""Group commit: what is handed in while the disk is busy is written with one write and one sync.

Theory of operation. One batch is on its way to the disk, mostly in a thread; what comes meanwhile is the
next, and also what the next turns of the event loop bring, until they bring nothing more or a few have
passed: a sync costs more than such turns. So one session waits for one sync a message, and a hundred of them
share it. A batch that fails is written again one by one: a message that finds no room must not take with it
the note that another one has left.

Who is alone gains nothing by that, and loses the turns and the way to the thread and back. So once many
batches in a row were of one entry, and the disk was quick, the event loop writes the next ones itself; now
and then one goes the long way, to see whether others have come. A disk that hangs then stops all else for as
long, once: after a slow write the loop leaves the disk to the thread for a long time. What is `light`, as it
need not be synced, is written at once wherever nothing waits.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Generic, TypeVar

from services.smtp.errors import SpoolUnavailable

log = logging.getLogger(__name__)

# How many turns of the event loop are waited for, at most, and how many of them in a row may bring nothing.
_TURNS = 8
_QUIET = 3
# After how many batches of one entry it counts as alone, and how many of these go by before others are looked
# for. Beyond `_SLOW_S` the event loop has better things to do than to wait for the disk, and does not for as
# many batches as `_WARY` says.
_ALONE = 16
_LOOKS = 32
_SLOW_S = 0.005
_WARY = 1000

_Entry = TypeVar("_Entry")
Done = Callable[[SpoolUnavailable | None], None]
"""Hears how it went: None, when the entry is on disk."""


class GroupCommit(Generic[_Entry]):
    """Writes entries in the order in which they are submitted; `write` is called by one thread at a time."""

    def __init__(
        self, write: Callable[[Sequence[_Entry]], None], *, light: Callable[[_Entry], bool] = lambda _: False
    ) -> None:
        self._write = write
        self._light = light
        self._waiting: list[tuple[_Entry, Done]] = []
        self._batches: SimpleQueue[list[tuple[_Entry, Done]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._busy = False
        self._single = 0  # batches of one entry in a row
        self._idle = asyncio.Event()
        self._idle.set()

    def submit(self, entry: _Entry, done: Done) -> None:
        """Have `entry` written; `done` is called by the event loop, in order, whoever waits or does not.

        For one that is light that may be before this returns.
        """
        if not self._busy and self._light(entry):
            (error,) = self._write_all([entry])
            done(error)
            return
        self._waiting.append((entry, done))
        if not self._busy:
            self._busy = True
            self._idle.clear()
            asyncio.get_running_loop().call_soon(self._gather, 0, 0 if self._alone else _TURNS, _QUIET)

    @property
    def _alone(self) -> bool:
        """There is nobody to gather with, as far as is known."""
        return self._single >= _ALONE and self._single % _LOOKS != 0

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
        batch, self._waiting = self._waiting, []
        alone = self._alone
        self._single = self._single + 1 if len(batch) == 1 else min(self._single, 0)
        if alone and self._single > 0:
            self._write_here(batch)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, args=(loop,), name="spool", daemon=True)
            self._thread.start()
        self._batches.put(batch)

    def _write_here(self, batch: Sequence[tuple[_Entry, Done]]) -> None:
        """Write a batch while everything else waits."""
        began = time.monotonic()
        errors = self._write_all([entry for entry, _ in batch])
        self._written(batch, errors, time.monotonic() - began)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """Write one batch after the other; the thread's own."""
        while (batch := self._batches.get()) is not None:
            began = time.monotonic()
            errors = self._write_all([entry for entry, _ in batch])
            loop.call_soon_threadsafe(self._written, batch, errors, time.monotonic() - began)

    def _written(
        self, batch: Sequence[tuple[_Entry, Done]], errors: Sequence[SpoolUnavailable | None], took_s: float
    ) -> None:
        if took_s > _SLOW_S:
            self._single = -_WARY
        if self._waiting:
            self._gather(0, _TURNS, _QUIET)
        else:
            self._busy = False
            self._idle.set()
        for (_, done), error in zip(batch, errors, strict=True):
            try:
                done(error)
            except Exception:
                # A mistake of ours, which must not keep the others of the batch waiting.
                log.exception("telling that an entry is written")

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
