"""What one can do with a lab that runs, whoever owns it.

Theory of operation. Each method is a call over the control socket; each thread has a connection of its own,
so that a thread that waits for a message holds up no other.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mailbed import sandbox, zonehandle
from mailbed.client import Client
from mailbed.errors import LabEnded, LabError, UsageError
from mailbed.quarantinehandle import LabQuarantine
from mailbed.queuehandle import LabQueue
from mailbed.tracking import Outcome
from mailbed.zonehandle import LabZone, ZoneState
from services.dns.entry import CacheEntry
from services.mailbox.maildir import mailbox_path
from services.smtp.address import Address
from topologies.addressing import assign
from topologies.plan import Plan

if TYPE_CHECKING:
    from captures.journeys import Journeys
    from captures.packets import Packet
    from captures.tap import Tap
    from mailbed.inbox import Inbox

Message = str | bytes | os.PathLike[str] | EmailMessage

DELIVERY_WITHIN_S = 60.0


class Handle:
    """A handle on a lab: what mailbed.lab.Lab is, once it is up."""

    def __init__(self, plan: Plan, *, name: str | None = None, run: Path | None = None) -> None:
        self.plan = plan
        self._name = name
        self._run = run
        self._local = threading.local()
        self._connections: list[Client] = []

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

    def close(self) -> None:
        """Let go of the lab, which goes on if somebody else owns it; the handle can still be used."""
        while self._connections:
            self._connections.pop().close()
        self._local = threading.local()

    def send(
        self,
        message: Message,
        *,
        to: str | Sequence[str],
        sender: str | None = None,
        host: str | None = None,
        via: Sequence[str] = (),
        percent: bool = False,
    ) -> SentMessage:
        """Submit a message on its sender's host and return a handle on it; line ends become CRLF.

        A path is read, a text is encoded as UTF-8. Without `sender` it is the MUA's user on `host`.
        With `via` it is not submitted: `host` hands it to the first of these hosts on port 25, in any name;
        the recipients' paths name the others, by source routes (RFC 821) or the `percent` hack.
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
                "send",
                [file.fileno()],
                sender=sender,
                recipients=recipients,
                host=host,
                via=list(via),
                percent=percent,
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
        late = threading.Event()

        def give_up() -> None:
            # Said first: who waits on the connection looks as soon as it is closed.
            late.set()
            connection.close()

        watch = threading.Timer(timeout_s, give_up) if timeout_s is not None else None
        try:
            if watch is not None:
                watch.start()
            return _run_program(
                connection, streams, host=host, argv=list(argv), env=dict(env or os.environ), token=token
            )
        except (LabEnded, ValueError, OSError):
            if late.is_set():
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

    def cache(self, host: str, name: str | None = None) -> list[CacheEntry]:
        """Return what the resolver on a host remembers, by name, with the TTL that is left (s).

        With `name` only that name and what lies below it. Raises: UsageError if there is no resolver;
        LabError if it is another program than Mailbed's own.
        """
        return [
            CacheEntry(**{**entry, "data": tuple(entry["data"])})
            for entry in self._client().call("cache.show", host=host, name=name)["entries"]
        ]

    def flush_cache(self, host: str, name: str | None = None) -> int:
        """Have that resolver forget all, or a name and what lies below it; return how much it was.

        Raises: as `cache`.
        """
        return int(self._client().call("cache.flush", host=host, name=name)["flushed"])

    def queue(self, host: str) -> LabQueue:
        """Return a handle on the queue of a host's mail server (mailbed.queuehandle)."""
        return LabQueue(self, host)

    def quarantine(self, host: str) -> LabQuarantine:
        """Return a handle on what a host's content filter keeps back (mailbed.quarantinehandle)."""
        return LabQuarantine(self, host)

    def zone(self, origin: str) -> LabZone:
        """Return a handle on a zone of the lab, to show and to change it (mailbed.zonehandle)."""
        return LabZone(self, "." if origin == "." else origin.rstrip(".").lower())

    def zones(self) -> list[ZoneState]:
        """Return every zone, with its servers and the serials that they have."""
        return [zonehandle.state(found) for found in self.call("zone.list")]

    def call(self, method: str, fds: Sequence[int] = (), **params: object) -> Any:
        """Return what the lab answers to a method of the control socket (ARCHITECTURE.md lists them)."""
        return self._client().call(method, fds, **params)

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
        """Return what was captured so far as scapy packets, on one interface or on all, in order of time.

        `HOST:drop` is what a host's firewall dropped. Raises: UsageError if no host has that interface.
        """
        from captures.packets import packets
        from captures.points import DROPS

        names = [found.name for found in assign(self.plan).interfaces]
        names += [f"{host.name}{DROPS}" for host in self.plan.hosts if host.firewall]
        if interface is not None and interface not in names:
            raise UsageError(f"no host has an interface {interface}; there are {', '.join(names)}")
        if self._name in sandbox.running():
            self.sync()
        return packets(self.run / "network.pcapng", interface=interface)

    def journeys(self) -> Journeys:
        """Return the journey of each message so far, read from the capture (captures.journeys)."""
        from mailbed import journeys

        if self._name in sandbox.running():
            self.sync()
        return journeys.read(self.run)

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

    def inbox(self, address: str) -> Inbox:
        """Return the mailbox of a user, read over IMAP on that user's host while the lab runs.

        Raises: UsageError if there is no such mailbox.
        """
        from mailbed.inbox import Inbox

        return Inbox(self.plan, self.run, address, lab=self if self._name in sandbox.running() else None)

    def maildir(self, address: str) -> Path:
        """Return the Maildir of a user of the plan. Raises: UsageError."""
        local, _, domain = address.rpartition("@")
        for host, role in self.plan.roles():
            if domain in getattr(role, "mailboxes", ()):
                # As the server that holds it calls it: without case.
                name = Address(local=local, domain=domain).canonical
                return mailbox_path(self.run / "hosts" / host.name / "mail", name.domain, name.local)
        raise UsageError(f"nobody in {self.plan.name} holds mailboxes of {domain or address}")

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

    lab: Handle
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

    lab: Handle
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
