"""A message in the queue, and how its state is written down.

Theory of operation. What is due is what the message names when it arrives, less what the progress noted
since says is done. Both are JSON objects in the spool (services.smtp.record); what is as usual is left out.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

from services.smtp.envelope import Body, Returned

Fate = Literal["delivered", "relayed", "bounced", "quarantined", "deleted", "deferred"]


class BadValues(Exception):
    """What was written down does not read; the message says what is wrong."""


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
    """A message in the queue: `sender` is empty for the null path, `arrival` in seconds since 1970.

    One that is `held` is not attempted, whatever is due. `filtered`: the content filter has let it pass.
    """

    id: str
    arrival: float
    sender: str
    recipients: tuple[Recipient, ...]
    body: Body
    smtputf8: bool
    size: int
    ret: Returned = ""
    envid: str = ""
    held: bool = False
    filtered: bool = False

    def after(self, progress: Progress) -> QueuedMessage:
        """Return the message as it is once `progress` has happened."""
        return QueuedMessage(
            id=self.id,
            arrival=self.arrival,
            sender=self.sender,
            recipients=tuple(_advanced(self.recipients, progress)),
            body=self.body,
            smtputf8=self.smtputf8,
            size=self.size,
            ret=self.ret,
            envid=self.envid,
            held=self.held,
            filtered=self.filtered,
        )

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
            # A whole queue may have got the same reply: one copy of it does.
            reply = sys.intern(progress.reply)
            again = replace(recipient, attempts=progress.attempts, due=progress.due, reply=reply)
            kept.append(replace(again, warned=recipient.warned or progress.warned))
    return kept


def message_values(message: QueuedMessage) -> dict[str, object]:
    """Return a message as a JSON object."""
    values: dict[str, object] = {
        "id": message.id,
        "arrival": message.arrival,
        "sender": message.sender,
        "size": message.size,
        "recipients": [_recipient_values(recipient) for recipient in message.recipients],
    }
    if message.body != "7BIT":
        values["body"] = message.body
    if message.smtputf8:
        values["smtputf8"] = True
    if message.ret:
        values["ret"] = message.ret
    if message.envid:
        values["envid"] = message.envid
    if message.held:
        values["held"] = True
    if message.filtered:
        values["filtered"] = True
    return values


def _recipient_values(recipient: Recipient) -> dict[str, object]:
    values: dict[str, object] = {
        "address": recipient.address,
        "number": recipient.number,
        "due": recipient.due,
    }
    if recipient.attempts or recipient.warned:
        values |= {"attempts": recipient.attempts, "reply": recipient.reply, "warned": recipient.warned}
    if recipient.notify:
        values["notify"] = recipient.notify
    if recipient.orcpt:
        values["orcpt"] = recipient.orcpt
    return values


def progress_values(progress: Progress) -> dict[str, object]:
    """Return progress as a JSON object."""
    values: dict[str, object] = {
        "recipient": progress.recipient,
        "fate": progress.fate,
        "reply": progress.reply,
    }
    if progress.fate == "deferred":
        values |= {"attempts": progress.attempts, "due": progress.due, "warned": progress.warned}
    return values


def read_message(values: Mapping[str, Any]) -> QueuedMessage:
    """Return the message that an object describes. Raises: KeyError, TypeError, ValueError."""
    return QueuedMessage(
        id=str(values["id"]),
        arrival=float(values["arrival"]),
        # Many messages of a queue have the same sender: one copy of it does.
        sender=sys.intern(str(values["sender"])),
        recipients=tuple(map(_read_recipient, values["recipients"])),
        body="8BITMIME" if values.get("body") == "8BITMIME" else "7BIT",
        smtputf8=bool(values.get("smtputf8", False)),
        size=int(values["size"]),
        ret=_returned(values.get("ret")),
        envid=str(values.get("envid", "")),
        held=bool(values.get("held", False)),
        filtered=bool(values.get("filtered", False)),
    )


def _read_recipient(values: Mapping[str, Any]) -> Recipient:
    return Recipient(
        address=sys.intern(str(values["address"])),
        number=int(values["number"]),
        due=float(values["due"]),
        attempts=int(values.get("attempts", 0)),
        reply=str(values.get("reply", "")),
        notify=tuple(map(str, values.get("notify", ()))),
        orcpt=str(values.get("orcpt", "")),
        warned=bool(values.get("warned", False)),
    )


def read_progress(values: Mapping[str, Any]) -> Progress:
    """Return the progress that an object describes. Raises: KeyError, TypeError, ValueError."""
    if values["fate"] not in get_args(Fate):
        raise ValueError(f"no such fate: {values['fate']!r}")
    return Progress(
        recipient=str(values["recipient"]),
        fate=cast(Fate, values["fate"]),
        reply=sys.intern(str(values["reply"])),
        attempts=int(values.get("attempts", 0)),
        due=float(values.get("due", 0.0)),
        warned=bool(values.get("warned", False)),
    )


def _returned(value: object) -> Returned:
    return "FULL" if value == "FULL" else "HDRS" if value == "HDRS" else ""
