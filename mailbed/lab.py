"""The handle that people program against.

    from mailbed import Lab

    with Lab("minimal") as lab:
        sent = lab.send("Subject: hello\\n\\nHello Bob\\n", sender="alice@example.com", to="bob@example.org")
        print(sent.wait()["bob@example.org"].state)        # delivered
        with lab.fault("host-down", "rcpt-mx"):
            …
        for packet in lab.packets("core1-eth0"):           # scapy packets
            …

The handle stays outside: the lab runs in a sandboxed child and ends with this process, by whatever means.
`Lab.attach("minimal")` gives the same handle on a lab that another process owns.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mailbed import client, preparation, roles, rundir, sandbox
from mailbed.client import Client
from mailbed.errors import (
    LabEnded,
    LabError,
    MailbedError,
    NotRunning,
    SandboxRefused,
    StartFailed,
    UsageError,
)
from mailbed.handle import Fault, Handle, SentMessage
from mailbed.roles.service import Service, World
from topologies import DEFAULT, catalog, planfile
from topologies.check import check
from topologies.errors import TopologyError
from topologies.plan import Plan

__all__ = ["Lab", "SentMessage", "Fault", "Progress"]

Progress = Callable[[dict[str, Any]], None]

PROGRESS_WITHIN_S = 2.0


class Lab(Handle):
    """A lab: started by `up` or `with`, ended by `down` or the end of this process."""

    def __init__(
        self,
        topology: str | Plan = DEFAULT,
        *,
        name: str | None = None,
        seed: int = 1,
        out: str | os.PathLike[str] | None = None,
        implementations: Mapping[str, str] | None = None,
        time_scale: float = 1.0,
        progress: Progress | None = None,
    ) -> None:
        """Check what is asked for; nothing is started or written yet.

        `topology` is a plan, the name of a built-in one, or a file. `name` is what `--lab` calls it (default:
        the topology's, with a number if that is taken); `out` an empty directory for the run;
        `implementations` maps a host to who does its job there (`{"a-root": "nsd"}`); `time_scale` divides
        retry intervals; `progress` is called with events while the lab starts.
        Raises: UsageError.
        """
        try:
            plan = catalog.load(topology) if isinstance(topology, str) else topology
            check(plan)
            plan = roles.substitute(plan, dict(implementations or {}))
        except TopologyError as error:
            raise UsageError(str(error)) from error
        super().__init__(plan, name=name)
        self.seed = seed
        self.time_scale = time_scale
        self._out = Path(out) if out is not None else None
        self._progress = progress
        self._sandbox: sandbox.Sandbox | None = None

    @classmethod
    def attach(cls, name: str | None = None) -> Lab:
        """Return a handle on a running lab of this user: the only one, or the one of that name.

        It does not own the lab: leaving it does not end it. Raises: NotRunning, UsageError.
        """
        name = name or client.only_one()
        with Client(name) as connection:
            status = connection.call("status")
        run, record = Path(status["run"]), status["record"]
        lab = cls(
            planfile.loads((run / "plan.toml").read_text(encoding="utf-8")),
            name=name,
            seed=record["seed"],
            time_scale=record["time_scale"],
        )
        lab._run = run
        return lab

    def __enter__(self) -> Lab:
        if self._run is None:
            self.up()
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._sandbox is not None:
            self.down()
        self.close()

    def up(self) -> dict[str, Any]:
        """Start the lab; return `left_out` and `timing` when every service is ready.

        Raises: LabError; then nothing of the lab is left but its run directory.
        """
        if self._sandbox is not None:
            raise LabError(f"the lab {self.name} is up already")
        began = time.monotonic()
        now = datetime.datetime.now(datetime.UTC)
        self._run = None
        try:
            self._make(now)
            # Python starts in the sandbox meanwhile.
            services = preparation.write_services(self._world(), now)
            return self._start(services, began)
        except BaseException as error:
            told = self._explained(error)
            self._fail(told)
            if told is error:
                raise
            raise told from error

    def down(self) -> dict[str, Any]:
        """End the lab, for everybody, and return what run.json holds then."""
        began = time.monotonic()
        try:
            record: dict[str, Any] = self._client().call("down")
            ended_well = True
        except (LabEnded, NotRunning):
            record, ended_well = rundir.read_record(self.run), False
        if self._sandbox is None:
            _wait_until_gone(self.name)
        else:
            self._sandbox.end()
            self._sandbox = None
        self.close()
        if not ended_well:
            if record["state"] == "ended":
                # Somebody else ended it in good order, and keeps the account.
                return record
            record["state"] = "died"
        record.setdefault("timing", {})["down_s"] = round(time.monotonic() - began, 4)
        try:
            rundir.write_record(self.run, record)
        except OSError as error:
            raise LabError(
                f"the lab has ended, but {self.run / 'run.json'} could not be written: {error.strerror}"
            ) from error
        return record

    def wait_until_ended(self) -> None:
        """Return when the lab has ended, by whatever means."""
        if self._sandbox is not None:
            self._sandbox.wait()
            return
        with contextlib.suppress(LabEnded, NotRunning), Client(self.name) as connection:
            connection.call("events.subscribe")
            for _ in connection.events():
                pass

    def _claim_name(self) -> tuple[str, socket.socket]:
        if self._name is not None:
            return self._name, sandbox.listen(self._name)
        for number in range(1, 1000):
            name = self.plan.name if number == 1 else f"{self.plan.name}-{number}"
            if name not in sandbox.running():
                with contextlib.suppress(MailbedError):
                    return name, sandbox.listen(name)
        raise LabError(f"there are too many labs called {self.plan.name}")

    def _make(self, now: datetime.datetime) -> None:
        """Take a name, make the run directory, and start the sandbox."""
        self._name, listener = self._claim_name()
        # From then on the name is held by the sandbox alone, and gone with it.
        with listener:
            self._run = rundir.create(self.plan.name, out=self._out, now=now)
            record = preparation.new_record(self._world(), self._name, now)
            rundir.write_record(self._run, record)
            (self._run / "plan.toml").write_text(planfile.dumps(self.plan), encoding="utf-8")
            self._sandbox = sandbox.start(listener, self._run, record)

    def _start(self, services: list[Service], began: float) -> dict[str, Any]:
        entries = preparation.entries(self._world(), services)
        with self._progress_told():
            answer: dict[str, Any] = self._client().call("start", services=entries, began=began)
        return answer

    def _world(self) -> World:
        return World(plan=self.plan, seed=self.seed, run=self.run, time_scale=self.time_scale)

    @contextlib.contextmanager
    def _progress_told(self) -> Iterator[None]:
        """Pass on every event up to the lab's `ready`, from a thread with a connection of its own."""
        progress = self._progress
        if progress is None:
            yield
            return

        def follow() -> None:
            for event in connection.events():
                progress(event)
                if event["kind"] == "ready" and not event["host"]:
                    break

        thread = threading.Thread(target=follow, daemon=True)
        try:
            with Client(self.name) as connection:
                connection.call("events.subscribe")
                thread.start()
                yield
                # That event stands before the answer to `start`: it is on its way.
                thread.join(PROGRESS_WITHIN_S)
        finally:
            if thread.ident is not None:
                thread.join()

    def _explained(self, error: BaseException) -> BaseException:
        """Return what the owner is told of an error while the lab started, in its own words."""
        if isinstance(error, OSError):
            where = self._run or "its run directory"
            return StartFailed(f"cannot make the lab in {where}: {error.strerror or error}")
        if not isinstance(error, LabEnded | NotRunning):
            return error
        refused = sandbox.why_refused()
        if refused is not None:
            return SandboxRefused(refused)
        return StartFailed(f"the lab ended while it started; see {self.run / 'lab.log'}")

    def _fail(self, error: BaseException) -> None:
        """End what has started, and note why in run.json."""
        if self._sandbox is not None:
            self._sandbox.end()
            self._sandbox = None
        self.close()
        with contextlib.suppress(OSError, LabError):
            record = rundir.read_record(self.run)
            record |= {"state": "failed", "reason": str(error)}
            rundir.write_record(self.run, record)


def _wait_until_gone(name: str, timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while name in sandbox.running():
        if time.monotonic() > deadline:
            raise LabError(f"the lab {name} does not end")
        time.sleep(0.005)
