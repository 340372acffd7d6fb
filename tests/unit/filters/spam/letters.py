"""A letter with nothing wrong with it, and the same with one thing changed."""

from __future__ import annotations

import ipaddress

from services.filters.spam.examined import Examined, Site
from services.filters.spam.findings import Findings
from services.filters.spam.message import Message
from services.filters.spam.trace import seconds

SITE = Site(
    authserv_id="filter.example.org",
    trusted=(ipaddress.ip_network("198.18.2.0/24"), ipaddress.ip_network("10.2.0.0/24")),
    names=("example.org", "mx1.example.org"),
)
WHEN = "Tue, 24 Nov 2026 10:00:00 +0000"
NOW = seconds(WHEN) or 0.0
FIELDS = {
    "Return-Path": "<alice@example.com>",
    "Received": f"from mta.example.com ([198.18.1.10])\r\n\tby mx1.example.org with ESMTP id A1; {WHEN}",
    "From": "Alice <alice@example.com>",
    "To": "Bob <bob@example.org>",
    "Subject": "Lunch on Thursday",
    "Date": WHEN,
    "Message-ID": "<1234@example.com>",
}
TEXT = "Hello Bob,\r\n\r\nshall we meet at noon, and take the train to the lake?\r\n\r\nAlice\r\n"


def letter(
    fields: dict[str, str | None] | None = None, text: str = TEXT, *, more: str = "", html: str | None = None
) -> bytes:
    """Return the letter: `fields` replaced (None: left out), `more` header lines added, another text.

    With `html` it is plain text and HTML; with an empty `text`, HTML alone.
    """
    header: dict[str, str | None] = {**FIELDS, **(fields or {})}
    body = text
    if html is not None and text:
        header |= {"MIME-Version": "1.0", "Content-Type": "multipart/alternative; boundary=b"}
        body = f"--b\r\n\r\n{text}\r\n--b\r\nContent-Type: text/html\r\n\r\n{html}\r\n--b--\r\n"
    elif html is not None:
        header |= {"MIME-Version": "1.0", "Content-Type": "text/html"}
        body = html
    lines = [f"{name}: {value}\r\n" for name, value in header.items() if value is not None]
    return ("".join(lines) + more + "\r\n" + body).encode("utf-8", "surrogateescape")


def examined(message: bytes, findings: Findings | None = None) -> Examined:
    """Return a message read at the site of the recipient's."""
    return Examined(message=Message(message), site=SITE, now=NOW, findings=findings or Findings())
