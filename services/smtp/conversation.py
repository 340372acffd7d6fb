"""What a client has said in a session, and what follows from it: who they are, and the message they send.

Theory of operation. Each command is a method that returns the reply, or raises `Refused` with the one that
refuses; one that refuses with 421 is the session's last. On port 587 the order is STARTTLS, then AUTH, then
mail (RFC 6409 §4.3, RFC 4954 §4, RFC 3207 §4).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from services.smtp.address import Address
from services.smtp.authentication import MECHANISMS, Exchange
from services.smtp.commands import Dialect, Refused, read_mail, read_rcpt, too_large
from services.smtp.config import User
from services.smtp.data import content_objection
from services.smtp.framing import TooLarge
from services.smtp.incoming import Incoming, Message
from services.smtp.policy import Client, Policy
from services.smtp.replies import Reply
from services.smtp.trace import Arrival, protocol_name

_HELO_NAME = re.compile(r"[A-Za-z0-9._\-]+|\[[0-9A-Za-z.:\-]+\]")
_MAX_HELO_NAME = 255  # RFC 5321 §4.5.3.1.2; it stands on one line of Received
_BEFORE_TLS = {"EHLO", "STARTTLS", "NOOP", "QUIT"}
_FAILED_LOGINS = 3

Greylisting = Callable[[str, str, str], float]
"""Returns how long (s) a client's address, a sender and a recipient are put off; 0: not at all."""

_OK_MAIL = Reply(250, "2.1.0", "Ok")
_OK_RCPT = Reply(250, "2.1.5", "Ok")
_GO_ON = Reply(354, "", "end data with <CR><LF>.<CR><LF>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a server offers and allows: `starttls` if it has a certificate, `submission` if it is an MSA.

    `plain` is what may be said after HELO, `extended` after EHLO.
    """

    hostname: str
    submission: bool
    starttls: bool
    size_limit: int
    recipient_limit: int
    error_limit: int
    line_limit: int
    policy: Policy
    greylist: Greylisting | None = None
    plain: Dialect = field(init=False)
    extended: Dialect = field(init=False)

    def __post_init__(self) -> None:
        for name in ("plain", "extended"):
            dialect = Dialect(
                hostname=self.hostname,
                extended=name == "extended",
                submission=self.submission,
                size_limit=self.size_limit,
            )
            object.__setattr__(self, name, dialect)


class Conversation:
    """The state that commands change. `transaction` is the message that has begun, `exchange` an AUTH."""

    def __init__(self, terms: Terms, client: Client) -> None:
        self._terms = terms
        self._client = client
        self.tls = False
        self.exchange: Exchange | None = None
        self.transaction: Incoming | None = None
        self._failed_logins = 0
        self._forget()

    def _forget(self) -> None:
        self._helo = ""
        self._user: User | None = None
        self.transaction = None
        self._speak(extended=False)

    def _speak(self, *, extended: bool) -> None:
        self._dialect = self._terms.extended if extended else self._terms.plain

    # Greeting and TLS

    def greet(self, name: str, *, extended: bool) -> list[str]:
        """Carry out HELO or EHLO; return the lines of the reply after their code."""
        if not name or len(name) > _MAX_HELO_NAME or not _HELO_NAME.fullmatch(name):
            raise Refused(Reply(501, "5.5.4", "a host name or an address literal is needed"))
        self._helo, self.transaction = name, None
        self._speak(extended=extended)
        return [self._terms.hostname, *(self._extensions() if extended else ())]

    def _extensions(self) -> list[str]:
        offered = ["PIPELINING", f"SIZE {self._terms.size_limit}", "8BITMIME", "SMTPUTF8"]
        offered += ["ENHANCEDSTATUSCODES", "DSN", "CHUNKING"]
        if self._terms.starttls and not self.tls:
            offered.append("STARTTLS")
        if self._terms.submission and self.tls:
            offered.append("AUTH " + " ".join(MECHANISMS))
        return offered

    def check_tls(self, name: str) -> None:
        """Refuse a command that is not to be said in the clear (RFC 3207 §4)."""
        if self._terms.submission and not self.tls and name not in _BEFORE_TLS:
            raise Refused(Reply(530, "5.7.0", "a STARTTLS command comes first"))

    def starttls(self, argument: str) -> Reply:
        """Carry out STARTTLS, up to the handshake."""
        if argument:
            raise Refused(Reply(501, "5.5.4", "STARTTLS takes no argument"))
        if self.tls:
            raise Refused(Reply(503, "5.5.1", "TLS is in use already"))
        if not self._terms.starttls:
            raise Refused(Reply(454, "4.7.0", "TLS not available"))
        return Reply(220, "2.0.0", "ready to start TLS")

    def tls_taken_up(self) -> None:
        """What was said before does not count (RFC 3207 §4.2)."""
        self.tls = True
        self._forget()

    # Authentication

    def auth(self, argument: str) -> Reply:
        """Carry out AUTH: with a reply of 334 the exchange goes on."""
        if not self._terms.submission:
            raise Refused(Reply(502, "5.5.1", "AUTH is for submission, on port 587"))
        self._check_greeted()
        if not self._dialect.extended:
            raise Refused(Reply(503, "5.5.1", "AUTH needs EHLO"))
        if self._user or self.transaction:
            raise Refused(
                Reply(503, "5.5.1", "authenticated already" if self._user else "not amid a message")
            )
        return self._challenge(Exchange(argument))

    def respond(self, line: bytes) -> Reply:
        """Take the response to the last challenge."""
        exchange, self.exchange = self.exchange, None
        assert exchange is not None  # noqa: S101  (the caller has seen it)
        exchange.respond(line)
        return self._challenge(exchange)

    def _challenge(self, exchange: Exchange) -> Reply:
        if exchange.challenge is not None:
            self.exchange = exchange
            return Reply(334, "", exchange.challenge)
        credentials = exchange.credentials
        self._user = self._terms.policy.authenticate(credentials.name, credentials.password)
        if self._user:
            return Reply(235, "2.7.0", "authentication successful")
        self._failed_logins += 1
        if self._failed_logins >= _FAILED_LOGINS:
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

    def mail(self, argument: str) -> Reply:
        """Carry out MAIL."""
        self._check_may_send()
        if self.transaction:
            raise Refused(Reply(503, "5.5.1", "nested MAIL command"))
        mail = read_mail(argument, self._dialect)
        objection = self._terms.policy.sender(mail.sender, user=self._user)
        if objection:
            raise Refused(objection)
        self.transaction = Incoming(mail)
        return _OK_MAIL

    def _begun(self) -> Incoming:
        self._check_may_send()
        if not self.transaction:
            raise Refused(Reply(503, "5.5.1", "MAIL first"))
        return self.transaction

    def rcpt(self, argument: str) -> Reply:
        """Carry out RCPT."""
        transaction = self._begun()
        if transaction.chunked:
            raise Refused(Reply(503, "5.5.1", "the message has begun"))
        arguments = read_rcpt(argument, self._dialect, smtputf8=transaction.mail.smtputf8)
        if transaction.named >= self._terms.recipient_limit:
            raise Refused(Reply(452, "4.5.3", "too many recipients"))
        reached = self._terms.policy.recipients(arguments.recipient, client=self._client, user=self._user)
        if isinstance(reached, Reply):
            raise Refused(reached)
        self._check_greylist(transaction, arguments.recipient)
        transaction.add(arguments, reached)
        return _OK_RCPT

    def _check_greylist(self, transaction: Incoming, recipient: Address) -> None:
        """Put strangers off; who may relay anywhere is none."""
        if self._terms.greylist is None or self._user is not None or self._client.trusted:
            return
        sender = str(transaction.mail.sender or "")
        wait_s = self._terms.greylist(self._client.address, sender, str(recipient))
        if wait_s > 0:
            # RFC 6647 §2.2; how long is for people: no server reads it.
            raise Refused(Reply(450, "4.7.1", f"greylisted: come again in {wait_s:.0f} s"))

    def data(self, argument: str) -> Reply:
        """Carry out DATA, up to the message."""
        if argument:
            raise Refused(Reply(501, "5.5.4", "DATA takes no argument"))
        transaction = self._begun()
        if transaction.chunked:
            raise Refused(Reply(503, "5.5.1", "the message has begun, with BDAT"))
        if not transaction.recipients:
            raise Refused(Reply(554, "5.5.1", "no valid recipients"))
        return _GO_ON

    def objection_to_chunk(self, size: int) -> Reply | None:
        """Refuse a chunk of `size` octets that is about to come."""
        try:
            self.check_tls("BDAT")
            return self._begun().objection_to_chunk(size, limit=self._terms.size_limit)
        except Refused as refused:
            return refused.reply

    def chunk(self, content: bytes | TooLarge, *, last: bool, objection: Reply | None) -> Reply | Message:
        """Take a chunk; return its reply, or the message if that was its last. Raises: Refused."""
        transaction = self.transaction
        if last:
            self.transaction = None
        if objection or isinstance(content, TooLarge) or not transaction:
            if transaction:
                transaction.fail()
            raise Refused(objection or too_large(self._terms.size_limit))
        transaction.take_chunk(content)
        if last:
            return self._finished(transaction, transaction.content)
        return Reply(250, "2.0.0", f"{len(content)} octets received")

    def message(self, content: bytes | TooLarge) -> Message:
        """Return the message that DATA brought. Raises: Refused."""
        transaction, self.transaction = self.transaction, None
        assert transaction is not None  # noqa: S101  (`data` has seen it)
        return self._finished(transaction, content)

    def _finished(self, transaction: Incoming, content: bytes | TooLarge) -> Message:
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
                extended=self._dialect.extended,
                tls=self.tls,
                authenticated=self._user is not None,
                utf8=envelope.smtputf8,
            ),
            recipients=tuple(map(str, envelope.recipients)),
        )
        return Message(envelope=envelope, arrival=arrival, content=content, rewritten=transaction.rewritten)
