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
from collections import Counter
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

log = logging.getLogger(__name__)

_READ_AHEAD = 65536
_PROGRESS = 1024


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
    """The sessions of one listener, each from its beginning to its end."""

    def __init__(self) -> None:
        self._all: set[ServerSession] = set()
        self._clients: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[ServerSession]:
        return iter(self._all)

    def of(self, client: str) -> int:
        """Return how many come from one address."""
        return self._clients[client]

    def add(self, session: ServerSession) -> None:
        """One more has begun."""
        self._all.add(session)
        self._clients[session.client] += 1

    def discard(self, session: ServerSession) -> None:
        """One has ended."""
        if session in self._all:
            self._all.discard(session)
            self._clients[session.client] -= 1
            if not self._clients[session.client]:
                del self._clients[session.client]


class ServerSession(Receiver):
    """One client's session; it is one of `sessions` from its beginning to its end."""

    def __init__(self, reception: Reception, sessions: Sessions) -> None:
        self._reception = reception
        self._sessions = sessions
        self._loop = asyncio.get_running_loop()
        self.client = ""
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.Transport
        self._session: Session
        self._work: asyncio.Task[None] | None = None
        self._handshake = False
        self._writable = True
        self._shutting_down = False
        self._at_end = False
        self._unheeded = 0  # octets of a message since the clock was set
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # Life of a session

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  (what create_server makes)
        self._transport = transport
        self.client = str(transport.get_extra_info("peername")[0])
        terms = self._reception.terms
        if len(self._sessions) >= self._reception.session_limit:
            self._turn_away(f"{terms.hostname} has too many sessions, try again later")
            return
        if self._sessions.of(self.client) >= self._reception.client_session_limit:
            self._turn_away(f"too many sessions from {self.client}, try again later")
            return
        self._sessions.add(self)
        here = str(transport.get_extra_info("sockname")[0])
        client = terms.policy.client(self.client, here=here)
        self._session = Session(terms, client, reject=self._tell_rejected)
        self._set_clock()
        self._timer = self._loop.call_at(self._deadline, self._look_at_clock)
        self._advance()

    def _turn_away(self, reason: str) -> None:
        """Tell the client to come again, without a session (RFC 5321 §4.2.2: 421)."""
        reply = Reply(421, "4.3.2", reason)
        self._tell_rejected("connect", reply)
        self._transport.set_protocol(asyncio.Protocol())
        self._transport.write(f"{reply}\r\n".encode())
        self._transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        self._end()

    def shut_down(self) -> None:
        """Tell the client that the server is going away, and close (RFC 5321 §3.8).

        One whose message is being written hears first what became of it.
        """
        self._shutting_down = True
        if self._handshake:
            self.abort()  # In the middle of a handshake nothing can be said.
        elif self._work is None and not self._transport.is_closing():
            self._session.end(Reply(421, "4.3.2", f"{self._reception.terms.hostname} is shutting down"))
            self._transport.write(self._session.replies())
            self._transport.close()

    def abort(self) -> None:
        """Close at once, whether or not the client takes what was written to it."""
        self._transport.abort()
        self._end()

    def _end(self) -> None:
        self._sessions.discard(self)
        if self._timer:
            self._timer.cancel()
        # What the queue has begun to write it writes; only nobody waits for it any more.
        if self._work:
            self._work.cancel()
        if not self.gone.done():
            self.gone.set_result(None)

    # Octets

    def received(self, data: bytes) -> None:
        before = self._session.waiting
        self._session.receive(data)
        if self._work is None:
            self._advance()
        elif self._session.waiting > _READ_AHEAD:
            self._transport.pause_reading()
        if self._session.in_content:
            self._unheeded += len(data)
            if self._unheeded >= _PROGRESS:
                self._set_clock()
        elif self._session.waiting < before + len(data):
            self._set_clock()

    def eof_received(self) -> bool:
        # Who has said all that they had to say may still want to hear the answer.
        self._at_end = True
        return self._work is not None and self._transport.get_extra_info("ssl_object") is None

    def pause_writing(self) -> None:
        self._writable = False
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._writable = True
        if self._work is None:
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
            self._transport.write(replies)
        if isinstance(turn, Message):
            self._work = self._loop.create_task(self._accept(turn))
        elif turn is Turn.TAKE_UP_TLS:
            self._handshake = True
            self._work = self._loop.create_task(self._take_up_tls())
        elif turn is Turn.HANG_UP or self._at_end:
            self._transport.close()

    def _go_on(self) -> None:
        """The session waits for nobody any more."""
        self._work = None
        self._set_clock()
        if self._shutting_down:
            self._transport.write(self._session.replies())
            self.shut_down()
            return
        if self._writable and not self._transport.is_closing():
            self._transport.resume_reading()
        self._advance()

    # Time

    def _set_clock(self) -> None:
        self._deadline = self._loop.time() + self._reception.command_timeout_s
        self._unheeded = 0

    def _look_at_clock(self) -> None:
        # One timer for all commands: setting a new one for each would cost more than the command.
        if self._work is not None:
            self._set_clock()
        if self._loop.time() >= self._deadline:
            self._session.end(Reply(421, "4.4.2", f"{self._reception.terms.hostname} has waited too long"))
            self._transport.write(self._session.replies())
            self._transport.close()
            # Who does not even take that is left alone.
            self._timer = self._loop.call_later(self._reception.command_timeout_s, self.abort)
        else:
            self._timer = self._loop.call_at(self._deadline, self._look_at_clock)

    # TLS

    async def _take_up_tls(self) -> None:
        context = self._reception.tls
        assert context is not None  # noqa: S101  (or STARTTLS would not have been taken)
        try:
            transport = await self._loop.start_tls(self._transport, self, context, server_side=True)
        except (OSError, ssl.SSLError) as error:
            log.info("TLS handshake failed: %s", error)
            transport = None
        self._handshake = False
        if transport is None:
            self._work = None
            self.abort()
            return
        self._transport = transport
        self._session.tls_taken_up()
        self._go_on()

    # Messages

    async def _accept(self, message: Message) -> None:
        try:
            queued = await self._reception.queue.commit(
                message.envelope,
                self._composed(message, await self._hashed(message.content)),
                tell=lambda queued: self._tell_accepted(queued, message),
            )
        except SpoolUnavailable as error:
            log.error("message refused: %s", error)
            reply = Reply(452, "4.3.1", "insufficient system storage")
        except Exception:
            # A mistake of ours: the client keeps its message, and the other sessions go on.
            log.exception("a message could not be taken")
            reply = Reply(451, "4.3.0", "internal error")
        else:
            reply = Reply(250, "2.0.0", f"Ok: queued as {queued.id}")
        self._session.answer(reply)
        self._go_on()

    async def _hashed(self, content: bytes) -> bytes | None:
        """The hash of a long body, made while others are served."""
        if len(content) <= _READ_AHEAD or not self._reception.terms.submission:
            return None
        return await asyncio.to_thread(body_hash, content)

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
