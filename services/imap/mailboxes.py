"""The commands of a user who has logged in: on mailboxes, and on the messages of the one that is selected.

Theory of operation. RFC 3501 §3 has these states, and every command belongs to one; what needs no login is
the session's own.

    authenticated    LIST … APPEND    name a mailbox; there is INBOX alone (§6.3)
    selected         FETCH … CLOSE    are about the messages of the `view` (§6.4)

Each returns what is behind the tag of its reply.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from services.imap import fetching
from services.imap.selected import View, letters_of
from services.imap.settings import Settings
from services.imap.syntax import BadSyntax, Reader
from services.mailbox.folder import Entry, Folder


class Refused(Exception):
    """The command is answered with NO and this text."""


class Mailboxes:
    """What the user who has logged in sees of the mailboxes; `view` is the one that is selected.

    `say` takes a line for the client, who is at the address `client`; `untagged` takes the octets of an
    untagged response.
    """

    def __init__(
        self,
        settings: Settings,
        user: str,
        *,
        client: str,
        say: Callable[[str], None],
        untagged: Callable[[bytes], None],
    ) -> None:
        self._settings = settings
        self.user = user
        self._client = client
        self._say = say
        self._untagged = untagged
        self.view: View | None = None

    def run(self, name: str, reader: Reader, *, by_uid: bool) -> str:
        """Run a command of `COMMANDS`; return the reply. Raises: BadSyntax, Refused, Gone, OSError."""
        selected, run = COMMANDS[name]
        if selected and self.view is None:
            raise BadSyntax(f"{name} needs a mailbox to be selected")
        return run(self, reader, by_uid)

    def _list(self, reader: Reader, _by_uid: bool) -> str:
        return self._listed(reader, "LIST")

    def _lsub(self, reader: Reader, _by_uid: bool) -> str:
        return self._listed(reader, "LSUB")

    def _listed(self, reader: Reader, name: str) -> str:
        reader.space()
        reference = reader.astring()
        reader.space()
        pattern = reader.astring(pattern=True)
        reader.end()
        if not pattern:
            self._say(f'* {name} (\\Noselect) "/" ""')
        elif _matches((reference + pattern).decode("utf-8", "replace")):
            self._say(f'* {name} (\\Noinferiors) "/" INBOX')
        return "OK done"

    def _subscribe(self, reader: Reader, _by_uid: bool) -> str:
        self._mailbox(reader)
        reader.end()
        return "OK done"

    def _create(self, reader: Reader, _by_uid: bool) -> str:
        reader.space()
        reader.astring()
        if reader.skip(b" "):
            reader.astring()
        reader.end()
        raise Refused("[CANNOT] a user has one mailbox here, INBOX, and keeps it")

    def _status(self, reader: Reader, _by_uid: bool) -> str:
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
        self._say("* STATUS INBOX (" + " ".join(f"{name} {values[name]}" for name in names) + ")")
        return "OK done"

    def _select(self, reader: Reader, _by_uid: bool) -> str:
        return self._open(reader, read_only=False)

    def _examine(self, reader: Reader, _by_uid: bool) -> str:
        return self._open(reader, read_only=True)

    def _open(self, reader: Reader, *, read_only: bool) -> str:
        try:
            folder = self._mailbox(reader)
        except Refused:
            # The mailbox before is not selected any more either (RFC 3501 §6.3.1).
            self.view = None
            raise
        reader.end()
        self.view = View(folder, read_only=read_only, say=self._untagged, fetched=self._fetched)
        self.view.introduce()
        return "OK [READ-ONLY] done" if read_only else "OK [READ-WRITE] done"

    def _append(self, reader: Reader, _by_uid: bool) -> str:
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

    def _fetch(self, reader: Reader, by_uid: bool) -> str:
        reader.space()
        self._selected().fetch(reader, by_uid=by_uid)
        return "OK done"

    def _store(self, reader: Reader, by_uid: bool) -> str:
        reader.space()
        self._writable().store(reader, by_uid=by_uid)
        return "OK done"

    def _search(self, reader: Reader, by_uid: bool) -> str:
        reader.space()
        self._selected().search(reader, by_uid=by_uid)
        return "OK done"

    def _copy(self, reader: Reader, by_uid: bool) -> str:
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

    def _expunge(self, reader: Reader, by_uid: bool) -> str:
        view = self._writable()
        if by_uid:
            reader.space()
        only = reader.numbers() if by_uid else None
        reader.end()
        view.expunge(only)
        return "OK done"

    def _close(self, reader: Reader, _by_uid: bool) -> str:
        reader.end()
        view, self.view = self._selected(), None
        if not view.read_only:
            view.expunge()
        return "OK done"

    def _check(self, reader: Reader, _by_uid: bool) -> str:
        reader.end()
        return "OK done"

    def _unselect(self, reader: Reader, _by_uid: bool) -> str:
        reader.end()
        self.view = None
        return "OK done"

    # What they share

    def _selected(self) -> View:
        if self.view is None:
            raise BadSyntax("no mailbox is selected")
        return self.view

    def _writable(self) -> View:
        view = self._selected()
        if view.read_only:
            raise Refused("[READ-ONLY] EXAMINE is for looking; SELECT it to change it")
        return view

    def _mailbox(self, reader: Reader, missing: str = "[NONEXISTENT] ") -> Folder:
        reader.space()
        if reader.astring().upper() != b"INBOX":
            raise Refused(f"{missing}there is no such mailbox: INBOX is all there is")
        return self._settings.accounts.folder(self.user)

    def _fetched(self, entry: Entry) -> None:
        self._settings.told("fetched", client=self._client, user=self.user, file=entry.name, size=entry.size)


def _matches(pattern: str) -> bool:
    """Whether a pattern of LIST names INBOX, whose case does not matter (RFC 3501 §5.1)."""
    expression = "".join(".*" if char in "*%" else re.escape(char) for char in re.sub("[*%]+", "*", pattern))
    return re.fullmatch(expression, "INBOX", re.IGNORECASE) is not None


_Run = Callable[[Mailboxes, Reader, bool], str]
COMMANDS: dict[str, tuple[bool, _Run]] = {
    "LIST": (False, Mailboxes._list),
    "LSUB": (False, Mailboxes._lsub),
    "SUBSCRIBE": (False, Mailboxes._subscribe),
    "UNSUBSCRIBE": (False, Mailboxes._subscribe),
    "CREATE": (False, Mailboxes._create),
    "DELETE": (False, Mailboxes._create),
    "RENAME": (False, Mailboxes._create),
    "STATUS": (False, Mailboxes._status),
    "SELECT": (False, Mailboxes._select),
    "EXAMINE": (False, Mailboxes._examine),
    "APPEND": (False, Mailboxes._append),
    "CHECK": (True, Mailboxes._check),
    "FETCH": (True, Mailboxes._fetch),
    "STORE": (True, Mailboxes._store),
    "SEARCH": (True, Mailboxes._search),
    "COPY": (True, Mailboxes._copy),
    "EXPUNGE": (True, Mailboxes._expunge),
    "CLOSE": (True, Mailboxes._close),
    "UNSELECT": (True, Mailboxes._unselect),
}
"""By name: whether a mailbox must be selected, and what runs it."""
WITH_UID = ("FETCH", "STORE", "SEARCH", "COPY", "EXPUNGE")
