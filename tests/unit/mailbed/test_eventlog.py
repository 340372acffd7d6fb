"""The run's events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailbed.eventlog import EventLog


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    """An event log in a new file."""
    made = EventLog(tmp_path / "events.jsonl")
    yield made
    made._file.close()


def lines(tmp_path: Path) -> list[dict[str, Any]]:
    """What the file holds."""
    return [json.loads(line) for line in (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def test_an_event_is_a_line(log: EventLog, tmp_path: Path) -> None:
    """Each event is one line at once, with its time, who it happened to and its fields."""
    log.emit("rcpt-mx", "mail-server", "delivered", recipient="zoë@example.org")
    (event,) = lines(tmp_path)
    assert event.pop("time") > 1.7e9
    assert event == {
        "host": "rcpt-mx",
        "role": "mail-server",
        "kind": "delivered",
        "recipient": "zoë@example.org",
    }


def test_subscribers_get_what_the_file_gets(log: EventLog, tmp_path: Path) -> None:
    """Every subscriber hears of each event in the file's order, from its subscription to its end."""
    heard: list[dict[str, Any]] = []
    log.emit("", "", "before")
    end = log.subscribe(heard.append)
    for number in range(3):
        log.emit("", "", "during", number=number)
    end()
    log.emit("", "", "after")
    assert heard == lines(tmp_path)[1:4]


def test_one_who_leaves_does_not_disturb_the_others(log: EventLog) -> None:
    """A subscriber may end its subscription while it is told."""
    heard: list[str] = []
    ends: list[Any] = []
    ends.append(log.subscribe(lambda _: ends[0]()))
    log.subscribe(lambda event: heard.append(event["kind"]))
    log.emit("", "", "one")
    log.emit("", "", "two")
    assert heard == ["one", "two"]


def test_waiting_for_an_event(log: EventLog) -> None:
    """Who waits gets the next event that matches, and waits no longer."""

    async def scene() -> dict[str, Any]:
        waiting = asyncio.create_task(log.wait_for(lambda event: event.get("number") == 2))
        await asyncio.sleep(0)
        for number in (1, 2, 2):
            log.emit("", "", "tick", number=number)
        return await waiting

    assert asyncio.run(scene())["number"] == 2
    assert log._subscribers == []


def test_a_full_disk_loses_events_and_says_how_many(
    log: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nothing can be written the lab goes on; then the file says how many events it lacks."""
    real = log._file

    class Full:
        """A file on a disk with room for half a line."""

        def tell(self) -> int:
            return real.tell()

        def write(self, data: bytes) -> int:
            return real.write(data[: len(data) // 2])

        def truncate(self, size: int) -> int:
            return real.truncate(size)

        def seek(self, position: int) -> int:
            return real.seek(position)

    heard: list[str] = []
    log.subscribe(lambda event: heard.append(event["kind"]))
    log.emit("", "", "first")
    with monkeypatch.context() as patch:
        patch.setattr(log, "_file", Full())
        for _ in range(3):
            log.emit("", "", "lost")
    log.emit("", "", "last")
    assert [event["kind"] for event in lines(tmp_path)] == ["first", "events-lost", "last"]
    assert lines(tmp_path)[1]["count"] == 3
    assert heard == ["first", "lost", "lost", "lost", "last"]


def test_a_write_error_is_a_loss_too(log: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel refuses altogether is counted as well."""
    real = log._file
    monkeypatch.setattr(log, "_file", Path("/dev/full").open("ab", buffering=0))  # noqa: SIM115
    log.emit("", "", "lost")
    log._file.close()
    monkeypatch.setattr(log, "_file", real)
    log.emit("", "", "last")
    assert [(event["kind"], event.get("count")) for event in lines(tmp_path)] == [
        ("events-lost", 1),
        ("last", None),
    ]
