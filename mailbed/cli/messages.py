"""What is sent, and in whose name: message files, and the envelope that the plan suggests."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mailbed.errors import UsageError

if TYPE_CHECKING:
    from topologies.plan import Plan

_LINE_END = re.compile(rb"\r\n|\r|\n")
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A message to send: `name` is what the account calls it."""

    name: str
    content: bytes


def read_message(name: str) -> Letter:
    """Return the message in a file, or on standard input for `-`. Raises: UsageError, also if it is none."""
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}") from None
    shown = "standard input" if name == "-" else name
    wrong = mistake(content)
    if wrong is not None:
        raise UsageError(f"{shown} is no message: {wrong}")
    return Letter(name=shown, content=content)


def sample(sender: str, recipients: Sequence[str], seed: int) -> Letter:
    """Return the message that is sent when none is given."""
    from mailbed.sample import sample_message

    return Letter(name="a sample message", content=sample_message(sender, recipients[0], seed=seed))


def mistake(content: bytes) -> str | None:
    """Return what makes this no message that could be sent, or None.

    Source: RFC 5322 §2.2 (header fields), §2.2.3 (folding), §4 (no NUL).
    """
    if not content.strip():
        return "it is empty"
    if b"\0" in content:
        return "it holds NUL bytes"
    for number, line in enumerate(_LINE_END.split(content), start=1):
        if not line:
            return "it begins with an empty line, so it has no header" if number == 1 else None
        if number > 1 and line[:1] in b" \t":
            continue
        if not _FIELD.match(line):
            if line.startswith(b"From ") and number == 1:
                return "its first line begins with `From `, as a mailbox file (mbox) does; take that line out"
            what = "no header field" if number > 1 else "no header field, and a message begins with one"
            return f"line {number} is {what}: {_excerpt(line)}"
    return None


def envelope(
    plan: Plan, sender: str | None, to: Sequence[str] | None, host: str | None = None
) -> tuple[str, list[str]]:
    """Return sender and recipients, the missing ones chosen from the plan's mail clients.

    The sender is the first client's user (or the one on `host`), the recipient the first one's of another
    domain. Raises: UsageError for a sender without a mail client, and for what is no address.
    """
    from topologies.plan import MailClient

    clients = {found.name: role.user for found, role in plan.roles() if isinstance(role, MailClient)}
    if not clients:
        raise UsageError(f"nobody in {plan.name} has a mail client: there is no one to send from")
    if host is not None and host not in clients:
        raise UsageError(f"host {host} has no mail client; these have: {', '.join(clients)}")
    sender = sender or (clients[host] if host is not None else next(iter(clients.values())))
    if host is None and sender not in clients.values():
        raise UsageError(
            f"nobody in {plan.name} sends mail as {sender}: there are {', '.join(clients.values())}"
        )
    for address in (*(to or ()), *([sender] if host is not None else ())):
        _check_address(address)
    return sender, list(to or [_reader(plan, sender, list(clients.values()))])


def _reader(plan: Plan, sender: str, users: Sequence[str]) -> str:
    """The first client's user of another domain, else the first other one, else whoever is there."""
    domain = sender.rpartition("@")[2]
    mailboxes = [f"{user.local}@{found.name}" for found in plan.domains for user in found.users]
    others = [address for address in (*users, *mailboxes) if address != sender]
    elsewhere = [address for address in others if address.rpartition("@")[2] != domain]
    return next(iter(elsewhere or others or [sender]))


def _check_address(address: str) -> None:
    from services.smtp.address import parse_address
    from services.smtp.errors import BadAddress

    try:
        parse_address(address)
    except BadAddress as error:
        raise UsageError(str(error)) from None


def _excerpt(line: bytes) -> str:
    text = line.decode("utf-8", errors="replace")
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
