"""One SMTP session as the server sees it: octets in, replies out. No socket, no clock.

Theory of operation. The edge (server) feeds what comes and calls `advance` until it returns None: then
more octets are needed. What the session cannot do itself it hands back, and goes on when that is done:

    Message             put it into the queue, then `answer` with the reply
    Turn.TAKE_UP_TLS    send the replies, shake hands, then `tls_taken_up`
    Turn.HANG_UP        send the replies and close

What a command means is for `conversation`; here commands, messages and chunks are told apart and answered
in order. Replies are gathered, so that those to a pipelined group leave in one piece (RFC 2920 §3.2).

*In step.* A client that pipelines must wait after DATA and STARTTLS (RFC 2920 §3.1). Octets that stand
behind STARTTLS came in the clear, from anybody: they are thrown away (RFC 3207 §6). Octets behind a DATA
that is refused can only be a message of a client that did not wait: read as commands they would be an
attacker's. So the session ends; likewise where BDAT does not say how many octets follow it.

*Limits.* A session with too many errors, or too many commands that lead nowhere, ends with 421; both are
counted since the last message that was taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum, auto
from typing import TypeVarTuple

from services.smtp.address import printable
from services.smtp.authentication import LONGEST_RESPONSE
from services.smtp.commands import Refused, read_bdat
from services.smtp.conversation import Conversation, Terms
from services.smtp.framing import Framer, TooLarge, TooLong
from services.smtp.incoming import Message
from services.smtp.policy import Client
from services.smtp.replies import Reply

_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LONGEST_COMMAND = 2048  # room for long addresses and parameters; RFC 5321 §4.5.3.1.4 asks for 512
_IDLE_COMMANDS = 100
_OK = Reply(250, "2.0.0", "OK")

_Command = Callable[["Session", str], Reply | None]
_Arguments = TypeVarTuple("_Arguments")


class Turn(Enum):
    """What the edge must do before the session can go on."""

    TAKE_UP_TLS = auto()
    HANG_UP = auto()


class Session:
    """The state of a session; `reject` is told of each command that is refused: its name and the reply."""

    def __init__(self, terms: Terms, client: Client, *, reject: Callable[[str, Reply], None]) -> None:
        self._terms = terms
        self._reject = reject
        self._talk = Conversation(terms, client)
        self._framer = Framer()
        self._turn: Message | Turn | None = None
        self._errors = 0
        self._idle = 0
        self._longest = _LONGEST_COMMAND
        self._last_chunk = False
        self._chunk_objection: Reply | None = None
        # The greeting has no enhanced code (RFC 2034 §3), nor have the answers to HELO and EHLO.
        self._out = [f"220 {terms.hostname} ESMTP Mailbed"]

    # What the edge calls

    @property
    def waiting(self) -> int:
        """How many octets have come that were not looked at yet."""
        return len(self._framer)

    @property
    def in_content(self) -> bool:
        """A message or a part of one comes next, not a command."""
        return self._framer.mode != "commands"

    def receive(self, data: bytes) -> None:
        """Take octets as they come."""
        self._framer.feed(data)

    def replies(self) -> bytes:
        """Return what is to be sent, once."""
        if not self._out:
            return b""
        self._out.append("")
        text = "\r\n".join(self._out)
        self._out.clear()
        return text.encode("utf-8", "backslashreplace")

    def advance(self) -> Message | Turn | None:
        """Carry out what has come; return what the edge must do, None if more octets are needed."""
        framer = self._framer
        # A chunk may be empty.
        while self._turn is None and (framer.buffer or framer.mode == "chunk") and self._step():
            pass
        turn = self._turn
        if not isinstance(turn, Message) and turn is not Turn.TAKE_UP_TLS:
            return turn
        self._turn = None
        return turn

    def answer(self, reply: Reply) -> None:
        """Reply to the message that was handed out."""
        if reply.positive:
            self._errors = self._idle = 0
            self._say(reply)
        else:
            self._refuse("DATA", reply)

    def tls_taken_up(self) -> None:
        """From here on all is encrypted; the client begins anew."""
        self._talk.tls_taken_up()
        # AUTH may carry a first response (RFC 4954 §4); where it is not taken it need not be long.
        self._longest = LONGEST_RESPONSE if self._terms.submission else _LONGEST_COMMAND

    def end(self, reply: Reply) -> None:
        """Say a last word; the next turn is to hang up."""
        self._say(reply)
        self._turn = Turn.HANG_UP

    # Octets

    def _step(self) -> bool:
        """Carry out one command, message or chunk; False if it is not all there."""
        mode = self._framer.mode
        if mode == "message":
            content = self._framer.message()
            if content is not None:
                self._attempt("DATA", self._talk.message, content)
            return content is not None
        if mode == "chunk":
            chunk = self._framer.chunk()
            if chunk is not None:
                self._attempt("BDAT", self._end_of_chunk, chunk)
            return chunk is not None
        try:
            line = self._framer.line(self._longest)
        except TooLong as error:
            self._talk.exchange = None
            self._refuse("command", Reply(500, "5.5.2", "line too long"))
            if error.begin[:4].upper() == b"BDAT":
                self._out_of_step()
            return True
        if line is None:
            return False
        if self._talk.exchange:
            self._attempt("AUTH", self._talk.respond, line)
        else:
            self._command(line)
        return True

    def _command(self, line: bytes) -> None:
        text = line.decode("utf-8", "surrogateescape")
        verb, _, rest = text.partition(" ")
        name = verb.upper() if verb.isascii() else verb
        if not line or not (text.isprintable() or not _CONTROLS.search(line)):
            self._refuse("command", Reply(500, "5.5.2", f"not a command: {_shown(text)}"))
            if line[:4].upper() == b"BDAT":
                self._out_of_step()
            return
        argument = rest.strip(" \t")
        if name == "BDAT":
            self._bdat(argument)  # The octets behind it are to be skipped, whatever is wrong.
            return
        command = _COMMANDS.get(name)
        try:
            if self._terms.submission:
                self._talk.check_tls(name)
            if command is None:
                raise Refused(Reply(500, "5.5.2", f"command not known: {_shown(name)}"))
            reply = command(self, argument)
        except Refused as refused:
            self._refuse(name if command else "command", refused.reply)
        else:
            if reply:
                self._say(reply)
        if name == "DATA" and self._framer.mode == "commands" and self._framer:
            self._out_of_step()

    # Commands

    def _ehlo(self, name: str) -> None:
        self._count_idle()
        lines = self._talk.greet(name, extended=True)
        self._out += [f"250-{line}" for line in lines[:-1]]
        self._out.append(f"250 {lines[-1]}")

    def _helo(self, name: str) -> None:
        self._count_idle()
        self._out += [f"250 {line}" for line in self._talk.greet(name, extended=False)]

    def _starttls(self, argument: str) -> Reply:
        reply = self._talk.starttls(argument)
        self._framer.clear()
        self._turn = Turn.TAKE_UP_TLS
        return reply

    def _auth(self, argument: str) -> Reply:
        return self._talk.auth(argument)

    def _mail(self, argument: str) -> Reply:
        return self._talk.mail(argument)

    def _rcpt(self, argument: str) -> Reply:
        return self._talk.rcpt(argument)

    def _data(self, argument: str) -> Reply:
        reply = self._talk.data(argument)
        self._framer.begin_message(self._terms.size_limit)
        return reply

    def _bdat(self, argument: str) -> None:
        announced = read_bdat(argument)
        if announced is None:
            self._refuse("BDAT", Reply(501, "5.5.4", "BDAT <octets> [LAST]"))
            self._out_of_step()
            return
        size, self._last_chunk = announced
        self._chunk_objection = self._talk.objection_to_chunk(size)
        self._framer.begin_chunk(size, keep=self._chunk_objection is None)

    def _end_of_chunk(self, chunk: bytes | TooLarge) -> Reply | Message:
        return self._talk.chunk(chunk, last=self._last_chunk, objection=self._chunk_objection)

    def _rset(self, argument: str) -> Reply:
        if argument:
            raise Refused(Reply(501, "5.5.4", "RSET takes no argument"))
        self._count_idle()
        self._talk.transaction = None
        return _OK

    def _noop(self, _argument: str) -> Reply:
        self._count_idle()
        return _OK

    def _help(self, _argument: str) -> Reply:
        self._count_idle()
        return Reply(214, "2.0.0", " ".join([*_COMMANDS, "BDAT"]))

    def _vrfy(self, argument: str) -> Reply:
        if not argument:
            raise Refused(Reply(501, "5.5.4", "VRFY <address>"))
        self._count_idle()
        # RFC 5321 §7.3: who exists here is told to those who have a message for them.
        return Reply(252, "2.5.0", "cannot verify, but will take a message")

    def _expn(self, _argument: str) -> Reply:
        raise Refused(Reply(502, "5.5.1", "EXPN is not there"))

    def _quit(self, argument: str) -> Reply:
        if argument:
            raise Refused(Reply(501, "5.5.4", "QUIT takes no argument"))
        self._turn = Turn.HANG_UP
        return Reply(221, "2.0.0", "Bye")

    # Replies

    def _attempt(
        self, stage: str, command: Callable[[*_Arguments], Reply | Message | None], *arguments: *_Arguments
    ) -> None:
        try:
            outcome = command(*arguments)
        except Refused as refused:
            self._refuse(stage, refused.reply)
            return
        if isinstance(outcome, Message):
            self._turn = outcome
        elif outcome:
            self._say(outcome)

    def _say(self, reply: Reply) -> None:
        # An empty challenge keeps its blank (RFC 4954 §4).
        self._out.append(str(reply) if reply.text else f"{reply} ")

    def _refuse(self, stage: str, reply: Reply) -> None:
        self._say(reply)
        self._reject(stage, reply)
        self._errors += 1
        if reply.code == 421:
            self._turn = Turn.HANG_UP
        elif self._errors >= self._terms.error_limit and self._turn is None:
            self.end(Reply(421, "4.7.0", "too many errors"))

    def _count_idle(self) -> None:
        self._idle += 1
        if self._idle > _IDLE_COMMANDS:
            raise Refused(Reply(421, "4.7.0", "too many commands without a message"))

    def _out_of_step(self) -> None:
        if self._turn is None:
            self._framer.clear()
            self.end(Reply(421, "4.7.0", "what followed that command was not waited for: closing"))


_COMMANDS: dict[str, _Command] = {
    "HELO": Session._helo,
    "EHLO": Session._ehlo,
    "MAIL": Session._mail,
    "RCPT": Session._rcpt,
    "DATA": Session._data,
    "RSET": Session._rset,
    "NOOP": Session._noop,
    "QUIT": Session._quit,
    "VRFY": Session._vrfy,
    "EXPN": Session._expn,
    "HELP": Session._help,
    "AUTH": Session._auth,
    "STARTTLS": Session._starttls,
}


def _shown(text: str) -> str:
    # In ASCII, since a client that has not said SMTPUTF8 may take nothing else (RFC 6531 §3.5).
    return printable(text[:80]).encode("ascii", "backslashreplace").decode()
