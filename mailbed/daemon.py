"""A foreign program as a service: the module behind every role that is not ours.

Theory of operation. It looks to the lab like a service of our own: `load`, then `serve`. It starts the
program in the host's namespaces, waits until it serves, turns lines of its log into events, and ends when
the program ends. If this process dies, the program goes with it.

Readiness is tried on the host's loopback, so that no probe is ever in a capture:

    tcp:PORT     something accepts on 127.0.0.1:PORT
    log:REGEX    a line of the program's output matches
    started      the program is running

The program's output goes into the host's log as it comes.
"""

from __future__ import annotations

import asyncio
import re
import signal
import tomllib
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.errors import ConfigError, ServiceError
from services.notices import Notices
from topologies import kernel

READY_WITHIN_S = 20.0
_PROBE_EVERY_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonConfig:
    """What to run: `events` maps a regular expression for log lines to the kind of event it stands for."""

    command: tuple[str, ...]
    directory: Path
    log: Path
    ready: str = "started"
    events: Mapping[str, str] = field(default_factory=dict)


def load(path: Path) -> DaemonConfig:
    """Return the configuration in a TOML file that mailbed.roles wrote. Raises: ConfigError."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        return DaemonConfig(
            command=tuple(data["command"]),
            directory=Path(data["directory"]),
            log=Path(data["log"]),
            ready=data.get("ready", "started"),
            events=data.get("events", {}),
        )
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error


async def serve(config: DaemonConfig, notices: Notices) -> None:
    """Run the program until it ends. Raises: ServiceError if it cannot start, does not get ready, or ends."""
    try:
        process = await asyncio.create_subprocess_exec(
            *config.command,
            cwd=config.directory,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            preexec_fn=lambda: kernel.die_with_parent(signal.SIGKILL),
        )
    except FileNotFoundError:
        raise ServiceError(f"{config.command[0]} is not installed on this machine") from None
    except OSError as error:
        raise ServiceError(f"{config.command[0]}: {error.strerror}") from error

    seen = asyncio.Event()
    follower = asyncio.create_task(_follow(process, config, notices, seen))
    try:
        await _until_ready(process, config, seen)
        notices.ready()
        status = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
        await follower
    raise ServiceError(f"{config.command[0]} ended with status {status}")


async def _follow(
    process: asyncio.subprocess.Process, config: DaemonConfig, notices: Notices, seen: asyncio.Event
) -> None:
    """Log the program's output; note the line that tells readiness, and the lines that are events."""
    kind, _, pattern = config.ready.partition(":")
    ready = re.compile(pattern) if kind == "log" else None
    events = [(re.compile(expression), name) for expression, name in config.events.items()]
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    with config.log.open("ab") as log:
        while line := await process.stdout.readline():
            log.write(line)
            log.flush()
            text = line.decode(errors="replace").rstrip()
            if ready is not None and ready.search(text):
                seen.set()
            for expression, name in events:
                if expression.search(text):
                    notices.event(name, line=text)


async def _until_ready(
    process: asyncio.subprocess.Process, config: DaemonConfig, seen: asyncio.Event
) -> None:
    kind, _, value = config.ready.partition(":")
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            if kind == "log":
                await _first(seen.wait(), process)
            elif kind == "tcp":
                await _first(_accepts(int(value)), process)
    except TimeoutError:
        raise ServiceError(
            f"{config.command[0]} was not ready ({config.ready}) within {READY_WITHIN_S:g} s"
        ) from None
    if process.returncode is not None:
        raise ServiceError(f"{config.command[0]} ended at once with status {process.returncode}")


async def _first(ready: Coroutine[object, object, object], process: asyncio.subprocess.Process) -> None:
    """Return when the program is ready or has ended, whichever comes first."""
    tasks = {asyncio.ensure_future(ready), asyncio.ensure_future(process.wait())}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def _accepts(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(_PROBE_EVERY_S)
        else:
            writer.close()
            return
