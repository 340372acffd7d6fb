"""A session of the IMAP server as a transcript, on a Maildir in a temporary directory."""

from __future__ import annotations

from pathlib import Path

from services.imap.session import Session
from services.imap.settings import Settings
from services.mailbox import maildir
from services.mailbox.folder import Folder

NOW = 1_795_529_055.0
GREETING = b"* OK ["


class Reader:
    """Bob's session; `told` are the events. Others are `another(…)` on the same folder."""

    def __init__(self, directory: Path, *, secure: bool = True, limit: int = 100_000) -> None:
        self.directory = directory / "example.org" / "bob"
        self.folder_opened = Folder(self.directory, clock=lambda: NOW)
        self.told: list[tuple[str, dict[str, object]]] = []
        self._settings = Settings(
            hostname="mda.example.org",
            host="mda",
            accounts=self,
            tls=True,
            message_limit=limit,
            told=lambda kind, **fields: self.told.append((kind, fields)),
        )
        self.session = Session(self._settings, client="192.0.2.1", secure=secure)
        self._delivered = 0

    def authenticate(self, name: str, password: str) -> str | None:
        return "bob@example.org" if (name, password) == ("bob@example.org", "secret") else None

    def folder(self, user: str) -> Folder:
        assert user == "bob@example.org"
        return self.folder_opened

    def deliver(self, content: bytes) -> Path:
        """As the MDA does: it knows nothing of IMAP."""
        self._delivered += 1
        name = f"{int(NOW) + self._delivered}.Q{self._delivered}R0.mda"
        return maildir.deliver(self.directory, name, content)

    def another(self) -> Session:
        return Session(self._settings, client="192.0.2.2", secure=True)

    def say(self, octets: bytes, session: Session | None = None) -> bytes:
        """What the server answers to these octets."""
        session = session or self.session
        session.output.clear()
        session.receive(octets)
        answer = b"".join(session.output)
        session.output.clear()
        return answer

    def selected(self, *messages: bytes) -> Reader:
        """Log in and select the INBOX, which holds these messages."""
        for message in messages:
            self.deliver(message)
        assert self.say(b"l LOGIN bob@example.org secret\r\n").startswith(b"l OK")
        assert b"s OK [READ-WRITE]" in self.say(b"s SELECT INBOX\r\n")
        return self
