"""What a notification says, as the sender's programs and the sender read it."""

from __future__ import annotations

import email
from email.message import Message
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.smtp.dsn import Entry, Reporter, notification
from services.smtp.message import QueuedMessage
from services.smtp.replies import Reply
from services.smtp.wishes import Action

CONTENT = b"Subject: x\r\nMessage-ID: <1@example.com>\r\n\r\nHello\r\n"
BY = Reporter(hostname="mx.example.com", queue_id="R1", now=20.0, until=432_000.0)


def message(**values: Any) -> QueuedMessage:
    return QueuedMessage(
        **{
            "id": "Q1",
            "arrival": 10.0,
            "sender": "alice@example.com",
            "recipients": (),
            "body": "7BIT",
            "smtputf8": False,
            "size": 0,
            **values,
        }
    )


def entry(**values: Any) -> Entry:
    return Entry(
        **{
            "action": "failed",
            "recipient": "bob@example.org",
            "reply": Reply(550, "5.1.1", "no such user"),
            "remote": "mx1",
            **values,
        }
    )


def read(*entries: Entry, content: bytes = CONTENT, **values: Any) -> tuple[Message, list[Message]]:
    """Return a notification and its three parts."""
    raw = notification(message(**values), content, entries, BY)
    assert raw.count(b"\n") == raw.count(b"\r\n") == raw.count(b"\r")
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    report = email.message_from_bytes(raw)
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    parts = report.get_payload()
    assert isinstance(parts, list)
    return report, [part for part in parts if isinstance(part, Message)]


def text_of(part: Message) -> str:
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode(str(part.get_content_charset("utf-8")))


def blocks(*entries: Entry, **values: Any) -> list[dict[str, str]]:
    """Return the fields of a notification's status part, block by block, whichever type it has."""
    raw = notification(message(**values), CONTENT, entries, BY).decode()
    status = raw.partition("delivery-status\r\nContent-Transfer-Encoding: ")[2].partition("\r\n--")[0]
    groups = status.partition("\r\n\r\n")[2].strip().split("\r\n\r\n")
    return [dict(line.split(": ", 1) for line in group.split("\r\n")) for group in groups]


@pytest.mark.parametrize(
    ("action", "reply", "subject", "said", "status"),
    [
        ("failed", "550 5.1.1 no", "Undelivered Mail Returned to Sender", "will not be tried again", "5.1.1"),
        ("delayed", "450 4.2.1 later", "Delayed Mail (still being retried)", "You need not", "4.2.1"),
        ("delivered", "250 2.1.5 filed", "Successful Mail Delivery Report", "to the mailbox", "2.1.5"),
        ("relayed", "250 2.0.0 Ok", "Successful Mail Delivery Report", "no reports of success", "2.0.0"),
    ],
)
def test_kinds(action: Action, reply: str, subject: str, said: str, status: str) -> None:
    """Each kind has its subject, its sentence for people, and its fields for programs."""
    code, enhanced, text = reply.split(" ", 2)
    bob = entry(action=action, reply=Reply(int(code), enhanced, text))
    report, (human, _, _) = read(bob)
    assert report["Subject"] == subject
    assert report["Auto-Submitted"] == "auto-replied"
    assert said.lower() in text_of(human).lower()
    assert "The message was: x" in text_of(human)
    whole, each = blocks(bob)
    assert whole["Reporting-MTA"] == "dns; mx.example.com"
    assert (each["Action"], each["Status"]) == (action, status)
    assert each["Final-Recipient"] == "rfc822; bob@example.org"
    assert each["Diagnostic-Code"] == f"smtp; {reply}"
    assert ("Will-Retry-Until" in each) == (action == "delayed")


def test_what_the_sender_gave() -> None:
    """The envelope id and the original recipient come back decoded, if they were given."""
    one, other = entry(orcpt="rfc822;info+2Bx@example.org"), entry(recipient="dave@example.org")
    whole, *each = blocks(one, other, envid="QQ+2B314")
    assert whole["Original-Envelope-Id"] == "QQ+314"
    assert [block.get("Original-Recipient") for block in each] == ["rfc822; info+x@example.org", None]


@pytest.mark.parametrize(
    ("action", "ret", "kind", "body"),
    [
        ("failed", "", "text/rfc822-headers", False),
        ("failed", "HDRS", "text/rfc822-headers", False),
        ("failed", "FULL", "message/rfc822", True),
        ("delayed", "FULL", "text/rfc822-headers", False),
        ("delivered", "FULL", "text/rfc822-headers", False),
    ],
)
def test_what_comes_back(action: Action, ret: str, kind: str, *, body: bool) -> None:
    """The whole message comes back if it was asked for and failed; else its header (RFC 3461 §4.3)."""
    _, (_, _, returned) = read(entry(action=action), ret=ret)
    assert returned.get_content_type() == kind
    assert ("Message-ID: <1@example.com>" in returned.as_string()) is True
    assert ("Hello" in returned.as_string()) is body


def test_a_message_that_is_too_large_to_come_back() -> None:
    """Beyond ten megabytes the header has to do."""
    _, (_, _, returned) = read(entry(), ret="FULL", content=CONTENT + b"x" * 70 * 160_000)
    assert returned.get_content_type() == "text/rfc822-headers"


@pytest.mark.parametrize(
    ("reply", "expired", "status"),
    [
        pytest.param(Reply(450, "4.2.1", "later"), True, "4.2.1", id="the problem itself"),
        pytest.param(Reply(450, "", "later"), True, "4.4.7", id="no more is known than that time is over"),
        pytest.param(Reply(550, "", "no"), False, "5.0.0", id="no enhanced code"),
        pytest.param(Reply(550, "4.1.1", "no"), False, "5.1.1", id="a code of another class"),
    ],
)
def test_status(reply: Reply, expired: bool, status: str) -> None:
    """The status is the reply's, in the reply's class; of what waited too long, that of the last attempt."""
    bob = entry(reply=reply, expired=expired)
    _, (human, _, _) = read(bob)
    assert blocks(bob)[1]["Status"] == status
    assert ("waited too long" in text_of(human)) is expired


def test_a_message_with_letters_beyond_ascii() -> None:
    """A message that needed SMTPUTF8 is reported on in UTF-8, in the types of RFC 6533."""
    content = "Subject: Grüße\r\n\r\nHallo\r\n".encode()
    bob = entry(recipient="bøb@example.org", orcpt=r"utf-8;b\x{E5}b@example.org")
    sender = "alïce@example.com"
    report, (human, machine, returned) = read(bob, content=content, smtputf8=True, sender=sender)
    assert b"To: <al\xc3\xafce@example.com>" in report.as_bytes()
    assert "The message was: Grüße" in text_of(human)
    assert machine.get_content_type() == "message/global-delivery-status"
    _, each = blocks(bob, smtputf8=True)
    assert each["Final-Recipient"] == "utf-8; bøb@example.org"
    assert each["Original-Recipient"] == "utf-8; båb@example.org"
    assert returned.get_content_type() == "message/global-headers"
    _, (_, _, whole) = read(bob, content=content, smtputf8=True, ret="FULL")
    assert whole.get_content_type() == "message/global"


def test_seven_bits_for_everybody_else() -> None:
    """Any other message is reported on in ASCII alone, whatever its header and the replies hold."""
    content = b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nX: \xff\r\n\r\nHallo\r\n"
    bob = entry(orcpt=r"utf-8;b\x{F8}b@example.org", reply=Reply(550, "5.1.1", "ä " * 400))
    raw = notification(message(), content, [bob], BY)
    assert raw.isascii()
    _, (human, machine, returned) = read(bob, content=content)
    assert "The message was: Grüße" in text_of(human)
    assert machine.get_content_type() == "message/delivery-status"
    assert blocks(bob)[1]["Original-Recipient"] == r"utf-8; b\x{F8}b@example.org"
    assert returned.get_payload(decode=True) == b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nX: \xff\r\n"


@given(
    reply=st.text(max_size=600),
    remote=st.text(max_size=80),
    header=st.binary(max_size=200),
    utf8=st.booleans(),
    ret=st.sampled_from(["", "FULL"]),
)
@example(reply="no\r\n.\r\nMAIL FROM:<x>", remote="mx\r\n\r\nX", header=b"", utf8=True, ret="")
def test_what_others_say_forges_nothing(reply: str, remote: str, header: bytes, utf8: bool, ret: str) -> None:
    """Whatever replies, names and headers hold, a notification has its three parts and its two blocks."""
    content = CONTENT.replace(b"Hello", header.replace(b"\r", b"").replace(b"\n", b""))
    bob = entry(reply=Reply(550, "5.1.1", reply), remote=remote)
    _, parts = read(bob, content=content, smtputf8=utf8, ret=ret)
    assert len(parts) == 3
    whole, each = blocks(bob, smtputf8=utf8)
    assert (whole["Arrival-Date"], each["Action"]) == ("Thu, 01 Jan 1970 00:00:10 +0000", "failed")
    assert utf8 or notification(message(), CONTENT, [bob], BY).isascii()


def test_a_boundary_of_its_own() -> None:
    """A returned message that holds the boundary does not end the report."""
    content = CONTENT + b"--R1/mx.example.com--\r\n"
    _, parts = read(entry(), ret="FULL", content=content)
    assert len(parts) == 3


@pytest.mark.parametrize("subject", ["=?utf-8?b?x?=", "=?nosuch?q?x?=", "=?utf-8?q?a=0Ab?="])
def test_a_subject_that_is_wrongly_encoded(subject: str) -> None:
    """A subject that does not read does not keep the sender from being told."""
    _, (human, _, _) = read(entry(), content=f"Subject: {subject}\r\n\r\n".encode())
    assert text_of(human).rstrip().splitlines()[-1].startswith("The message was: ")
