"""The servers that `scripts/bench mail` compares, and the programs that send to them and take from them.

Theory of operation. Each runs on one core, on port 25 of a loopback address of its own in a network namespace
of the benchmark's own, with its queue on a file system that is on a disk. It passes everything on to one next
hop, an address, so that no DNS is asked: `smtp-sink`, or for what is only to be queued a listener that never
greets. Postfix has a configuration, a queue and a data directory of its own, below the benchmark's; it is as
Debian ships it but for what main.cf says here. A queue that is only to be filled is on hold with Postfix (as
little work as there is for it), and waits for the silent next hop with ours.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
NAMES = ("mailbed", "postfix")
ADDRESSES = {"mailbed": "127.0.0.10", "postfix": "127.0.0.11"}
SINK, SILENT = "127.0.0.20", "127.0.0.21"
SIZE = 4096
_WITHIN_S = 120.0

_MAILBED = """\
hostname = "mx.example.org"
listen = ["{address}"]
relay_from = ["127.0.0.0/8"]
connect_timeout_s = 3600.0
"""
_MAIN = """\
compatibility_level = 3.6
queue_directory = {place}/queue
data_directory = {place}/data
mail_owner = postfix
setgid_group = postdrop
maillog_file = {place}/log
maillog_file_prefixes = {place}
myhostname = mx.example.org
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
inet_protocols = ipv4
relayhost = [{next_hop}]
alias_maps =
# There is no DNS: nobody is looked up.
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
# By default it slows a client down for a second that is faster than the next hop.
in_flow_delay = 0
smtpd_client_connection_count_limit = 0
smtpd_client_restrictions = {restrictions}
"""
_MASTER = """\
{address}:25 inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
showq unix n - n - - showq
flush unix n - n 1000? 0 flush
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""
_QUEUE = "active bounce corrupt defer deferred flush hold incoming maildrop pid private public saved trace"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that is not running yet: its directory and next hop; `held`: Postfix only queues."""

    name: str
    place: Path
    next_hop: str
    held: bool = False

    @property
    def address(self) -> str:
        return ADDRESSES[self.name]

    def prepare(self) -> list[str]:
        """Write its configuration; return its command."""
        if self.name == "mailbed":
            self.place.mkdir(exist_ok=True)
            config = self.place / "mx.toml"
            config.write_text(_MAILBED.format(address=self.address), encoding="ascii")
            return [sys.executable, "-m", "services.smtp", "--config", str(config)]
        # Its processes take on a user of their own, who has to come in.
        self.place.mkdir(exist_ok=True, mode=0o711)
        for name in ("etc", "data", "queue", *(f"queue/{part}" for part in _QUEUE.split())):
            (self.place / name).mkdir(exist_ok=True)
        restrictions = "static:HOLD" if self.held else ""
        text = _MAIN.format(
            place=self.place, address=self.address, next_hop=self.next_hop, restrictions=restrictions
        )
        (self.place / "etc/main.cf").write_text(text, encoding="ascii")
        (self.place / "etc/master.cf").write_text(_MASTER.format(address=self.address), encoding="ascii")
        self._give()
        return ["/usr/lib/postfix/sbin/master", "-s", "-c", str(self.place / "etc")]

    @property
    def recipient(self) -> str:
        """An address that goes to the next hop."""
        return f"bob@[{self.next_hop}]"

    def listing(self) -> list[str]:
        """Return the command that lists its queue as JSON."""
        if self.name == "postfix":
            return [program("postqueue"), "-c", str(self.place / "etc"), "-j"]
        return [sys.executable, "-c", _LIST, str(self.place / "spool")]

    def _give(self) -> None:
        """Give Postfix's own user what it writes."""
        (self.place / "log").touch()
        shutil.chown(self.place / "log", "postfix")
        for name in ("data", *(f"queue/{part}" for part in _QUEUE.split() if part != "pid")):
            shutil.chown(self.place / name, "postfix")
        for name, mode in (("maildrop", 0o730), ("public", 0o710)):
            shutil.chown(self.place / "queue" / name, group="postdrop")
            (self.place / "queue" / name).chmod(mode)


# What `mailbed queue list` reads of a lab that has ended.
_LIST = """\
import json, pathlib, sys
from services.smtp.peek import peek
for message in peek(pathlib.Path(sys.argv[1])):
    print(json.dumps([message.id, message.arrival, message.size, str(message.sender),
                      [str(one.address) for one in message.recipients]]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A running server: its first process leads a session of its own."""

    process: subprocess.Popen[bytes]

    def pss_kib(self) -> int:
        """Return the memory of its processes (proportional set size)."""
        total = 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                if int(fields[3]) == self.process.pid:
                    total += _pss_kib(path.parent)
        return total


@contextlib.contextmanager
def running(server: Server, core: int, *, under: Sequence[str] = ()) -> Iterator[Running]:
    """Within it, the server greets on port 25; `under` is a command to run it with (strace).

    Raises: RuntimeError: it ended, or does not greet in time.
    """
    log = server.place.parent / f"{server.name}.log"
    command = ["taskset", "--cpu-list", str(core), *under, *server.prepare()]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        _greeted(process, server.address, log)
        yield Running(process=process)
    finally:
        _end(process)


def _greeted(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection((address, 25), 60) as probe:
                if probe.recv(4) == b"220 ":
                    probe.sendall(b"QUIT\r\n")
                    return
        except OSError:
            time.sleep(0.005)
    raise RuntimeError(f"{log.stem} does not greet: {log.read_text(errors='replace')[-2000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server's whole session, as Postfix's master leaves its children to end by themselves."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Sink:
    """smtp-sink on a core, counting the messages that it took."""

    def __init__(self, core: int) -> None:
        # As root it wants to be told whom to become.
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        command = ["taskset", "--cpu-list", str(core), program("smtp-sink"), *user]
        command += ["-c", f"{SINK}:25", "1024"]
        self._output, theirs = os.pipe2(os.O_CLOEXEC)
        try:
            self._process = subprocess.Popen(command, stdout=theirs)
        finally:
            os.close(theirs)
        os.set_blocking(self._output, False)
        self._tail = b""
        self.messages = 0
        until_it_listens(SINK)

    def until(self, count: int, deadline: float) -> None:
        """Return when it has taken so many messages. Raises: RuntimeError: it has not by the deadline."""
        while self._count() < count:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"{self.messages} of {count} messages came to the next hop")
            time.sleep(0.002)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._output)

    def _count(self) -> int:
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._output, 65536):
                self._tail = (self._tail + chunk)[-200:]
        if found := re.findall(rb"mesg=(\d+)", self._tail.rpartition(b"\r")[0]):
            self.messages = int(found[-1])
        return self.messages


def until_it_listens(address: str) -> None:
    """Return when something takes connections at port 25. Raises: RuntimeError: nothing does in time."""
    deadline = time.monotonic() + _WITHIN_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((address, 25), 60) as probe:
            probe.recv(512)
            probe.sendall(b"QUIT\r\n")
            probe.recv(512)
            return
        time.sleep(0.005)
    raise RuntimeError(f"nothing listens at {address}:25")


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Within it, whoever connects to SILENT waits for a greeting."""
    with socket.create_server((SILENT, 25), backlog=4096):
        yield


def send(server: Server, count: int, sessions: int, *, reuse: bool, core: int) -> float:
    """Send so many messages with smtp-source; return the seconds that it took. Raises: RuntimeError."""
    return send_to(server.name, server.address, server.recipient, count, sessions, reuse=reuse, core=core)


def send_to(
    name: str, address: str, recipient: str, count: int, sessions: int, *, reuse: bool, core: int
) -> float:
    """Do as `send` does with whoever listens at an address; `name` is for errors. Raises: RuntimeError."""
    command = ["taskset", "--cpu-list", str(core), program("smtp-source"), f"-s{sessions}", f"-m{count}"]
    command += [f"-l{SIZE}", "-falice@example.com", f"-t{recipient}", "-Mclient.example.com"]
    command += [*(["-d"] if reuse else []), f"{address}:25"]
    began = time.monotonic()
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if result.returncode:
        raise RuntimeError(f"smtp-source to {name}: {result.stderr.strip() or result.stdout.strip()}")
    return time.monotonic() - began


def program(name: str) -> str:
    """Return the path of a program. Raises: RuntimeError: it is not installed."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise RuntimeError(f"{name} is missing: run scripts/setup --test")
    return found


def _pss_kib(process: Path) -> int:
    for line in (process / "smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0
