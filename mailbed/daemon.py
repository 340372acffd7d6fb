"""A foreign program as a service: the module behind every role that is not ours.

Theory of operation. It looks to the lab like a service of our own: `load`, then `serve`. It starts the
program in the host's namespaces, waits until it serves, turns lines of its log into events, and ends when
the program ends. If this process dies, the program goes with it.

Readiness is tried on the host's loopback, so that no probe is ever in a capture:

    tcp:PORT     something accepts on 127.0.0.1:PORT
    log:REGEX    a line of the program's output matches
    started      the program is running

The program's output goes into the host's log as it comes.

Debian has AppArmor confine BIND, Unbound and others to the directories of a machine's own daemon. One in a
lab reads and writes its run directory instead, so it is started unconfined: the sandbox is what confines it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import tomllib
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mailbed.postfixlog import PostfixLog
from services.errors import ConfigError, ServiceError
from services.notices import Notices
from topologies import kernel

READY_WITHIN_S = 20.0
_PROBE_EVERY_S = 0.02
_OUTPUT_WITHIN_S = 1.0
_LONGEST_LINE = 1 << 16
_LONGEST_REASON = 200
_APPARMOR_EXEC = "/proc/self/attr/apparmor/exec"


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonConfig:
    """What to run: `events` maps a regular expression for log lines to the kind of event it stands for.

    With `log_format` "postfix" its lines are read as mailbed.postfixlog does.
    """

    command: tuple[str, ...]
    directory: Path
    log: Path
    ready: str = "started"
    events: Mapping[str, str] = field(default_factory=dict)
    log_format: str = ""


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
            log_format=data.get("log_format", ""),
        )
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error


async def serve(config: DaemonConfig, notices: Notices) -> None:
    """Run the program until it ends. Raises: ServiceError if it cannot start, does not get ready, or ends."""
    output = _Output(config, notices)
    # A pipe of our own: with asyncio's, a program has not ended before everything that it left in the
    # background has closed its output.
    read, write = os.pipe()
    try:
        process = await _started(config, write)
    finally:
        os.close(write)
    follower = asyncio.create_task(output.follow(read))
    # What it means is the program's affair: most read their files again.
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _pass_on, process, signal.SIGHUP)
    try:
        ready = await _until_ready(process, config, output)
        if ready:
            notices.ready()
        status = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
        await asyncio.wait({follower}, timeout=_OUTPUT_WITHIN_S)
        follower.cancel()
    said = f": {output.last}" if output.last else ""
    raise ServiceError(f"{config.command[0]} ended{'' if ready else ' at once'} with status {status}{said}")


async def _started(config: DaemonConfig, output: int) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *config.command,
            cwd=config.directory,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=_before_exec,
        )
    except OSError as error:
        if shutil.which(config.command[0]) is None and not os.path.exists(config.command[0]):
            raise ServiceError(f"{config.command[0]} is not installed on this machine") from None
        raise ServiceError(f"{config.command[0]}: {error.strerror}") from error


def _pass_on(process: asyncio.subprocess.Process, number: int) -> None:
    if process.returncode is None:
        process.send_signal(number)


def _before_exec() -> None:
    """In the child: go with the parent, and leave the program's AppArmor profile, if the machine has any."""
    kernel.die_with_parent(signal.SIGKILL)
    # As aa_change_onexec(3) does. Where that is forbidden the program may still do, or its log says why not.
    with contextlib.suppress(OSError), open(_APPARMOR_EXEC, "w", encoding="ascii") as file:
        file.write("exec unconfined")


class _Output:
    """A program's output: logged as it comes, and read for lines that tell readiness or are events.

    `seen` is set by the former; `last` is the last line that says something.
    """

    def __init__(self, config: DaemonConfig, notices: Notices) -> None:
        kind, _, pattern = config.ready.partition(":")
        self._log = config.log
        self._notices = notices
        self._ready = re.compile(pattern) if kind == "log" else None
        self._events = [(re.compile(expression), name) for expression, name in config.events.items()]
        self._postfix = PostfixLog() if config.log_format == "postfix" else None
        self.seen = asyncio.Event()
        self.last = ""

    async def follow(self, pipe: int) -> None:
        """Read the pipe until its other end is closed everywhere; it is closed here then, too."""
        stream, rest = asyncio.StreamReader(), b""
        with self._log.open("ab", buffering=0) as log, open(pipe, "rb", buffering=0) as file:
            await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(stream), file
            )
            while chunk := await stream.read(_LONGEST_LINE):
                # Whatever becomes of the log: a program whose output nobody takes would stand still.
                with contextlib.suppress(OSError):
                    log.write(chunk)
                *lines, rest = (rest + chunk).split(b"\n")
                rest = rest[-_LONGEST_LINE:]
                for line in lines:
                    self._line(line)
        self._line(rest)

    def _line(self, line: bytes) -> None:
        text = line.decode(errors="replace").strip()
        if not text:
            return
        self.last = text[:_LONGEST_REASON]
        if self._ready is not None and self._ready.search(text):
            self.seen.set()
        for expression, name in self._events:
            if expression.search(text):
                self._notices.event(name, line=text)
        for name, fields in self._postfix.events(text) if self._postfix else ():
            self._notices.event(name, **fields)


async def _until_ready(process: asyncio.subprocess.Process, config: DaemonConfig, output: _Output) -> bool:
    """Return whether the program serves; if not, it has ended. Raises: ServiceError if it does neither."""
    kind, _, value = config.ready.partition(":")
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            if kind == "log":
                await _first(output.seen.wait(), process)
            elif kind == "tcp":
                await _first(_accepts(int(value)), process)
    except TimeoutError:
        raise ServiceError(
            f"{config.command[0]} was not ready ({config.ready}) within {READY_WITHIN_S:g} s"
        ) from None
    return process.returncode is None


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
