"""What Postfix does, told as the events of a mail server: its log lines, read one after the other.

Theory of operation. Postfix tells of one message in lines of several programs, under its queue id. `accepted`
is put together from those of smtpd (client, recipients), cleanup (Message-ID) and qmgr (sender, size); each
attempt is a line of its own. A bounce is told when it is known whether the sender was sent a report: that
follows the failed attempt, or else the message leaves the queue without.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

Event = tuple[str, dict[str, Any]]
"""Kind and fields (mailbed.event/1)."""

_LINE = re.compile(r"postfix/(?:\w+/)?(?P<program>\w+)\[\d+\]: (?:(?P<id>[0-9A-Za-z]{6,}): )?(?P<text>.*)")
_CLIENT = re.compile(r"client=[^\[]*\[([^\]]+)\]")
_RECIPIENT = re.compile(r"info: RCPT from .* to=<(\S*)> proto=(\w+)")
_MESSAGE_ID = re.compile(r"message-id=(\S+)")
_QUEUED = re.compile(r"from=<(\S*)>, size=(\d+), nrcpt=\d+ \(queue active\)")
_ATTEMPT = re.compile(
    r"to=<(?P<to>\S*)>,.* relay=(?:none|(?P<host>[^\[,]+)(?:\[(?P<address>[^\]]+)\]:\d+)?),"
    r".* status=(?P<status>sent|deferred|bounced) \((?P<reply>.*)\)$"
)
_QUEUED_AS = re.compile(r"queued as ([A-Za-z0-9._+-]+)")
_SAID = re.compile(r"said: (\d{3}[ -].*?)(?: \(in reply to [^)]*\))?$")
_REPORT = re.compile(r"sender non-delivery notification: (\w+)")
_KINDS = {"sent": "relayed", "deferred": "deferred", "bounced": "bounced"}


@dataclass(slots=True, kw_only=True)
class _Message:
    client: str
    protocol: str = ""
    recipients: list[str] = field(default_factory=list)
    message_id: str = ""
    told: bool = False


class PostfixLog:
    """Turns lines of Postfix's log into events, in their order."""

    def __init__(self) -> None:
        self._messages: dict[str, _Message] = {}
        self._bounced: dict[str, list[dict[str, Any]]] = {}

    def events(self, line: str) -> list[Event]:
        """Return what a line tells, which mostly is nothing."""
        found = _LINE.search(line)
        if found is None:
            return []
        queue_id, text = found["id"], found["text"]
        if queue_id is None:
            return [("error", {"line": line})] if text.startswith(("fatal:", "panic:")) else []
        if match := _ATTEMPT.match(text):
            return self._attempt(queue_id, match)
        if match := _REPORT.match(text):
            return self._concluded(queue_id, match[1])
        if text == "removed":
            self._messages.pop(queue_id, None)
            return self._concluded(queue_id, None)
        return self._arriving(queue_id, text)

    def _arriving(self, queue_id: str, text: str) -> list[Event]:
        if match := _CLIENT.match(text):
            self._messages[queue_id] = _Message(client=match[1])
        message = self._messages.get(queue_id)
        if message is None:
            return []
        if match := _RECIPIENT.match(text):
            message.recipients.append(match[1])
            message.protocol = match[2]
        elif match := _MESSAGE_ID.match(text):
            message.message_id = match[1]
        elif (match := _QUEUED.match(text)) and not message.told:
            message.told = True
            about = {
                "id": queue_id,
                "client": message.client,
                "protocol": message.protocol,
                "sender": match[1],
                "recipients": message.recipients,
                "size": int(match[2]),
                "message_id": message.message_id,
            }
            return [("accepted", about)]
        return []

    def _attempt(self, queue_id: str, match: re.Match[str]) -> list[Event]:
        said = _SAID.search(match["reply"])
        about = {"id": queue_id, "recipient": match["to"], "reply": said[1] if said else match["reply"]}
        kind = _KINDS[match["status"]]
        if kind == "bounced":
            self._bounced.setdefault(queue_id, []).append(about)
            return []
        if kind == "relayed" and match["host"] == "virtual":
            return [("delivered", {**about, "mailbox": match["to"], "file": ""})]
        if kind == "relayed":
            remote = _QUEUED_AS.search(match["reply"])
            about |= {
                "next_host": match["host"] or "",
                "next_address": match["address"] or "",
                "remote_id": remote[1] if remote else "",
            }
        return [(kind, about)]

    def _concluded(self, queue_id: str, bounce_id: str | None) -> list[Event]:
        return [("bounced", {**about, "bounce_id": bounce_id}) for about in self._bounced.pop(queue_id, [])]
