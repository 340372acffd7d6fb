"""The servers that `scripts/bench dns` compares, each on one core and on a loopback address of its own.

Theory of operation. All run in a network namespace of the benchmark's own, so port 53 is free and the daemons
need no root. Each gets one worker and one core; whoever asks has the other. A server is a session of its own,
so that its processor time and memory are those of all its processes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
_PROBE = b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x06\x00\x01"  # the root's SOA
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server; `session` is the process id of its first process."""

    name: str
    address: str
    session: int

    def cpu_s(self) -> float:
        """Return how many seconds of processor time its processes have used."""
        return sum(sum(map(int, stat[11:13])) for _, stat in self._processes()) / _TICKS

    def pss_kib(self) -> int:
        """Return its memory: the proportional set size of its processes."""
        total = 0
        for pid, _ in self._processes():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        return total

    def _processes(self) -> Iterator[tuple[int, list[str]]]:
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                if int(fields[3]) == self.session:
                    yield int(path.parent.name), fields


@contextlib.contextmanager
def running(name: str, address: str, command: list[str], core: int, directory: Path) -> Iterator[Server]:
    """Within it, the server answers on port 53 of `address`; what it says goes to a log in `directory`.

    Raises: RuntimeError: it ended, or does not answer within 60 s.
    """
    log = directory / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "--cpu-list", str(core), *command],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait(process, address, log)
        yield Server(name=name, address=address, session=process.pid)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.1)
        probe.connect((address, 53))
        while time.monotonic() < deadline and process.poll() is None:
            try:
                probe.send(_PROBE)
                probe.recv(4096)
            except OSError:
                time.sleep(0.05)
            else:
                return
    raise RuntimeError(f"{log.stem} does not answer: {log.read_text(errors='replace')[-2000:]}")


def mailbed(directory: Path, address: str, zones: Mapping[str, Path]) -> list[str]:
    """Return the command that serves the zones with our authoritative server."""
    table = "".join(f'"{origin}" = "{path}"\n' for origin, path in zones.items())
    config = directory / f"mailbed-{address}.toml"
    config.write_text(f'listen = ["{address}"]\n[zones]\n{table}', encoding="utf-8")
    return [sys.executable, "-m", "services.dns", "--config", str(config)]


def mailbed_resolver(directory: Path, address: str, hints: Path) -> list[str]:
    """Return the command of our resolver."""
    config = directory / f"mailbed-{address}.toml"
    config.write_text(f'listen = ["{address}"]\nhints = "{hints}"\n', encoding="utf-8")
    return [sys.executable, "-m", "services.dns", "--recursive", "--config", str(config)]


def nsd(directory: Path, addresses: Sequence[str], zones: Mapping[str, Path]) -> list[str]:
    """Return the command that serves the zones with NSD: one server process."""
    state = _directory(directory / f"nsd-{addresses[0]}")
    lines = [
        "server:",
        *(f"  ip-address: {address}" for address in addresses),
        "  server-count: 1",
        '  username: ""',
        f'  zonesdir: "{directory}"',
        f'  pidfile: "{state}/pid"',
        f'  xfrdfile: "{state}/xfrd.state"',
        f'  xfrdir: "{state}"',
        f'  zonelistfile: "{state}/zone.list"',
        '  database: ""',
        "  rrl-ratelimit: 0",
        "remote-control:",
        "  control-enable: no",
    ]
    for origin, path in zones.items():
        lines += ["zone:", f'  name: "{origin}"', f'  zonefile: "{path}"']
    config = state / "nsd.conf"
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [_sbin("nsd"), "-d", "-c", str(config)]


def bind(directory: Path, address: str, zones: Mapping[str, Path]) -> list[str]:
    """Return the command that serves the zones with BIND: one worker, no recursion."""
    parts = [f'zone "{origin}" {{ type primary; file "{path}"; }};' for origin, path in zones.items()]
    return _named(directory, address, "recursion no; dnssec-validation no;", parts)


def bind_resolver(directory: Path, address: str, hints: Path) -> list[str]:
    """Return the command of BIND as a resolver."""
    options = "recursion yes; allow-recursion { any; }; dnssec-validation no; empty-zones-enable no;"
    return _named(directory, address, options, [f'zone "." {{ type hint; file "{hints}"; }};'])


def _named(directory: Path, address: str, options: str, zones: list[str]) -> list[str]:
    state = _directory(directory / f"bind-{address}")
    config = state / "named.conf"
    fixed = (
        f'directory "{state}"; pid-file "{state}/pid"; session-keyfile "{state}/session.key"; '
        f"listen-on port 53 {{ {address}; }}; listen-on-v6 {{ none; }}; notify no;"
    )
    text = [f"options {{ {fixed} {options} }};", "controls { };", *zones]
    config.write_text("\n".join(text) + "\n", encoding="utf-8")
    return [_sbin("named"), "-g", "-4", "-n", "1", "-c", str(config)]


def unbound_resolver(directory: Path, address: str, hints: Path) -> list[str]:
    """Return the command of Unbound: one thread, no validation."""
    state = _directory(directory / f"unbound-{address}")
    config = state / "unbound.conf"
    lines = [
        "server:",
        f"  interface: {address}",
        "  num-threads: 1",
        "  access-control: 127.0.0.0/8 allow",
        "  do-not-query-localhost: no",
        "  do-ip6: no",
        f'  root-hints: "{hints}"',
        '  module-config: "iterator"',
        '  username: ""',
        '  chroot: ""',
        f'  directory: "{state}"',
        f'  pidfile: "{state}/pid"',
        "  use-syslog: no",
        "remote-control:",
        "  control-enable: no",
    ]
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [_sbin("unbound"), "-d", "-c", str(config)]


def _directory(path: Path) -> Path:
    path.mkdir()
    return path


def _sbin(program: str) -> str:
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise RuntimeError(f"{program} is missing: run scripts/setup --test")
    return found
