"""A key log is followed line by line while endpoints append to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from captures.keylog import KeyLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.log"


@pytest.fixture
def keylog(path: Path) -> Iterator[KeyLog]:
    log = KeyLog(path)
    yield log
    log.close()


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_the_key_log_need_not_exist_yet(keylog: KeyLog, path: Path) -> None:
    """Before the first TLS session there is no file and there are no lines."""
    assert keylog.new_lines() == b""
    append(path, "CLIENT_RANDOM 1\n")
    assert keylog.new_lines() == b"CLIENT_RANDOM 1\n"


def test_a_line_is_given_once_and_only_when_it_is_complete(keylog: KeyLog, path: Path) -> None:
    """A line that is being written waits for its end."""
    append(path, "one\ntw")
    assert keylog.new_lines() == b"one\n"
    assert keylog.new_lines() == b""
    append(path, "o")
    assert keylog.new_lines() == b""
    append(path, "\nthree\n")
    assert keylog.new_lines() == b"two\nthree\n"


def test_what_both_ends_write_is_given_once(keylog: KeyLog, path: Path) -> None:
    """Client and server log the same secrets."""
    append(path, "a\nb\na\nb\n\n")
    assert keylog.new_lines() == b"a\nb\n"


def test_a_key_log_that_was_emptied_is_read_from_its_beginning(keylog: KeyLog, path: Path) -> None:
    """Whoever empties the key log loses no later secret."""
    append(path, "a long line of secrets\n")
    assert keylog.new_lines()
    path.write_text("new\n")
    assert keylog.new_lines() == b"new\n"


def test_a_large_key_log(keylog: KeyLog, path: Path) -> None:
    """A megabyte of secrets comes in one piece."""
    text = "".join(f"SECRET {number:050}\n" for number in range(20_000))
    append(path, text)
    assert keylog.new_lines() == text.encode()
