"""A mailbox as one session sees it, and the commands on its messages (RFC 3501 §6.4).

Theory of operation. Sequence numbers belong to a session: they change only when it is told so
(`* 3 EXPUNGE`), and it may not be told while it names messages by number. So a view keeps the UIDs that its
client knows, in order, and the flags that it was told; `update` compares them with the folder and says what
has changed.

Untagged responses are handed to `say`, without their `* ` and line end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from services.imap import fetching, searching
from services.imap.fetching import Item
from services.imap.searching import Candidate
from services.imap.syntax import BadSyntax, Numbers, Reader
from services.mailbox.folder import FLAGS, Entry, Folder

Say = Callable[[bytes], None]
_BY_NAME = {flag.upper(): letter for flag, letter in FLAGS.items()}


class Gone(Exception):
    """A message is not there any more, though the session has not been told."""


def letters_of(flags: Iterable[str]) -> set[str]:
    """Return the letters of flags; keywords and what else a Maildir does not keep are left out."""
    return {_BY_NAME[flag.upper()] for flag in flags if flag.upper() in _BY_NAME}


class View:
    """A folder that was selected; `read_only` after EXAMINE."""

    def __init__(
        self, folder: Folder, *, read_only: bool, say: Say, fetched: Callable[[Entry], None]
    ) -> None:
        self.folder = folder
        self.read_only = read_only
        self._say = say
        self._fetched = fetched
        self._recent: set[int] = set()
        folder.refresh()
        self._claim(folder.entries)
        self._uids = list(folder.entries)
        self._told = {uid: entry.letters for uid, entry in folder.entries.items()}

    def introduce(self) -> None:
        """Say what SELECT is answered with."""
        flags = " ".join(FLAGS).encode()
        unseen = [n for n, uid in enumerate(self._uids, 1) if "S" not in self._told[uid]]
        self._say(b"FLAGS (" + flags + b")")
        self._say(b"OK [PERMANENTFLAGS (" + (b"" if self.read_only else flags) + b")] kept")
        self._say(b"%d EXISTS" % len(self._uids))
        self._say(b"%d RECENT" % len(self._recent))
        if unseen:
            self._say(b"OK [UNSEEN %d] first unseen" % unseen[0])
        self._say(b"OK [UIDVALIDITY %d] UIDs are good" % self.folder.validity)
        self._say(b"OK [UIDNEXT %d] the next UID" % self.folder.next_uid)

    def update(self, *, expunge: bool) -> None:
        """Say what has changed; messages that are gone only with `expunge`. Raises: OSError."""
        self.folder.refresh()
        entries = self.folder.entries
        if expunge:
            for number in range(len(self._uids), 0, -1):
                if self._uids[number - 1] not in entries:
                    uid = self._uids.pop(number - 1)
                    self._told.pop(uid)
                    self._recent.discard(uid)
                    self._say(b"%d EXPUNGE" % number)
        last = self._uids[-1] if self._uids else 0
        come = [uid for uid in entries if uid > last and uid not in self._told]
        if come:
            self._claim(come)
            self._uids += come
            self._told |= {uid: entries[uid].letters for uid in come}
            self._say(b"%d EXISTS" % len(self._uids))
            self._say(b"%d RECENT" % len(self._recent))
        for number, uid in enumerate(self._uids, 1):
            entry = entries.get(uid)
            if entry is not None and entry.letters != self._told[uid]:
                self._told[uid] = entry.letters
                self._say(b"%d FETCH (UID %d FLAGS (%s))" % (number, uid, self._flags(entry)))

    def fetch(self, reader: Reader, *, by_uid: bool) -> None:
        """Answer FETCH. Raises: BadSyntax, Gone, OSError."""
        numbers = reader.numbers()
        reader.space()
        items = fetching.read_items(reader)
        reader.end()
        if by_uid and not any(item.name == "UID" for item in items):
            items = (Item(name="UID"), *items)
        gone = False
        for number, uid in self._named(numbers, by_uid=by_uid):
            entry = self.folder.entries.get(uid)
            try:
                if entry is None:
                    raise Gone
                self._fetch(number, entry, items)
            except Gone:
                # With a UID it is as if it had never been named (RFC 3501 §6.4.8).
                gone = gone or not by_uid
        if gone:
            raise Gone

    def _fetch(self, number: int, entry: Entry, items: tuple[Item, ...]) -> None:
        octets: list[bytes] = []

        def content() -> bytes:
            if not octets:
                found = self.folder.read(entry.uid)
                if found is None:
                    raise Gone
                octets.append(found)
            return octets[0]

        if any(item.needs_content for item in items):
            content()
        if not self.read_only and any(item.section and not item.peek for item in items):
            entry = self._mark(entry, entry.letters + "S")
            if entry.letters != self._told[entry.uid] and not any(item.name == "FLAGS" for item in items):
                items = (*items, Item(name="FLAGS"))
        if any(item.name == "FLAGS" for item in items):
            self._told[entry.uid] = entry.letters
        flags = self._flags(entry).decode().split()
        self._say(b"%d FETCH (" % number + fetching.answer(items, entry, flags, content) + b")")
        if any(item.section and not item.numbers and not item.text for item in items):
            self._fetched(entry)

    def store(self, reader: Reader, *, by_uid: bool) -> None:
        """Answer STORE. Raises: BadSyntax, Gone, OSError."""
        numbers = reader.numbers()
        reader.space()
        sign = "+" if reader.skip(b"+") else "-" if reader.skip(b"-") else ""
        reader.expect(b"FLAGS")
        silent = reader.skip(b".SILENT")
        reader.space()
        letters = letters_of(reader.flags())
        reader.end()
        gone = False
        for number, uid in self._named(numbers, by_uid=by_uid):
            entry = self.folder.entries.get(uid)
            if entry is None:
                gone = gone or not by_uid
                continue
            entry = self._mark(entry, _changed(set(entry.letters), letters, sign))
            self._told[uid] = entry.letters
            if not silent:
                told = b"UID %d " % uid if by_uid else b""
                self._say(b"%d FETCH (%sFLAGS (%s))" % (number, told, self._flags(entry)))
        if gone:
            raise Gone

    def search(self, reader: Reader, *, by_uid: bool) -> None:
        """Answer SEARCH. Raises: BadSyntax, BadCharset, OSError."""
        condition = searching.read_search(reader)
        reader.end()
        found = []
        for number, uid in enumerate(self._uids, 1):
            entry = self.folder.entries.get(uid)
            if entry is not None and condition(self._candidate(number, entry)):
                found.append(b" %d" % (uid if by_uid else number))
        self._say(b"SEARCH" + b"".join(found))

    def _candidate(self, number: int, entry: Entry) -> Candidate:
        return Candidate(
            number=number,
            last=len(self._uids),
            entry=entry,
            last_uid=self._uids[-1],
            recent=entry.uid in self._recent,
            read=lambda: self.folder.read(entry.uid) or b"",
        )

    def expunge(self, only: Numbers | None = None) -> None:
        """Remove what is marked as deleted, of `only` these UIDs if they are given. Raises: OSError."""
        among = self._uids if only is None else only.among(self._uids)
        for uid in among:
            entry = self.folder.entries.get(uid)
            if entry is not None and "T" in entry.letters:
                self.folder.remove(uid)

    def copied(self, reader: Reader, *, by_uid: bool) -> tuple[list[Entry], bytes]:
        """Return the messages that COPY names, and where they are to go. Raises: BadSyntax, Gone."""
        numbers = reader.numbers()
        reader.space()
        target = reader.astring()
        reader.end()
        found = [self.folder.entries.get(uid) for _, uid in self._named(numbers, by_uid=by_uid)]
        if not by_uid and None in found:
            raise Gone
        return [entry for entry in found if entry is not None], target

    def _named(self, numbers: Numbers, *, by_uid: bool) -> list[tuple[int, int]]:
        """The messages in a set, by number and UID."""
        if by_uid:
            places = {uid: place for place, uid in enumerate(self._uids, 1)}
            return [(places[uid], uid) for uid in numbers.among(self._uids)]
        if not numbers.within(len(self._uids)):
            raise BadSyntax("there is no message of that number")
        return [(number, self._uids[number - 1]) for number in numbers.among(range(1, len(self._uids) + 1))]

    def _mark(self, entry: Entry, letters: Iterable[str]) -> Entry:
        if not self.folder.set_letters(entry.uid, letters):
            raise Gone
        return self.folder.entries[entry.uid]

    def _claim(self, uids: Iterable[int]) -> None:
        """Take note of the new ones: no session after this one finds them to be recent."""
        for uid in [uid for uid in uids if self.folder.entries[uid].new]:
            self._recent.add(uid)
            if not self.read_only:
                self.folder.set_letters(uid, self.folder.entries[uid].letters)

    def _flags(self, entry: Entry) -> bytes:
        recent = ["\\Recent"] if entry.uid in self._recent else []
        return " ".join([*entry.flags, *recent]).encode()


def _changed(before: set[str], letters: set[str], sign: str) -> set[str]:
    if sign == "+":
        return before | letters
    if sign == "-":
        return before - letters
    # What IMAP has no flag for stays.
    return (before - set(FLAGS.values())) | letters
