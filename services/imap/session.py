"""One IMAP session, without sockets (RFC 3501 §3, §6).

Theory of operation. `receive` takes what the client sent; `output` then holds what it is answered. Each
command is answered by one tagged reply: OK, NO (it could not be done) or BAD (it makes no sense). After
STARTTLS has been answered, `wants_tls` is set, and whatever else came with it in the clear is dropped: nobody
can put commands into the session that TLS protects. While the client idles, the edge calls `poll` now and
then.

What is asked of mailboxes and messages is for `mailboxes`, from the login on. Passwords are taken under TLS
alone. A client who guesses, or sends what is no IMAP, is sent away.
"""

from __future__ import annotations

import base64
import binascii
import logging
import re
from collections.abc import Callable

from services.imap.framing import Framer, TooLarge, Waiting
from services.imap.mailboxes import COMMANDS, WITH_UID, Mailboxes, Refused
from services.imap.searching import BadCharset
from services.imap.selected import Gone
from services.imap.settings import Settings
from services.imap.syntax import BadSyntax, Reader

log = logging.getLogger("services.imap")

_TAG = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\+]{1,200}')
_SMALL = 8 * 1024
_LITERAL_LIMIT = 64 * 1024
_MOST_MISTAKES = 20
_MOST_GUESSES = 3
_ALWAYS = "IMAP4rev1 LITERAL+ SASL-IR ID IDLE UIDPLUS UNSELECT"
# Commands that name messages by number: they are told of no message that has gone (RFC 3501 §7.4.1).
_BY_NUMBER = ("FETCH", "STORE", "SEARCH")


class Session:
    """One client's session; `secure` if it is under TLS, `client` is its address."""

    def __init__(self, settings: Settings, *, client: str, secure: bool) -> None:
        self._settings = settings
        self._client = client
        self._secure = secure
        self._framer = Framer(literal_limit=_SMALL, message_limit=_SMALL)
        self._mailboxes: Mailboxes | None = None
        self._next: Callable[[bytes], None] | None = None
        self._mistakes = self._guesses = 0
        self.output: list[bytes] = []
        self.wants_tls = False
        self.closing = False
        self.idling = False
        self._line(f"* OK [CAPABILITY {self._capability()}] {settings.hostname} ready")

    @property
    def authenticated(self) -> bool:
        return self._mailboxes is not None

    def receive(self, octets: bytes) -> None:
        """Answer what can be answered of what has come."""
        if self.wants_tls or self.closing:
            return
        self._framer.feed(octets)
        while not self.closing and not self.wants_tls:
            found = self._framer.next()
            if found is None:
                return
            if isinstance(found, Waiting):
                self._line("+ go on")
            elif isinstance(found, TooLarge):
                self._too_large(found)
            elif self._next is not None:
                self._next(found.octets)
            else:
                self._command(found.octets)

    def secured(self) -> None:
        """Go on under TLS: the client starts anew."""
        self._framer.forget()
        self._secure, self.wants_tls = True, False

    def poll(self) -> None:
        """Tell a client that idles what has changed."""
        if self.idling and self._mailboxes is not None and (view := self._mailboxes.view):
            try:
                view.update(expunge=True)
            except OSError as error:
                self.bye(f"the mailbox cannot be read: {error.strerror}")

    def bye(self, reason: str) -> None:
        """Send the client away."""
        if not self.closing:
            self._line(f"* BYE {reason}")
            self.closing = True

    # Commands

    def _command(self, octets: bytes) -> None:
        match = _TAG.match(octets)
        if match is None or octets[match.end() : match.end() + 1] != b" ":
            self._line("* BAD a command is a tag, a space and a word")
            self._mistake()
            return
        tag, reader = match[0].decode(), Reader(octets[match.end() + 1 :])
        name = ""
        try:
            name = reader.atom()
            answer = self._run(tag, name, reader)
        except BadSyntax as error:
            self._line(f"{tag} BAD {error}")
            self._mistake()
            return
        except Refused as refused:
            answer = f"NO {refused}"
        except BadCharset:
            answer = "NO [BADCHARSET (US-ASCII UTF-8)] that charset is unknown here"
        except Gone:
            answer = "NO [EXPUNGEISSUED] some of these messages are gone"
        except OSError as error:
            log.exception("%s", name)
            answer = f"NO [UNAVAILABLE] the mailbox failed: {error.strerror}"
        if answer:
            self._finish(tag, name, answer)

    def _run(self, tag: str, name: str, reader: Reader) -> str:
        """Run a command; return the reply, or nothing if that comes later."""
        by_uid = name == "UID"
        if by_uid:
            reader.space()
            name = reader.atom()
            if name not in WITH_UID:
                raise BadSyntax(f"there is no UID {name}")
        when, run = _COMMANDS.get(name, ("in", None))
        if run is None and name not in COMMANDS:
            raise BadSyntax(f"{name} is no command that is known here")
        if when == "out" and self._mailboxes is not None:
            raise BadSyntax(f"{name} comes before the login")
        if when == "in" and self._mailboxes is None:
            raise BadSyntax(f"{name} needs a login first")
        if run is not None:
            return run(self, tag, reader)
        assert self._mailboxes is not None  # noqa: S101 - it has logged in
        return self._mailboxes.run(name, reader, by_uid=by_uid)

    def _finish(self, tag: str, name: str, answer: str) -> None:
        if self._mailboxes is not None and (view := self._mailboxes.view) and not self.closing:
            try:
                view.update(expunge=name not in _BY_NUMBER)
            except OSError as error:
                log.error("%s: %s", self._mailboxes.user, error)
        self._line(f"{tag} {answer}")

    def _capability_command(self, _tag: str, reader: Reader) -> str:
        reader.end()
        self._line(f"* CAPABILITY {self._capability()}")
        return "OK done"

    def _noop(self, _tag: str, reader: Reader) -> str:
        reader.end()
        return "OK done"

    def _id(self, _tag: str, reader: Reader) -> str:
        reader.space()
        if not reader.skip(b"NIL"):
            reader.expect(b"(")
            while not reader.skip(b")"):
                reader.skip(b" ")
                if not reader.skip(b"NIL"):
                    reader.string()
        reader.end()
        self._line('* ID ("name" "Mailbed")')
        return "OK done"

    def _logout(self, _tag: str, reader: Reader) -> str:
        reader.end()
        self.bye("good-bye")
        return "OK done"

    def _starttls(self, tag: str, reader: Reader) -> str:
        reader.end()
        if self._secure or not self._settings.tls:
            raise BadSyntax("TLS is there already" if self._secure else "there is no TLS here")
        self._line(f"{tag} OK begin TLS now")
        self._framer.forget()
        self.wants_tls = True
        return ""

    def _login(self, _tag: str, reader: Reader) -> str:
        reader.space()
        name = reader.astring()
        reader.space()
        password = reader.astring()
        reader.end()
        return self._authenticated(name, password)

    def _authenticate(self, tag: str, reader: Reader) -> str:
        reader.space()
        mechanism = reader.atom()
        if mechanism != "PLAIN":
            raise Refused("[CANNOT] PLAIN is the only mechanism here")
        if reader.skip(b" "):
            initial = reader.astring()
            reader.end()
            return self._plain(initial)
        reader.end()
        self._must_be_secure()

        def response(octets: bytes) -> None:
            self._next = None
            try:
                self._line(f"{tag} {self._plain(octets)}")
            except Refused as refused:
                self._line(f"{tag} NO {refused}")
            except BadSyntax as error:
                self._line(f"{tag} BAD {error}")
                self._mistake()

        self._next = response
        self._line("+ ")
        return ""

    def _plain(self, octets: bytes) -> str:
        if octets == b"*":
            raise BadSyntax("cancelled")
        try:
            identity, name, password = base64.b64decode(octets, validate=True).split(b"\0")
        except (binascii.Error, ValueError):
            raise BadSyntax("that is no base64 of a PLAIN response") from None
        if identity and identity.lower() != name.lower():
            raise Refused("[AUTHORIZATIONFAILED] nobody may read for another")
        return self._authenticated(name, password)

    def _authenticated(self, name: bytes, password: bytes) -> str:
        self._must_be_secure()
        try:
            user = self._settings.accounts.authenticate(name.decode(), password.decode())
        except UnicodeDecodeError:
            user = None
        if user is None:
            self._guesses += 1
            self._settings.told("login-refused", client=self._client, user=name.decode("utf-8", "replace"))
            if self._guesses >= _MOST_GUESSES:
                self.bye("too many wrong passwords")
            raise Refused("[AUTHENTICATIONFAILED] user or password is wrong")
        self._mailboxes = Mailboxes(
            self._settings, user, client=self._client, say=self._line, untagged=self._untagged
        )
        self._framer.literal_limit = _LITERAL_LIMIT
        self._framer.message_limit = self._settings.message_limit
        return f"OK [CAPABILITY {self._capability()}] logged in"

    def _must_be_secure(self) -> None:
        if not self._secure:
            raise Refused("[PRIVACYREQUIRED] STARTTLS first")

    def _idle(self, tag: str, reader: Reader) -> str:
        reader.end()

        def done(octets: bytes) -> None:
            self._next, self.idling = None, False
            if octets.upper() == b"DONE":
                self._finish(tag, "IDLE", "OK done")
            else:
                self._line(f"{tag} BAD DONE ends IDLE")
                self._mistake()

        self._next, self.idling = done, True
        self._line("+ idling")
        self.poll()
        return ""

    # What they share

    def _capability(self) -> str:
        if self._mailboxes is not None:
            return _ALWAYS
        if self._secure:
            return f"{_ALWAYS} AUTH=PLAIN"
        return f"{_ALWAYS} LOGINDISABLED" + (" STARTTLS" if self._settings.tls else "")

    def _too_large(self, found: TooLarge) -> None:
        if found.told:
            self._line(f"{found.tag.decode()} NO [TOOBIG] that is more than is taken here")
            self._next = None
            self._mistake()
        else:
            self.bye("that is more than is taken here")

    def _mistake(self) -> None:
        self._mistakes += 1
        if self._mistakes >= _MOST_MISTAKES:
            self.bye("too many mistakes")

    def _untagged(self, octets: bytes) -> None:
        self.output += (b"* ", octets, b"\r\n")

    def _line(self, text: str) -> None:
        self.output.append(text.encode("ascii", "replace") + b"\r\n")


_Run = Callable[[Session, str, Reader], str]
# Those that need no login, or more than one reply. By name: when (any, out, in), and who runs it.
_COMMANDS: dict[str, tuple[str, _Run]] = {
    "CAPABILITY": ("any", Session._capability_command),
    "NOOP": ("any", Session._noop),
    "ID": ("any", Session._id),
    "LOGOUT": ("any", Session._logout),
    "STARTTLS": ("out", Session._starttls),
    "LOGIN": ("out", Session._login),
    "AUTHENTICATE": ("out", Session._authenticate),
    "IDLE": ("in", Session._idle),
}
