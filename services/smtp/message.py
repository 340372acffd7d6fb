"""A message in the queue, and how its state is written down.

Theory of operation. A message file has three parts:

    header      one line of JSON: the envelope, the arrival, and the content's length and checksum
    content     exactly that many bytes, as they will be sent
    journal     one line of JSON for each thing that happened to a recipient afterwards

Header and content are written once, before the message is acknowledged. The journal is only appended
to, one line a recipient and attempt: what is due is what the header names, less what the journal says is
done. A line that a crash cut off is no line; anything else that does not read is corruption, and said so.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast, get_args

from services.smtp.envelope import Body, Returned

FORMAT = "mailbed.spool/1"
Fate = Literal["delivered", "relayed", "bounced", "deferred"]


class CorruptMessage(Exception):
    """The bytes are no message file; the message says what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """A recipient still due: `due` is when to try (seconds since 1970), `reply` what the last attempt got.

    `number` is its place in the envelope, which no later change of the list alters. `notify` and `orcpt` are
    what the sender asked for (services.smtp.envelope.Wishes); `warned` says that they were told of the delay.
    """

    address: str
    number: int
    due: float
    attempts: int = 0
    reply: str = ""
    notify: tuple[str, ...] = ()
    orcpt: str = ""
    warned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What an attempt came to for one recipient; what is below `reply` matters for `deferred` only."""

    recipient: str
    fate: Fate
    reply: str = ""
    attempts: int = 0
    due: float = 0.0
    warned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedMessage:
    """A message in the queue: `sender` is empty for the null path, `arrival` in seconds since 1970."""

    id: str
    arrival: float
    sender: str
    recipients: tuple[Recipient, ...]
    body: Body
    smtputf8: bool
    size: int
    ret: Returned = ""
    envid: str = ""

    def after(self, progress: Progress) -> QueuedMessage:
        """Return the message as it is once `progress` has happened."""
        return replace(self, recipients=tuple(_advanced(self.recipients, progress)))

    @property
    def next_due(self) -> float:
        """When the first of its recipients is due, in seconds since 1970."""
        return min(recipient.due for recipient in self.recipients)


def _advanced(recipients: Sequence[Recipient], progress: Progress) -> list[Recipient]:
    kept = []
    for recipient in recipients:
        if recipient.address != progress.recipient:
            kept.append(recipient)
        elif progress.fate == "deferred":
            again = replace(recipient, attempts=progress.attempts, due=progress.due, reply=progress.reply)
            kept.append(replace(again, warned=recipient.warned or progress.warned))
    return kept


def header_line(message: QueuedMessage, content: bytes) -> bytes:
    """Return the first line of the message's file."""
    values = {"format": FORMAT, **asdict(message), "crc32": zlib.crc32(content)}
    return json.dumps(values).encode() + b"\n"


def journal_line(progress: Progress) -> bytes:
    """Return the line that records `progress`."""
    return json.dumps(asdict(progress)).encode() + b"\n"


def read_message(data: bytes) -> tuple[QueuedMessage, int]:
    """Return the message in a file's bytes, its journal applied, and the length up to its last whole line.

    What lies beyond that length is a line that a crash cut off.
    Raises: CorruptMessage.
    """
    first, newline, rest = data.partition(b"\n")
    if not newline:
        raise CorruptMessage("the header line has no end")
    message, checksum = _read_header(first)
    content, journal = rest[: message.size], rest[message.size :]
    if len(content) < message.size:
        raise CorruptMessage(f"{len(content)} bytes of content where the header says {message.size}")
    if zlib.crc32(content) != checksum:
        raise CorruptMessage("the content does not match its checksum")

    whole = journal[: journal.rfind(b"\n") + 1]
    for number, line in enumerate(whole.splitlines(), start=1):
        message = message.after(_read_progress(line, number))
    return message, len(first) + 1 + message.size + len(whole)


def content_size(header: bytes) -> int:
    """Return the length of the content that follows a header line. Raises: CorruptMessage."""
    return _read_header(header)[0].size


def _read_header(line: bytes) -> tuple[QueuedMessage, int]:
    values = _json_object(line, "the header line")
    try:
        if values["format"] != FORMAT:
            raise CorruptMessage(f"the format is {values['format']!r}, not {FORMAT!r}")
        recipients = tuple(
            Recipient(
                address=str(item["address"]),
                number=int(item["number"]),
                due=float(item["due"]),
                attempts=int(item["attempts"]),
                reply=str(item["reply"]),
                notify=tuple(map(str, item["notify"])),
                orcpt=str(item["orcpt"]),
                warned=bool(item["warned"]),
            )
            for item in values["recipients"]
        )
        message = QueuedMessage(
            id=str(values["id"]),
            arrival=float(values["arrival"]),
            sender=str(values["sender"]),
            recipients=recipients,
            body="8BITMIME" if values["body"] == "8BITMIME" else "7BIT",
            smtputf8=bool(values["smtputf8"]),
            size=int(values["size"]),
            ret=_returned(values["ret"]),
            envid=str(values["envid"]),
        )
        return message, int(values["crc32"])
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptMessage(f"the header line lacks or garbles a value: {error}") from error


def _returned(value: object) -> Returned:
    return "FULL" if value == "FULL" else "HDRS" if value == "HDRS" else ""


def _read_progress(line: bytes, number: int) -> Progress:
    values = _json_object(line, f"line {number} of the journal")
    try:
        if values["fate"] not in get_args(Fate):
            raise CorruptMessage(f"line {number} of the journal: no such fate: {values['fate']!r}")
        return Progress(
            recipient=str(values["recipient"]),
            fate=cast(Fate, values["fate"]),
            reply=str(values["reply"]),
            attempts=int(values["attempts"]),
            due=float(values["due"]),
            warned=bool(values["warned"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptMessage(f"line {number} of the journal lacks or garbles a value: {error}") from error


def _json_object(line: bytes, what: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except ValueError as error:
        raise CorruptMessage(f"{what} is no JSON") from error
    if not isinstance(values, dict):
        raise CorruptMessage(f"{what} is no JSON object")
    return values
