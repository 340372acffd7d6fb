"""Reading an IMAP session from the bytes of a captured connection.

Theory of operation. Each command begins with a tag, and the reply that ends it with the same one (RFC 3501
§2.2.1). The client's stream is read command by command; for each the server's is read on as far as its tag:

    LOGIN, AUTHENTICATE    who reads; a response to `+` may follow, and is a secret
    STARTTLS               both streams go on inside TLS, without a greeting (§6.2.1)
    IDLE                   DONE follows, which has no tag (RFC 2177)
    anything else          `* n FETCH (… BODY[] {size}` and so many octets: a message

Either side may put octets of any value behind a line that ends in `{size}`: a literal. What is no IMAP is
passed over: no bytes, from whomever, make the reading fail.
"""

from __future__ import annotations

from typing import Final

from captures.conversations import Connection
from captures.imap import wording
from captures.imap.session import Exchange, Fetched, Reply, Session
from captures.said import printable, user
from captures.streams import Stream, open_streams
from captures.tls import Secrets

IMAP_PORTS: Final = frozenset({143, 993})
_HANDSHAKE: Final = b"\x16\x03"


def read_session(connection: Connection, secrets: bytes | Secrets = b"") -> Session | None:
    """Return the session that `connection` carried; None if it is not IMAP, or nothing was said.

    `secrets` is the key log of the TLS sessions; parse it once where there are many connections.
    """
    session = Session(connection=connection)
    sent, received = Stream(connection.sent), Stream(connection.received)
    if sent.data.startswith(_HANDSHAKE):
        opened = open_streams(session, connection.sent, connection.received, secrets)
        if opened is None:
            return session
        sent, received = opened
    first = received.line()
    said = None if first is None else wording.greeting(first)
    if said is None:
        return None
    session.greeting = Reply(printable(said), *received.mark())
    _Dialogue(session, sent, received, secrets).read()
    return session


class _Dialogue:
    """The reading of one session; `_found` is what the server has sent since the last tagged reply."""

    def __init__(self, session: Session, sent: Stream, received: Stream, secrets: bytes | Secrets) -> None:
        self._session = session
        self._client = sent
        self._server = received
        self._secrets = secrets
        self._found: list[Fetched] = []

    def read(self) -> None:
        """Read both streams to their ends."""
        while (line := self._client.line()) is not None:
            time_ns, frame = self._client.mark()
            tag, _, rest = line.partition(b" ")
            verb, _, argument = rest.partition(b" ")
            if not verb:
                continue  # DONE, or what is no command.
            verb = verb.upper()
            argument = self._with_literals(argument)
            secret = self._response(verb, argument)
            exchange = Exchange(
                wording.command(verb, argument), time_ns, frame, self._reply(tag, time_ns, frame)
            )
            self._session.exchanges.append(exchange)
            self._concluded(exchange)
            if exchange.reply is not None and exchange.reply.text[:2].upper() == "OK":
                self._succeeded(verb, argument, secret)
        # Where the capture lacks the client's side, what the server sent still tells.
        self._reply(b"", 0, 0)
        if self._found:
            first = self._found[0]
            self._concluded(Exchange("", first.began_ns, first.frame, None))

    def _with_literals(self, line: bytes) -> bytes:
        """Return the rest of a command; a short literal is a quoted string in it, of others the size."""
        parts = [line]
        while (size := wording.literal(parts[-1])) is not None:
            value = self._client.take(size)
            following = self._client.line()
            shown = b'"%s"' % value if size < 200 and b'"' not in value else b"(%d octets)" % size
            parts[-1] = parts[-1][: parts[-1].rindex(b"{")] + shown
            if following is None:
                break
            parts.append(following)
        return b"".join(parts)

    def _response(self, verb: bytes, argument: bytes) -> bytes:
        """Return the response of AUTHENTICATE, which comes with it or in a line of its own."""
        if verb != b"AUTHENTICATE":
            return b""
        initial = argument.split(None, 1)[1:]
        return initial[0] if initial else self._client.line() or b""

    def _reply(self, tag: bytes, time_ns: int, frame: int) -> Reply | None:
        """Read what the server says up to its reply with this tag; keep the messages among that."""
        pending = Exchange("", time_ns, frame, None)
        while (line := self._server.line()) is not None:
            found = wording.tagged(line)
            if found is not None and found[0] == tag:
                return Reply(printable(found[1]), *self._server.mark())
            self._untagged(line, pending)
        return None

    def _untagged(self, line: bytes, exchange: Exchange) -> None:
        """Read one response with its literals, the first line of which is read."""
        number = wording.fetch(line)
        outside = [line]
        messages: list[Fetched] = []
        while (size := wording.literal(outside[-1])) is not None:
            began_ns, frame = self._server.mark()
            item = wording.message(outside[-1]) if number is not None else None
            content = self._server.take(size)
            if item is not None and number is not None:
                ended_ns, last_frame = self._server.mark() if content else (began_ns, frame)
                messages.append(
                    Fetched(
                        exchange=exchange,
                        number=number,
                        uid=None,
                        item=item[0],
                        content=content,
                        whole=len(content) == size and "<" not in item[0],
                        began_ns=began_ns,
                        frame=frame,
                        ended_ns=ended_ns,
                        last_frame=last_frame,
                    )
                )
            following = self._server.line()
            if following is None:
                break
            outside.append(following)
        known = wording.uid(b" ".join(outside)) if messages else None
        for one in messages:
            one.uid = known
        self._found += messages

    def _concluded(self, exchange: Exchange) -> None:
        """Note what was sent for a command; a piece that goes on where another ended belongs to that."""
        fetched = self._session.fetched
        for one in self._found:
            one.exchange = exchange
            before = fetched[-1] if fetched else None
            if before and (before.uid, before.number) == (one.uid, one.number) and _follows(one, before):
                before.content += one.content
                before.ended_ns, before.last_frame = one.ended_ns, one.last_frame
            else:
                fetched.append(one)
        self._found = []

    def _succeeded(self, verb: bytes, argument: bytes, secret: bytes) -> None:
        if verb == b"LOGIN":
            self._session.user = wording.login(argument)
        elif verb == b"AUTHENTICATE":
            mechanism = printable(argument.split(None, 1)[0].upper()) if argument else ""
            self._session.user = user(mechanism, [secret])
        elif verb == b"STARTTLS":
            self._start_tls()

    def _start_tls(self) -> None:
        start = self._client.piece_starting_with(_HANDSHAKE)
        sent = [] if start is None else self._client.pieces_from(start)
        opened = open_streams(
            self._session, sent, self._server.pieces_from(self._server.position), self._secrets
        )
        self._client, self._server = opened or (Stream([]), Stream([]))


def _follows(one: Fetched, before: Fetched) -> bool:
    """Whether a piece of a message begins where another ended."""
    start = one.item.partition("<")[2].rstrip(">")
    return "<" in before.item and start.isdigit() and 0 < int(start) == len(before.content)
