"""Where one IMAP command ends and the next one begins (RFC 3501 §4.3, §7.5; RFC 7888).

Theory of operation. A command is a line, but a line that ends with `{n}` goes on with n octets of any kind
and then the rest of the line, which may announce more. The client waits for leave to send these octets,
unless it says `{n+}`. What a command holds is kept as it came: literals stand in their place, so
that the parser reads it from left to right, once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ANNOUNCED = re.compile(rb"\{(\d{1,10})(\+?)\}\r?\n\Z")
_APPEND = re.compile(rb"\A\S+ +APPEND ", re.IGNORECASE)
LINE_LIMIT = 64 * 1024
"""Longest command without its literals; RFC 7162 §4 asks for 8192 at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A complete command, its literals in their places."""

    octets: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The client waits for leave to send a literal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TooLarge:
    """More than is taken. The connection can go on only if `told`: the client has not sent it yet."""

    tag: bytes
    told: bool


Found = Whole | Waiting | TooLarge


class Framer:
    """Cuts what a client sends into commands. `literal_limit` (octets) may be changed between them.

    The literal of APPEND may have `message_limit`, any other one `literal_limit`.
    """

    def __init__(self, *, literal_limit: int, message_limit: int) -> None:
        self.literal_limit = literal_limit
        self.message_limit = message_limit
        self._received = bytearray()
        self._command = bytearray()
        # Octets of text so far; of the literal that is missing; where the line after the last literal begins.
        self._text = self._missing = self._line = 0

    def feed(self, octets: bytes) -> None:
        """Take what was received."""
        self._received += octets

    def forget(self) -> None:
        """Drop what was received and not yet taken up, as after STARTTLS."""
        self._received.clear()
        self._start()

    def next(self) -> Found | None:
        """Return what is there next; None if more must come."""
        while True:
            if self._missing:
                taken = self._received[: self._missing]
                del self._received[: len(taken)]
                self._command += taken
                self._missing -= len(taken)
                if self._missing:
                    return None
            end = self._received.find(b"\n") + 1
            if self._text + (end or len(self._received)) > LINE_LIMIT:
                return self._refused(told=False)
            if not end:
                return None
            self._text += end
            self._command += self._received[:end]
            del self._received[:end]
            found = self._line_ended()
            if found is not None:
                return found

    def _line_ended(self) -> Found | None:
        """What the end of a line means; None: a literal follows at once."""
        # In the line alone: a literal may end with what would announce the next one.
        announced = _ANNOUNCED.search(self._command, max(self._line, len(self._command) - 20))
        if announced is None:
            command = bytes(self._command).removesuffix(b"\n")
            if len(command) > self._line:
                command = command.removesuffix(b"\r")
            self._start()
            return Whole(octets=command)
        size, plus = int(announced[1]), bool(announced[2])
        limit = self.message_limit if _APPEND.match(self._command[:1024]) else self.literal_limit
        if size > limit:
            return self._refused(told=not plus)
        self._missing = size
        self._line = len(self._command) + size
        return None if plus else Waiting()

    def _refused(self, *, told: bool) -> TooLarge:
        tag = bytes(self._command[:1024] or self._received[:1024]).split(b" ", 1)[0]
        self._start()
        if not told:
            # Where the next command begins, nobody can say.
            self._received.clear()
        return TooLarge(tag=tag if tag.isalnum() else b"*", told=told)

    def _start(self) -> None:
        self._command = bytearray()
        self._text = self._missing = self._line = 0
