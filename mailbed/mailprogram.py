"""The mail program of a host: it submits what it is given, many messages in a few runs.

Theory of operation. A run is a process of its own on the host (mailbed.submission), which takes up a session
and ends when it has submitted its messages: that costs more than the message. So there is a limit of runs at
a time, and what is given meanwhile goes with the next one:

    a message, nothing under way        a run of its own, at once
    many messages at once               the first few a run each; the rest in runs of as many as wait by then

A message that nobody waits for any more is not submitted, unless its run has begun.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from mailbed.eventlog import EventLog
from mailbed.processes import Zygote

RUNS_AT_ONCE = 4
MESSAGES_A_RUN = 50

# What it said last may still be in its socket when its end is known already.
_LAST_WORDS_S = 1.0

Notice = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class _Waiting:
    """A message that is to be submitted: its envelope's file, and where the notice of it goes."""

    number: int
    envelope: Path
    told: asyncio.Future[Notice]


class MailProgram:
    """The mail program of one host, in its `namespaces`; `directory` is the host's in the run directory."""

    def __init__(
        self, host: str, namespaces: Sequence[int], directory: Path, *, zygote: Zygote, events: EventLog
    ) -> None:
        self._host = host
        self._namespaces = namespaces
        self._directory = directory
        self._zygote = zygote
        self._events = events
        self._waiting: deque[_Waiting] = deque()
        self._runs: set[asyncio.Task[None]] = set()

    async def submit(self, number: int, envelope: Path) -> Notice:
        """Submit a message and return what the run said of it: `submitted`, or anything else.

        Raises: LabError if no process can be had.
        """
        told: asyncio.Future[Notice] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(number=number, envelope=envelope, told=told))
        self._start()
        return await told

    def _start(self) -> None:
        while self._waiting and len(self._runs) < RUNS_AT_ONCE:
            batch = self._batch()
            if batch:
                run = asyncio.get_running_loop().create_task(self._run(batch))
                self._runs.add(run)
                run.add_done_callback(self._ended)

    def _batch(self) -> list[_Waiting]:
        taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), MESSAGES_A_RUN))]
        return [waiting for waiting in taken if not waiting.told.done()]

    def _ended(self, run: asyncio.Task[None]) -> None:
        self._runs.discard(run)
        if not run.cancelled():
            self._start()

    async def _run(self, batch: Sequence[_Waiting]) -> None:
        failure: Exception | None = None
        try:
            await self._submit(batch)
        except Exception as error:
            # Whatever kept the run from beginning is told to those who wait for it.
            failure = error
        for waiting in batch:
            if not waiting.told.done():
                if failure is not None:
                    waiting.told.set_exception(failure)
                else:
                    waiting.told.set_result({"kind": "failed"})

    async def _submit(self, batch: Sequence[_Waiting]) -> None:
        """Return when the run has ended."""
        due = {waiting.number: waiting.told for waiting in batch}
        all_told = asyncio.Event()

        def told(notice: Notice) -> None:
            said = {
                key: value for key, value in notice.items() if key not in ("kind", "time", "host", "role")
            }
            self._events.emit(self._host, "mail-client", notice["kind"], **said)
            future = due.pop(notice.get("number", 0), None)
            if future is not None and not future.done():
                future.set_result(notice)
            if not due:
                all_told.set()

        job = self._job(batch)
        try:
            running = await self._zygote.serve(
                name=f"{self._host}/mail-client",
                module="mailbed.submission",
                config=job,
                log=self._directory / "mail-client.log",
                namespaces=self._namespaces,
                told=told,
            )
            try:
                await running.ended
            finally:
                running.kill()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS_S):
                    await all_told.wait()
        finally:
            job.unlink(missing_ok=True)

    def _job(self, batch: Sequence[_Waiting]) -> Path:
        """Write what the run is to do; return the file."""
        path = batch[0].envelope.with_suffix(".job")
        job = {
            "settings": str(self._directory / "mail-client.toml"),
            "envelopes": [str(waiting.envelope) for waiting in batch],
        }
        path.write_text(tomli_w.dumps(job), encoding="utf-8")
        return path
