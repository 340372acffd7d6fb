"""A mailing list, the mail that comes to it, and what the tests ask of both."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from services.lists.decisions import Decision, Incoming, decide
from services.lists.roster import Entry, Roster
from services.lists.settings import MailingList, Purpose

ALICE, BOB, EVE = "alice@example.com", "bob@example.org", "eve@example.net"
FRIENDS = MailingList(address="friends@lists.example.net", title="Friends", members=(ALICE, BOB))
LETTER = (
    b"From: Alice <alice@example.com>\r\nTo: friends@lists.example.net\r\nSubject: lunch\r\n\r\nAt noon?\r\n"
)


class World:
    """A list and its roster; the time is what the test says, and cookies are numbered."""

    def __init__(self, settings: MailingList = FRIENDS, **changes: Any) -> None:
        self.settings = replace(settings, **changes)
        self.now = 1000.0
        self.roster = Roster(
            cookie_life_s=self.settings.cookie_life_s, bounce_window_s=self.settings.bounce_window_s
        )
        for member in self.settings.members:
            self.roster.apply(Entry(did="subscribed", at=self.now, address=member))
        self._mails = self._cookies = 0

    def gets(
        self,
        purpose: Purpose = "post",
        *,
        sender: str = ALICE,
        content: bytes | None = None,
        detail: str = "",
        queue_id: str = "",
    ) -> Decision:
        """A message comes; what is decided is done."""
        self._mails += 1
        mail = Incoming(
            id=queue_id or f"ID{self._mails}",
            sender=sender,
            content=letter(sender) if content is None else content,
            purpose=purpose,
            detail=detail,
            now=self.now,
        )
        decision = decide(self.settings, self.roster, mail, cookie=self._cookie)
        for entry in decision.entries:
            self.roster.apply(entry)
        return decision

    def _cookie(self) -> str:
        self._cookies += 1
        return f"c{self._cookies}"


def letter(sender: str, *more: str, subject: str = "lunch", body: str = "At noon?") -> bytes:
    fields = [f"From: <{sender}>", "To: friends@lists.example.net", f"Subject: {subject}", *more, "", body]
    return "".join(f"{line}\r\n" for line in fields).encode()
