"""SMTP replies: a code, an enhanced code and a text.

RFC 5321 §4.2 gives the codes, RFC 3463 the enhanced ones, RFC 2034 how they travel. A server that
announces ENHANCEDSTATUSCODES puts one into every 2xx, 4xx and 5xx reply except the greeting and the
answers to HELO and EHLO.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from services.smtp.address import printable

_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)")
_QUEUED_AS = re.compile(r"\b(?:queued as|id=|queued \()\s*<?([A-Za-z0-9._+-]+)", re.IGNORECASE)

# RFC 5321 §4.5.3.1.5 gives a reply line 512 octets.
_MAX_TEXT = 512


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply: `code` 200 to 599, `enhanced` such as 5.1.1 or empty, `text` on one line."""

    code: int
    enhanced: str
    text: str

    def __str__(self) -> str:
        if self.enhanced and self.text:
            return f"{self.code} {self.enhanced} {self.text}"
        return " ".join(part for part in (str(self.code), self.enhanced, self.text) if part)

    @property
    def positive(self) -> bool:
        """The command was carried out (RFC 5321 §4.2.1: 2yz)."""
        return 200 <= self.code < 300

    @property
    def permanent(self) -> bool:
        """The same command would fail again (RFC 5321 §4.2.1: 5yz)."""
        return 500 <= self.code < 600

    @property
    def status(self) -> str:
        """The enhanced code, its class as in the reply code, or the least that this says (RFC 3463 §2)."""
        _, _, rest = (self.enhanced or ".0.0").partition(".")
        return f"{self.code // 100}.{rest}"

    @property
    def queue_id(self) -> str:
        """The queue id that the server named in its reply to DATA; empty if it named none."""
        found = _QUEUED_AS.search(self.text)
        return found[1] if found else ""


def parse_reply(code: int, message: str) -> Reply:
    """Return the reply of another server, its lines joined and its enhanced code told apart.

    A code outside 200 to 599 is no SMTP: it becomes a temporary failure, `451 4.5.0`. What is no text
    (bytes that are no UTF-8, control characters) is escaped, and a very long text is cut, since the reply
    goes on into events, the queue and notifications.
    """
    enhanced, texts = "", []
    for line in message.splitlines():
        found = _ENHANCED.match(line)
        if found:
            enhanced = enhanced or found[1]
            line = line[found.end() :]
        texts.append(line.strip())
    text = printable(" ".join(part for part in texts if part))
    if len(text) > _MAX_TEXT:
        text = text[:_MAX_TEXT] + "..."
    if not 200 <= code < 600:
        return Reply(451, "4.5.0", f"not an SMTP reply: {text}")
    return Reply(code, enhanced, text)
