"""What Postfix's log lines tell, as events."""

from __future__ import annotations

import pytest

from mailbed.postfixlog import Event, PostfixLog

ARRIVES = [
    "postfix/smtpd[7]: D3E1629B7CA: client=isp-b2.example.net[198.18.11.11]",
    "postfix/smtpd[7]: D3E1629B7CA: info: RCPT from isp-b2.example.net[198.18.11.11]: ; "
    "from=<a@example.com> to=<bob@example.org> proto=ESMTP helo=<isp-b2.example.net>",
    "postfix/cleanup[8]: D3E1629B7CA: message-id=<1@example.com>",
    "postfix/qmgr[9]: D3E1629B7CA: from=<a@example.com>, size=3164, nrcpt=1 (queue active)",
]
TO = "postfix/smtp[5]: D3E1629B7CA: to=<bob@example.org>, "
SENT = f"{TO}relay=mx.example.org[198.18.2.12]:25, delay=0.08, dsn=2.0.0, status=sent (250 Ok: queued as N2)"
LATER = f"{TO}relay=none, delay=1, dsn=4.4.1, status=deferred (connect to mx[198.18.2.12]:25: refused)"
REFUSED = (
    f"{TO}relay=mx[198.18.2.12]:25, delay=1, dsn=5.1.1, status=bounced "
    "(host mx[198.18.2.12] said: 550 5.1.1 no such user (in reply to RCPT TO command))"
)
FILED = f"{TO}relay=virtual, delay=1, dsn=2.0.0, status=sent (delivered to maildir)"
BOUNCE = {"id": "D3E1629B7CA", "recipient": "bob@example.org", "reply": "550 5.1.1 no such user"}


def events(*lines: str) -> list[Event]:
    log = PostfixLog()
    return [event for line in lines for event in log.events(f"Nov 24 14:29:38 mx {line}")]


def test_a_message_is_accepted_once() -> None:
    """What several programs say of it makes one event; a later attempt does not repeat it."""
    accepted = {
        "id": "D3E1629B7CA",
        "client": "198.18.11.11",
        "protocol": "ESMTP",
        "sender": "a@example.com",
        "recipients": ["bob@example.org"],
        "size": 3164,
        "message_id": "<1@example.com>",
    }
    assert events(*ARRIVES, ARRIVES[-1]) == [("accepted", accepted)]


@pytest.mark.parametrize(
    ("lines", "kind", "fields"),
    [
        ((SENT,), "relayed", {"next_address": "198.18.2.12", "remote_id": "N2"}),
        ((LATER,), "deferred", {"reply": "connect to mx[198.18.2.12]:25: refused"}),
        ((FILED,), "delivered", {"mailbox": "bob@example.org"}),
        (
            (REFUSED, "postfix/bounce[1]: D3E1629B7CA: sender non-delivery notification: E7FA12"),
            "bounced",
            {**BOUNCE, "bounce_id": "E7FA12"},
        ),
        ((REFUSED, "postfix/qmgr[1]: D3E1629B7CA: removed"), "bounced", {**BOUNCE, "bounce_id": None}),
        (("postfix/smtpd[1]: fatal: no such table",), "error", {}),
    ],
)
def test_each_attempt_is_told(lines: tuple[str, ...], kind: str, fields: dict[str, object]) -> None:
    """An attempt's line is an event; a bounce waits until it is known whether the sender was told."""
    [(told, about)] = events(*lines)
    assert told == kind
    assert fields.items() <= about.items()


@pytest.mark.parametrize("line", ["postfix/master[1]: daemon started", REFUSED, "something else"])
def test_other_lines_tell_nothing_yet(line: str) -> None:
    """What is no event, or not one yet, is passed over."""
    assert events(line) == []
