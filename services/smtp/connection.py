"""A connection to a mail server: commands go out, replies come in, in the order of the commands.

Theory of operation. `ReplyReader` makes replies of bytes, however they were cut. The connection writes a
group of commands and waits for as many replies (`exchange`). It ends in one of three ways, all of which are
Broken: the system says so, the time is up, or the server says what is no SMTP. The time-out is for a server
that does nothing: while a large message flows, however slowly, it begins anew (RFC 5321 §4.5.3.2.5).

What the server says unasked (`421`, when it is tired of waiting) makes the connection unfit for more.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import Sequence
from functools import lru_cache
from socket import socket

from services.smtp.errors import SmtpError
from services.smtp.receiving import Receiver
from services.smtp.replies import Reply, parse_reply

_MAX_REPLY = 65536
_USUAL = re.compile(r"([245][0-9]{2}) ([ -~]{0,200})")
_CLOSING = 421
_CLOSING_S = 1.0


class Broken(SmtpError):
    """The session is over; `replies` came before that."""

    def __init__(self, message: str, replies: Sequence[Reply] = ()) -> None:
        super().__init__(message)
        self.replies = tuple(replies)


class ReplyReader:
    """Makes replies of what a server sends; `garbage` if it has sent what is no reply (then the last one)."""

    def __init__(self) -> None:
        self.garbage = False
        self.lines: tuple[str, ...] = ()
        self._rest = b""
        self._texts: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Reply]:
        """Return the replies that are complete with `data`; `lines` are then those of the last one."""
        *lines, self._rest = [b""] if self.garbage else (self._rest + data).split(b"\n")
        found: list[Reply] = []
        for line in lines:
            if self.garbage:
                return found
            text = line.rstrip(b"\r").decode("utf-8", "surrogateescape")
            if not self._texts and (reply := _usual(text)):
                self.lines = (text[4:],)
                found.append(reply)
            else:
                found += self._line(text)
        if len(self._rest) > _MAX_REPLY and not self.garbage:
            found.append(self._no_reply(self._rest.decode("utf-8", "replace")))
        return found

    @property
    def empty(self) -> bool:
        """No reply has begun that is not complete."""
        return not self._rest and not self._texts

    def _line(self, line: str) -> list[Reply]:
        code, mark = line[:3], line[3:4]
        self._size += len(line)
        if not (code.isascii() and code.isdigit() and len(code) == 3) or mark not in ("", " ", "-"):
            return [self._no_reply(line)]
        self._texts.append(line[4:])
        if mark == "-":
            return [self._no_reply(line)] if self._size > _MAX_REPLY else []
        self.lines, self._texts, self._size = tuple(self._texts), [], 0
        if code == "354":
            return [Reply(354, "", line[4:])]
        return [parse_reply(int(code), "\n".join(self.lines))]

    def _no_reply(self, line: str) -> Reply:
        self.garbage = True
        return parse_reply(0, line)


@lru_cache(maxsize=256)
def _usual(line: str) -> Reply | None:
    """Return the reply that one line is, None for whatever needs a closer look: servers repeat themselves."""
    found = _USUAL.fullmatch(line)
    return parse_reply(int(found[1]), found[2]) if found else None


class Connection(Receiver):
    """A connection; made by `connect`. Its greeting is the reply to nothing: `exchange(b"")`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._below_tls: asyncio.Transport | None = None
        self._reader = ReplyReader()
        self._early: list[Reply] = []
        self._replies: list[Reply] = []
        self._wanted = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self._deadline = 0.0
        self._timeout_s = 0.0
        self._unsent_before = 0
        self._watch: asyncio.TimerHandle | None = None
        self._lost = self._loop.create_future()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  (what create_connection makes)
        self._transport = self._below_tls = transport

    def received(self, data: bytes) -> None:
        for reply in self._reader.feed(data):
            if self._waiter is None:
                self._early.append(reply)
            else:
                self._replies.append(reply)
                self._complete(reply)
        if self._reader.garbage:
            self._abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._break(error or ConnectionResetError("the server has closed the connection"))
        if self._watch:
            self._watch.cancel()
        if not self._lost.done():
            self._lost.set_result(None)

    # What a session does

    @property
    def usable(self) -> bool:
        """It is there, and the server has said nothing that it was not asked."""
        return self._error is None and not self._early and self._transport is not None

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The lines of the last reply, without code."""
        return self._reader.lines

    @property
    def addresses(self) -> tuple[str, str]:
        """The addresses of this end and of the other, without ports."""
        ends = (
            [self._transport.get_extra_info(name) for name in ("sockname", "peername")]
            if self._transport
            else []
        )
        local, remote = (str(end[0]) if end else "" for end in ends or ("", ""))
        return local, remote

    async def exchange(self, data: bytes, *, replies: int = 1, timeout_s: float) -> list[Reply]:
        """Write `data` and return the replies; fewer than `replies` if the last one is a 421.

        Raises: Broken, with the replies that came.
        """
        if self._error or self._transport is None:
            raise Broken(reason(self._error) if self._error else "not connected") from self._error
        if self._early and data:
            raise Broken(str(self._early[-1]))
        self._replies, self._early = self._early, []
        self._wanted = replies
        if data:
            self._transport.write(data)
        if not self._is_complete():
            await self._wait(timeout_s)
        found, self._replies = self._replies, []
        return found

    async def _wait(self, timeout_s: float) -> None:
        self._waiter = self._loop.create_future()
        self._timeout_s, self._unsent_before = timeout_s, self._unsent()
        self._deadline = self._loop.time() + timeout_s
        if self._watch is None or self._watch.when() > self._deadline:
            self._look_again_at(self._deadline)
        try:
            await self._waiter
        except OSError as error:
            raise Broken(reason(error), self._replies) from error
        finally:
            self._waiter = None

    async def start_tls(self, context: ssl.SSLContext, server: str, *, timeout_s: float) -> None:
        """Take up TLS; the server has said that it is ready. Raises: OSError, Broken."""
        if self._transport is None or self._early or not self._reader.empty:
            # RFC 3207 §4.2, and what CVE-2011-0411 is about: nothing said in the clear counts afterwards.
            raise Broken("the server went on in the clear after STARTTLS")
        transport = await self._loop.start_tls(
            self._transport, self, context, server_hostname=server, ssl_handshake_timeout=timeout_s
        )
        assert transport is not None  # noqa: S101  (None only for a transport that was closed)
        self._transport = transport

    async def close(self) -> None:
        """Close it, and return when it is closed."""
        if self._transport is None or self._lost.done():
            return
        self._break(ConnectionAbortedError("closed"))
        # While a message is still in the buffer, or below TLS, the server may keep it from closing.
        patience_s = 0 if self._unsent() else _CLOSING_S
        self._transport.close()
        await asyncio.wait({self._lost}, timeout=patience_s)
        self._abort()

    # Waiting

    def _is_complete(self) -> bool:
        return bool(self._replies) and (
            len(self._replies) >= self._wanted or self._replies[-1].code == _CLOSING
        )

    def _complete(self, reply: Reply) -> None:
        waiter = self._waiter
        if (len(self._replies) >= self._wanted or reply.code == _CLOSING) and waiter and not waiter.done():
            waiter.set_result(None)

    def _break(self, error: BaseException) -> None:
        self._error = self._error or error
        if self._waiter and not self._waiter.done():
            self._waiter.set_exception(self._error)

    def _look_again_at(self, when: float) -> None:
        # One timer that finds the deadline moved is cheaper than one for every command.
        if self._watch:
            self._watch.cancel()
        self._watch = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        self._watch = None
        if self._waiter is None or self._error:
            return
        if self._loop.time() < self._deadline:
            self._look_again_at(self._deadline)
            return
        unsent = self._unsent()
        if unsent < self._unsent_before:
            self._unsent_before = unsent
            self._deadline = self._loop.time() + self._timeout_s
            self._look_again_at(self._deadline)
            return
        self._break(TimeoutError("timed out"))
        self._abort()

    def _abort(self) -> None:
        # Python 3.11 cannot abort a TLS transport that is closing already.
        if self._below_tls:
            self._below_tls.abort()

    def _unsent(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport else 0


async def connect(address: str, port: int, *, timeout_s: float) -> Connection:
    """Return a connection to `address`. Raises: OSError, which a time-out is too."""
    # Not wait_for: in Python 3.11 that forgets a cancellation which comes together with the outcome.
    async with asyncio.timeout(timeout_s):
        _, connection = await asyncio.get_running_loop().create_connection(Connection, address, port)
    return connection


async def connect_over(sock: socket) -> Connection:
    """Return a connection over a socket that is connected. Raises: OSError."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, sock=sock)
    return connection


def reason(error: BaseException) -> str:
    """Return what went wrong on one line: the system's word where there is one."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"certificate refused: {cause.verify_message}"
    if isinstance(cause, OSError) and cause.strerror and not isinstance(cause, ssl.SSLError):
        # asyncio puts a sentence of its own where the system's word should be.
        return os.strerror(cause.errno) if cause.errno and cause.errno > 0 else cause.strerror
    if isinstance(cause, TimeoutError) or isinstance(error, TimeoutError):
        return "timed out"
    return " ".join(str(cause).split()) or type(cause).__name__
