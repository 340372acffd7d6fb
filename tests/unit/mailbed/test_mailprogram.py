"""The mail program: many messages in a few runs, and what becomes of those that a run does not tell of."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from mailbed.asking import Told
from mailbed.errors import LabEnded
from mailbed.eventlog import EventLog
from mailbed.mailprogram import MESSAGES_A_RUN, RUNS_AT_ONCE, MailProgram
from mailbed.processes import Running, Zygote


class Process(Running):
    """A process that is none: there is nobody to kill."""

    def kill(self, number: int = 0) -> None:
        pass


class Run:
    """A run that was started, in the hands of the test."""

    def __init__(self, job: Path, told: Told) -> None:
        data = tomllib.loads(job.read_text(encoding="utf-8"))
        assert Path(data["settings"]).name == "mail-client.toml"
        self.job = job
        self.numbers = [int(Path(envelope).stem) for envelope in data["envelopes"]]
        self.running = Process(pid=0, ended=asyncio.get_running_loop().create_future())
        self._told = told

    async def tell(self, *numbers: int) -> None:
        for number in numbers:
            self._told({"kind": "submitted", "number": number, "id": f"Q{number}", "host": "mallory"})
        await asyncio.sleep(0)

    async def end(self) -> None:
        self.running.ended.set_result(0)
        # What waits for that comes in a few turns of the loop.
        for _ in range(5):
            await asyncio.sleep(0)


class FakeZygote(Zygote):
    """Starts nothing, but keeps account."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.gone = False

    async def serve(self, *, config: Path, told: Told, **_: Any) -> Running:
        if self.gone:
            raise LabEnded("the zygote is gone")
        self.runs.append(Run(config, told))
        return self.runs[-1].running


class Events(EventLog):
    """Events that are kept, and written nowhere."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str, dict[str, object]]] = []

    def emit(self, host: str, role: str, kind: str, **fields: object) -> None:
        self.seen.append((host, role, kind, fields))


class World:
    """A mail program without processes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.zygote = FakeZygote()
        self.events = Events()
        self.program = MailProgram(
            "alice",
            (1, 2, 3),
            directory,
            zygote=self.zygote,
            events=self.events,
        )

    async def submit(self, *numbers: int) -> list[asyncio.Task[dict[str, Any]]]:
        """Give messages to the program; return when it has started what it will."""
        tasks = [
            asyncio.ensure_future(self.program.submit(number, self.directory / f"{number}.toml"))
            for number in numbers
        ]
        for _ in range(5):
            await asyncio.sleep(0)
        return tasks


def play(directory: Path, steps: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        await steps(World(directory))

    asyncio.run(main())


def test_a_message_alone(tmp_path: Path) -> None:
    """It is submitted at once, and is told of before the run has ended."""

    async def steps(world: World) -> None:
        (sent,) = await world.submit(7)
        (run,) = world.zygote.runs
        assert run.numbers == [7]
        await run.tell(7)
        assert sent.done()
        assert (await sent)["id"] == "Q7"
        await run.end()
        assert not run.job.exists()
        # Who says so is known better than the run itself could tell.
        assert world.events.seen == [("alice", "mail-client", "submitted", {"number": 7, "id": "Q7"})]

    play(tmp_path, steps)


def test_many_at_once(tmp_path: Path) -> None:
    """There are never more than a few runs, and what waits goes with the next one that may begin."""

    async def steps(world: World) -> None:
        count = RUNS_AT_ONCE + MESSAGES_A_RUN + 10
        sent = await world.submit(*range(count))
        first = world.zygote.runs[:]
        assert [run.numbers for run in first] == [[number] for number in range(RUNS_AT_ONCE)]
        for run in first:
            await run.tell(*run.numbers)
        assert len(world.zygote.runs) == RUNS_AT_ONCE
        await first[0].end()
        await first[1].end()
        second, third = world.zygote.runs[RUNS_AT_ONCE:]
        assert second.numbers == list(range(RUNS_AT_ONCE, RUNS_AT_ONCE + MESSAGES_A_RUN))
        assert third.numbers == list(range(RUNS_AT_ONCE + MESSAGES_A_RUN, count))
        for run in (second, third):
            await run.tell(*run.numbers)
        assert [(await task)["id"] for task in sent] == [f"Q{number}" for number in range(count)]

    play(tmp_path, steps)


@pytest.mark.parametrize("told", [(), (1,)])
def test_a_run_that_dies(tmp_path: Path, told: tuple[int, ...]) -> None:
    """What it has told of counts; of the rest it is said that nothing is known."""

    async def steps(world: World) -> None:
        await world.submit(*range(100, 100 + RUNS_AT_ONCE))
        one, two = await world.submit(1, 2)
        await world.zygote.runs[0].tell(100)
        await world.zygote.runs[0].end()
        run = world.zygote.runs[-1]
        assert run.numbers == [1, 2]
        await run.tell(*told)
        await run.end()
        assert (await one)["kind"] == ("submitted" if told else "failed")
        assert (await two)["kind"] == "failed"

    play(tmp_path, steps)


def test_nobody_waits_any_more(tmp_path: Path) -> None:
    """A message whose sender has gone away before its run began is not submitted."""

    async def steps(world: World) -> None:
        await world.submit(*range(RUNS_AT_ONCE))
        one, two = await world.submit(100, 101)
        one.cancel()
        await asyncio.sleep(0)
        await world.zygote.runs[0].tell(0)
        await world.zygote.runs[0].end()
        assert world.zygote.runs[-1].numbers == [101]
        await world.zygote.runs[-1].tell(101)
        assert (await two)["id"] == "Q101"

    play(tmp_path, steps)


def test_a_lab_that_has_no_process_to_give(tmp_path: Path) -> None:
    """Whoever waits hears why the run could not begin, and the next message is tried all the same."""

    async def steps(world: World) -> None:
        world.zygote.gone = True
        (sent,) = await world.submit(1)
        with pytest.raises(LabEnded, match="the zygote is gone"):
            await sent
        world.zygote.gone = False
        (again,) = await world.submit(2)
        await world.zygote.runs[0].tell(2)
        assert (await again)["id"] == "Q2"

    play(tmp_path, steps)
