"""Maildirs."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from services.mailbox.maildir import (
    deliver,
    list_mailboxes,
    list_messages,
    mailbox_path,
    read_message,
    unique_name,
)


def name(queue_id: str = "Q1", *, number: int = 0, arrival: float = 1000.9) -> str:
    return unique_name(arrival=arrival, queue_id=queue_id, number=number, host="mx")


def put(root: Path, content: bytes = b"x\r\n", **which: int) -> Path:
    return deliver(mailbox_path(root, "example.org", "bob"), name(**which), content)  # type: ignore[arg-type]  # number alone


def test_bytes_are_kept(tmp_path: Path) -> None:
    """What is read is what was delivered, CRLF and all."""
    content = b"A: b\r\n\r\n\xff\x00\r\nFrom here\r\n.\r\n"
    file = put(tmp_path, content)
    assert file == tmp_path / "example.org/bob/new/1000.Q1R0.mx"
    (stored,) = list_messages(tmp_path, "example.org", "bob")
    assert (stored.path, stored.arrival, stored.flags, stored.new, stored.size) == (
        file,
        1000,
        "",
        True,
        len(content),
    )
    assert read_message(stored) == content


def test_a_repeated_delivery_adds_nothing(tmp_path: Path) -> None:
    """The same delivery after a crash finds its file, also if a reader has moved it meanwhile."""
    first = put(tmp_path)
    assert put(tmp_path) == first
    seen = first.parent.parent / "cur" / f"{first.name}:2,S"
    first.rename(seen)
    assert put(tmp_path) == seen
    (stored,) = list_messages(tmp_path, "example.org", "bob")
    assert (stored.flags, stored.new) == ("S", False)


def test_another_delivery_is_another_file(tmp_path: Path) -> None:
    """A second recipient of one message that leads to the same mailbox gets a copy of its own."""
    assert put(tmp_path, number=0) != put(tmp_path, number=1)
    assert len(list_messages(tmp_path, "example.org", "bob")) == 2


def test_order_of_arrival(tmp_path: Path) -> None:
    """Messages are listed by arrival, whatever their names."""
    box = mailbox_path(tmp_path, "example.org", "bob")
    for queue_id, arrival in (("A", 3000.0), ("B", 999.0), ("C", 2000.0)):
        deliver(box, name(queue_id, arrival=arrival), b"")
    assert [stored.arrival for stored in list_messages(tmp_path, "example.org", "bob")] == [999, 2000, 3000]


def test_no_mailbox(tmp_path: Path) -> None:
    """A mailbox that nobody has written to is empty."""
    assert list_messages(tmp_path, "example.org", "nobody") == []
    assert list_mailboxes(tmp_path) == []


def test_mailboxes_are_listed(tmp_path: Path) -> None:
    """Every mailbox is found by its domain and user."""
    put(tmp_path)
    assert list_mailboxes(tmp_path) == [("example.org", "bob")]


@pytest.mark.parametrize(
    "user", ["../../etc", "/etc/passwd", ".", "..", "a/b", ".hidden", "a\0b", '"a/../b"', "a:2,S"]
)
def test_names_stay_inside(tmp_path: Path, user: str) -> None:
    """No user's name leads out of the mailboxes, and each has a directory of its own."""
    box = mailbox_path(tmp_path, "example.org", user)
    deliver(box, name(), b"x")
    assert box.resolve().parent == (tmp_path / "example.org").resolve()
    assert len(list_messages(tmp_path, "example.org", user)) == 1


@pytest.mark.parametrize("user", ["jörg", "用户", "юлия", "o'hara"])
def test_names_beyond_ascii(tmp_path: Path, user: str) -> None:
    """A mailbox is called as its user is, in UTF-8."""
    deliver(mailbox_path(tmp_path, "example.org", user), name(), b"x")
    assert list_mailboxes(tmp_path) == [("example.org", user)]
    assert (tmp_path / "example.org" / user / "new").is_dir()


def test_every_new_directory_is_synced_in_the_one_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash takes nothing away: neither the message nor any of the directories that lead to it."""
    synced: list[Path] = []
    fsync = os.fsync

    def counted(fd: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{fd}")))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", counted)
    file = deliver(mailbox_path(tmp_path / "a" / "b", "example.org", "bob"), name(), b"x")
    made = [tmp_path, *(tmp_path / path for path in ("a", "a/b", "a/b/example.org", "a/b/example.org/bob"))]
    assert set(made) <= set(synced)
    assert synced.index(tmp_path) < synced.index(tmp_path / "a")
    assert synced[-1] == file.parent


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery that fails leaves no piece behind, and can be repeated."""

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        with pytest.raises(OSError, match="No space left"):
            put(tmp_path)
    assert not list((tmp_path / "example.org/bob/tmp").iterdir())
    assert list_messages(tmp_path, "example.org", "bob") == []
    put(tmp_path)


def test_a_directory_that_could_not_be_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repeated delivery that finds its file syncs the directory, for the first may have failed there."""
    put(tmp_path, number=1)
    synced: list[str] = []
    fsync, broken = os.fsync, True

    def counted(fd: int) -> None:
        place = os.readlink(f"/proc/self/fd/{fd}")
        if broken and place.endswith("/new"):
            raise OSError(errno.EIO, "Input/output error")
        synced.append(place)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", counted)
    with pytest.raises(OSError, match="Input/output error"):
        put(tmp_path)
    broken = False
    file = put(tmp_path)
    assert str(file.parent) in synced
