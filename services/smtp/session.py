"""One SMTP session as the server sees it: octets in, replies out. No socket, no clock.

Theory of operation. The edge (server) feeds what comes and calls `advance` until it returns None: then
more octets are needed. What the session cannot do itself it hands back, and goes on when that is done:

    Message             put it into the queue, then `answer` with the reply
    Turn.TAKE_UP_TLS    send the replies, shake hands, then `tls_taken_up`
    Turn.HANG_UP        send the replies and close

Replies are gathered, so that those to a pipelined group leave in one piece (RFC 2920 §3.2).

*In step.* A client that pipelines must wait after DATA and STARTTLS (RFC 2920 §3.1). Octets that stand
behind STARTTLS came in the clear, from anybody: they are thrown away (RFC 3207 §6). Octets behind a DATA
that is refused can only be a message of a client that did not wait: read as commands they would be an
attacker's. So the session ends; likewise where BDAT does not say how many octets follow it.

*Order.* On port 587: STARTTLS, then AUTH, then mail (RFC 6409 §4.3, RFC 4954 §4, RFC 3207 §4).

*Limits.* A session with too many errors, or too many commands that lead nowhere, ends with 421; both are
counted since the last message that was taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from services.smtp.address import printable
from services.smtp.authentication import LONGEST_RESPONSE, MECHANISMS, Exchange
from services.smtp.commands import Dialect, Refused, read_bdat, read_mail, read_rcpt, too_large
from services.smtp.config import User
from services.smtp.data import content_objection
from services.smtp.framing import Framer, TooLarge, TooLong
from services.smtp.incoming import Incoming, Message
from services.smtp.policy import Client, Policy
from services.smtp.replies import Reply
from services.smtp.trace import Arrival, protocol_name

_HELO_NAME = re.compile(r"[A-Za-z0-9._\-]+|\[[0-9A-Za-z.:\-]+\]")
_MAX_HELO_NAME = 255  # RFC 5321 §4.5.3.1.2; it stands on one line of Received
_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LONGEST_COMMAND = 2048  # room for long addresses and parameters; RFC 5321 §4.5.3.1.4 asks for 512
_BEFORE_TLS = {"EHLO", "STARTTLS", "NOOP", "QUIT"}
_FAILED_LOGINS = 3
_IDLE_COMMANDS = 100

_OK_MAIL = Reply(250, "2.1.0", "Ok")
_OK_RCPT = Reply(250, "2.1.5", "Ok")
_GO_ON = Reply(354, "", "end data with <CR><LF>.<CR><LF>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a server offers and allows: `starttls` if it has a certificate, `submission` if it is an MSA."""

    hostname: str
    submission: bool
    starttls: bool
    size_limit: int
    recipient_limit: int
    error_limit: int
    line_limit: int
    policy: Policy


class Turn(Enum):
    """What the edge must do before the session can go on."""

    TAKE_UP_TLS = auto()
    HANG_UP = auto()


class Session:
    """The state of a session; `reject` is told of each command that is refused: its name and the reply."""

    def __init__(self, terms: Terms, client: Client, *, reject: Callable[[str, Reply], None]) -> None:
        self._terms = terms
        self._client = client
        self._reject = reject
        self._framer = Framer()
        self._out: list[str] = []
        self._turn: Message | Turn | None = None
        self._tls = False
        self._errors = 0
        self._idle = 0
        self._failed_logins = 0
        self._last_chunk = False
        self._chunk_objection: Reply | None = None
        self._exchange: Exchange | None = None
        self._user: User | None = None
        self._helo = ""
        self._extended = False
        self._transaction: Incoming | None = None
        self._dialect = self._speaks()
        self._out.append(f"220 {terms.hostname} ESMTP Mailbed")  # no enhanced code: RFC 2034 §3

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
        text = "".join(f"{line}\r\n" for line in self._out)
        self._out.clear()
        return text.encode("utf-8", "backslashreplace")

    def advance(self) -> Message | Turn | None:
        """Carry out what has come; return what the edge must do, None if more octets are needed."""
        while self._turn is None and self._step():
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
        """From here on all is encrypted; what was said before does not count (RFC 3207 §4.2)."""
        self._tls = True
        self._helo, self._extended, self._user, self._transaction = "", False, None, None
        self._dialect = self._speaks()

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
                self._attempt("DATA", lambda: self._end_of_message(content))
            return content is not None
        if mode == "chunk":
            chunk = self._framer.chunk()
            if chunk is not None:
                self._attempt("BDAT", lambda: self._end_of_chunk(chunk))
            return chunk is not None
        try:
            line = self._framer.line(LONGEST_RESPONSE if self._exchange else self._longest())
        except TooLong as error:
            self._too_long(error.begin)
            return True
        if line is None:
            return False
        if self._exchange:
            self._attempt("AUTH", lambda: self._respond(line))
        else:
            self._command(line)
        return True

    def _longest(self) -> int:
        # AUTH may carry a first response (RFC 4954 §4); where it is not taken it need not be long.
        return LONGEST_RESPONSE if self._terms.submission and self._tls else _LONGEST_COMMAND

    def _too_long(self, begin: bytes) -> None:
        self._exchange = None
        self._refuse("command", Reply(500, "5.5.2", "line too long"))
        if begin[:4].upper() == b"BDAT":
            self._out_of_step()

    def _command(self, line: bytes) -> None:
        verb, _, rest = line.partition(b" ")
        name = verb.upper().decode("utf-8", "surrogateescape")
        if _CONTROLS.search(line) or not line:
            self._refuse(
                "command",
                Reply(500, "5.5.2", f"not a command: {_shown(line.decode('utf-8', 'surrogateescape'))}"),
            )
            if name.startswith("BDAT"):
                self._out_of_step()
            return
        argument = rest.strip().decode("utf-8", "surrogateescape")
        if name == "BDAT":
            self._bdat(argument)  # The octets behind it are to be skipped, whatever is wrong.
            return
        self._attempt(name if name in _COMMANDS else "command", lambda: self._carry_out(name, argument))

    def _carry_out(self, name: str, argument: str) -> Reply | None:
        self._check_tls(name)
        command = _COMMANDS.get(name)
        if command is None:
            raise Refused(Reply(500, "5.5.2", f"command not known: {_shown(name)}"))
        return command(self, argument)

    def _check_tls(self, name: str) -> None:
        if self._terms.submission and not self._tls and name not in _BEFORE_TLS:
            raise Refused(Reply(530, "5.7.0", "a STARTTLS command comes first"))

    # Greeting and TLS

    def _ehlo(self, name: str) -> None:
        self._greet(name, extended=True)
        lines = [self._terms.hostname, *self._extensions()]
        self._out += [f"250-{line}" for line in lines[:-1]]
        self._out.append(f"250 {lines[-1]}")

    def _helo_command(self, name: str) -> None:
        self._greet(name, extended=False)
        self._out.append(f"250 {self._terms.hostname}")

    def _greet(self, name: str, *, extended: bool) -> None:
        if not name or len(name) > _MAX_HELO_NAME or not _HELO_NAME.fullmatch(name):
            raise Refused(Reply(501, "5.5.4", "a host name or an address literal is needed"))
        self._count_idle()
        self._helo, self._extended, self._transaction = name, extended, None
        self._dialect = self._speaks()

    def _speaks(self) -> Dialect:
        return Dialect(
            hostname=self._terms.hostname,
            extended=self._extended,
            submission=self._terms.submission,
            size_limit=self._terms.size_limit,
        )

    def _extensions(self) -> list[str]:
        offered = ["PIPELINING", f"SIZE {self._terms.size_limit}", "8BITMIME", "SMTPUTF8"]
        offered += ["ENHANCEDSTATUSCODES", "DSN", "CHUNKING"]
        if self._terms.starttls and not self._tls:
            offered.append("STARTTLS")
        if self._terms.submission and self._tls:
            offered.append("AUTH " + " ".join(MECHANISMS))
        return offered

    def _starttls(self, argument: str) -> Reply:
        if argument:
            raise Refused(Reply(501, "5.5.4", "STARTTLS takes no argument"))
        if self._tls:
            raise Refused(Reply(503, "5.5.1", "TLS is in use already"))
        if not self._terms.starttls:
            raise Refused(Reply(454, "4.7.0", "TLS not available"))
        self._framer.clear()
        self._turn = Turn.TAKE_UP_TLS
        return Reply(220, "2.0.0", "ready to start TLS")

    # Authentication

    def _auth(self, argument: str) -> Reply | None:
        if not self._terms.submission:
            raise Refused(Reply(502, "5.5.1", "AUTH is for submission, on port 587"))
        self._check_greeted()
        if not self._extended:
            raise Refused(Reply(503, "5.5.1", "AUTH needs EHLO"))
        if self._user or self._transaction:
            raise Refused(
                Reply(503, "5.5.1", "authenticated already" if self._user else "not amid a message")
            )
        self._exchange = Exchange(argument)
        return self._challenge(self._exchange)

    def _respond(self, line: bytes) -> Reply | None:
        exchange, self._exchange = self._exchange, None
        assert exchange is not None  # noqa: S101  (the caller has seen it)
        exchange.respond(line)
        self._exchange = exchange
        return self._challenge(exchange)

    def _challenge(self, exchange: Exchange) -> Reply | None:
        if exchange.challenge is not None:
            self._out.append(f"334 {exchange.challenge}")
            return None
        self._exchange = None
        credentials = exchange.credentials
        self._user = self._terms.policy.authenticate(credentials.name, credentials.password)
        if self._user:
            return Reply(235, "2.7.0", "authentication successful")
        self._failed_logins += 1
        if self._failed_logins >= _FAILED_LOGINS:
            self._turn = Turn.HANG_UP
            raise Refused(Reply(421, "4.7.0", "too many failed authentications"))
        raise Refused(Reply(535, "5.7.8", "authentication credentials invalid"))

    # Mail

    def _check_greeted(self) -> None:
        if not self._helo:
            raise Refused(Reply(503, "5.5.1", "send HELO first"))

    def _check_may_send(self) -> None:
        self._check_greeted()
        if self._terms.submission and not self._user:
            raise Refused(Reply(530, "5.7.0", "authentication required"))

    def _mail(self, argument: str) -> Reply:
        self._check_may_send()
        if self._transaction:
            raise Refused(Reply(503, "5.5.1", "nested MAIL command"))
        mail = read_mail(argument, self._dialect)
        objection = self._terms.policy.sender(mail.sender, user=self._user)
        if objection:
            raise Refused(objection)
        self._transaction = Incoming(mail)
        return _OK_MAIL

    def _begun(self) -> Incoming:
        self._check_may_send()
        if not self._transaction:
            raise Refused(Reply(503, "5.5.1", "MAIL first"))
        return self._transaction

    def _rcpt(self, argument: str) -> Reply:
        transaction = self._begun()
        if transaction.chunked:
            raise Refused(Reply(503, "5.5.1", "the message has begun"))
        arguments = read_rcpt(argument, self._dialect, smtputf8=transaction.mail.smtputf8)
        if transaction.named >= self._terms.recipient_limit:
            raise Refused(Reply(452, "4.5.3", "too many recipients"))
        reached = self._terms.policy.recipients(arguments.recipient, client=self._client, user=self._user)
        if isinstance(reached, Reply):
            raise Refused(reached)
        transaction.add(arguments, reached)
        return _OK_RCPT

    # DATA and BDAT

    def _data(self, argument: str) -> Reply:
        try:
            if argument:
                raise Refused(Reply(501, "5.5.4", "DATA takes no argument"))
            transaction = self._begun()
            if transaction.chunked:
                raise Refused(Reply(503, "5.5.1", "the message has begun, with BDAT"))
            if not transaction.recipients:
                raise Refused(Reply(554, "5.5.1", "no valid recipients"))
        except Refused as refused:
            if self._framer:
                self._refuse("DATA", refused.reply)
                self._out_of_step()
                raise _Answered from None
            raise
        self._framer.begin_message(self._terms.size_limit)
        return _GO_ON

    def _end_of_message(self, content: bytes | TooLarge) -> None:
        transaction, self._transaction = self._transaction, None
        assert transaction is not None  # noqa: S101  (_data has seen it)
        self._finish(transaction, content)

    def _finish(self, transaction: Incoming, content: bytes | TooLarge) -> None:
        if isinstance(content, TooLarge):
            raise Refused(too_large(self._terms.size_limit))
        objection = content_objection(content, line_limit=self._terms.line_limit)
        if objection:
            raise Refused(objection)
        envelope = transaction.envelope
        arrival = Arrival(
            helo=self._helo,
            client=self._client.address,
            by=self._terms.hostname,
            protocol=protocol_name(
                extended=self._extended,
                tls=self._tls,
                authenticated=self._user is not None,
                utf8=envelope.smtputf8,
            ),
            recipients=tuple(map(str, envelope.recipients)),
        )
        self._turn = Message(
            envelope=envelope, arrival=arrival, content=content, rewritten=transaction.rewritten
        )

    def _bdat(self, argument: str) -> None:
        announced = read_bdat(argument)
        if announced is None:
            self._refuse("BDAT", Reply(501, "5.5.4", "BDAT <octets> [LAST]"))
            self._out_of_step()
            return
        size, self._last_chunk = announced
        self._chunk_objection = self._objection_to_chunk(size)
        self._framer.begin_chunk(size, keep=self._chunk_objection is None)

    def _objection_to_chunk(self, size: int) -> Reply | None:
        try:
            self._check_tls("BDAT")
            transaction = self._begun()
        except Refused as refused:
            return refused.reply
        return transaction.objection_to_chunk(size, limit=self._terms.size_limit)

    def _end_of_chunk(self, chunk: bytes | TooLarge) -> Reply | None:
        transaction = self._transaction
        if self._last_chunk:
            self._transaction = None
        if self._chunk_objection or isinstance(chunk, TooLarge) or not transaction:
            if transaction:
                transaction.fail()
            raise Refused(self._chunk_objection or too_large(self._terms.size_limit))
        transaction.take_chunk(chunk)
        if self._last_chunk:
            self._finish(transaction, transaction.content)
            return None
        return Reply(250, "2.0.0", f"{len(chunk)} octets received")

    # The rest

    def _rset(self, argument: str) -> Reply:
        if argument:
            raise Refused(Reply(501, "5.5.4", "RSET takes no argument"))
        self._count_idle()
        self._transaction = None
        return Reply(250, "2.0.0", "OK")

    def _noop(self, _argument: str) -> Reply:
        self._count_idle()
        return Reply(250, "2.0.0", "OK")

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

    def _attempt(self, stage: str, command: Callable[[], Reply | None]) -> None:
        try:
            reply = command()
        except Refused as refused:
            self._refuse(stage, refused.reply)
        except _Answered:
            return
        else:
            if reply:
                self._say(reply)

    def _say(self, reply: Reply) -> None:
        self._out.append(str(reply))

    def _refuse(self, stage: str, reply: Reply) -> None:
        self._say(reply)
        self._reject(stage, reply)
        self._errors += 1
        if self._errors >= self._terms.error_limit and self._turn is None:
            self.end(Reply(421, "4.7.0", "too many errors"))

    def _count_idle(self) -> None:
        self._idle += 1
        if self._idle > _IDLE_COMMANDS:
            self._turn = Turn.HANG_UP
            raise Refused(Reply(421, "4.7.0", "too many commands without a message"))

    def _out_of_step(self) -> None:
        self._framer.clear()
        self.end(Reply(421, "4.7.0", "what followed that command was not waited for: closing"))


class _Answered(Exception):
    """The command has its replies."""


_COMMANDS: dict[str, Callable[[Session, str], Reply | None]] = {
    "HELO": Session._helo_command,
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
