"""Group commit: what is written together, and who hears of it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from services.smtp.errors import SpoolUnavailable
from services.smtp.groupcommit import GroupCommit


class Disk:
    """Keeps each batch, and whether the event loop wrote it. `refused` fails, all take `takes_s`."""

    def __init__(self, refused: str = "", takes_s: float = 0.0) -> None:
        self.batches: list[list[str]] = []
        self.here: list[bool] = []
        self._refused = refused
        self.takes_s = takes_s

    def write(self, entries: Sequence[str]) -> None:
        if self._refused in entries:
            raise SpoolUnavailable("no room")
        time.sleep(self.takes_s)
        self.batches.append(list(entries))
        self.here.append(threading.current_thread() is threading.main_thread())


async def commit(disk: Disk, turns: Sequence[Sequence[str]]) -> list[tuple[str, SpoolUnavailable | None]]:
    """Submit some entries in each turn of the event loop; return who heard what, in order."""
    told: list[tuple[str, SpoolUnavailable | None]] = []
    group = GroupCommit(disk.write)
    for entries in turns:
        for entry in entries:
            group.submit(entry, lambda error, entry=entry: told.append((entry, error)))  # type: ignore[misc]
        await asyncio.sleep(0)
    await group.close()
    return told


def test_what_the_next_turns_bring_is_written_together() -> None:
    """Sessions that end their messages one turn after the other share one sync, and hear of it in order."""
    disk = Disk()
    told = asyncio.run(commit(disk, ["ab", "c", "", "d"]))
    assert disk.batches == [["a", "b", "c", "d"]]
    assert told == [("a", None), ("b", None), ("c", None), ("d", None)]


def test_nobody_waits_for_those_who_come_without_end() -> None:
    """However long each turn brings one more, the first ones are written after a few."""
    disk = Disk()
    asyncio.run(commit(disk, [[str(turn)] for turn in range(100)]))
    assert len(disk.batches) > 1
    assert len(disk.batches[0]) < 20
    assert [entry for batch in disk.batches for entry in batch] == [str(turn) for turn in range(100)]


def test_one_that_finds_no_room_takes_no_other_with_it() -> None:
    """Of a batch that fails each entry is tried by itself, and told by itself."""
    disk = Disk(refused="b")
    told = asyncio.run(commit(disk, ["abc"]))
    assert disk.batches == [["a"], ["c"]]
    assert [(entry, error is None) for entry, error in told] == [("a", True), ("b", False), ("c", True)]


async def one_by_one(group: GroupCommit[str], entries: Sequence[str]) -> None:
    """Submit each entry when the one before is written."""
    for entry in entries:
        written = asyncio.get_running_loop().create_future()
        group.submit(entry, lambda error, written=written: written.set_result(error))  # type: ignore[misc]
        assert await asyncio.wait_for(written, 5) is None


def test_who_is_alone_does_not_go_by_the_thread() -> None:
    """After a while the loop itself writes what comes one by one, and looks now and then for others."""

    async def steps() -> None:
        await one_by_one(group, "a" * 100)
        assert not any(disk.here[:16])
        assert 75 < sum(disk.here) < 84
        for number in range(200):
            group.submit(str(number), lambda _: None)
            if number % 20 == 19:
                await one_by_one(group, "b")
        await group.close()

    disk = Disk()
    group = GroupCommit(disk.write)
    asyncio.run(steps())
    assert not any(disk.here[-9:]), "others have come: there is something to gather"
    assert [len(batch) for batch in disk.batches[-9:]] == [21] * 9


@pytest.mark.parametrize("from_the_first", [True, False])
def test_a_slow_disk_is_left_to_the_thread(from_the_first: bool) -> None:
    """Where a sync takes long the loop goes on meanwhile; but for the one by which it learns that, if any."""

    async def steps() -> None:
        await one_by_one(group, "a" * 20)
        disk.takes_s = 0.006
        await one_by_one(group, "a" * 60)
        await group.close()

    disk = Disk(takes_s=0.006 if from_the_first else 0.0)
    group = GroupCommit(disk.write)
    asyncio.run(steps())
    assert sum(disk.here[20:]) == (0 if from_the_first else 1)


def test_a_mistake_in_hearing_of_it_keeps_nobody_waiting(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever fails over the news does not keep it from the others of the batch."""

    async def steps() -> None:
        group.submit("a", lambda _: told.append(1 // 0))
        group.submit("b", lambda _: told.append(2))
        await group.close()

    told: list[int] = []
    group = GroupCommit(Disk().write)
    asyncio.run(steps())
    assert told == [2]
    assert "ZeroDivisionError" in caplog.text


def test_what_is_light_waits_for_nobody_but_its_order() -> None:
    """It is written at once, unless something waits: then behind that."""

    async def steps() -> None:
        group.submit("light", lambda _: told.append("light"))
        assert disk.batches == [["light"]]
        group.submit("heavy", lambda _: told.append("heavy"))
        group.submit("light", lambda _: told.append("light"))
        assert len(disk.batches) == 1
        await group.close()

    disk, told = Disk(), list[str]()
    group = GroupCommit(disk.write, light=lambda entry: entry == "light")
    asyncio.run(steps())
    assert disk.batches == [["light"], ["heavy", "light"]]
    assert told == ["light", "heavy", "light"]


def test_it_can_be_closed_before_anything_was_written() -> None:
    """Nothing is waited for where nothing was submitted."""
    assert asyncio.run(commit(Disk(), [])) == []
