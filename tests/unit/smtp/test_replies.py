"""Replies of this server and of others."""

from __future__ import annotations

import pytest

from services.smtp.replies import Reply, parse_reply


@pytest.mark.parametrize(
    ("code", "message", "reply", "queue_id"),
    [
        (250, "2.0.0 Ok: queued as 4F2A", "250 2.0.0 Ok: queued as 4F2A", "4F2A"),
        (250, "OK id=1rAbCd-0001-xY", "250 OK id=1rAbCd-0001-xY", "1rAbCd-0001-xY"),
        (250, "ok", "250 ok", ""),
        (550, "5.1.1 no\n5.1.1 such user", "550 5.1.1 no such user", ""),
        (550, "5.1.1", "550 5.1.1", ""),
        (450, "4.2.10 greylisted", "450 4.2.10 greylisted", ""),
        (550, "5.1.1x", "550 5.1.1x", ""),
        (-1, "HTTP/1.0", "451 4.5.0 not an SMTP reply: HTTP/1.0", ""),
        (150, "x", "451 4.5.0 not an SMTP reply: x", ""),
        (550, "na\udce9ve\x1b[3m", "550 na\\udce9ve\\x1b[3m", ""),
        (550, "x" * 600, f"550 {'x' * 512}...", ""),
    ],
)
def test_replies_of_other_servers(code: int, message: str, reply: str, queue_id: str) -> None:
    """A reply is one line with its enhanced code apart, and may name the queue id."""
    parsed = parse_reply(code, message)
    assert (str(parsed), parsed.queue_id) == (reply, queue_id)


def test_kinds() -> None:
    """The first digit decides whether a command was carried out, and whether to try again."""
    assert [Reply(code, "", "").positive for code in (250, 354, 450, 550)] == [True, False, False, False]
    assert [Reply(code, "", "").permanent for code in (250, 354, 450, 550)] == [False, False, False, True]
    assert Reply(550, "", "no").status == "5.0.0"
