"""A MUA that submits one message and ends: `mailbed send` runs it on the sender's host.

The job is a TOML file beside the message: `settings` (the host's mail-client.toml), `message`, `sender`,
`recipients`. What came of it is told as one notice: `submitted` with the server's queue id, or
`not-submitted` with its reply.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from services.notices import Notices
from services.smtp import mua
from services.smtp.errors import BadAddress, SubmissionFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One message to submit, with its envelope."""

    settings: mua.SubmissionConfig
    message: Path
    sender: str
    recipients: tuple[str, ...]


def load(path: Path) -> Job:
    """Return the job in a TOML file that the supervisor wrote."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    return Job(
        settings=_settings(Path(data["settings"])),
        message=Path(data["message"]),
        sender=data["sender"],
        recipients=tuple(data["recipients"]),
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


async def serve(job: Job, notices: Notices) -> None:
    """Submit the message and tell what came of it."""
    try:
        receipt = await mua.submit(job.settings, job.message.read_bytes(), job.sender, job.recipients)
    except (SubmissionFailed, BadAddress) as error:
        notices.event("not-submitted", reason=str(error))
        return
    notices.event("submitted", id=receipt.queue_id, reply=receipt.reply, refused=receipt.refused)
