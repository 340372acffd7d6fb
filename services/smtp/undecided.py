"""One attempt at a message for one hop: who is decided over, as exchanger after exchanger is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.smtp.address import Address, parse_address
from services.smtp.envelope import Envelope, Wishes
from services.smtp.message import QueuedMessage, Recipient
from services.smtp.outcomes import Outcome
from services.smtp.replies import Reply
from services.smtp.routing import Target

# The enhanced code of a session that broke (RFC 3463 §3.5: bad connection).
BROKEN = "4.4.2"
_BROKEN_AT_MOST = 3


class Undecided:
    """The recipients of an attempt that no exchanger has decided over yet, and what each got last.

    `final`: no other exchanger may be asked, or none need be. `concluded` is what was settled already and is
    left to conclude with, `unreachable` what was said of exchangers that could not be asked.
    """

    def __init__(self, group: Sequence[Recipient]) -> None:
        self.recipients = {parse_address(recipient.address): recipient for recipient in group}
        self.final = False
        self.concluded: list[Outcome] = []
        self.unreachable: list[Reply] = []
        self._last: dict[Address, Outcome] = {}

    def envelope(self, message: QueuedMessage) -> Envelope:
        """Return the message's envelope for those who are left."""
        return Envelope(
            sender=parse_address(message.sender) if message.sender else None,
            recipients=tuple(self.recipients),
            body=message.body,
            smtputf8=message.smtputf8,
            ret=message.ret,
            envid=message.envid,
            wishes={
                address: Wishes(notify=recipient.notify, orcpt=recipient.orcpt)
                for address, recipient in self.recipients.items()
                if recipient.notify or recipient.orcpt
            },
        )

    def learn(self, replies: Mapping[Address, Reply], target: Target, *, reports: bool) -> list[Outcome]:
        """Take note of one host's replies; return those that decide. `reports`: that host offers DSN."""
        decided = []
        for address, reply in replies.items():
            recipient = self.recipients[address]
            outcome = Outcome(recipient=recipient, reply=reply, target=target, reports=reports)
            if reply.positive or reply.permanent:
                decided.append(outcome)
                del self.recipients[address]
            else:
                self._last[address] = outcome
        return decided

    @property
    def untouched(self) -> bool:
        """Nobody was asked, nor could be."""
        return not (self.unreachable or self._last)

    def rest(self, reply: Reply) -> list[Outcome]:
        """Return those who are not decided with their last reply, or `reply` if they got none."""
        return [
            self._last.get(address) or Outcome(recipient=recipient, reply=reply)
            for address, recipient in self.recipients.items()
        ]

    def not_reached(self) -> list[Recipient]:
        """Return those whom no exchanger was asked for, or whose session broke on the way.

        The latter only the first few times: it may be the message that breaks it.
        """
        return [
            recipient
            for address, recipient in self.recipients.items()
            if address not in self._last
            or (self._last[address].reply.enhanced == BROKEN and recipient.attempts < _BROKEN_AT_MOST)
        ]
