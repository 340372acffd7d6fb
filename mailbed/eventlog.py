"""The run's events: one JSON object a line in events.jsonl (mailbed.event/1), and to whoever subscribed.

    {"time": 1790000000.123, "host": "rcpt-mx", "role": "mail-server", "kind": "delivered", …}

`time` is in seconds since the epoch; `host` and `role` are who it happened to (empty: the lab itself), set by
the supervisor, which knows whose notice it read. A full disk does not end the lab: events that could not
be written are counted, and the count is an event once there is room.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Subscriber = Callable[[dict[str, Any]], None]


class EventLog:
    """Appends events to a file and hands them to subscribers, in one order for all."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._subscribers: list[Subscriber] = []
        self._lost = 0

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` for each event from now on; return what ends that."""
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    def emit(self, host: str, role: str, kind: str, **fields: object) -> None:
        """Record one event."""
        event = {"time": time.time(), "host": host, "role": role, "kind": kind, **fields}
        self._write(event)
        for subscriber in list(self._subscribers):
            subscriber(event)

    async def wait_for(self, matches: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the next event that matches."""
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

        def look(event: dict[str, Any]) -> None:
            if matches(event) and not future.done():
                future.set_result(event)

        unsubscribe = self.subscribe(look)
        try:
            return await future
        finally:
            unsubscribe()

    def _write(self, event: dict[str, Any]) -> None:
        try:
            if self._lost:
                lost = {"time": event["time"], "host": "", "role": "", "kind": "events-lost"}
                self._append({**lost, "count": self._lost})
                self._lost = 0
            self._append(event)
        except OSError:
            self._lost += 1

    def _append(self, event: dict[str, Any]) -> None:
        line = json.dumps(event, ensure_ascii=False).encode() + b"\n"
        start = self._file.tell()
        if self._file.write(line) != len(line):
            # Half a line would spoil the file for every reader.
            self._file.truncate(start)
            self._file.seek(start)
            raise OSError("no space")
