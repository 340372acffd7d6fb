"""Reading an SMTP session from the bytes of a captured connection.

Theory of operation. The two directions are two streams, and the order of replies ties them together: the
first reply is the greeting, each command takes the next one, whether it waited for the one before or not
(RFC 2920). So the client's stream is read from front to back, and a reply is taken whenever one is due:

    a command                     one reply
    AUTH                          further lines of the client's for each 334 (RFC 4954 §4)
    DATA, if the reply is 354     content up to the line with a dot alone, then one reply to it
    BDAT n                        n bytes, then one reply (RFC 3030 §2)
    STARTTLS, if the reply is 220 both streams go on inside TLS, without a greeting (RFC 3207 §4.2)

A reply that was complete before the command was sent cannot answer it: it stands for itself (421, a server
that shuts down or lost patience, RFC 5321 §3.8).

A content is not looked at line by line: its end is searched for, then its dots are unstuffed, at once. What
is no SMTP within a session is passed over: no bytes, from whomever, make the reading fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from captures import said
from captures.conversations import Connection
from captures.smtp import wording
from captures.smtp.replies import Replies
from captures.smtp.session import Exchange, Recipient, Reply, Session, Transaction
from captures.streams import Stream, open_streams
from captures.tls import Secrets

SMTP_PORTS: Final = frozenset({25, 465, 587})
_HANDSHAKE: Final = b"\x16\x03"


def read_session(connection: Connection, secrets: bytes | Secrets = b"") -> Session | None:
    """Return the session that `connection` carried; None if it is not SMTP.

    A connection to an SMTP port in which nothing was said, or which never came about, is a session without a
    greeting. `secrets` is the key log of the TLS sessions; parse it once where there are many connections.
    """
    on_smtp_port = connection.server.port in SMTP_PORTS
    session = Session(connection=connection)
    sent, received = Stream(connection.sent), Stream(connection.received)
    if sent.data.startswith(_HANDSHAKE):
        opened = open_streams(session, connection.sent, connection.received, secrets)
        if opened is None:
            return session if on_smtp_port else None
        sent, received = opened
    if received.data and not wording.may_greet(received.data):
        return None
    if not received.data and not (on_smtp_port and wording.may_command(sent.data)):
        return None
    _Dialogue(session, sent, received, secrets).read()
    return session


class _Dialogue:
    """The reading of one session: what has been said so far decides what the next bytes are."""

    def __init__(self, session: Session, sent: Stream, received: Stream, secrets: bytes | Secrets) -> None:
        self._session = session
        self._client = sent
        self._replies = Replies(received)
        self._secrets = secrets
        self._transaction: Transaction | None = None
        self._chunks: list[bytes] = []
        self._guarded = False
        self._at = (0, 0)

    def read(self) -> None:
        """Read both streams to their ends."""
        session = self._session
        session.greeting = self._replies.next()
        if session.greeting is not None:
            session.server_name = session.greeting.text.partition("\n")[0].partition(" ")[0]
        while (line := self._next_line()) is not None:
            self._command(line)
        self._close()
        while (reply := self._replies.next()) is not None:
            self._unasked(reply)

    def _next_line(self) -> bytes | None:
        """Return the client's next line and note when it was sent."""
        line = self._client.line()
        if line is not None:
            self._at = self._client.mark()
        return line

    def _command(self, line: bytes) -> None:
        words = line.split(None, 1)
        verb = words[0].upper() if words else b""
        argument = words[1] if len(words) == 2 else b""
        for reply in self._replies.before(*self._at):
            self._unasked(reply)
        handle = _HANDLERS.get(verb)
        if handle is not None:
            handle(self, line, argument)
        elif self._guarded and verb not in _PLAIN_VERBS:
            # After an AUTH that failed or was not understood, a client may go on with what it holds secret.
            self._exchange(said.MASK)
        else:
            self._exchange(wording.command(line))

    def _exchange(self, command: str) -> Exchange:
        """Pair the line just read with the reply that is due."""
        exchange = Exchange(command, *self._at, self._replies.next())
        self._session.exchanges.append(exchange)
        return exchange

    def _unasked(self, reply: Reply) -> None:
        self._session.exchanges.append(Exchange("", reply.time_ns, reply.frame, reply))

    # Commands, in the order of a session.

    def _hello(self, line: bytes, argument: bytes) -> None:
        exchange = self._exchange(wording.command(line))
        self._session.helo = said.printable(argument.split(None, 1)[0]) if argument else ""
        if exchange.reply is not None and exchange.reply.code == 250:
            # HELO's reply has one line: no extensions.
            self._session.extensions = tuple(exchange.reply.text.split("\n")[1:])
            # It clears what went before, as RSET does (RFC 5321 §4.1.4).
            self._close()

    def _starttls(self, line: bytes, _argument: bytes) -> None:
        exchange = self._exchange(wording.command(line))
        start = self._client.piece_starting_with(_HANDSHAKE)
        if start is None or (exchange.reply is not None and exchange.reply.code != 220):
            return
        self._close()
        self._injected(start)
        sent = self._client.pieces_from(start)
        opened = open_streams(self._session, sent, self._replies.pieces_behind(), self._secrets)
        self._client, received = opened or (Stream([]), Stream([]))
        self._replies = Replies(received)

    def _injected(self, end: int) -> None:
        """Note commands that were sent behind STARTTLS in the clear: the server must discard them."""
        while self._client.position < end and (line := self._next_line()) is not None:
            self._session.exchanges.append(Exchange(wording.command(line), *self._at, None))

    def _auth(self, line: bytes, argument: bytes) -> None:
        mechanism, *responses = argument.split() or [b""]
        exchange = self._exchange(wording.command(line))
        while exchange.reply is not None and exchange.reply.code == 334:
            response = self._next_line()
            if response is None:
                break
            responses.append(response)
            exchange = self._exchange("*" if response == b"*" else said.MASK)
        succeeded = exchange.reply is not None and exchange.reply.code == 235
        if succeeded:
            self._session.user = said.user(said.printable(mechanism.upper()), responses)
        self._guarded = not succeeded

    def _mail(self, line: bytes, argument: bytes) -> None:
        exchange = self._exchange(wording.command(line))
        path = wording.path(argument)
        if path is None:
            return
        if exchange.reply is not None and exchange.reply.code == 503 and self._transaction is not None:
            # A second MAIL out of order leaves the first as it is.
            return
        self._close()
        self._transaction = Transaction(sender=path[0], parameters=path[1], mail=exchange)
        self._session.transactions.append(self._transaction)

    def _rcpt(self, line: bytes, argument: bytes) -> None:
        exchange = self._exchange(wording.command(line))
        path = wording.path(argument)
        if path is not None and self._transaction is not None:
            recipient = Recipient(address=path[0], parameters=path[1], exchange=exchange)
            self._transaction.recipients.append(recipient)

    def _data(self, line: bytes, _argument: bytes) -> None:
        line_end = self._client.data[self._client.position - 2 : self._client.position]
        exchange = self._exchange(wording.command(line))
        if self._transaction is not None:
            self._transaction.data = exchange
        # Where the reply was not seen: DATA ends a pipelined group (RFC 2920 §3.1), so who goes on got a 354.
        if exchange.reply.code == 354 if exchange.reply is not None else not self._client.exhausted:
            self._content(b"\r\n" if line_end == b"\r\n" else b"\n")

    def _content(self, line_end: bytes) -> None:
        """Read the content behind DATA, whose lines end as that command's own."""
        content, complete = self._until_dot(line_end)
        self._at = self._client.mark()
        reply: Reply | None
        if complete:
            reply = self._exchange(".").reply
        elif (reply := self._replies.next()) is not None:
            self._unasked(reply)
        if self._transaction is not None:
            self._transaction.reply = reply
            self._carried(content, complete=complete)
            self._transaction = None

    def _carried(self, content: bytes, *, complete: bool) -> None:
        """Note what the transaction has carried, up to the last byte read."""
        if self._transaction is not None and (content or complete):
            self._transaction.content, self._transaction.complete = content, complete
            self._transaction.content_ns, self._transaction.content_frame = self._client.mark()

    def _until_dot(self, line_end: bytes) -> tuple[bytes, bool]:
        """Return the content up to the final dot, unstuffed (RFC 5321 §4.5.2), and whether that was seen."""
        client = self._client
        final = line_end + b"." + line_end
        # The line end before the first line is DATA's own, so that an empty content is no special case.
        start = client.position - len(line_end)
        end = client.data.find(final, start)
        complete = end >= 0
        raw = client.data[start : end + len(line_end) if complete else len(client.data)]
        client.position = end + len(final) if complete else len(client.data)
        return raw.replace(line_end + b".", line_end)[len(line_end) :], complete

    def _bdat(self, line: bytes, argument: bytes) -> None:
        chunk = wording.chunk(argument)
        if chunk is None:
            self._exchange(wording.command(line))
            return
        size, last = chunk
        content = self._client.take(size)
        exchange = self._exchange(wording.command(line))
        transaction = self._transaction
        if transaction is None:
            return
        self._chunks.append(content)
        self._carried(content, complete=last and len(content) == size)
        transaction.data = transaction.data or exchange
        reply = exchange.reply
        if transaction.reply is None and (last or (reply is not None and reply.code >= 400)):
            transaction.reply = reply
        if last:
            self._close()

    def _reset(self, line: bytes, _argument: bytes) -> None:
        self._exchange(wording.command(line))
        self._close()

    def _quit(self, line: bytes, _argument: bytes) -> None:
        self._exchange(wording.command(line))
        self._session.quit = True
        self._close()

    def _close(self) -> None:
        """End the transaction, if one is open, with what BDAT has brought."""
        if self._transaction is not None and self._transaction.content is not None and self._chunks:
            self._transaction.content = b"".join(self._chunks)
        self._chunks = []
        self._transaction = None


_HANDLERS: Final[dict[bytes, Callable[[_Dialogue, bytes, bytes], None]]] = {
    b"EHLO": _Dialogue._hello,
    b"HELO": _Dialogue._hello,
    b"STARTTLS": _Dialogue._starttls,
    b"AUTH": _Dialogue._auth,
    b"MAIL": _Dialogue._mail,
    b"RCPT": _Dialogue._rcpt,
    b"DATA": _Dialogue._data,
    b"BDAT": _Dialogue._bdat,
    b"RSET": _Dialogue._reset,
    b"QUIT": _Dialogue._quit,
}
_PLAIN_VERBS: Final = frozenset({b"NOOP", b"VRFY", b"EXPN", b"HELP", b"ETRN", b"XCLIENT", b"XFORWARD"})
