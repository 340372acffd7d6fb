"""Our engine and ClamAV's clamd, held against each other: the same signatures, the same objects."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from services.filters.virus.signatures import BUILT_IN
from tests.unit.filters.virus.samples import PACKED, mail, scan
from tests.unit.filters.virus.test_limits import python_messages
from tests.unit.filters.virus.test_protocol import chunked
from tests.unit.filters.virus.test_scanner import BROKEN

# Offsets and wildcards, each with what it matches and what it just does not.
PATTERNS = {
    "Any.Where:0:*:73717569726d": (b"...squirm...", b"...squirn..."),
    "At.Start:0:0:73717569726d": (b"squirm", b" squirm"),
    "At.Place:0:5:73717569726d": (b"12345squirm", b"1234squirm"),
    "At.Shift:0:2,3:73717569726d": (b"12345squirm", b"123456squirm"),
    "At.End:0:EOF-6:73717569726d": (b"....squirm", b"....squirm."),
    "One.Any:0:*:7371756972??65656c": (b"squir\neel", b"squireel"),
    "High.Half:0:*:73717569727?65656c": (b"squirzeel", b"squir1eel"),
    "Low.Half:0:*:7371756972?d65656c": (b"squirmeel", b"squirneel"),
    "Any.Number:0:*:7371756972*65656c6f": (b"squir" + bytes(5000) + b"eelo", b"eelo squir"),
    "Some.Number:0:*:7371756972{3}65656c6f": (b"squir123eelo", b"squir12eelo"),
    "A.Range:0:*:7371756972{2-4}65656c6f": (b"squir1234eelo", b"squir12345eelo"),
    "At.Most:0:*:7371756972{-2}65656c6f": (b"squir12eelo", b"squir123eelo"),
    "At.Least:0:*:7371756972{2-}65656c6f": (b"squir123456eelo", b"squir1eelo"),
    "A.Choice:0:*:7371756972(6d|6e)65656c6f": (b"squirneelo", b"squiroeelo"),
}


@contextlib.contextmanager
def clamd(directory: Path, signatures: str) -> Iterator[int]:
    """Within it clamd serves with these signatures alone; its port."""
    program = shutil.which("clamd", path="/usr/sbin:/usr/bin")
    assert program, "clamd is not installed: scripts/setup --test"
    (directory / "db").mkdir()
    (directory / "db" / "test.ndb").write_text(signatures)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    config = directory / "clamd.conf"
    config.write_text(
        f"Foreground yes\nTCPSocket {port}\nTCPAddr 127.0.0.1\nDatabaseDirectory {directory}/db\n"
        f"TemporaryDirectory {directory}\nBytecode no\nSelfCheck 0\n"
    )
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([program, "--config-file", str(config)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert process.poll() is None, (directory / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()


def clamd_finds(port: int, data: bytes) -> str:
    """The name of what clamd finds, empty if nothing."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(b"zINSTREAM\0" + chunked(data, 1 << 16))
        answer = client.recv(1000).rstrip(b"\0").decode()
    if answer == "stream: OK":
        return ""
    assert answer.endswith(" FOUND"), answer
    return answer.removeprefix("stream: ").removesuffix(" FOUND").removesuffix(".UNOFFICIAL")


def test_patterns(tmp_path: Path) -> None:
    """Every kind of pattern means the same to both."""
    # Each with a word of its own, so that none matches what is another's.
    words = [b"sq%02d" % number for number in range(len(PATTERNS))]
    own = {
        line.replace(b"squi".hex(), word.hex()): [data.replace(b"squi", word) for data in objects]
        for word, (line, objects) in zip(words, PATTERNS.items(), strict=True)
    }
    text = "\n".join(own) + "\n"
    with clamd(tmp_path, text) as port:
        for line, objects in own.items():
            wanted = [line.partition(":")[0], ""]
            assert [clamd_finds(port, data) for data in objects] == wanted
            assert [scan(data, signatures=text).virus for data in objects] == wanted


def test_what_clamd_finds_we_find(tmp_path: Path) -> None:
    """Nothing that clamd sees through hides anything from us; Python's messages are clean for both."""
    objects = {**{how: mail(data) for how, data in PACKED.items()}, **BROKEN}
    with clamd(tmp_path, BUILT_IN) as port:
        theirs = {how for how, data in objects.items() if clamd_finds(port, data)}
        ours = {how for how, data in objects.items() if scan(data).virus}
        assert theirs <= ours
        assert len(theirs) > len(objects) / 2
        for path in python_messages():
            assert (path.name, clamd_finds(port, path.read_bytes())) == (path.name, "")
