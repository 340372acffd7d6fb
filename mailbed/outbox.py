"""Messages that the lab was asked to send: each is submitted on its sender's host, and followed.

A message lies in hosts/HOST/outbox/N.eml, with its envelope beside it in N.toml, N counting over the whole
lab: what was sent stays there to be compared with what arrived.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from mailbed.errors import SendFailed, UsageError
from mailbed.eventlog import EventLog
from mailbed.mailprogram import MailProgram
from mailbed.processes import Zygote
from mailbed.tracking import FINAL, Outcome, Tracker
from topologies.namespaces import Namespace
from topologies.plan import Command, MailClient, MailServer, Plan, Role

MOVES = ("relayed", *FINAL)
"""The kinds of events that can settle what becomes of a recipient."""


@dataclass(slots=True, kw_only=True)
class Sent:
    """A message that was submitted: `place` is the submission server and its queue id."""

    number: int
    sender: str
    recipients: tuple[str, ...]
    place: tuple[str, str]
    reply: str
    refused: dict[str, str] = field(default_factory=dict)
    started: float
    size: int

    def outcomes(self, tracker: Tracker) -> dict[str, Outcome]:
        """Return what is known of each recipient; one that was refused has bounced before it began."""
        found: dict[str, Outcome] = {}
        for recipient in self.recipients:
            if recipient in self.refused:
                found[recipient] = Outcome(
                    recipient=recipient,
                    state="refused",
                    host=self.place[0],
                    path=(self.place[0],),
                    reply=self.refused[recipient],
                    time=self.started,
                )
            else:
                found[recipient] = tracker.outcome(self.place, recipient)
        return found


class Outbox:
    """Submits messages and keeps account of them."""

    def __init__(
        self,
        plan: Plan,
        hosts: dict[str, Namespace],
        run: Path,
        *,
        zygote: Zygote,
        events: EventLog,
        tracker: Tracker,
    ) -> None:
        self._plan = plan
        self._run = run
        self._events = events
        self._tracker = tracker
        clients = {host.name: hosts[host.name] for host, role in plan.roles() if isinstance(role, MailClient)}
        self._programs = {
            name: MailProgram(
                name, (host.net, host.uts, host.mnt), run / "hosts" / name, zygote=zygote, events=events
            )
            for name, host in clients.items()
        }
        self._numbers = itertools.count(1)
        self.sent: dict[int, Sent] = {}

    def client_of(self, sender: str, host: str | None) -> tuple[str, MailClient]:
        """Return the host and the MUA that send for `sender`, or those on `host`. Raises: UsageError."""
        clients = [(h.name, role) for h, role in self._plan.roles() if isinstance(role, MailClient)]
        for name, role in clients:
            if (role.user == sender) if host is None else (name == host):
                return name, role
        if host is not None:
            raise UsageError(
                f"host {host} has no mail client; these have: {', '.join(n for n, _ in clients)}"
            )
        known = ", ".join(role.user for _, role in clients)
        raise UsageError(f"nobody in {self._plan.name} sends mail as {sender}: there are {known}")

    async def send(
        self,
        message: int,
        sender: str,
        recipients: Sequence[str],
        host: str | None,
        *,
        via: Sequence[str] = (),
        percent: bool = False,
    ) -> Sent:
        """Submit the message in the open file `message`, or hand it to the first host of `via`.

        Raises: UsageError, SendFailed.
        """
        name, client = self.client_of(sender, host)
        names = self._names_in_dns(via)
        number = next(self._numbers)
        outbox = self._run / "hosts" / name / "outbox"
        outbox.mkdir(parents=True, exist_ok=True)
        path = outbox / f"{number}.eml"
        size = await asyncio.to_thread(_copy, message, path)
        envelope = {
            "number": number,
            "message": str(path),
            "sender": sender,
            "recipients": list(recipients),
            "via": names,
            "percent": percent,
        }
        path.with_suffix(".toml").write_text(tomli_w.dumps(envelope), encoding="utf-8")
        started = time.time()
        answer = await self._programs[name].submit(number, path.with_suffix(".toml"))
        if answer["kind"] != "submitted":
            reason = str(answer.get("reason", "the mail client ended without a word; see its log"))
            if via and answer.get("unreachable"):
                reason += f" (tried from {name}, perhaps behind a firewall: --host chooses another host)"
            raise SendFailed(reason)
        sent = Sent(
            number=number,
            sender=sender,
            recipients=tuple(recipients),
            place=(via[0] if via else client.server, str(answer["id"])),
            reply=str(answer["reply"]),
            refused=dict(answer["refused"]),
            started=started,
            size=size,
        )
        self.sent[number] = sent
        return sent

    def _names_in_dns(self, via: Sequence[str]) -> list[str]:
        servers = {host.name: host.fqdn for host, role in self._plan.roles() if takes_mail(role)}
        for name in via:
            if name not in servers:
                raise UsageError(
                    f"{name} is no mail server of {self._plan.name}: there are {', '.join(servers)}"
                )
        return [servers[name] for name in via]

    async def wait(self, number: int, timeout_s: float) -> dict[str, Outcome]:
        """Return each recipient's outcome once all are final, or what is known when the time is up."""
        sent = self.sent.get(number)
        if sent is None:
            raise UsageError(f"no message {number} was sent")
        due = [recipient for recipient in sent.recipients if recipient not in sent.refused]
        await self._until_settled(sent.place, due, timeout_s)
        return sent.outcomes(self._tracker)

    async def follow(
        self, place: tuple[str, str], recipients: Sequence[str], timeout_s: float
    ) -> dict[str, Outcome]:
        """Return the same for a message that somebody else handed in: a host and its queue id there."""
        await self._until_settled(place, recipients, timeout_s)
        return {recipient: self._tracker.outcome(place, recipient) for recipient in recipients}

    async def _until_settled(
        self, place: tuple[str, str], recipients: Sequence[str], timeout_s: float
    ) -> None:
        """Return when nothing more will happen to any of the recipients, or when the time is up."""
        due = list(recipients)

        def settled(event: Mapping[str, Any] | None = None) -> bool:
            # Called for each event of the lab: so it looks no further than to the first who is not settled.
            if event is None or event["kind"] in MOVES:
                while due and self._tracker.outcome(place, due[-1]).settled:
                    due.pop()
            return not due

        if not settled():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._events.wait_for(settled)


def takes_mail(role: Role) -> bool:
    """A host with this role may take mail: a command may be a mail server."""
    return isinstance(role, MailServer | Command)


def _copy(source: int, path: Path) -> int:
    """Copy an open file to a path; return its size."""
    with open(source, "rb", closefd=False) as file, path.open("wb") as copy:
        if file.seekable():
            file.seek(0)
        while chunk := file.read(1 << 20):
            copy.write(chunk)
    return os.stat(path).st_size
