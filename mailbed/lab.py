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
import secrets
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mailbed import client, roles, rundir, sandbox, tls
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
from mailbed.roles.service import Service, World
from mailbed.tracking import Outcome
from topologies import catalog, planfile
from topologies.check import check
from topologies.errors import TopologyError
from topologies.plan import Plan

if TYPE_CHECKING:
    from captures.packets import Packet
    from captures.tap import Tap

Progress = Callable[[dict[str, Any]], None]
Message = str | bytes | os.PathLike[str] | EmailMessage

DELIVERY_WITHIN_S = 60.0


class Lab:
    """A lab: started by `up` or `with`, ended by `down` or the end of this process."""

    def __init__(
        self,
        topology: str | Plan,
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
            if isinstance(topology, Plan):
                check(topology)
            plan = topology if isinstance(topology, Plan) else catalog.load(topology)
            check(plan)
            self.plan = roles.substitute(plan, dict(implementations or {}))
        except TopologyError as error:
            raise UsageError(str(error)) from error
        self.seed = seed
        self.time_scale = time_scale
        self._name = name
        self._out = Path(out) if out is not None else None
        self._progress = progress
        self._run: Path | None = None
        self._sandbox: sandbox.Sandbox | None = None
        self._local = threading.local()
        self._connections: list[Client] = []

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

    @property
    def name(self) -> str:
        """What `--lab` calls it. Raises: LabError before it is up."""
        if self._name is None:
            raise LabError("the lab is not up")
        return self._name

    @property
    def run(self) -> Path:
        """The run directory. Raises: LabError before the lab is up."""
        if self._run is None:
            raise LabError("the lab is not up")
        return self._run

    def __enter__(self) -> Lab:
        if self._run is None:
            self.up()
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._sandbox is not None:
            self.down()
        self.close()

    def close(self) -> None:
        """Let go of the lab, which goes on if somebody else owns it; the handle can still be used."""
        while self._connections:
            self._connections.pop().close()
        self._local = threading.local()

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
            services = self._prepare(self.run, now)
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

    def send(
        self,
        message: Message,
        *,
        to: str | Sequence[str],
        sender: str | None = None,
        host: str | None = None,
    ) -> SentMessage:
        """Submit a message on its sender's host and return a handle on it; line ends become CRLF.

        A path is read, a text is encoded as UTF-8. Without `sender` it is the MUA's user on `host`.
        Raises: UsageError, SendFailed with the server's reply.
        """
        recipients = [to] if isinstance(to, str) else list(to)
        if sender is None:
            sender = self._user_on(host)
        content = _content(message)
        with tempfile.TemporaryFile() as file:
            file.write(content)
            file.flush()
            answer = self._client().call(
                "send", [file.fileno()], sender=sender, recipients=recipients, host=host
            )
        return SentMessage(
            lab=self,
            number=answer["number"],
            queue_id=answer["place"][1],
            host=answer["place"][0],
            reply=answer["reply"],
            refused=answer["refused"],
            content=content,
        )

    def exec(
        self, host: str, *argv: str, stdin: bytes | str = b"", timeout_s: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on a host and return what it printed, as subprocess.run does."""
        with contextlib.ExitStack() as stack:
            given, out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
            given.write(stdin.encode() if isinstance(stdin, str) else stdin)
            given.seek(0)
            streams = (given.fileno(), out.fileno(), err.fileno())
            status = self.exec_with(host, argv, streams, timeout_s=timeout_s)
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
        return subprocess.CompletedProcess(list(argv), status, *texts)

    def exec_with(
        self,
        host: str,
        argv: Sequence[str],
        streams: tuple[int, int, int],
        *,
        timeout_s: float | None = None,
        env: Mapping[str, str] | None = None,
    ) -> int:
        """Run a program on a host with these descriptors as its standard streams; return its exit status.

        Ctrl-C is passed on to the program. Raises: TimeoutError after the program was killed.
        """
        connection = Client(self.name)
        token = secrets.token_hex(4)
        watch = threading.Timer(timeout_s, connection.close) if timeout_s is not None else None
        try:
            if watch is not None:
                watch.start()
            return _run_program(
                connection, streams, host=host, argv=list(argv), env=dict(env or os.environ), token=token
            )
        except (LabEnded, ValueError, OSError):
            if watch is not None and watch.finished.is_set():
                raise TimeoutError(f"{argv[0]} on {host} ran longer than {timeout_s:g} s") from None
            raise
        finally:
            if watch is not None:
                watch.cancel()
            connection.close()

    def ps(self) -> list[dict[str, Any]]:
        """Return every service: `host`, `role`, `state`, `pid`, `pss_kib`, `reason`."""
        rows: list[dict[str, Any]] = self._client().call("ps")
        return rows

    def fault(self, kind: str, *target: str) -> Fault:
        """Put a fault in force (mailbed.faults) and return it; `clear`, or leaving `with`, takes it back."""
        answer = self._client().call("fault.add", kind=kind, target=list(target))
        return Fault(lab=self, number=answer["number"], kind=kind, target=target)

    def faults(self) -> list[Fault]:
        """Return the faults in force."""
        found = self._client().call("fault.list")
        return [
            Fault(lab=self, number=fault["number"], kind=fault["kind"], target=tuple(fault["target"]))
            for fault in found
        ]

    def clear_fault(self, number: int = 0) -> list[dict[str, Any]]:
        """Take back one fault, or all (0); return them."""
        cleared: list[dict[str, Any]] = self._client().call("fault.clear", number=number)
        return cleared

    def outcome(self, number: int, timeout_s: float = 0.0) -> dict[str, Outcome]:
        """Return what became of the message of that number, waiting so long for it to be settled."""
        return _outcomes(self._client().call("outcome", number=number, timeout_s=timeout_s))

    def follow(
        self, host: str, queue_id: str, to: Sequence[str], timeout_s: float = DELIVERY_WITHIN_S
    ) -> dict[str, Outcome]:
        """Return the same for a message that something else handed in: `host` queued it as `queue_id`."""
        found = self._client().call(
            "follow", host=host, id=queue_id, recipients=list(to), timeout_s=timeout_s
        )
        return _outcomes(found)

    def sync(self) -> dict[str, Any]:
        """Return when all that was on the wire until now is in the capture: `packets`, `dropped`, `bytes`."""
        answer: dict[str, Any] = self._client().call("capture.sync")
        return answer

    def packets(self, interface: str | None = None) -> Iterator[Packet]:
        """Yield what was captured so far as scapy packets, on one interface or on all, in order of time."""
        from captures.packets import packets

        if self._sandbox is not None or self._name in sandbox.running():
            self.sync()
        yield from packets(self.run / "network.pcapng", interface=interface)

    def tap(self, host: str, interface: str | None = None) -> Tap:
        """Return a scapy SuperSocket on a host's interface: `sniff(opened_socket=lab.tap("core1"))`."""
        from captures.tap import Tap

        connection = self._client()
        answer = connection.call("capture.tap", host=host, interface=interface)
        return Tap(socket.socket(fileno=connection.take_fd()), answer["interface"])

    def events(self, timeout_s: float | None = None) -> Iterator[dict[str, Any]]:
        """Yield events (mailbed.event/1) as they happen from now on, until none comes for `timeout_s`."""
        with Client(self.name) as connection:
            connection.call("events.subscribe")
            yield from connection.events(timeout_s)

    def maildir(self, address: str) -> Path:
        """Return the Maildir of a user of the plan. Raises: UsageError."""
        local, _, domain = address.rpartition("@")
        for host, role in self.plan.roles():
            if domain in getattr(role, "mailboxes", ()):
                return self.run / "hosts" / host.name / "mail" / domain / local
        raise UsageError(f"nobody in {self.plan.name} holds mailboxes of {domain or address}")

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
            record = self._new_record(now)
            rundir.write_record(self._run, record)
            (self._run / "plan.toml").write_text(planfile.dumps(self.plan), encoding="utf-8")
            self._sandbox = sandbox.start(listener, self._run, record)

    def _new_record(self, now: datetime.datetime) -> dict[str, Any]:
        return {
            "schema": rundir.SCHEMA,
            "state": "starting",
            "lab": self.name,
            "topology": self.plan.name,
            "hosts": len(self.plan.hosts),
            "seed": self.seed,
            "time_scale": self.time_scale,
            "started": now.timestamp(),
            "versions": rundir.versions(),
            "timing": {},
        }

    def _prepare(self, run: Path, now: datetime.datetime) -> list[Service]:
        """Write what the services load, while the sandbox starts."""
        world = World(plan=self.plan, seed=self.seed, run=run, time_scale=self.time_scale)
        services = roles.services(world)
        for host in self.plan.hosts:
            _write_etc(world, host.name)
        for service in services:
            for name, text in service.files.items():
                path = world.directory(service.host) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        names = [self.plan.host(service.host).fqdn for service in services if service.certificate]
        tls.make(world.tls, names, now=now)
        return services

    def _start(self, services: Sequence[Service], began: float) -> dict[str, Any]:
        connection = self._client()
        entries = [
            {
                "host": service.host,
                "role": service.role,
                "module": service.module,
                "config": str(self.run / "hosts" / service.host / service.config),
                "log": str(self.run / "hosts" / service.host / service.log),
            }
            for service in services
            if service.module is not None
        ]
        done = threading.Event()
        if self._progress is not None:
            self._follow(self._progress, done)
        try:
            answer: dict[str, Any] = connection.call("start", services=entries, began=began)
        finally:
            done.set()
        return answer

    def _follow(self, progress: Progress, done: threading.Event) -> None:
        """Pass events on while the lab starts, from a thread with a connection of its own."""
        connection = Client(self.name)
        try:
            connection.call("events.subscribe")
        except MailbedError:
            connection.close()
            raise

        def follow() -> None:
            with connection:
                for event in connection.events():
                    if done.is_set():
                        break
                    progress(event)

        threading.Thread(target=follow, daemon=True).start()

    def _explained(self, error: BaseException) -> BaseException:
        """Return what the owner is told of an error while the lab started, in its own words."""
        if isinstance(error, OSError):
            where = self._run or "its run directory"
            return StartFailed(f"cannot make the lab in {where}: {error.strerror or error}")
        if not isinstance(error, LabEnded):
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

    def _client(self) -> Client:
        """A connection for the calling thread."""
        found: Client | None = getattr(self._local, "client", None)
        if found is None:
            found = self._local.client = Client(self.name)
            self._connections.append(found)
        return found

    def _user_on(self, host: str | None) -> str:
        for found, role in self.plan.roles():
            if role.kind == "mail-client" and host in (None, found.name):
                return str(getattr(role, "user", ""))
        raise UsageError(f"host {host} has no mail client" if host else "there is no mail client")


@dataclass(frozen=True, slots=True, kw_only=True)
class SentMessage:
    """A message that a submission server took: `content` is what was given to the MUA."""

    lab: Lab
    number: int
    host: str
    queue_id: str
    reply: str
    refused: dict[str, str]
    content: bytes

    def wait(self, timeout_s: float = DELIVERY_WITHIN_S) -> dict[str, Outcome]:
        """Return each recipient's outcome when all are settled, or what is known after so long."""
        return self.lab.outcome(self.number, timeout_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault in force."""

    lab: Lab
    number: int
    kind: str
    target: tuple[str, ...]

    def clear(self) -> None:
        """Take it back; return when what it took down serves again."""
        self.lab.clear_fault(self.number)

    def __enter__(self) -> Fault:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.clear()


def _outcomes(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Outcome]:
    return {to: Outcome(**{**fields, "path": tuple(fields["path"])}) for to, fields in found.items()}


def _run_program(connection: Client, streams: tuple[int, int, int], **params: Any) -> int:
    import signal

    interrupted = False
    number = connection.post("exec", streams, cwd=os.getcwd(), **params)
    while True:
        try:
            return int(connection.response(number)["status"])
        except KeyboardInterrupt:
            # The first goes to the program, which may want to tidy up; the second ends it.
            connection.post(
                "signal", token=params["token"], signal=signal.SIGKILL if interrupted else signal.SIGINT
            )
            interrupted = True


def _content(message: Message) -> bytes:
    if isinstance(message, bytes):
        return message
    if isinstance(message, str):
        return message.encode()
    if isinstance(message, EmailMessage):
        return message.as_bytes()
    try:
        return Path(message).read_bytes()
    except OSError as error:
        raise UsageError(f"{os.fspath(message)}: {error.strerror}") from None


def _write_etc(world: World, name: str) -> None:
    """Write a host's own /etc/hosts, hostname and resolv.conf."""
    host = world.plan.host(name)
    directory = world.directory(name) / "etc"
    directory.mkdir(parents=True, exist_ok=True)
    own = f"{world.addresses[name]}\t{host.fqdn} {name}"
    (directory / "hosts").write_text(f"127.0.0.1\tlocalhost\n{own}\n", encoding="utf-8")
    (directory / "hostname").write_text(f"{name}\n", encoding="utf-8")
    server = world.nameserver(host)
    search = host.fqdn.partition(".")[2]
    lines = f"search {search}\nnameserver {server}\n" if server else "# no resolver\n"
    (directory / "resolv.conf").write_text(lines, encoding="utf-8")


def _wait_until_gone(name: str, timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while name in sandbox.running():
        if time.monotonic() > deadline:
            raise LabError(f"the lab {name} does not end")
        time.sleep(0.005)
