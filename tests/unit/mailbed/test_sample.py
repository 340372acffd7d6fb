"""The sample message is a real one, read back with the standard library."""

from __future__ import annotations

import email
import email.policy
import re
import subprocess
import sys
from datetime import UTC, datetime
from email.message import EmailMessage

import pytest

from mailbed.cli.messages import mistake
from mailbed.sample import sample_message

WHEN = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def make(seed: int = 1, attachment_bytes: int = 0, to: str = "bob@example.org") -> bytes:
    return sample_message("alice@example.com", to, seed=seed, attachment_bytes=attachment_bytes, date=WHEN)


def read(content: bytes) -> EmailMessage:
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


@pytest.mark.parametrize("seed", range(6))
def test_it_is_a_message(seed: int) -> None:
    """Header fields and line lengths keep to RFC 5322; text, HTML, and names beyond ASCII are in it."""
    content = make(seed, attachment_bytes=5000)
    assert mistake(content) is None
    assert content.isascii()
    assert re.search(rb"(?<!\r)\n|\r(?!\n)", content) is None
    assert max(map(len, content.split(b"\r\n"))) <= 78
    message = read(content)
    assert message.defects == []
    assert not str(message["Subject"]).isascii()
    assert not message["From"].addresses[0].display_name.isascii()
    assert message["To"].addresses[0].addr_spec == "bob@example.org"
    assert {part.get_content_type() for part in message.walk()} >= {"text/plain", "text/html"}


def test_the_seed_is_all_that_matters() -> None:
    """Equal seeds give equal messages, other seeds other ones."""
    assert make(3, 1000) == make(3, 1000)
    assert make(3, 1000) != make(4, 1000)


@pytest.mark.parametrize("size", [1, 57, 100_000])
def test_attachment(size: int) -> None:
    """The attachment has the size that was asked for."""
    (attachment,) = read(make(attachment_bytes=size)).iter_attachments()
    assert len(attachment.get_content()) == size


@pytest.mark.parametrize("to", ["bøb@example.org", '"b b"@example.org'])
def test_unusual_addresses(to: str) -> None:
    """An address beyond ASCII, and a quoted one, stand in the header as they are."""
    assert f"<{to}>".encode() in make(to=to).partition(b"\r\n\r\n")[0]


def test_the_program() -> None:
    """`python -m mailbed.sample` writes a message of the size that was asked for."""
    command = [sys.executable, "-m", "mailbed.sample", "--attachment", "3000", "--to", "dave@example.org"]
    result = subprocess.run(command, capture_output=True, check=True)
    (attachment,) = read(result.stdout).iter_attachments()
    assert len(attachment.get_content()) == 3000
