"""Delivery status notifications: what a sender is told of the recipients of a message.

Theory of operation. A notification is a multipart/report (RFC 6522) of three parts: a text for people, a
message/delivery-status for programs (RFC 3464), and the message that it is about, or its header. It travels
with the null reverse-path, so that nothing is ever told about a notification (RFC 5321 §4.5.5, §6.1).

    failed       a bounce: it will not be tried again; the whole message comes back if asked for (RET)
    delayed      a warning: it is still being tried
    delivered    it lies in the mailbox                  ┐ told only if that was asked for
    relayed      a server has it that tells of nothing   ┘

All entries of one notification are of one kind: bounce, warning or success. For a message that needed
SMTPUTF8 the parts are those of RFC 6533, with letters beyond ASCII as they are; otherwise such letters are
written `\\x{F8}`. The parts are put together as bytes: the email package would fold and encode addresses.
They are ASCII where they can be, for nobody is told of a notification that came to a server without 8BITMIME.
"""

from __future__ import annotations

import base64
import binascii
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.errors import MessageError
from email.header import decode_header, make_header

from services.smtp.address import printable
from services.smtp.message import QueuedMessage
from services.smtp.replies import Reply
from services.smtp.trace import date_text, field, header_section
from services.smtp.wishes import Action
from services.smtp.xtext import decoded, original_recipient, seven_bit

# A larger message would fail to get back through servers that it got past before.
_RETURNED_WHOLE = 10 * 1024 * 1024

# RFC 5322 §2.1.1 ends a line at 998 octets; people and terminals like it shorter.
_TEXT_WIDTH = 200
_DIAGNOSTIC_LENGTH = 900

_SUBJECTS: dict[Action, str] = {
    "failed": "Undelivered Mail Returned to Sender",
    "delayed": "Delayed Mail (still being retried)",
    "delivered": "Successful Mail Delivery Report",
    "relayed": "Successful Mail Delivery Report",
}

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

# What the codes of RFC 3463 say in plain words, where a reply's own text may not.
_MEANING = {
    "1.1": "there is no such mailbox",
    "1.2": "there is no such domain",
    "1.3": "the address is no valid one",
    "1.10": "the domain takes no mail",
    "2.1": "the mailbox is closed at present",
    "2.2": "the mailbox is full",
    "3.1": "the server has no room",
    "3.4": "the message is too large for the server",
    "4.1": "no server answers",
    "4.2": "the connection broke",
    "4.3": "the name servers give no answer",
    "4.4": "the domain has no server for mail",
    "4.6": "the message would go round in circles",
    "4.7": "it could not be delivered in time",
    "6.3": "the server takes no 8-bit text",
    "6.7": "the server takes no addresses beyond ASCII",
    "6.9": "the server takes no header fields beyond ASCII",
    "7.1": "the server does not permit it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What became of one recipient: `reply` decided it; `remote` is who said so, empty for this host.

    `orcpt` is as on the wire. `expired`: it was given up for its age, `reply` is what the last attempt got.
    """

    action: Action
    recipient: str
    reply: Reply
    remote: str = ""
    orcpt: str = ""
    expired: bool = False

    @property
    def status(self) -> str:
        """The code that the report states (RFC 3463 §3.5: of the actual problem, rather than X.4.7)."""
        if self.expired and self.reply.status == "4.0.0":
            return "4.4.7"
        return self.reply.status


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporter:
    """Who reports, when, under which queue id, and when what is delayed will be given up."""

    hostname: str
    queue_id: str
    now: float
    until: float


def notification(message: QueuedMessage, content: bytes, entries: Sequence[Entry], by: Reporter) -> bytes:
    """Return the notification to the sender of `message`, lines in CRLF; `entries` are of one kind.

    Source: RFC 3461 §6, RFC 3464, RFC 6522, RFC 6533.
    """
    kind = entries[0].action
    returned = _returned(message, content, whole=kind == "failed" and message.ret == "FULL")
    parts = [_text(message, content, entries, by), _status(message, entries, by), returned]
    boundary = f"{by.queue_id}/{by.hostname}"
    while any(boundary.encode() in part for part in parts):
        boundary += "="
    header = _lines(
        f"From: MAILER-DAEMON@{by.hostname}",
        f"To: <{message.sender}>",
        f"Subject: {_SUBJECTS[kind]}",
        f"Date: {date_text(by.now)}",
        f"Message-ID: <{by.queue_id}@{by.hostname}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status;",
        f'\tboundary="{boundary}"',
        "",
    )
    return header + b"".join(_lines(f"--{boundary}") + part for part in parts) + _lines(f"--{boundary}--")


def _text(message: QueuedMessage, content: bytes, entries: Sequence[Entry], by: Reporter) -> bytes:
    lines = [f"This is the mail system at host {by.hostname}.", "", *_said(entries, by), ""]
    for entry in entries:
        lines += _outcome(entry)
    if subject := _subject(content):
        lines += ["", f"The message was: {subject}"]
    text = _lines(*(folded for line in lines for folded in _folded(line)))
    if text.isascii():
        return _part("text/plain; charset=us-ascii", text, "7bit", description="Notification")
    if not message.smtputf8:
        text = binascii.b2a_qp(text, istext=True)
    encoding = "8bit" if message.smtputf8 else "quoted-printable"
    return _part("text/plain; charset=utf-8", text, encoding, description="Notification")


def _folded(line: str) -> list[str]:
    indented = textwrap.wrap(
        line,
        _TEXT_WIDTH,
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )
    return indented or [""]


def _said(entries: Sequence[Entry], by: Reporter) -> list[str]:
    match entries[0].action:
        case "failed":
            return [
                "Your message could not be delivered to the recipients below.",
                "It will not be tried again.",
            ]
        case "delayed":
            return [
                "Your message has not been delivered to the recipients below YET. This is a warning only:",
                f"you need not send it again. It will be tried until {date_text(by.until)}.",
            ]
        case _:
            return ["You asked to be told: your message has come as far as said below."]


def _outcome(entry: Entry) -> list[str]:
    said = f"host {entry.remote} said: " if entry.remote else ""
    match entry.action:
        case "delivered":
            return [f"<{entry.recipient}>: delivered to the mailbox"]
        case "relayed":
            return [
                f"<{entry.recipient}>: taken by host {entry.remote}, which sends no reports of success;",
                f"    it said: {entry.reply}",
            ]
        case "failed" if entry.expired:
            said = f"given up, for it has waited too long; the last attempt got: {said}"
        case _:
            pass
    meaning = _MEANING.get(entry.status.partition(".")[2], "")
    return [
        f"<{entry.recipient}>: {said}{entry.reply}",
        *([f"    ({entry.status}: {meaning})"] if meaning else []),
    ]


def _subject(content: bytes) -> str:
    """Return the subject as people read it; as it stands where it is wrongly encoded."""
    written = field(content, "Subject") or ""
    try:
        return printable(str(make_header(decode_header(written))))
    except (LookupError, ValueError, MessageError):
        return printable(written)


def _status(message: QueuedMessage, entries: Sequence[Entry], by: Reporter) -> bytes:
    """Return the per-message fields, then those of each recipient (RFC 3464 §2.2, §2.3)."""
    utf8 = message.smtputf8
    fields = [_message_fields(message, by), *(_recipient_fields(entry, by, utf8=utf8) for entry in entries)]
    body = b"\r\n".join(_lines(*(line if utf8 else _ascii(line) for line in block)) for block in fields)
    if body.isascii():
        return _part("message/delivery-status", body, "7bit", description="Delivery report")
    return _part("message/global-delivery-status", body, "8bit", description="Delivery report")


def _message_fields(message: QueuedMessage, by: Reporter) -> Iterable[str]:
    if message.envid:
        yield f"Original-Envelope-Id: {decoded(message.envid)}"
    yield f"Reporting-MTA: dns; {by.hostname}"
    yield f"X-Mailbed-Queue-ID: {message.id}"
    yield f"Arrival-Date: {date_text(message.arrival)}"


def _recipient_fields(entry: Entry, by: Reporter, *, utf8: bool) -> Iterable[str]:
    if entry.orcpt:
        yield f"Original-Recipient: {_typed(*original_recipient(entry.orcpt), utf8=utf8)}"
    kind = "rfc822" if entry.recipient.isascii() else "utf-8"
    yield f"Final-Recipient: {_typed(kind, entry.recipient, utf8=utf8)}"
    yield f"Action: {entry.action}"
    yield f"Status: {entry.status}"
    if entry.remote:
        yield f"Remote-MTA: dns; {entry.remote}"
    said = str(entry.reply) if utf8 else _ascii(str(entry.reply))
    yield f"Diagnostic-Code: {'smtp' if entry.remote else 'x-mailbed'}; {said[:_DIAGNOSTIC_LENGTH]}"
    yield f"Last-Attempt-Date: {date_text(by.now)}"
    if entry.action == "delayed":
        yield f"Will-Retry-Until: {date_text(by.until)}"


def _typed(kind: str, address: str, *, utf8: bool) -> str:
    return f"{kind}; {address if utf8 or address.isascii() else seven_bit(address)}"


def _returned(message: QueuedMessage, content: bytes, *, whole: bool) -> bytes:
    """Return the part that holds the message, or its header (RFC 3461 §4.3: RET)."""
    header = header_section(content)
    # What is no UTF-8 cannot be in a message of RFC 6532, whatever its sender said.
    utf8 = message.smtputf8 and not header.isascii() and _is_utf8(content)
    if whole and len(content) <= _RETURNED_WHOLE:
        kind = "message/global" if utf8 else "message/rfc822"
        encoding = "7bit" if content.isascii() else "8bit"
        return _part(kind, content, encoding, description="Undelivered message")
    if utf8:
        return _part("message/global-headers", header, "8bit", description="Message header")
    encoding = "7bit" if header.isascii() else "base64"
    if encoding == "base64":
        header = base64.encodebytes(header).replace(b"\n", b"\r\n")
    return _part("text/rfc822-headers", header, encoding, description="Message header")


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _part(kind: str, body: bytes, encoding: str, *, description: str) -> bytes:
    header = _lines(
        f"Content-Description: {description}",
        f"Content-Type: {kind}",
        f"Content-Transfer-Encoding: {encoding}",
        "",
    )
    return header + body + (b"\r\n" if not body.endswith(b"\r\n") else b"") + b"\r\n"


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()


def _lines(*lines: str) -> bytes:
    # What others chose (a reply, a name in DNS) must neither make a line of its own nor keep the sender from
    # being told, as half a surrogate pair would.
    whole = (_CONTROL.sub("?", line) for line in lines)
    return "".join(f"{line}\r\n" for line in whole).encode("utf-8", "backslashreplace")
