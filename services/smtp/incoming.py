"""A message on its way in: from MAIL over its recipients to its last octet, by DATA or in chunks.

Theory of operation. DATA brings the message in one piece. BDAT brings it in chunks (RFC 3030 §2), each with
a reply of its own; once one of them was refused the others are too, until the last one or RSET: so client
and server agree that there is no message, however many chunks were sent without waiting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from services.smtp.address import Address
from services.smtp.commands import MailArguments, RcptArguments, too_large
from services.smtp.envelope import Envelope, Wishes
from services.smtp.replies import Reply
from services.smtp.trace import Arrival
from services.smtp.xtext import encoded, seven_bit


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message that was taken off the wire and may be put into the queue.

    `rewritten` has, for each recipient who was named by another address than they are queued under (an
    alias, a source route), the addresses that this one stands for.
    """

    envelope: Envelope
    arrival: Arrival
    content: bytes
    rewritten: Mapping[str, list[str]]


class Incoming:
    """One mail transaction (RFC 5321 §3.3)."""

    def __init__(self, mail: MailArguments) -> None:
        self.mail = mail
        self.named = 0
        self.recipients: dict[Address, Wishes] = {}
        self.rewritten: dict[str, list[str]] = {}
        self._chunks: list[bytes] = []
        self._size = 0
        self.chunked = False
        self._failed = False

    def add(self, arguments: RcptArguments, reached: tuple[Address, ...]) -> None:
        """The message goes to those whom the recipient `reached`; who is named twice gets it once."""
        self.named += 1
        wishes = arguments.wishes
        if reached != (arguments.recipient,):
            self.rewritten[str(arguments.recipient)] = [str(one) for one in reached]
            wishes = _named_as(arguments.recipient, wishes)
        for one in reached:
            self.recipients.setdefault(one, wishes)

    def objection_to_chunk(self, size: int, *, limit: int) -> Reply | None:
        """Refuse a chunk of `size` octets that cannot belong to this message."""
        if self._failed:
            return Reply(503, "5.5.1", "a part of this message was refused, RSET first")
        if not self.recipients:
            return Reply(554, "5.5.1", "no valid recipients")
        return too_large(limit) if self._size + size > limit else None

    def take_chunk(self, chunk: bytes) -> None:
        """One more part of the message is here."""
        self.chunked = True
        self._chunks.append(chunk)
        self._size += len(chunk)

    def fail(self) -> None:
        """A part of the message was refused."""
        self.chunked = self._failed = True
        self._chunks.clear()

    @property
    def content(self) -> bytes:
        """All chunks."""
        return b"".join(self._chunks)

    @property
    def envelope(self) -> Envelope:
        """Who sends it to whom."""
        return Envelope(
            sender=self.mail.sender,
            recipients=tuple(self.recipients),
            body=self.mail.body,
            smtputf8=self.mail.smtputf8,
            ret=self.mail.ret,
            envid=self.mail.envid,
            wishes=self.recipients,
        )


def _named_as(recipient: Address, wishes: Wishes) -> Wishes:
    """Return the wishes with the address that the sender knows, for reports to name (RFC 3461 §5.2.7)."""
    if wishes.orcpt:
        return wishes
    name = str(replace(recipient, route=()))
    return replace(wishes, orcpt=f"rfc822;{encoded(name)}" if name.isascii() else f"utf-8;{seven_bit(name)}")
