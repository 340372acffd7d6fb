"""`mailbed exec`: a program on a host, or on several.

Theory of operation. On one host the program gets this process' own standard streams, so that pipes and
terminals work as if it ran here. On several it runs on one after the other with nothing to read; what it
writes is passed on line by line with the host's name before each. Ctrl-C goes to the program.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from mailbed.cli import output, targets
from mailbed.cli.options import Json, RunningLab
from mailbed.errors import UsageError

if TYPE_CHECKING:
    from mailbed.lab import Lab

EXAMPLES = (
    "mailbed exec alice ping -c 3 corp-msa.example.com",
    "mailbed exec corp-dns -- dig @198.41.0.4 org NS +norecurse",
    "mailbed exec alice -- swaks --to carol@example.com --server corp-msa.example.com < body.txt",
    "mailbed exec 'corp-*' hostname",
)
# Options after HOST are the command's.
CONTEXT = {"allow_interspersed_args": False, "ignore_unknown_options": False}
_INTERRUPTED = 130


def exec_(
    host: Annotated[str, typer.Argument(metavar="HOST", help="A host, or a pattern.", show_default=False)],
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND", help="What to run there.", show_default=False)
    ],
    lab: RunningLab = None,
    json: Json = False,
) -> None:
    """Run a command on a host; the exit status is the command's.

    Options of mailbed's own stand before HOST; everything after it belongs to the command. Several hosts
    take their turns, and each line of output begins with the host's name; the exit status is then the first
    that is not 0.
    """
    from mailbed.lab import Lab

    argv = command[1:] if command[0] == "--" else command
    if not argv:
        raise UsageError("there is no command to run")
    with Lab.attach(lab) as handle:
        chosen = targets.hosts(handle.plan, host)
        if json:
            status = _documented(handle, chosen, argv)
        elif len(chosen) == 1:
            status = shell_status(handle.exec_with(chosen[0], argv, (0, 1, 2)))
        else:
            status = _in_turn(handle, chosen, argv)
    raise typer.Exit(status)


def shell_status(status: int) -> int:
    """Return what a shell makes of a status: 128 and the signal's number for a program that one ended."""
    return 128 - status if status < 0 else status


def prefixed(lines: IO[bytes], prefix: bytes, to: IO[bytes]) -> None:
    """Copy lines, each with the prefix before it and a line end behind it, until there are no more."""
    for line in lines:
        to.write(prefix + line.rstrip(b"\n") + b"\n")
        to.flush()


def _in_turn(handle: Lab, hosts: Sequence[str], argv: Sequence[str]) -> int:
    width = max(map(len, hosts))
    first = 0
    with open(os.devnull, "rb") as nothing:
        for host in hosts:
            prefix = f"{host:{width}}  ".encode()
            with _passed_on(prefix, sys.stdout.buffer) as out, _passed_on(prefix, sys.stderr.buffer) as err:
                status = shell_status(handle.exec_with(host, argv, (nothing.fileno(), out, err)))
            if status == _INTERRUPTED:
                return status
            first = first or status
    return first


@contextmanager
def _passed_on(prefix: bytes, to: IO[bytes]) -> Iterator[int]:
    """A descriptor to write to; at the end everything that was written has been passed on."""
    read, write = os.pipe()
    with open(read, "rb") as lines:
        copier = threading.Thread(target=prefixed, args=(lines, prefix, to), daemon=True)
        copier.start()
        try:
            yield write
        finally:
            os.close(write)
            copier.join()


def _documented(handle: Lab, hosts: Sequence[str], argv: Sequence[str]) -> int:
    """Run the command everywhere and write one document of what it printed."""
    results: list[dict[str, Any]] = []
    with open(os.devnull, "rb") as nothing:
        given = 0 if len(hosts) == 1 else nothing.fileno()
        for host in hosts:
            with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
                status = handle.exec_with(host, argv, (given, out.fileno(), err.fileno()))
                texts = []
                for file in (out, err):
                    file.seek(0)
                    texts.append(file.read().decode(errors="replace"))
            results.append(
                {"host": host, "status": shell_status(status), "stdout": texts[0], "stderr": texts[1]}
            )
    output.document({"lab": handle.name, "command": list(argv), "results": results})
    return next((result["status"] for result in results if result["status"]), 0)
