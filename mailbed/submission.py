"""A MUA that empties its outbox and ends: `mailbed send` runs it on the sender's host.

The job is a TOML file: `settings` (the host's mail-client.toml) and `envelopes`, a list of files, each of
which has `number`, `message` (a file), `sender` and `recipients`. The messages are submitted one after the
other over one session; one that has `via` (names of hosts) is handed to the first of these instead, on port
25 and without an account (injection). What came of each is told by a notice that bears its number:
`submitted` with the server's queue id, or `not-submitted` with its reply.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from services.notices import Notices
from services.smtp import mua
from services.smtp.errors import BadAddress, SubmissionFailed
from services.smtp.injection import Injection, inject


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One message to submit, with its envelope."""

    number: int
    message: Path
    sender: str
    recipients: tuple[str, ...]
    via: tuple[str, ...] = ()
    percent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one run of the MUA submits."""

    settings: mua.SubmissionConfig
    drafts: tuple[Draft, ...]


def load(path: Path) -> Job:
    """Return the job in a TOML file that the supervisor wrote."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    return Job(
        settings=_settings(Path(data["settings"])),
        drafts=tuple(_draft(Path(envelope)) for envelope in data["envelopes"]),
    )


def _settings(path: Path) -> mua.SubmissionConfig:
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    return mua.SubmissionConfig(
        server=data["server"],
        username=data["username"],
        password=data["password"],
        ca_file=Path(data["ca_file"]),
        keylog=Path(data["keylog"]),
        hostname=data["hostname"],
    )


def _draft(envelope: Path) -> Draft:
    data = tomllib.loads(envelope.read_text(encoding="utf-8"))
    return Draft(
        number=data["number"],
        message=Path(data["message"]),
        sender=data["sender"],
        recipients=tuple(data["recipients"]),
        via=tuple(data.get("via", ())),
        percent=data.get("percent", False),
    )


async def serve(job: Job, notices: Notices) -> None:
    """Submit the messages and tell what came of each."""
    async with mua.Outgoing(job.settings) as outgoing:
        for draft in job.drafts:
            await _submit(outgoing, draft, job.settings.hostname, notices)


async def _submit(outgoing: mua.Outgoing, draft: Draft, hostname: str, notices: Notices) -> None:
    content = draft.message.read_bytes()
    try:
        if draft.via:
            injection = Injection(via=draft.via, percent=draft.percent, hostname=hostname)
            receipt = await inject(injection, content, draft.sender, draft.recipients)
        else:
            receipt = await outgoing.submit(content, draft.sender, draft.recipients)
    except (SubmissionFailed, BadAddress) as error:
        # Neither a word from the server nor a mistake in the message: there was no session.
        silent = isinstance(error, SubmissionFailed) and error.temporary and not error.reply
        notices.event("not-submitted", number=draft.number, reason=str(error), unreachable=silent)
        return
    notices.event(
        "submitted",
        number=draft.number,
        id=receipt.queue_id,
        reply=receipt.reply,
        refused=receipt.refused,
    )
