"""What each ESMTP extension does, used by swaks, and by smtplib where swaks cannot."""

from __future__ import annotations

import email
import email.policy
import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from email.message import EmailMessage, Message

import pytest

from mailbed import Lab
from mailbed.cli.telling import of_message
from tests.lab.dialogue import chunk, say
from tests.lab.residue import until
from topologies import minimal
from topologies.plan import Plan, User

TO, SENDER, ZOE = "bob@example.org", "alice@example.com", "zoë@example.org"
SERVER = "rcpt-mx.example.org"
LETTER = "Subject: please tell\r\n\r\nThe text itself\r\n"
MAIL, RCPT = f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{TO}>"


def plan() -> Plan:
    """`minimal`, with somebody whose name is beyond ASCII."""
    built = minimal.build()
    domains = tuple(
        replace(domain, users=(*domain.users, User(local="zoë"))) if domain.name == "example.org" else domain
        for domain in built.domains
    )
    return replace(built, domains=domains)


pytestmark = pytest.mark.topology(plan())


def swaks(lab: Lab, server: str, *options: str) -> str:
    """Return the session as swaks shows it."""
    common = ("--server", server, "--to", TO, "--from", SENDER)
    return lab.exec("alice", "swaks", *common, *options).stdout


def submission(lab: Lab) -> tuple[str, str, str]:
    """Alice's server, user name and password, as her mail program has them."""
    settings = tomllib.loads((lab.run / "hosts/alice/mail-client.toml").read_text(encoding="utf-8"))
    return settings["server"], settings["username"], settings["password"]


def queue_id(reply: str) -> str:
    """The id in the reply to a message's end."""
    found = re.search(r"250 2\.0\.0 Ok: queued as (\w+)", reply)
    assert found, reply
    return found[1]


def delivered(lab: Lab, reply: str, to: str = TO, host: str = "rcpt-mx") -> bytes:
    """What lies in the mailbox of `to`, once the message that the reply tells of is there."""
    outcome = lab.follow(host, queue_id(reply), [to])[to]
    assert outcome.state == "delivered", outcome
    return (lab.run / "hosts" / outcome.host / "mail" / outcome.file).read_bytes()


@pytest.mark.parametrize(
    ("option", "shown"),
    [
        pytest.param("--pipeline", " -> DATA\n<-  250 2.1.0 Ok", id="PIPELINING: DATA before any reply"),
        pytest.param("--tls", "=== TLS started with cipher TLSv1.3", id="STARTTLS"),
    ],
)
def test_mail_comes_in(shared_lab: Lab, option: str, shown: str) -> None:
    """The exchanger takes the message and delivers it, and swaks did what it was told to."""
    said = swaks(shared_lab, SERVER, option, "--body", "Grüße")
    assert shown in said
    assert delivered(shared_lab, said).decode().endswith("Grüße\r\n\r\n\r\n")


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_a_user_submits(shared_lab: Lab, mechanism: str) -> None:
    """Who has authenticated after STARTTLS may send; with a wrong password, or without one, nobody may."""
    server, user, password = submission(shared_lab)
    auth = ("--port", "587", "--auth", mechanism, "--auth-user", user, "--auth-password")
    said = swaks(shared_lab, server, "--tls", *auth, password)
    assert "235 2.7.0" in said
    assert delivered(shared_lab, said, host="corp-mta")
    assert "<~* 535 5.7.8" in swaks(shared_lab, server, "--tls", *auth, "wrong")
    assert " -> AUTH" not in swaks(shared_lab, server, *auth, password)
    assert "queued as" not in swaks(shared_lab, server, "--port", "587")


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        pytest.param(("--to", "nobody@example.org"), "550 5.1.1", id="no such user"),
        pytest.param(("--to", "x@example.net"), "550 5.7.1", id="no relaying"),
        pytest.param(("--from", "no address"), "501 5.1.7", id="a sender that is none"),
        pytest.param(("--helo", "two words"), "501 5.5.4", id="a name that is none"),
    ],
)
def test_a_refusal_carries_its_code(shared_lab: Lab, options: tuple[str, ...], refusal: str) -> None:
    """ENHANCEDSTATUSCODES: swaks is told in both ways why not."""
    assert f"<** {refusal} " in swaks(shared_lab, SERVER, *options)


def test_a_message_that_is_too_large(shared_lab: Lab) -> None:
    """SIZE: it is refused at MAIL where that tells, else when it has come; then the session goes on."""
    refusal = "552 5.3.4 message exceeds 52428800 bytes"
    assert say(shared_lab, "bob", SERVER, f"{MAIL} SIZE=52428801", f"{MAIL} SIZE=52428800") == [
        refusal,
        "250 2.1.0 Ok",
    ]
    megabyte = ("x" * 1022 + "\r\n") * 1024
    replies = say(shared_lab, "bob", SERVER, MAIL, RCPT, "DATA", ".", MAIL, flood=(megabyte, 51))
    assert replies[-2:] == [refusal, "250 2.1.0 Ok"]


def test_the_next_hop_is_told_of_eight_bits(shared_lab: Lab) -> None:
    """8BITMIME: BODY= goes on with the message, and its octets are the same at the end."""
    server, *login = submission(shared_lab)
    text = "Subject: Grüße\r\n\r\n½€\r\n"
    commands = (f"{MAIL} BODY=8BITMIME", RCPT, chunk(text, last=True))
    replies = say(shared_lab, "alice", server, *commands, port=587, login=login)
    assert delivered(shared_lab, replies[-1], host="corp-mta").endswith("½€\r\n".encode())
    (journey,) = of_message(shared_lab.journeys(), "corp-mta", queue_id(replies[-1]))
    onward = journey.hops[-1]
    assert onward.server
    assert onward.server.host == "rcpt-mx"
    mail = next(one.command for one in onward.dialogue if one.command.startswith("MAIL"))
    assert "BODY=8BITMIME" in mail.split()


def test_an_address_beyond_ascii(shared_lab: Lab) -> None:
    """SMTPUTF8: with it the message is delivered, without it the address is refused."""
    text = "Subject: x\r\n\r\nHello Zoë\r\n"
    to = f"RCPT TO:<{ZOE}>"
    replies = say(shared_lab, "alice", SERVER, f"{MAIL} SMTPUTF8", to, chunk(text, last=True))
    assert delivered(shared_lab, replies[-1], to=ZOE).endswith("Hello Zoë\r\n".encode())
    assert say(shared_lab, "alice", SERVER, MAIL, to)[-1].startswith("553 5.6.7 ")


def test_chunks_are_put_together(shared_lab: Lab) -> None:
    """CHUNKING: octets are as they were sent, wherever they were cut; a lone dot ends nothing."""
    parts = ("Subject: chunks\r", "\n\r\nHel", "lo\r\n.\r\n..Bob\r\n")
    replies = say(shared_lab, "alice", SERVER, MAIL, RCPT, *map(chunk, parts), chunk("", last=True))
    assert [reply.split()[0] for reply in replies] == ["250"] * 6
    assert delivered(shared_lab, replies[-1]).endswith("".join(parts).encode())


def test_the_sender_hears_of_success(shared_lab: Lab) -> None:
    """DSN: who asks for it gets a report, with ENVID and ORCPT, but without the text (RFC 3461 §4.3)."""
    replies = say(
        shared_lab,
        "alice",
        SERVER,
        f"{MAIL} RET=FULL ENVID=lab+2B7",
        f"{RCPT} NOTIFY=SUCCESS ORCPT=rfc822;Robert@example.net",
        chunk(LETTER, last=True),
    )
    delivered(shared_lab, replies[-1])
    report = until(lambda: report_on(shared_lab, "lab+7"), 60)
    assert report["Return-Path"] == "<>"
    (each,) = recipients(report)
    assert (each["Action"], each["Status"]) == ("delivered", "2.1.5")
    assert each["Original-Recipient"] == "rfc822; Robert@example.net"
    assert "Subject: please tell" in report.as_string()
    assert "The text itself" not in report.as_string()


@pytest.mark.parametrize(("returned", "whole"), [("HDRS", False), ("FULL", True)])
def test_a_failure_returns_what_was_asked_for(shared_lab: Lab, returned: str, whole: bool) -> None:
    """DSN: RET says how much of the message comes back with a bounce, which names who refused whom."""
    server, *login = submission(shared_lab)
    to = "RCPT TO:<nobody@example.org> NOTIFY=FAILURE"
    mail = f"{MAIL} RET={returned} ENVID=failed-{returned}"
    say(shared_lab, "alice", server, mail, to, chunk(LETTER, last=True), port=587, login=login)
    report = until(lambda: report_on(shared_lab, f"failed-{returned}"), 60)
    (each,) = recipients(report)
    assert (each["Action"], each["Status"]) == ("failed", "5.1.1")
    assert each["Final-Recipient"] == "rfc822; nobody@example.org"
    assert ("The text itself" in report.as_string()) is whole


def test_nobody_hears_who_said_never(shared_lab: Lab) -> None:
    """DSN: with NOTIFY=NEVER the message bounces, and no report is sent."""
    server, *login = submission(shared_lab)
    nobody = "nobody@example.org"
    to = f"RCPT TO:<{nobody}> NOTIFY=NEVER"
    replies = say(shared_lab, "alice", server, MAIL, to, chunk(LETTER, last=True), port=587, login=login)
    queued = queue_id(replies[-1])
    assert shared_lab.follow("corp-mta", queued, [nobody])[nobody].state == "bounced"
    events = map(json.loads, (shared_lab.run / "events.jsonl").read_text().splitlines())
    (bounced,) = (one for one in events if one["kind"] == "bounced" and one["id"] == queued)
    assert bounced["bounce_id"] is None


def recipients(report: EmailMessage) -> Sequence[Message]:
    """The report's fields for each recipient (RFC 3464 §2.3)."""
    status = next(part for part in report.walk() if part.get_content_type() == "message/delivery-status")
    return list(status.iter_parts())[1:]


def report_on(lab: Lab, envelope_id: str) -> EmailMessage | None:
    """The report in alice's mailbox on the message of that ENVID, if it is there."""
    for file in (lab.maildir(SENDER) / "new").glob("*"):
        content = file.read_bytes()
        if f"Original-Envelope-Id: {envelope_id}\r\n".encode() in content:
            return email.message_from_bytes(content, policy=email.policy.SMTP)
    return None
