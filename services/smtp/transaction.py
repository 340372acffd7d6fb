"""One message in a session, seen from the client: which commands go out, and what the replies decide.

Theory of operation. A transaction is a series of steps: bytes to write, and how many replies will come. Where
the server offers PIPELINING (RFC 2920) there are two, the envelope and the message, each of one round trip:

    RSET MAIL RCPT RCPT … DATA      as many replies as commands; RSET if an earlier one came to nothing
    the message and its dot         one reply, which decides over every recipient that was taken

Otherwise each command waits for the reply to the one before. Either way every recipient is asked for before
the message goes. If DATA is taken although no recipient was, the message is a lone dot (RFC 2920 §3.1): it
reaches nobody. CHUNKING is not used: with the recipients asked for first it takes as many round trips.

Which extensions a message needs is decided before MAIL (`parameters`): 8-bit content needs 8BITMIME
(RFC 6152 §3), an address or a header field beyond ASCII needs SMTPUTF8 (RFC 6531 §3.2). This client does not
convert messages, so that a server without them cannot have the message. What the sender wishes to be told
(RFC 3461) travels on where DSN is offered.

Nothing here knows sockets: `step` says what to do, `take` is given the replies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from services.smtp.address import Address
from services.smtp.data import has_bare_end
from services.smtp.envelope import Envelope, Wishes
from services.smtp.replies import Reply
from services.smtp.trace import header_section
from services.smtp.xtext import on_the_wire


class Step(NamedTuple):
    """What to write now, and how many replies will come; with `message` the content and its end instead."""

    commands: bytes = b""
    replies: int = 1
    message: bool = False


def parameters(
    envelope: Envelope, recipients: Sequence[Address], content: bytes, offered: Mapping[str, str]
) -> tuple[list[str], dict[Address, Reply]]:
    """Return the parameters of MAIL, and a refusal for each recipient who cannot be sent to.

    `offered` is what the server announced, by keyword in lower case.
    Source: RFC 1870 §6, RFC 3461 §4.3 and §4.4, RFC 6152 §3, RFC 6531 §3.2 to §3.5.
    """
    objection = _objection(content, offered)
    if objection:
        return [], dict.fromkeys(recipients, objection)
    found = [f"SIZE={len(content)}"] if "size" in offered else []
    if not content.isascii():
        found.append("BODY=8BITMIME")
    if "dsn" in offered:
        found += [f"RET={envelope.ret}"] if envelope.ret else []
        found += [f"ENVID={envelope.envid}"] if envelope.envid else []

    utf8_header = envelope.smtputf8 and not header_section(content).isascii()
    utf8_sender = envelope.sender is not None and not envelope.sender.is_ascii
    foreign = [recipient for recipient in recipients if utf8_sender or not recipient.is_ascii]
    if "smtputf8" in offered:
        return [*found, "SMTPUTF8"] if utf8_header or foreign else found, {}
    refused = {}
    if utf8_header:
        reply = Reply(554, "5.6.9", "header fields beyond ASCII, and the server does not offer SMTPUTF8")
        refused = dict.fromkeys(recipients, reply)
    reply = Reply(550, "5.6.7", "address beyond ASCII, and the server does not offer SMTPUTF8")
    return found, {**refused, **dict.fromkeys(foreign, reply)}


def _objection(content: bytes, offered: Mapping[str, str]) -> Reply | None:
    """Refuse a message that cannot go to a server that offers this much, and one that must not go at all."""
    if has_bare_end(content):
        # A bare LF could be taken for the end of a line, and so for the end of the message (RFC 5321 §2.3.8).
        return Reply(554, "5.6.0", "bare CR or LF in the message, which is not sent on")
    limit = offered.get("size", "")
    if limit.isascii() and limit.isdigit() and 0 < int(limit) < len(content):
        return Reply(552, "5.3.4", f"message of {len(content)} bytes exceeds the server's limit of {limit}")
    if not content.isascii() and "8bitmime" not in offered:
        return Reply(554, "5.6.3", "8-bit content, and the server does not offer 8BITMIME")
    return None


class Transaction:
    """The transfer of one message: `replies` holds what each recipient got, once `step` returns None.

    `open` says that the server is left within a transaction, which RSET must end before the next MAIL;
    `broken`, that nobody knows where the server is. `mail` is the reply to MAIL, once it is there.
    """

    def __init__(
        self, envelope: Envelope, content: bytes, offered: Mapping[str, str], *, reset: bool = False
    ) -> None:
        words, self.replies = parameters(envelope, envelope.recipients, content, offered)
        self.open = reset
        self.broken = False
        self.mail: Reply | None = None
        self._envelope = envelope
        self._asked = [recipient for recipient in envelope.recipients if recipient not in self.replies]
        self._taken: list[Address] = []
        self._stage = ""
        commands = self._commands(words, dsn="dsn" in offered, reset=reset) if self._asked else []
        self._groups = [commands] if "pipelining" in offered and commands else [[one] for one in commands]

    def _commands(self, words: Sequence[str], *, dsn: bool, reset: bool) -> list[tuple[str, Address | None]]:
        wishes = self._envelope.wishes if dsn else {}
        return [
            *([("RSET", None)] if reset else []),
            (" ".join((f"MAIL FROM:<{self._envelope.reverse_path}>", *words)), None),
            *((_rcpt(recipient, wishes.get(recipient)), recipient) for recipient in self._asked),
            ("DATA", None),
        ]

    def step(self) -> Step | None:
        """Return what to do next, None if every recipient has a reply."""
        if self.broken:
            return None
        if self._stage:
            return Step(commands=b".\r\n") if self._stage == "dot" else Step(message=True)
        if not self._groups:
            return None
        group = self._groups[0]
        if group[0][0] == "DATA" and not self._taken:
            return None
        lines = "".join([f"{line}\r\n" for line, _ in group])
        return Step(commands=lines.encode(), replies=len(group))

    def take(self, replies: Sequence[Reply]) -> None:
        """Go on with the replies to the last step; fewer than were to come if the session is over."""
        if self._stage:
            self._end_of_message(replies[-1])
        else:
            for (line, recipient), reply in zip(self._groups.pop(0), replies, strict=False):
                self._take_one(line, recipient, reply)
        if replies[-1].code == 421:
            # The server closes, and so whoever has no reply of their own gets this one (RFC 5321 §3.8).
            self.fail(replies[-1])

    def fail(self, reply: Reply) -> None:
        """Give `reply` to every recipient who has none: the session is over."""
        self.broken = True
        self._rest(reply)

    @property
    def sent(self) -> bool:
        """The message has gone out, wholly or in part: the server may have it whatever comes."""
        return self._stage == "message"

    def _take_one(self, line: str, recipient: Address | None, reply: Reply) -> None:
        if recipient is not None:
            self._recipient(recipient, reply)
        elif line == "DATA":
            self._data(reply)
        elif line == "RSET":
            self.open = False
        else:
            self.mail = reply
            self.open = reply.positive
            if not reply.positive:
                self._rest(_refusal(reply))
                # What is still to come in this group is refused too, and does not matter any more.
                self._groups.clear()

    def _recipient(self, recipient: Address, reply: Reply) -> None:
        if reply.code == 552:
            # RFC 5321 §4.5.3.1.10: old servers say so where 452, too many recipients, is meant.
            reply = Reply(452, "4.5.3", reply.text)
        if recipient in self.replies:
            return
        if reply.positive:
            self._taken.append(recipient)
        else:
            self.replies[recipient] = _refusal(reply)

    def _data(self, reply: Reply) -> None:
        if reply.code == 354:
            self._stage = "message" if self._taken else "dot"
            return
        # A 250 in this place tells that the server counts the commands otherwise than this client.
        self.broken = self.broken or reply.positive
        self._rest(_refusal(reply))

    def _end_of_message(self, reply: Reply) -> None:
        self.open = False
        self._stage = ""
        self._rest(reply if reply.code != 354 else _refusal(reply))

    def _rest(self, reply: Reply) -> None:
        for recipient in self._envelope.recipients:
            self.replies.setdefault(recipient, reply)


def _rcpt(recipient: Address, wishes: Wishes | None) -> str:
    line = f"RCPT TO:<{recipient}>"
    if wishes and wishes.notify:
        line += f" NOTIFY={','.join(wishes.notify)}"
    if wishes and wishes.orcpt:
        line += f" ORCPT={on_the_wire(wishes.orcpt)}"
    return line


def _refusal(reply: Reply) -> Reply:
    """Return a reply that stopped a transfer; never a positive one, for nothing was handed over."""
    if reply.positive or reply.code < 400:
        return Reply(451, "4.5.0", f"unexpected reply: {reply}")
    return reply
