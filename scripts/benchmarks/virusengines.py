"""How fast our virus engine scans, beside clamd on the same core, with the same signatures and messages.

Each message is sent by INSTREAM on loopback and is another one, since clamd remembers what was clean. Nothing
in them is bad, so both look at all of it.
"""

from __future__ import annotations

import base64
import contextlib
import random
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from services.filters.virus.signatures import BUILT_IN

ROOT = Path(__file__).resolve().parent.parent.parent
TARGETS = {"clean_1mb": 2.0, "clean_1mb_signatures": 2.0}
"""At most so many times clamd's median time."""

SIGNATURES = 1000
_LARGE = 1 << 20
_MESSAGES = 30
_SMALL_MESSAGES = 300
_READY_S = 30.0
_CLAMD = """\
Foreground yes
TCPSocket {port}
TCPAddr 127.0.0.1
DatabaseDirectory {signatures}
TemporaryDirectory {directory}
OfficialDatabaseOnly no
Bytecode no
SelfCheck 0
MaxThreads 2
"""


def measure(directory: Path, *, runs: int, core: int) -> dict[str, Any]:
    """Return medians: seconds for a 1 MB attachment, few and many signatures; 4 KB messages a second."""
    rng = random.Random(runs)
    result: dict[str, Any] = {}
    for name, count in (("clean_1mb", 0), ("clean_1mb_signatures", SIGNATURES)):
        place = directory / name
        place.mkdir()
        with _both(place, _signatures(rng, count), core) as ports:
            _scan_all(ports, lambda: _large(rng), 3)
            times = _alternating(ports, lambda: _large(rng), runs, _MESSAGES)
            result[name] = {engine: statistics.median(found) for engine, found in times.items()}
            if not count:
                small = _alternating(ports, lambda: _small(rng), runs, _SMALL_MESSAGES)
                result["small_per_s"] = {
                    engine: 1 / statistics.median(found) for engine, found in small.items()
                }
    return result


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was measured, as text."""
    texts = {
        "clean_1mb": "1 MB attachment, ms",
        "clean_1mb_signatures": f"the same, {SIGNATURES} signatures more, ms",
    }
    yield f"{'virus engine':<40}{'Mailbed':>10}{'clamd':>10}{'ratio':>8}  target"
    for name, text in texts.items():
        ours, clamd = result[name]["mailbed"], result[name]["clamd"]
        bound = f"at most {TARGETS[name]:g}"
        yield f"{text:<40}{ours * 1e3:>10.2f}{clamd * 1e3:>10.2f}{ours / clamd:>8.2f}  {bound}"
    ours, clamd = result["small_per_s"]["mailbed"], result["small_per_s"]["clamd"]
    yield f"{'4 KB messages/s, one at a time':<40}{ours:>10.0f}{clamd:>10.0f}{ours / clamd:>8.2f}"


def met(result: Mapping[str, Any]) -> bool:
    """Return whether each target is met."""
    return all(result[name]["mailbed"] <= most * result[name]["clamd"] for name, most in TARGETS.items())


def _signatures(rng: random.Random, count: int) -> str:
    return BUILT_IN + "".join(f"Bench.{n}:0:*:{rng.randbytes(24).hex()}\n" for n in range(count))


def _large(rng: random.Random) -> bytes:
    """A message with an attachment of 1 MB, as packed data look."""
    head = (
        b"From: a@example.com\r\nTo: b@example.org\r\nSubject: a file\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/mixed; boundary=limit\r\n\r\n--limit\r\n\r\nHere it is.\r\n--limit\r\n"
        b'Content-Type: application/octet-stream; name="a.bin"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    )
    content = base64.encodebytes(rng.randbytes(_LARGE)).replace(b"\n", b"\r\n")
    return head + content + b"--limit--\r\n"


def _small(rng: random.Random) -> bytes:
    """A message of 4 KB of text."""
    words = " ".join(f"{rng.randrange(10_000):05d} words and more words\r\n" for _ in range(130))
    return b"From: a@example.com\r\nTo: b@example.org\r\nSubject: a text\r\n\r\n" + words.encode()


def _alternating(
    ports: Mapping[str, int], message: Callable[[], bytes], runs: int, count: int
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in ports}
    for _ in range(runs):
        for name, found in _scan_all(ports, message, count).items():
            times[name] += found
    return times


def _scan_all(ports: Mapping[str, int], message: Callable[[], bytes], count: int) -> dict[str, list[float]]:
    """Both scan the same messages, one engine after the other."""
    messages = [message() for _ in range(count)]
    return {name: [_scan(port, each) for each in messages] for name, port in ports.items()}


def _scan(port: int, message: bytes) -> float:
    """Return how long it takes until the message is said to be clean."""
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(b"zINSTREAM\0" + len(message).to_bytes(4, "big") + message + bytes(4))
        answer = client.recv(1000)
    took = time.perf_counter() - began
    if answer != b"stream: OK\0":
        raise RuntimeError(f"an engine says {answer!r} of a clean message")
    return took


@contextlib.contextmanager
def _both(directory: Path, signatures: str, core: int) -> Iterator[dict[str, int]]:
    """Within it both engines serve on the core; their ports by name."""
    own = directory / "signatures"
    own.mkdir()
    (own / "bench.ndb").write_text(signatures, encoding="ascii")
    ports = {"mailbed": free_port(), "clamd": free_port()}
    ours = directory / "engine.toml"
    ours.write_text(f'port = {ports["mailbed"]}\nsignatures = "signatures"\n', encoding="ascii")
    theirs = directory / "clamd.conf"
    text = _CLAMD.format(port=ports["clamd"], signatures=own, directory=directory)
    theirs.write_text(text, encoding="ascii")
    clamd = shutil.which("clamd", path="/usr/sbin:/usr/bin")
    if clamd is None:
        raise RuntimeError("clamd is missing: run scripts/setup --test")
    commands = {
        "mailbed": [sys.executable, "-m", "services.filters.virus", "--serve", str(ours)],
        "clamd": [clamd, "--config-file", str(theirs)],
    }
    with contextlib.ExitStack() as stack:
        for name, command in commands.items():
            stack.enter_context(running(name, command, ports[name], core, directory))
        yield ports


@contextlib.contextmanager
def running(name: str, command: list[str], port: int, core: int, directory: Path) -> Iterator[None]:
    """Within it a command serves the port, on that core; its log lies in the directory."""
    log = directory / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "--cpu-list", str(core), *command],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + _READY_S
        while not _accepts(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} does not answer: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def free_port() -> int:
    """Return a TCP port that is free on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
