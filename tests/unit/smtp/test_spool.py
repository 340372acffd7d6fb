"""The spool under crashes, full disks and rot."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.smtp.errors import CorruptContent, SmtpError, SpoolUnavailable
from services.smtp.message import Progress, QueuedMessage, Recipient
from services.smtp.peek import peek, peek_content
from services.smtp.record import Arrived, Entry, Gone, Held, Noted
from services.smtp.spool import Spool

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


def arrived(name: str = "A", *recipients: str, content: bytes = CONTENT) -> Arrived:
    return Arrived(message=replace(message(name, *recipients), size=len(content)), content=content)


def relayed(address: str) -> Progress:
    return Progress(recipient=address, fate="relayed", reply="250 2.0.0 Ok")


def noted(name: str, *addresses: str, last: bool = False) -> Noted:
    return Noted(id=name, steps=[relayed(address) for address in addresses], last=last)


@contextmanager
def opened(root: Path, **settings: int) -> Iterator[Spool]:
    spool = Spool(root, **settings)
    spool.open()
    try:
        yield spool
    finally:
        spool.close()


def read_back(root: Path) -> list[QueuedMessage | Path]:
    with opened(root) as spool:
        return list(spool.load())


def ids(root: Path) -> list[str]:
    return [entry.id for entry in read_back(root) if isinstance(entry, QueuedMessage)]


def segment(root: Path) -> Path:
    """The only segment of a spool."""
    (path,) = (root / "queue").iterdir()
    return path


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    """A message comes back with its envelope, its content, and what happened to its recipients."""
    sent = arrived("A", "bob@example.org", "dave@example.org", "ünï@example.org")
    later = Progress(recipient="dave@example.org", fate="deferred", reply="450 no", attempts=1, due=2000.0)
    with opened(tmp_path) as spool:
        spool.write([sent])
        spool.write([noted("A", "bob@example.org"), Noted(id="A", steps=[later]), Held(id="A", hold=True)])
        assert spool.content("A") == CONTENT
    (found,) = read_back(tmp_path)
    assert found == replace(sent.message.after(relayed("bob@example.org")).after(later), held=True)
    assert isinstance(found, QueuedMessage)
    assert [(r.address, r.number, r.attempts, r.due) for r in found.recipients] == [
        ("dave@example.org", 1, 1, 2000.0),
        ("ünï@example.org", 2, 0, 1000.5),
    ]


def test_every_field_is_kept(tmp_path: Path) -> None:
    """Nothing of a message is lost over a restart, however unusual."""
    sent = QueuedMessage(
        id="A",
        arrival=1.5,
        sender="",
        recipients=(
            Recipient(
                address="ünï@example.org",
                number=7,
                due=3.25,
                attempts=2,
                reply="450 4.2.1 später",
                notify=("SUCCESS", "DELAY"),
                orcpt="rfc822;x+2By",
                warned=True,
            ),
        ),
        body="8BITMIME",
        smtputf8=True,
        size=len(CONTENT),
        ret="HDRS",
        envid="x+3Dy",
        held=True,
    )
    with opened(tmp_path) as spool:
        spool.write([Arrived(message=sent, content=CONTENT)])
    assert read_back(tmp_path) == [sent]


def test_what_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message is, and what an administrator decides; what became of a message is only written."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    with opened(tmp_path) as spool:
        steps: list[tuple[list[Entry], int]] = [
            ([arrived("A", "bob@example.org", "dave@example.org"), arrived("B")], 1),
            ([noted("A", "bob@example.org")], 1),
            ([noted("A", "dave@example.org", last=True), arrived("C")], 2),
            ([Held(id="B", hold=True)], 3),
            ([Gone(id="B", reason="removed")], 4),
        ]
        for entries, count in steps:
            spool.write(entries)
            assert len(synced) == count
    assert ids(tmp_path) == ["C"]


def test_what_is_done_or_removed_is_gone(tmp_path: Path) -> None:
    """A message whose recipients are all done does not come back, nor does one that was removed."""
    with opened(tmp_path) as spool:
        spool.write([arrived("A"), arrived("B"), arrived("C")])
        spool.write([noted("A", "bob@example.org", last=True), Gone(id="B", reason="removed")])
    assert ids(tmp_path) == ["C"]


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
        spool.write([arrived("B", "bob@example.org", "dave@example.org"), noted("B", "bob@example.org")])
        with segment(tmp_path).open("ab") as file:
            file.write(b"rot")
        (seen,) = peek(tmp_path)
        assert peek_content(tmp_path, "B") == CONTENT
        assert peek_content(tmp_path, "X") is None
    assert (seen.id, [recipient.address for recipient in seen.recipients]) == ("B", ["dave@example.org"])


def test_a_message_cannot_forge_records(tmp_path: Path) -> None:
    """Content that looks like records is content, also where a reader looks for the next record."""
    with opened(tmp_path) as spool:
        spool.write([arrived("X"), arrived("Y")])
    inner = segment(tmp_path).read_bytes()
    other = tmp_path / "other"
    with opened(other) as spool:
        spool.write([arrived("A", content=inner), arrived("B")])
    path = segment(other)
    path.write_bytes(path.read_bytes().replace(b'"arrived"', b'"arrivet"', 1))
    assert ids(other) == ["B"]


# Segments


def test_segments_that_nobody_needs_go(tmp_path: Path) -> None:
    """The disk holds what waits, and not much more, however many messages pass."""
    with opened(tmp_path, segment_bytes=4000) as spool:
        for number in range(500):
            name = f"M{number}"
            spool.write([arrived(name)])
            spool.write([noted(name, "bob@example.org", last=True)])
        assert sum(path.stat().st_size for path in (tmp_path / "queue").iterdir()) <= 4000
    assert ids(tmp_path) == []


def test_an_old_message_keeps_what_follows_until_it_is_moved(tmp_path: Path) -> None:
    """Notes of later segments are kept as long as an earlier one is, and surplus names who keeps it."""
    with opened(tmp_path, segment_bytes=4000) as spool:
        old = arrived("OLD", "bob@example.org", "dave@example.org")
        spool.write([old])
        for number in range(100):
            name = f"M{number}"
            spool.write([arrived(name), noted(name, "bob@example.org", last=True)])
        spool.write([noted("OLD", "bob@example.org")])
        assert len(list((tmp_path / "queue").iterdir())) > 2
        assert spool.surplus() == ["OLD"]
        moved = old.message.after(relayed("bob@example.org"))
        spool.write([Arrived(message=moved, content=spool.content("OLD"))])
        assert len(list((tmp_path / "queue").iterdir())) <= 2
        assert spool.surplus() == []
        assert spool.content("OLD") == CONTENT
    assert read_back(tmp_path) == [moved]


def test_a_full_segment_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is behind it may reach the disk before its last notes: then these would be torn, and no stump."""
    real, synced = os.fdatasync, list[str]()

    def fdatasync(fd: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name[:8])
        real(fd)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    with opened(tmp_path, segment_bytes=400) as spool:
        spool.write([arrived("A", "bob@example.org", "dave@example.org", content=b"x" * 300)])
        spool._segment_bytes = 4000
        spool.write([noted("A", "bob@example.org")])
        spool._segment_bytes = 400
        spool.write([noted("A", "nobody@example.org")])
    assert synced == ["00000001", "00000001"]


# Crashes and disks


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


@pytest.mark.parametrize("segment_bytes", [1, 1 << 20])
def test_a_crash_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segment_bytes: int) -> None:
    """Whenever the process dies, what was acknowledged is there, and the rest is whole or absent."""
    acknowledged = {"FIRST"}
    names = iter(f"M{number}" for number in range(1000))

    def write() -> None:
        batch = [next(names), next(names)]
        try:
            spool.write([arrived(name) for name in batch])
        except Crash:
            return
        acknowledged.update(batch)

    spool = Spool(tmp_path, segment_bytes=segment_bytes)
    spool.open()
    spool.write([arrived("FIRST")])
    points = 0
    for _ in crash_points(monkeypatch, Crash, write):
        points += 1
        spool.close()
        spool = Spool(tmp_path, segment_bytes=segment_bytes)
        spool.open()
        found = list(spool.load())
        assert all(isinstance(entry, QueuedMessage) for entry in found)
        assert acknowledged <= {entry.id for entry in found if isinstance(entry, QueuedMessage)}
        assert {spool.content(name) for name in acknowledged} == {CONTENT}
        # So that each round begins alike: the last segment has a record.
        spool.write([arrived(f"BETWEEN{points}")])
        acknowledged.add(f"BETWEEN{points}")
    spool.close()
    assert points >= (6 if segment_bytes == 1 else 2)


def test_a_crash_while_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever the process dies while noting progress, either it is noted or it is not, nothing worse."""
    spool = Spool(tmp_path)
    spool.open()
    steps = iter(range(1000))
    sent = arrived("A", *(f"r{number}@example.org" for number in range(100)))
    before = after = sent.message
    spool.write([sent])

    def note() -> None:
        nonlocal before, after
        step = relayed(f"r{next(steps)}@example.org")
        before, after = after, after.after(step)
        try:
            spool.write([Noted(id="A", steps=[step])])
        except Crash:
            return
        before = after

    points = 0
    for _ in crash_points(monkeypatch, Crash, note):
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
    assert points >= 2


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("segment_bytes", [1, 1 << 20])
def test_a_failing_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, segment_bytes: int
) -> None:
    """A step that fails is reported and leaves nothing, neither of a message nor of its progress."""
    spool = Spool(tmp_path, segment_bytes=segment_bytes)
    spool.open()
    spool.write([arrived("A", "bob@example.org", "dave@example.org")])
    failures = 0
    there = {"A"}

    def write_and_note() -> None:
        nonlocal failures
        name = f"B{failures}"
        for entries in ([arrived(name)], [noted("A", "bob@example.org")]):
            try:
                spool.write(entries)
            except SpoolUnavailable:
                failures += 1
                return
            if isinstance(entries[0], Arrived):
                there.add(name)

    for _ in crash_points(monkeypatch, lambda: OSError(code, os.strerror(code)), write_and_note):
        assert {message.id for message in peek(tmp_path)} == there
        for name in there:
            assert spool.content(name) == CONTENT
    spool.write([noted("A", "dave@example.org")])
    spool.close()
    assert failures >= 3
    assert not list((tmp_path / "corrupt").iterdir())


def test_the_last_room_is_for_what_becomes_of_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New messages are refused while there is still room to note that old ones have left."""
    real = os.fstatvfs

    def fstatvfs(fd: int) -> os.statvfs_result:
        values = list(real(fd))
        values[4] = 100_000 // values[1]  # f_bavail, in fragments
        return os.statvfs_result(values)

    with opened(tmp_path) as spool:
        spool.write([arrived("A"), arrived("B")])
        monkeypatch.setattr(os, "fstatvfs", fstatvfs)
        with pytest.raises(SpoolUnavailable, match="No space left"):
            spool.write([arrived("C")])
        spool.write([noted("A", "bob@example.org", last=True)])
    assert ids(tmp_path) == ["B"]


def test_what_is_done_leaves_a_disk_that_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing else waits, messages that are done make room although that cannot be noted."""

    def full(_fd: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with opened(tmp_path, segment_bytes=400) as spool:
        spool.write([arrived("A", content=b"x" * 2000)])
        spool.write([arrived("B")])
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(SpoolUnavailable):
            spool.write([noted("A", "bob@example.org", last=True)])
        assert sum(path.stat().st_size for path in (tmp_path / "queue").iterdir()) < 1000
    assert ids(tmp_path) == ["B"]


# What does not read


@pytest.mark.parametrize(
    ("change", "reason", "lost"),
    [
        pytest.param(
            lambda data: data.replace(b'"B","arrival"', b'"C","arrival"'), "line does not match", "B", id="id"
        ),
        pytest.param(lambda data: data.replace(b"spool/2", b"spool/9", 2), "no record", "AB", id="format"),
        pytest.param(lambda data: b"\0" * 700 + data[700:], "no record", "AB", id="zeros"),
        pytest.param(lambda data: b"\n" + data, "no record", "", id="something before"),
        pytest.param(
            lambda data: data.replace(b"relayed", b"related"), "line does not match", "", id="a note"
        ),
    ],
)
def test_damage(tmp_path: Path, change: Callable[[bytes], bytes], reason: str, lost: str) -> None:
    """What does not read is set aside with its reason, and what is behind it flows."""
    with opened(tmp_path) as spool:
        spool.write([arrived(name, "bob@example.org", "dave@example.org") for name in "AB"])
        spool.write([noted("B", "dave@example.org"), arrived("C")])
    path = segment(tmp_path)
    path.write_bytes(change(path.read_bytes()))
    for _ in range(2):  # The segment still holds it at the next start; it is not set aside twice.
        assert ids(tmp_path) == [name for name in "ABC" if name not in lost]
        reasons = list((tmp_path / "corrupt").glob("*.reason"))
        assert {reason in found.read_text() for found in reasons} == {True}
        assert all(found.with_suffix("").stat().st_size for found in reasons)


def test_content_that_was_changed_is_not_sent(tmp_path: Path) -> None:
    """A changed octet of a message is found when its content is asked for; a copy is kept with the reason."""
    with opened(tmp_path) as spool:
        spool.write([arrived("A"), arrived("B")])
        path = segment(tmp_path)
        path.write_bytes(path.read_bytes().replace(b"Subject", b"Sabject", 1))
        with pytest.raises(CorruptContent, match="checksum"):
            spool.content("A")
        place = spool.set_aside("A", "the content does not match its checksum")
        assert b"Sabject" in place.read_bytes()
        assert "checksum" in Path(f"{place}.reason").read_text()
        assert spool.content("B") == CONTENT


def test_a_file_that_is_no_segment(tmp_path: Path) -> None:
    """A file of another's is set aside, so that it is seen, and the rest flows."""
    with opened(tmp_path) as spool:
        spool.write([arrived("A")])
    (tmp_path / "queue/ABCDEFGHIJ").write_bytes(b"rot")
    place, found = read_back(tmp_path)
    assert isinstance(place, Path)
    assert place.read_bytes() == b"rot"
    assert isinstance(found, QueuedMessage)
    assert ids(tmp_path) == ["A"]


@pytest.mark.parametrize("left", [1, 30, 100, 600])
def test_the_stump_of_the_last_record(tmp_path: Path, left: int) -> None:
    """What a crash leaves of a record that nobody was told of is cut off; the next one takes its place."""
    with opened(tmp_path) as spool:
        spool.write([arrived("A")])
        whole = segment(tmp_path).stat().st_size
        spool.write([arrived("B", content=b"x" * 2000)])
    os.truncate(segment(tmp_path), whole + left)
    with opened(tmp_path) as spool:
        assert [entry.id for entry in spool.load() if isinstance(entry, QueuedMessage)] == ["A"]
        spool.write([arrived("C")])
    assert ids(tmp_path) == ["A", "C"]
    assert not list((tmp_path / "corrupt").iterdir())


def test_numbers_are_never_given_twice(tmp_path: Path) -> None:
    """Numbers go up within a process and over restarts, whatever was left of the last block."""
    seen = []
    for _ in range(3):
        with opened(tmp_path) as spool:
            seen += [spool.next_number() for _ in range(1500)]
    assert len(set(seen)) == 4500
    assert seen[:1500] == list(range(1500))
