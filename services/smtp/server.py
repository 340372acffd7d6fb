"""The receiving side of SMTP at the socket, on port 25 (MTA) or 587 (MSA).

Theory of operation. What is said is decided in `session`; this module moves octets, takes up TLS, keeps time
and puts messages into the queue. While one is being written to disk, or the client does not take its
replies, nothing more is carried out, and beyond a little nothing more is read.

A session that says nothing for `command_timeout_s` ends with 421 (RFC 5321 §4.5.3.2.7); in a message each
KB counts as saying something, so that one octet a minute does not. One session too many, in all or from one
address, is told to come again.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from services.filters.signing import UNSIGNED, Signer, body_hash
from services.notices import Notices
from services.smtp.conversation import Terms
from services.smtp.errors import SpoolUnavailable
from services.smtp.incoming import Message
from services.smtp.message import QueuedMessage
from services.smtp.queue import Queue
from services.smtp.receiving import Receiver
from services.smtp.replies import Reply
from services.smtp.session import Session, Turn
from services.smtp.trace import field, missing_fields, received
from services.smtp.wire import Wire

log = logging.getLogger(__name__)

_READ_AHEAD = 65536
_PROGRESS = 1024
_INTERNAL_ERROR = Reply(451, "4.3.0", "internal error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """What the sessions of one listener share."""

    terms: Terms
    tls: ssl.SSLContext | None
    session_limit: int
    client_session_limit: int
    command_timeout_s: float
    queue: Queue
    notices: Notices
    signer: Signer = UNSIGNED


class Sessions:
    """The sessions of one listener, each from its beginning to its end.

    One timer serves them all: most end long before their time is up.
    """

    def __init__(self) -> None:
        self._all: set[ServerSession] = set()
        self._clients: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[ServerSession]:
        return iter(self._all)

    def of(self, client: str) -> int:
        """Return how many come from one address."""
        return self._clients.get(client, 0)

    def add(self, session: ServerSession) -> None:
        """One more has begun."""
        self._all.add(session)
        self._clients[session.client] = self.of(session.client) + 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(session.deadline, self._look_at_clock)

    def discard(self, session: ServerSession) -> None:
        """One has ended."""
        if session in self._all:
            self._all.discard(session)
            self._clients[session.client] -= 1
            if not self._clients[session.client]:
                del self._clients[session.client]

    def _look_at_clock(self) -> None:
        """End the sessions whose time is up, and look again when the next one's may be."""
        for session in list(self._all):
            try:
                session.look_at_clock()
            except Exception:
                # A mistake of ours ends this session and no other.
                log.exception("a session with %s", session.client)
                session.abort()
        self._timer = None
        if self._all:
            earliest = min(session.deadline for session in self._all)
            self._timer = asyncio.get_running_loop().call_at(earliest, self._look_at_clock)


class ServerSession(Receiver):
    """One client's session; it is one of `sessions` from its beginning to its end.

    `deadline` is when it must have said something, by the loop's clock.
    """

    def __init__(self, reception: Reception, sessions: Sessions, wire: Wire) -> None:
        self._reception = reception
        self._sessions = sessions
        self._loop = asyncio.get_running_loop()
        self.client = wire.peer
        self._gone: asyncio.Future[None] | None = None
        self._ended = False
        self._transport: Wire | asyncio.Transport = wire
        self._session: Session
        # The session waits: for its message to be written, or for a task.
        self._busy = False
        self._task: asyncio.Task[None] | None = None
        self._handshake = False
        self._secured = False
        self._writable = True
        self._shutting_down = False
        self._at_end = False
        self._unheeded = 0  # octets of a message since the clock was set
        self.deadline = 0.0
        self._begin(wire)

    # Life of a session

    def _begin(self, wire: Wire) -> None:
        wire.begin(self)
        terms = self._reception.terms
        if len(self._sessions) >= self._reception.session_limit:
            self._turn_away(f"{terms.hostname} has too many sessions, try again later")
            return
        if self._sessions.of(self.client) >= self._reception.client_session_limit:
            self._turn_away(f"too many sessions from {self.client}, try again later")
            return
        client = terms.policy.client(self.client, here=wire.local)
        self._session = Session(terms, client, reject=self._tell_rejected)
        self._set_clock()
        self._sessions.add(self)
        self._advance()

    def _turn_away(self, reason: str) -> None:
        """Tell the client to come again, without a session (RFC 5321 §4.2.2: 421)."""
        reply = Reply(421, "4.3.2", reason)
        self._tell_rejected("connect", reply)
        self._transport.write(f"{reply}\r\n".encode())
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS has been taken up."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  (what asyncio makes of a socket)
        self._transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        self._end()

    def shut_down(self) -> None:
        """Tell the client that the server is going away, and close (RFC 5321 §3.8).

        One whose message is being written hears first what became of it.
        """
        self._shutting_down = True
        if self._handshake:
            self.abort()  # In the middle of a handshake nothing can be said.
        elif not self._busy and not self._transport.is_closing():
            self._session.end(Reply(421, "4.3.2", f"{self._reception.terms.hostname} is shutting down"))
            self._transport.write(self._session.replies())
            self._transport.close()

    def abort(self) -> None:
        """Close at once, whether or not the client takes what was written to it."""
        self._transport.abort()
        self._end()

    async def gone(self) -> None:
        """Return when it has ended."""
        if not self._ended:
            self._gone = self._gone or self._loop.create_future()
            await self._gone

    def _end(self) -> None:
        self._ended = True
        self._sessions.discard(self)
        # What the queue has begun to write it writes; only nobody waits for it any more.
        if self._task:
            self._task.cancel()
        if self._gone and not self._gone.done():
            self._gone.set_result(None)

    # Octets

    def received(self, data: bytes) -> None:
        session = self._session
        session.receive(data)
        if not self._busy:
            self._advance()
        elif session.waiting > _READ_AHEAD:
            self._transport.pause_reading()
        if session.in_content:
            self._unheeded += len(data)
            if self._unheeded >= _PROGRESS:
                self._set_clock()

    def eof_received(self) -> bool:
        # Who has said all that they had to say may still want to hear the answer.
        self._at_end = True
        return self._busy and not self._secured

    def pause_writing(self) -> None:
        self._writable = False
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._writable = True
        if not self._busy:
            self._transport.resume_reading()
            self._advance()

    def _advance(self) -> None:
        """Carry out what has come, and do what the session asks for."""
        if not self._writable or self._transport.is_closing():
            return
        turn = self._session.advance()
        replies = self._session.replies()
        if turn is Turn.TAKE_UP_TLS:
            # What comes from here on is for TLS, which is not there before the loop's next turn.
            self._transport.pause_reading()
        if replies:
            self._set_clock()  # Whoever is answered has said something.
            self._transport.write(replies)
        if turn is None and not self._at_end:
            return
        if isinstance(turn, Message):
            self._accept(turn)
        elif turn is Turn.TAKE_UP_TLS:
            self._busy = self._handshake = True
            self._task = self._loop.create_task(self._take_up_tls())
        elif turn is Turn.HANG_UP or self._at_end:
            self._transport.close()

    def _go_on(self) -> None:
        """The session waits for nobody any more."""
        self._busy, self._task = False, None
        if self._shutting_down:
            self._transport.write(self._session.replies())
            self.shut_down()
            return
        if self._writable and not self._transport.is_closing():
            self._transport.resume_reading()
        self._advance()

    # Time

    def _set_clock(self) -> None:
        self.deadline = self._loop.time() + self._reception.command_timeout_s
        self._unheeded = 0

    def look_at_clock(self) -> None:
        """End the session if its time is up."""
        if self._busy:
            self._set_clock()
        if self._loop.time() < self.deadline:
            return
        if self._transport.is_closing():
            self.abort()  # Who did not even take the last word is left alone.
            return
        self._session.end(Reply(421, "4.4.2", f"{self._reception.terms.hostname} has waited too long"))
        self._transport.write(self._session.replies())
        self._transport.close()
        self._set_clock()

    # TLS

    async def _take_up_tls(self) -> None:
        context = self._reception.tls
        assert context is not None  # noqa: S101  (or STARTTLS would not have been taken)
        assert isinstance(self._transport, Wire)  # noqa: S101  (or it would not have been taken either)
        sock = self._transport.detach()
        try:
            if sock is not None:
                await self._loop.connect_accepted_socket(lambda: self, sock, ssl=context)
                self._secured = True
        except (OSError, ssl.SSLError) as error:
            log.info("TLS handshake failed: %s", error)
        except Exception:
            log.exception("a handshake with %s", self.client)
        self._handshake = False
        if not self._secured:
            self._busy = False
            self._end()
            return
        self._session.tls_taken_up()
        self._set_clock()
        self._go_on()

    # Messages

    def _accept(self, message: Message) -> None:
        """Put a message into the queue; the session waits for what comes of it."""
        self._busy = True
        if self._reception.terms.submission and len(message.content) > _READ_AHEAD:
            self._task = self._loop.create_task(self._hash_first(message))
        else:
            self._submit(message, None)

    async def _hash_first(self, message: Message) -> None:
        """Have the hash of a long body made while others are served."""
        try:
            body = await asyncio.to_thread(body_hash, message.content)
        except Exception:
            log.exception("a message could not be hashed")
            self._answer(_INTERNAL_ERROR)
        else:
            self._submit(message, body)

    def _submit(self, message: Message, body: bytes | None) -> None:
        try:
            self._reception.queue.submit(
                message.envelope,
                self._composed(message, body),
                self._submitted,
                tell=lambda queued: self._tell_accepted(queued, message),
            )
        except SpoolUnavailable as error:
            # Not at once: a client that does not wait for replies may have many more messages here.
            self._loop.call_soon(self._answer, _no_storage(error))
        except Exception:
            # A mistake of ours: the client keeps its message, and the other sessions go on.
            log.exception("a message could not be taken")
            self._loop.call_soon(self._answer, _INTERNAL_ERROR)

    def _submitted(self, queued: QueuedMessage, error: SpoolUnavailable | None) -> None:
        self._answer(_no_storage(error) if error else Reply(250, "2.0.0", f"Ok: queued as {queued.id}"))

    def _answer(self, reply: Reply) -> None:
        if self._ended:
            return
        try:
            self._session.answer(reply)
            self._go_on()
        except Exception:
            log.exception("a session with %s", self.client)
            self.abort()

    def _composed(self, message: Message, body: bytes | None) -> Callable[[str, float], bytes]:
        """Return what makes the message as it is queued, given its id and the time."""
        arrival, content = message.arrival, message.content

        def compose(queue_id: str, now: float) -> bytes:
            added = received(arrival, queue_id=queue_id, now=now)
            if not self._reception.terms.submission:
                return added + content
            missing = missing_fields(content, hostname=arrival.by, queue_id=queue_id, now=now)
            signature = self._reception.signer.field(missing + content, now=now, body=body)
            return added + signature + missing + content

        return compose

    def _tell_accepted(self, queued: QueuedMessage, message: Message) -> None:
        more = {"rewritten": message.rewritten} if message.rewritten else {}
        self._reception.notices.event(
            "accepted",
            id=queued.id,
            client=message.arrival.client,
            protocol=message.arrival.protocol,
            sender=queued.sender,
            recipients=list(message.arrival.recipients),
            size=len(message.content),
            message_id=field(message.content, "Message-ID") or f"<{queued.id}@{message.arrival.by}>",
            **more,
        )

    def _tell_rejected(self, stage: str, reply: Reply) -> None:
        self._reception.notices.event("rejected", client=self.client, stage=stage, reply=str(reply))


def _no_storage(error: SpoolUnavailable) -> Reply:
    log.error("message refused: %s", error)
    return Reply(452, "4.3.1", "insufficient system storage")
