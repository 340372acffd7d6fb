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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from mailbed.errors import SendFailed, UsageError
from mailbed.eventlog import EventLog
from mailbed.processes import Zygote
from mailbed.tracking import Outcome, Tracker
from topologies.namespaces import Namespace
from topologies.plan import MailClient, Plan


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
        self._hosts = hosts
        self._run = run
        self._zygote = zygote
        self._events = events
        self._tracker = tracker
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

    async def send(self, message: int, sender: str, recipients: Sequence[str], host: str | None) -> Sent:
        """Submit the message in the open file `message`. Raises: UsageError, SendFailed."""
        name, client = self.client_of(sender, host)
        number = next(self._numbers)
        outbox = self._run / "hosts" / name / "outbox"
        outbox.mkdir(parents=True, exist_ok=True)
        path = outbox / f"{number}.eml"
        size = await asyncio.to_thread(_copy, message, path)
        job = {
            "settings": str(self._run / "hosts" / name / "mail-client.toml"),
            "message": str(path),
            "sender": sender,
            "recipients": list(recipients),
        }
        path.with_suffix(".toml").write_text(tomli_w.dumps(job), encoding="utf-8")
        started = time.time()
        answer = await self._submit(name, path.with_suffix(".toml"))
        if answer["kind"] != "submitted":
            raise SendFailed(str(answer.get("reason", "the mail client ended without a word; see its log")))
        sent = Sent(
            number=number,
            sender=sender,
            recipients=tuple(recipients),
            place=(client.server, str(answer["id"])),
            reply=str(answer["reply"]),
            refused=dict(answer["refused"]),
            started=started,
            size=size,
        )
        self.sent[number] = sent
        return sent

    async def wait(self, number: int, timeout_s: float) -> dict[str, Outcome]:
        """Return each recipient's outcome once all are final, or what is known when the time is up."""
        sent = self.sent.get(number)
        if sent is None:
            raise UsageError(f"no message {number} was sent")

        return await self._until_settled(lambda: sent.outcomes(self._tracker), timeout_s)

    async def follow(
        self, place: tuple[str, str], recipients: Sequence[str], timeout_s: float
    ) -> dict[str, Outcome]:
        """Return the same for a message that somebody else handed in: a host and its queue id there."""

        def outcomes() -> dict[str, Outcome]:
            return {recipient: self._tracker.outcome(place, recipient) for recipient in recipients}

        return await self._until_settled(outcomes, timeout_s)

    async def _until_settled(
        self, outcomes: Callable[[], dict[str, Outcome]], timeout_s: float
    ) -> dict[str, Outcome]:
        def settled(_event: object = None) -> bool:
            return all(outcome.settled for outcome in outcomes().values())

        if not settled():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._events.wait_for(settled)
        return outcomes()

    async def _submit(self, host: str, job: Path) -> dict[str, Any]:
        namespace = self._hosts[host]
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

        def told(notice: dict[str, Any]) -> None:
            self._events.emit(host, "mail-client", notice["kind"], **_without_kind(notice))
            if not answer.done():
                answer.set_result(notice)

        running = await self._zygote.serve(
            name=f"{host}/mail-client",
            module="mailbed.submission",
            config=job,
            log=self._run / "hosts" / host / "mail-client.log",
            namespaces=(namespace.net, namespace.uts, namespace.mnt),
            told=told,
        )
        try:
            either: set[asyncio.Future[Any]] = {answer, running.ended}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            # What it said last may still be in its socket when its end is known already.
            if not answer.done():
                await asyncio.wait({answer}, timeout=1.0)
        finally:
            running.kill()
        return answer.result() if answer.done() else {"kind": "failed"}


def _without_kind(notice: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in notice.items() if key not in ("kind", "time", "host", "role")}


def _copy(source: int, path: Path) -> int:
    """Copy an open file to a path; return its size."""
    with open(source, "rb", closefd=False) as file, path.open("wb") as copy:
        if file.seekable():
            file.seek(0)
        while chunk := file.read(1 << 20):
            copy.write(chunk)
    return os.stat(path).st_size
