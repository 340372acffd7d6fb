"""The spool under crashes, full disks and rot."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from services.smtp.errors import SmtpError, SpoolUnavailable
from services.smtp.message import Progress, QueuedMessage, Recipient
from services.smtp.spool import Spool, peek

CONTENT = b"Subject: x\r\n\r\n{not a journal line}\n\x00\xff\r\n"


def message(name: str = "A", *recipients: str) -> QueuedMessage:
    return QueuedMessage(
        id=name,
        arrival=1000.5,
        sender="alice@example.com",
        recipients=tuple(
            Recipient(address=address, number=number, due=1000.5)
            for number, address in enumerate(recipients or ("bob@example.org",))
        ),
        body="8BITMIME",
        smtputf8=False,
        size=len(CONTENT),
    )


@contextmanager
def opened(root: Path) -> Iterator[Spool]:
    spool = Spool(root)
    spool.open()
    try:
        yield spool
    finally:
        spool.close()


def read_back(root: Path) -> list[QueuedMessage | Path]:
    with opened(root) as spool:
        return list(spool.load())


def relayed(address: str) -> Progress:
    return Progress(recipient=address, fate="relayed", reply="250 2.0.0 Ok")


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    """A message comes back with its envelope, its content, and what happened to its recipients."""
    sent = message("A", "bob@example.org", "dave@example.org", "ünï@example.org")
    later = Progress(recipient="dave@example.org", fate="deferred", reply="450 no", attempts=1, due=2000.0)
    with opened(tmp_path) as spool:
        spool.write(sent, CONTENT)
        spool.append("A", [relayed("bob@example.org"), later])
        assert spool.content("A") == CONTENT
    (found,) = read_back(tmp_path)
    assert found == sent.after(relayed("bob@example.org")).after(later)
    assert isinstance(found, QueuedMessage)
    assert [(r.address, r.number, r.attempts, r.due) for r in found.recipients] == [
        ("dave@example.org", 1, 1, 2000.0),
        ("ünï@example.org", 2, 0, 1000.5),
    ]


def test_one_process_alone(tmp_path: Path) -> None:
    """A second process is refused while the first has the spool, in one line that says so."""
    with opened(tmp_path), pytest.raises(SmtpError, match="another process serves this spool"):
        Spool(tmp_path).open()
    with opened(tmp_path):
        pass


def test_a_look_from_outside(tmp_path: Path) -> None:
    """What waits can be seen while another process serves the spool; what does not read is passed over."""
    assert peek(tmp_path) == []
    with opened(tmp_path) as spool:
        spool.write(message("B", "bob@example.org", "dave@example.org"), CONTENT)
        spool.append("B", [relayed("bob@example.org")])
        (tmp_path / "queue/A").write_bytes(b"rot")
        (seen,) = peek(tmp_path)
    assert (seen.id, [recipient.address for recipient in seen.recipients]) == ("B", ["dave@example.org"])


class Crash(BaseException):
    """The process dies here."""


class Disk:
    """Counts the system calls that change the disk, and dies in one of them, or fails it."""

    CALLS = ("open", "write", "fsync", "fdatasync", "rename", "close", "ftruncate")

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Callable[[], BaseException]) -> None:
        self.count = 0
        self.fatal: int | None = None
        self._error = error
        for name in self.CALLS:
            monkeypatch.setattr(os, name, self._counting(name, getattr(os, name)))

    def _counting(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            self.count += 1
            if self.count == self.fatal:
                if name == "write":
                    # The worst case: some of it reached the disk.
                    real(args[0], bytes(args[1])[: len(args[1]) // 2])
                if name == "close":
                    real(*args, **more)
                raise self._error()
            return real(*args, **more)

        return call


def crash_points(
    monkeypatch: pytest.MonkeyPatch, error: Callable[[], BaseException], action: Callable[[], None]
) -> Iterator[int]:
    """Yield after running `action` with each one of its system calls failing in turn."""
    point = 1
    while True:
        with monkeypatch.context() as patch:
            disk = Disk(patch, error)
            disk.fatal = point
            action()
            reached = disk.count >= point
        if not reached:
            return
        yield point
        point += 1


def test_a_crash_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever the process dies, what was acknowledged is there, and the rest is whole or absent."""
    root, acknowledged = tmp_path, set[str]()
    names = iter(f"M{number}" for number in range(1000))

    def write() -> None:
        name = next(names)
        try:
            spool.write(message(name), CONTENT)
        except Crash:
            return
        acknowledged.add(name)

    spool = Spool(root)
    spool.open()
    spool.write(message("FIRST"), CONTENT)
    acknowledged.add("FIRST")
    points = 0
    for _ in crash_points(monkeypatch, Crash, write):
        points += 1
        spool.close()
        spool = Spool(root)
        spool.open()
        found = list(spool.load())
        assert all(isinstance(entry, QueuedMessage) for entry in found)
        assert acknowledged <= {entry.id for entry in found if isinstance(entry, QueuedMessage)}
        assert not list((root / "tmp").iterdir())
    spool.close()
    assert points >= 8


def test_a_crash_while_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever the process dies while noting progress, either it is noted or it is not, nothing worse."""
    spool = Spool(tmp_path)
    spool.open()
    steps = iter(range(1000))
    before = after = message("A", *(f"r{number}@example.org" for number in range(100)))
    spool.write(before, CONTENT)

    def append() -> None:
        nonlocal before, after
        step = relayed(f"r{next(steps)}@example.org")
        before, after = after, after.after(step)
        try:
            spool.append("A", [step])
        except Crash:
            return
        before = after

    points = 0
    for _ in crash_points(monkeypatch, Crash, append):
        points += 1
        spool.close()
        spool = Spool(tmp_path)
        spool.open()
        (found,) = spool.load()
        assert isinstance(found, QueuedMessage)
        assert found in (before, after)
        # The next attempt notes its progress again, as a runner does that found it undone.
        after = found
    spool.close()
    assert points >= 4


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_failing_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A step that fails is reported and leaves nothing, neither of a message nor of its progress."""
    spool = Spool(tmp_path)
    spool.open()
    spool.write(message("A", "bob@example.org", "dave@example.org"), CONTENT)
    failures = 0

    def write_and_append() -> None:
        nonlocal failures
        try:
            spool.write(message("B"), CONTENT)
            spool.append("A", [relayed("bob@example.org")])
        except SpoolUnavailable:
            failures += 1
            return
        # Undo a success, so that every point starts alike.
        spool.remove("B")

    for _ in crash_points(monkeypatch, lambda: OSError(code, os.strerror(code)), write_and_append):
        spool.remove("B")
        assert not list((tmp_path / "tmp").iterdir())
        for entry in spool.load():
            assert isinstance(entry, QueuedMessage)
            assert entry.id == "A"
    spool.append("A", [relayed("dave@example.org")])
    spool.close()
    assert failures >= 12


def test_a_message_whose_directory_could_not_be_synced_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client was told to come again, so the message must not appear as well."""
    real, calls = os.fsync, 0

    def fsync(fd: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(errno.EIO, "I/O error")
        real(fd)

    with opened(tmp_path) as spool:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            with pytest.raises(SpoolUnavailable, match="I/O error"):
                spool.write(message(), CONTENT)
        assert not list((tmp_path / "queue").iterdir())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(lambda data: data[:0], "the header line has no end", id="empty"),
        pytest.param(lambda data: b"\0" * len(data), "the header line has no end", id="zeros"),
        pytest.param(lambda data: b"[]\n" + data, "no JSON object", id="another header"),
        pytest.param(lambda data: b"{\n" + data, "no JSON", id="no JSON"),
        pytest.param(lambda data: data.replace(b"spool/1", b"spool/9"), "the format is", id="a later format"),
        pytest.param(lambda data: data.replace(b'"due"', b'"dew"'), "lacks or garbles", id="a value lacks"),
        pytest.param(lambda data: data[:-60], "bytes of content", id="cut off in the content"),
        pytest.param(lambda data: data.replace(b"Subject", b"Sabject"), "checksum", id="a changed octet"),
        pytest.param(lambda data: data.replace(b'"id": "B"', b'"id": "C"'), "its id is", id="another's id"),
        pytest.param(
            lambda data: data + b"?\n{}\n", "line 2 of the journal is no JSON", id="a bad journal line"
        ),
        pytest.param(
            lambda data: data.replace(b"relayed", b"related"), "no such fate", id="a fate that is not known"
        ),
    ],
)
def test_corruption(tmp_path: Path, change: Callable[[bytes], bytes], reason: str) -> None:
    """A file that does not read is set aside with its reason, and the other messages flow."""
    with opened(tmp_path) as spool:
        for name in "ABC":
            spool.write(message(name, "bob@example.org", "dave@example.org"), CONTENT)
        spool.append("B", [relayed("dave@example.org")])
    path = tmp_path / "queue/B"
    if "content" in reason:
        path.write_bytes(path.read_bytes().partition(b'{"recipient": "dave@example.org", "fate"')[0])
    spoiled = path.read_bytes()[:-5] if "content" in reason else change(path.read_bytes())
    path.write_bytes(spoiled)

    first, aside, last = read_back(tmp_path)
    assert aside == tmp_path / "corrupt/B"
    assert (tmp_path / "corrupt/B").read_bytes() == spoiled
    assert reason in (tmp_path / "corrupt/B.reason").read_text()
    assert [entry.id for entry in (first, last) if isinstance(entry, QueuedMessage)] == ["A", "C"]
    assert len(read_back(tmp_path)) == 2


def test_numbers_are_never_given_twice(tmp_path: Path) -> None:
    """Numbers go up within a process and over restarts, whatever was left of the last block."""
    seen = []
    for _ in range(3):
        with opened(tmp_path) as spool:
            seen += [spool.next_number() for _ in range(1500)]
    assert len(set(seen)) == 4500
    assert seen[:1500] == list(range(1500))
