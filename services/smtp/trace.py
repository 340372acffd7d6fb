"""The header fields that servers add to a message, and the little they read of it.

Theory of operation. A server puts its fields before the message and changes nothing behind them: the
bytes that a recipient reads are those that were sent, with trace fields on top (RFC 5321 §4.4).

    Received       by every server that takes the message
    Return-Path    by the one that files it, from the envelope
    Date, Message-ID    by the MSA, if the author's program gave none (RFC 6409 §8.1, §8.2)

So no message is parsed and written anew. What is read of it, the header's length and single fields, is
read from its bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

CRLF = b"\r\n"
_RECEIVED = re.compile(rb"^Received[ \t]*:", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """How a message came in: what `Received` says of it."""

    helo: str
    client: str
    by: str
    protocol: str
    recipients: tuple[str, ...]


def protocol_name(*, extended: bool, tls: bool, authenticated: bool, utf8: bool) -> str:
    """Return the `with` keyword of a session (RFC 3848 §1; RFC 6531 §4.3)."""
    if not extended:
        return "SMTP"
    suffix = ("S" if tls else "") + ("A" if authenticated else "")
    return ("UTF8SMTP" if utf8 else "ESMTP") + suffix


def received(arrival: Arrival, *, queue_id: str, now: float) -> bytes:
    """Return the Received field of a message that this host takes at `now` (seconds since 1970).

    A single recipient is named; several are not, since each would learn of the others.
    Source: RFC 5321 §4.4, §7.6.
    """
    literal = f"IPv6:{arrival.client}" if ":" in arrival.client else arrival.client
    lines = [
        f"Received: from {arrival.helo} ([{literal}])",
        f"\tby {arrival.by} with {arrival.protocol} id {queue_id}",
    ]
    if len(arrival.recipients) == 1:
        lines.append(f"\tfor <{arrival.recipients[0]}>; {date_text(now)}")
    else:
        lines[-1] += f"; {date_text(now)}"
    return _field(lines)


def return_path(sender: str) -> bytes:
    """Return the Return-Path field; an empty `sender` is the null reverse-path (RFC 5321 §4.4)."""
    return _field([f"Return-Path: <{sender}>"])


def missing_fields(content: bytes, *, hostname: str, queue_id: str, now: float) -> bytes:
    """Return the Date and Message-ID fields that `content` lacks; the queue id makes the latter unique."""
    lines = []
    if field(content, "Date") is None:
        lines.append(f"Date: {date_text(now)}")
    if field(content, "Message-ID") is None:
        lines.append(f"Message-ID: <{queue_id}@{hostname}>")
    return _field(lines)


def date_text(now: float) -> str:
    """Return `now` (seconds since 1970) as RFC 5322 §3.3 writes it, in universal time."""
    return _second_text(int(now))


@lru_cache(maxsize=16)
def _second_text(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC))


def header_section(content: bytes) -> bytes:
    """Return the header of a message: its lines up to the empty one, or all of it."""
    if content.startswith(CRLF):
        return b""
    end = content.find(b"\r\n\r\n")
    return content if end < 0 else content[: end + 2]


def field(content: bytes, name: str) -> str | None:
    """Return the unfolded value of the first field `name`, None if there is none."""
    found = _field_pattern(name).search(header_section(content))
    if not found:
        return None
    return found[1].replace(CRLF, b"").decode("utf-8", "replace").strip()


@lru_cache(maxsize=64)
def _field_pattern(name: str) -> re.Pattern[bytes]:
    pattern = rb"^" + re.escape(name.encode()) + rb"[ \t]*:([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)"
    return re.compile(pattern, re.IGNORECASE | re.MULTILINE)


def hops(content: bytes) -> int:
    """Return the number of Received fields: the servers that the message has passed (RFC 5321 §6.3)."""
    return len(_RECEIVED.findall(header_section(content)))


def _field(lines: list[str]) -> bytes:
    return b"".join(line.encode("utf-8") + CRLF for line in lines)
