"""What the command line says, and where.

Theory of operation. The result goes to standard output: an account for people, or with `--json` one document
and nothing else. Progress and notices go to standard error; progress only if that is a terminal. rich is
imported for a terminal alone: in a pipe there is nothing to draw, and nothing may be cut to a width.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.status import Status

_STYLE = re.compile(r"\x1b\[[0-9;]*m")


class Choice:
    """Whether this command was asked for JSON: also an error has to know."""

    json = False


def choose_json(value: bool) -> bool:
    """Note the option `--json` (the callback of that option)."""
    Choice.json = value
    return value


def say(text: str = "") -> None:
    """Write a line of the result, for people."""
    typer.echo(text, color=_colour())


def note(text: str) -> None:
    """Write a notice: standard error, one line."""
    typer.echo(f"mailbed: {text}", err=True, color=_colour())


def document(value: object) -> None:
    """Write the result, for programs: one JSON document."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def strong(text: str) -> str:
    """Return the text in bold, where that can be seen."""
    return typer.style(text, bold=True)


def marked(text: str, *, good: bool) -> str:
    """Return the text in green, or in red."""
    return typer.style(text, fg="green" if good else "red", bold=True)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write rows under headings: wrapped to the terminal, or in a pipe a line each, never cut."""
    if sys.stdout.isatty():
        _draw(headings, rows)
        return
    # The stream would take the colours out later, when the columns have their widths.
    plain = [[_STYLE.sub("", cell) for cell in row] for row in (headings, *rows)]
    widths = [max(map(len, column)) for column in zip(*plain, strict=True)]
    for row in plain:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        say(line.rstrip())


def near(path: str | os.PathLike[str]) -> str:
    """Return the path as seen from here if it lies below, else as it is."""
    found = Path(path)
    return str(found.relative_to(Path.cwd())) if found.is_relative_to(Path.cwd()) else str(found)


def count(number: int, thing: str, plural: str = "") -> str:
    """Return "1 host", "2 hosts"."""
    return f"{number:,} {thing if number == 1 else plural or thing + 's'}"


class Progress:
    """A line that changes while something is awaited; it goes away at the end.

    Called with events while a lab starts, from a thread of the lab's.
    """

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._lock = threading.Lock()
        self._status: Status | None = None
        self._services = self._ready = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_exception: object) -> None:
        with self._lock:
            self._shown = False
            if self._status is not None:
                self._status.stop()

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Show how far the start has come."""
        if event.get("phase") == "network":
            self.show(f"building a network of {event.get('hosts')} hosts")
        elif event.get("phase") == "services":
            self._services = int(event.get("count", 0))
        elif event.get("kind") == "ready" and event.get("host"):
            self._ready += 1
        if self._services:
            self.show(f"{self._ready} of {self._services} services ready")

    def show(self, text: str) -> None:
        """Show what is awaited now."""
        with self._lock:
            if not self._shown:
                return
            if self._status is None:
                from rich.console import Console
                from rich.status import Status

                self._status = Status(text, console=Console(stderr=True))
                self._status.start()
            else:
                self._status.update(text)


def _draw(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        drawn.add_column(heading, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text.from_ansi(cell) for cell in row))
    Console().print(drawn)


def _colour() -> bool | None:
    """None: as the stream allows. NO_COLOR forbids it (https://no-color.org)."""
    return False if os.environ.get("NO_COLOR") else None
