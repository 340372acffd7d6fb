"""Delivery status notifications: what a sender is told of recipients who could not be reached.

A notification is a multipart/report (RFC 6522) of three parts: a text for people, a
message/delivery-status for programs (RFC 3464), and the header of the message that came back. It travels
with the null reverse-path, so that nothing is ever told about a notification (RFC 5321 §4.5.5, §6.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage, Message
from email.mime.multipart import MIMEMultipart
from email.mime.nonmultipart import MIMENonMultipart
from email.mime.text import MIMEText
from email.policy import SMTP

from services.smtp.message import QueuedMessage
from services.smtp.replies import Reply
from services.smtp.trace import date_text, header_section

# Folded at the hard limit only (RFC 5322 §2.1.1): at 78 the email package would make encoded words of a
# long address, and so another address.
_POLICY = SMTP.clone(max_line_length=998)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A recipient given up: `reply` decided it; `remote` is who said so, empty for this host."""

    recipient: str
    reply: Reply
    remote: str = ""


def notification(
    message: QueuedMessage,
    content: bytes,
    failures: Sequence[Failure],
    *,
    hostname: str,
    queue_id: str,
    now: float,
) -> bytes:
    """Return the notification to the sender of `message`, to be queued under `queue_id`, lines in CRLF."""
    report = MIMEMultipart("report", report_type="delivery-status", boundary=f"{queue_id}/{hostname}")
    report.policy = _POLICY.clone(utf8=message.smtputf8)
    report["From"] = f"MAILER-DAEMON@{hostname}"
    report["To"] = f"<{message.sender}>"
    report["Subject"] = "Undelivered Mail Returned to Sender"
    report["Date"] = date_text(now)
    report["Message-ID"] = f"<{queue_id}@{hostname}>"
    report["Auto-Submitted"] = "auto-replied"
    report.attach(_text(failures, hostname))
    report.attach(_status(message, failures, hostname))
    report.attach(_returned_header(content))
    return report.as_bytes()


def _text(failures: Sequence[Failure], hostname: str) -> Message:
    lines = [
        f"This is the mail system at host {hostname}.",
        "",
        "Your message could not be delivered to the recipients below. It will not be tried again.",
        "",
    ]
    for failure in failures:
        said = f"host {failure.remote} said: " if failure.remote else ""
        lines.append(f"<{failure.recipient}>: {said}{failure.reply}")
    text = "\n".join(lines) + "\n"
    return MIMEText(text, "plain", "us-ascii" if text.isascii() else "utf-8")


def _status(message: QueuedMessage, failures: Sequence[Failure], hostname: str) -> Message:
    """Return the per-message fields, then those of each recipient (RFC 3464 §2.2, §2.3)."""
    blocks: list[Message | str] = [
        _fields(
            {
                "Reporting-MTA": f"dns; {hostname}",
                "X-Mailbed-Queue-ID": message.id,
                "Arrival-Date": date_text(message.arrival),
            }
        )
    ]
    for failure in failures:
        kind = "rfc822" if failure.recipient.isascii() else "utf-8"
        fields = {
            "Final-Recipient": f"{kind}; {failure.recipient}",
            "Action": "failed",
            "Status": failure.reply.status,
        }
        if failure.remote:
            fields["Remote-MTA"] = f"dns; {failure.remote}"
            fields["Diagnostic-Code"] = f"smtp; {failure.reply}"
        else:
            fields["Diagnostic-Code"] = f"x-mailbed; {failure.reply}"
        blocks.append(_fields(fields))
    status = MIMENonMultipart("message", "delivery-status")
    status.set_payload(blocks)
    return status


def _fields(values: dict[str, str]) -> Message:
    block = Message(policy=SMTP.clone(utf8=True))
    for name, value in values.items():
        block[name] = " ".join(value.split())
    return block


def _returned_header(content: bytes) -> Message:
    header = header_section(content)
    part = EmailMessage(policy=SMTP)
    part.set_content(
        header, maintype="text", subtype="rfc822-headers", cte="7bit" if header.isascii() else "base64"
    )
    del part["MIME-Version"]
    return part
