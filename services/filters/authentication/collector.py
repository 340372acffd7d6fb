"""The rows of aggregate reports, kept on disk until their reports are in the queue.

Theory of operation. Rows are lines of JSON, appended as messages are judged:

    current.jsonl           the interval that goes on; its first line says when it began
    BEGIN-END.jsonl         one that has ended, whose reports are still to be made

An interval ends by a change of its file's name, so a row is in one interval, whatever happens. The file goes
when `done` is called. Who is killed before that makes the reports again, with the same ids, by which those
who get them know them. Rows are written at once, but not synced until the interval ends: what a crash of the
machine takes with it are a few counts.

Everything here blocks, and fails with OSError.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from services.durable import make_directory, sync_directory, write_all
from services.filters.authentication.reports import Row

_CURRENT = "current.jsonl"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An interval that has ended, in seconds since 1970, with its rows."""

    begin: int
    end: int
    rows: tuple[Row, ...]
    path: Path

    def done(self) -> None:
        """Forget it: its reports are in the queue."""
        self.path.unlink(missing_ok=True)
        sync_directory(self.path.parent)


class Collector:
    """The rows in `directory`, which it makes."""

    def __init__(self, directory: Path) -> None:
        make_directory(directory)
        self._directory = directory
        self._fd: int | None = None

    def add(self, row: Row, *, now: float) -> None:
        """Keep a row; it survives the death of this process."""
        if self._fd is None:
            self._open(now)
        self._write(asdict(row))

    def end_interval(self, now: float) -> list[Ended]:
        """End the interval that goes on, and return all whose reports are still to be made, oldest first."""
        current = self._directory / _CURRENT
        if current.exists():
            begin = self._began(current)
            self._close()
            # Never the same name twice, however fast the clock of the lab.
            end = max(int(now), begin)
            while (target := self._directory / f"{begin}-{end}.jsonl").exists():
                end += 1
            current.rename(target)
            sync_directory(self._directory)
        return list(self._ended())

    def close(self) -> None:
        """Let go of the file; rows stay."""
        self._close()

    def _open(self, now: float) -> None:
        path = self._directory / _CURRENT
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        size = os.fstat(self._fd).st_size
        if not size:
            self._write({"begin": int(now)})
        elif os.pread(self._fd, 1, size - 1) != b"\n":
            # Somebody died while writing: what is there of the line is not to spoil the next.
            write_all(self._fd, b"\n")

    def _write(self, values: dict[str, Any]) -> None:
        assert self._fd is not None  # noqa: S101  (opened by add)
        write_all(self._fd, json.dumps(values).encode() + b"\n")

    def _close(self) -> None:
        if self._fd is not None:
            os.fsync(self._fd)
            os.close(self._fd)
            self._fd = None

    def _began(self, path: Path) -> int:
        first = next(_lines(path), {})
        return int(first.get("begin", path.stat().st_mtime))

    def _ended(self) -> Iterator[Ended]:
        paths = [path for path in self._directory.glob("*-*.jsonl") if path.name != _CURRENT]
        spans = sorted((int(begin), int(end), path) for path in paths for begin, end in [_span(path)])
        for begin, end, path in spans:
            rows = tuple(_row(values) for values in _lines(path) if "published_at" in values)
            yield Ended(begin=begin, end=end, rows=rows, path=path)


def _span(path: Path) -> list[str]:
    return path.stem.split("-", 1)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file, without those that a death cut off."""
    for line in path.read_bytes().splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            log.warning("%s: a line is cut off", path)
            continue
        if isinstance(values, dict):
            yield values


def _row(values: dict[str, Any]) -> Row:
    spf, dkim = tuple(values["spf"]), tuple(tuple(one) for one in values["dkim"])
    return Row(**{**values, "spf": spf, "dkim": dkim})
