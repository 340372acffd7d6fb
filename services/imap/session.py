"""One IMAP session, without sockets (RFC 3501 §3, §6).

Theory of operation. `receive` takes what the client sent; `output` then holds what it is answered. Each
command is answered by one tagged reply: OK, NO (it could not be done) or BAD (it makes no sense). After
STARTTLS has been answered, `wants_tls` is set, and whatever else came with it in the clear is dropped: nobody
can put commands into the session that TLS protects. While the client idles, the edge calls `poll` now and
then.

Passwords are taken under TLS alone. A client who guesses, or sends what is no IMAP, is sent away.
"""

from __future__ import annotations

import base64
import binascii
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from services.imap import fetching
from services.imap.framing import Framer, TooLarge, Waiting
from services.imap.searching import BadCharset
from services.imap.selected import Gone, View, letters_of
from services.imap.syntax import BadSyntax, Reader
from services.mailbox.folder import Entry, Folder

log = logging.getLogger("services.imap")

_TAG = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\+]{1,200}')
_SMALL = 8 * 1024
_LITERAL_LIMIT = 64 * 1024
_MOST_MISTAKES = 20
_MOST_GUESSES = 3
_ALWAYS = "IMAP4rev1 LITERAL+ SASL-IR ID IDLE UIDPLUS UNSELECT"
# Commands that name messages by number: they are told of no message that has gone (RFC 3501 §7.4.1).
_BY_NUMBER = ("FETCH", "STORE", "SEARCH")


class Accounts(Protocol):
    """Who has mail here."""

    def authenticate(self, name: str, password: str) -> str | None:
        """Return the address of the user who is called so and has that password."""

    def folder(self, user: str) -> Folder:
        """Return a user's INBOX, the same one for each session. Raises: OSError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What sessions are told: `told` takes events (`kind`, fields), `message_limit` is in octets."""

    hostname: str
    host: str
    accounts: Accounts
    tls: bool
    message_limit: int
    told: Callable[..., None] = field(repr=False)


class Refused(Exception):
    """The command is answered with NO and this text."""


class Session:
    """One client's session; `secure` if it is under TLS, `client` is its address."""

    def __init__(self, settings: Settings, *, client: str, secure: bool) -> None:
        self._settings = settings
        self._client = client
        self._secure = secure
        self._framer = Framer(literal_limit=_SMALL, message_limit=_SMALL)
        self._user: str | None = None
        self._view: View | None = None
        self._next: Callable[[bytes], None] | None = None
        self._mistakes = self._guesses = 0
        self.output: list[bytes] = []
        self.wants_tls = False
        self.closing = False
        self.idling = False
        self._line(f"* OK [CAPABILITY {self._capability()}] {settings.hostname} ready")

    @property
    def authenticated(self) -> bool:
        return self._user is not None

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
        if self.idling and self._view is not None:
            try:
                self._view.update(expunge=True)
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
            if name not in _WITH_UID:
                raise BadSyntax(f"there is no UID {name}")
        command = _COMMANDS.get(name)
        if command is None:
            raise BadSyntax(f"{name} is no command that is known here")
        state, run = command
        if state == "out" and self._user is not None:
            raise BadSyntax(f"{name} comes before the login")
        if state in ("in", "selected") and self._user is None:
            raise BadSyntax(f"{name} needs a login first")
        if state == "selected" and self._view is None:
            raise BadSyntax(f"{name} needs a mailbox to be selected")
        return run(self, tag, reader, by_uid)

    def _finish(self, tag: str, name: str, answer: str) -> None:
        if self._view is not None and not self.closing:
            try:
                self._view.update(expunge=name not in _BY_NUMBER)
            except OSError as error:
                log.error("%s: %s", self._user, error)
        self._line(f"{tag} {answer}")

    def _capability_command(self, _tag: str, reader: Reader, _by_uid: bool) -> str:
        reader.end()
        self._line(f"* CAPABILITY {self._capability()}")
        return "OK done"

    def _noop(self, _tag: str, reader: Reader, _by_uid: bool) -> str:
        reader.end()
        return "OK done"

    def _id(self, _tag: str, reader: Reader, _by_uid: bool) -> str:
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

    def _logout(self, _tag: str, reader: Reader, _by_uid: bool) -> str:
        reader.end()
        self.bye("good-bye")
        return "OK done"

    def _starttls(self, tag: str, reader: Reader, _by_uid: bool) -> str:
        reader.end()
        if self._secure or not self._settings.tls:
            raise BadSyntax("TLS is there already" if self._secure else "there is no TLS here")
        self._line(f"{tag} OK begin TLS now")
        self._framer.forget()
        self.wants_tls = True
        return ""

    def _login(self, _tag: str, reader: Reader, _by_uid: bool) -> str:
        reader.space()
        name = reader.astring()
        reader.space()
        password = reader.astring()
        reader.end()
        return self._authenticated(name, password)

    def _authenticate(self, tag: str, reader: Reader, _by_uid: bool) -> str:
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
        self._user = user
        self._framer.literal_limit = _LITERAL_LIMIT
        self._framer.message_limit = self._settings.message_limit
        return f"OK [CAPABILITY {self._capability()}] logged in"

    def _must_be_secure(self) -> None:
        if not self._secure:
            raise Refused("[PRIVACYREQUIRED] STARTTLS first")

    def _list(self, _tag: str, reader: Reader, _by_uid: bool) -> str:
        return self._listed(reader, "LIST")

    def _lsub(self, _tag: str, reader: Reader, _by_uid: bool) -> str:
        return self._listed(reader, "LSUB")

    def _listed(self, reader: Reader, name: str) -> str:
        reader.space()
        reference = reader.astring()
        reader.space()
        pattern = reader.astring(pattern=True)
        reader.end()
        if not pattern:
            self._line(f'* {name} (\\Noselect) "/" ""')
        elif _matches((reference + pattern).decode("utf-8", "replace")):
            self._line(f'* {name} (\\Noinferiors) "/" INBOX')
        return "OK done"

    def _subscribe(self, _tag: str, reader: Reader, _by_uid: bool) -> str:
        self._mailbox(reader)
        reader.end()
        return "OK done"

    def _create(self, _tag: str, reader: Reader, _by_uid: bool) -> str:
        reader.space()
        reader.astring()
        if reader.skip(b" "):
            reader.astring()
        reader.end()
        raise Refused("[CANNOT] a user has one mailbox here, INBOX, and keeps it")

    def _status(self, _tag: str, reader: Reader, _by_uid: bool) -> str:
        folder = self._mailbox(reader)
        reader.space()
        names = [word.decode("ascii", "replace").upper() for word in reader.words()]
        reader.end()
        folder.refresh()
        entries = folder.entries.values()
        values = {
            "MESSAGES": len(entries),
            "RECENT": sum(entry.new for entry in entries),
            "UIDNEXT": folder.next_uid,
            "UIDVALIDITY": folder.validity,
            "UNSEEN": sum("S" not in entry.letters for entry in entries),
        }
        if not set(names) <= set(values):
            raise BadSyntax("STATUS tells " + ", ".join(values))
        self._line("* STATUS INBOX (" + " ".join(f"{name} {values[name]}" for name in names) + ")")
        return "OK done"

    def _select(self, _tag: str, reader: Reader, _by_uid: bool) -> str:
        return self._open(reader, read_only=False)

    def _examine(self, _tag: str, reader: Reader, _by_uid: bool) -> str:
        return self._open(reader, read_only=True)

    def _open(self, reader: Reader, *, read_only: bool) -> str:
        try:
            folder = self._mailbox(reader)
        except Refused:
            # The mailbox before is not selected any more either (RFC 3501 §6.3.1).
            self._view = None
            raise
        reader.end()
        self._view = View(folder, read_only=read_only, say=self._untagged, fetched=self._fetched)
        self._view.introduce()
        return "OK [READ-ONLY] done" if read_only else "OK [READ-WRITE] done"

    def _append(self, _tag: str, reader: Reader, _by_uid: bool) -> str:
        folder = self._mailbox(reader, missing="[TRYCREATE] ")
        reader.space()
        letters: set[str] = set()
        if reader.peek() == b"(":
            letters = letters_of(reader.flags())
            reader.space()
        arrival = None
        if reader.peek() == b'"':
            arrival = fetching.read_date_time(reader.string())
            reader.space()
        if reader.peek() != b"{":
            raise BadSyntax("the message comes as a literal")
        content = reader.string()
        reader.end()
        uid = folder.append(content, letters, arrival, self._settings.host)
        return f"OK [APPENDUID {folder.validity} {uid}] done"

    def _idle(self, tag: str, reader: Reader, _by_uid: bool) -> str:
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

    def _fetch(self, _tag: str, reader: Reader, by_uid: bool) -> str:
        reader.space()
        self._selected().fetch(reader, by_uid=by_uid)
        return "OK done"

    def _store(self, _tag: str, reader: Reader, by_uid: bool) -> str:
        reader.space()
        self._writable().store(reader, by_uid=by_uid)
        return "OK done"

    def _search(self, _tag: str, reader: Reader, by_uid: bool) -> str:
        reader.space()
        self._selected().search(reader, by_uid=by_uid)
        return "OK done"

    def _copy(self, _tag: str, reader: Reader, by_uid: bool) -> str:
        reader.space()
        view = self._selected()
        entries, target = view.copied(reader, by_uid=by_uid)
        if target.upper() != b"INBOX":
            raise Refused("[TRYCREATE] there is no such mailbox")
        copies = []
        for entry in entries:
            content = view.folder.read(entry.uid)
            if content is not None:
                uid = view.folder.append(content, entry.letters, entry.arrival, self._settings.host)
                copies.append((entry.uid, uid))
        if not copies:
            return "OK there was nothing to copy"
        before, after = (",".join(map(str, uids)) for uids in zip(*copies, strict=True))
        return f"OK [COPYUID {view.folder.validity} {before} {after}] done"

    def _expunge(self, _tag: str, reader: Reader, by_uid: bool) -> str:
        view = self._writable()
        if by_uid:
            reader.space()
        only = reader.numbers() if by_uid else None
        reader.end()
        view.expunge(only)
        return "OK done"

    def _close(self, _tag: str, reader: Reader, _by_uid: bool) -> str:
        reader.end()
        view, self._view = self._selected(), None
        if not view.read_only:
            view.expunge()
        return "OK done"

    def _unselect(self, _tag: str, reader: Reader, _by_uid: bool) -> str:
        reader.end()
        self._view = None
        return "OK done"

    # What they share

    def _selected(self) -> View:
        if self._view is None:
            raise BadSyntax("no mailbox is selected")
        return self._view

    def _writable(self) -> View:
        view = self._selected()
        if view.read_only:
            raise Refused("[READ-ONLY] EXAMINE is for looking; SELECT it to change it")
        return view

    def _mailbox(self, reader: Reader, missing: str = "[NONEXISTENT] ") -> Folder:
        reader.space()
        if reader.astring().upper() != b"INBOX":
            raise Refused(f"{missing}there is no such mailbox: INBOX is all there is")
        return self._settings.accounts.folder(self._user or "")

    def _fetched(self, entry: Entry) -> None:
        self._settings.told("fetched", client=self._client, user=self._user, file=entry.name, size=entry.size)

    def _capability(self) -> str:
        if self._user is not None:
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


def _matches(pattern: str) -> bool:
    """Whether a pattern of LIST names INBOX, whose case does not matter (RFC 3501 §5.1)."""
    expression = "".join(".*" if char in "*%" else re.escape(char) for char in re.sub("[*%]+", "*", pattern))
    return re.fullmatch(expression, "INBOX", re.IGNORECASE) is not None


_Run = Callable[[Session, str, Reader, bool], str]
# By name: in which state it may come (any, out, in, selected), and who runs it.
_COMMANDS: dict[str, tuple[str, _Run]] = {
    "CAPABILITY": ("any", Session._capability_command),
    "NOOP": ("any", Session._noop),
    "ID": ("any", Session._id),
    "LOGOUT": ("any", Session._logout),
    "STARTTLS": ("out", Session._starttls),
    "LOGIN": ("out", Session._login),
    "AUTHENTICATE": ("out", Session._authenticate),
    "LIST": ("in", Session._list),
    "LSUB": ("in", Session._lsub),
    "SUBSCRIBE": ("in", Session._subscribe),
    "UNSUBSCRIBE": ("in", Session._subscribe),
    "CREATE": ("in", Session._create),
    "DELETE": ("in", Session._create),
    "RENAME": ("in", Session._create),
    "STATUS": ("in", Session._status),
    "SELECT": ("in", Session._select),
    "EXAMINE": ("in", Session._examine),
    "APPEND": ("in", Session._append),
    "IDLE": ("in", Session._idle),
    "CHECK": ("selected", Session._noop),
    "FETCH": ("selected", Session._fetch),
    "STORE": ("selected", Session._store),
    "SEARCH": ("selected", Session._search),
    "COPY": ("selected", Session._copy),
    "EXPUNGE": ("selected", Session._expunge),
    "CLOSE": ("selected", Session._close),
    "UNSELECT": ("selected", Session._unselect),
}
_WITH_UID = ("FETCH", "STORE", "SEARCH", "COPY", "EXPUNGE")
