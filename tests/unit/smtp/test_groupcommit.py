"""Group commit: what is written together, and who hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from services.smtp.errors import SpoolUnavailable
from services.smtp.groupcommit import GroupCommit


class Disk:
    """Keeps each batch; writing `refused` fails."""

    def __init__(self, refused: str = "") -> None:
        self.batches: list[list[str]] = []
        self._refused = refused

    def write(self, entries: Sequence[str]) -> None:
        if self._refused in entries:
            raise SpoolUnavailable("no room")
        self.batches.append(list(entries))


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


def test_it_can_be_closed_before_anything_was_written() -> None:
    """Nothing is waited for where nothing was submitted."""
    assert asyncio.run(commit(Disk(), [])) == []
