"""The queue of a mail server in a lab, as people program against it.

    queue = lab.queue("corp-mta1")
    for message in queue.messages(domain="example.org"):
        print(message.id, message.age_s, [recipient.reply for recipient in message.recipients])
    queue.hold("JBSWY3DPEB")
    queue.remove("JBSWY3DPEB")             # and what is returned says who will not get it

A server that does not run, and a lab that has ended, are asked through what lies in the run directory.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mailbed.errors import LabError, UsageError

if TYPE_CHECKING:
    from mailbed.handle import Handle


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A recipient that a message waits for: `next_attempt` in seconds since 1970, `reply` is the last one."""

    address: str
    attempts: int
    next_attempt: float
    reply: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InQueue:
    """A message in a queue: `arrival` in seconds since 1970; `under_way`: an attempt is being made now.

    The `header` is only there if one message was asked for (`show`).
    """

    id: str
    size: int
    arrival: float
    age_s: float
    sender: str
    held: bool
    under_way: bool
    recipients: tuple[Waiting, ...]
    header: str = ""


class LabQueue:
    """A handle on the queue of one mail server."""

    def __init__(self, lab: Handle, host: str) -> None:
        self._lab = lab
        self.host = host

    def messages(self, *ids: str, domain: str | None = None) -> list[InQueue]:
        """Return what waits, in order of arrival: all of it, or of these ids, or for a domain.

        Raises: UsageError if there is no mail server; LabError if it cannot be asked.
        """
        try:
            return self._ask("queue.list", ids=list(ids), domain=domain)
        except LabError:
            found = of_run(self._lab.run, self.host, ids, domain)
            if found is None:
                raise
            return found

    def show(self, queue_id: str) -> InQueue:
        """Return one message, with its header. Raises: as `messages`, and UsageError if it is not there."""
        try:
            found = self._ask("queue.show", id=queue_id)
        except LabError:
            found = of_run(self._lab.run, self.host, [queue_id], None, header=True) or []
            if not found:
                raise
        if not found:
            raise UsageError(f"no message {queue_id} is in the queue of {self.host}")
        return found[0]

    def flush(self, *ids: str, domain: str | None = None) -> list[InQueue]:
        """Have messages attempted now, all or some; return them. Raises: as `messages`."""
        return self._ask("queue.flush", ids=list(ids), domain=domain)

    def hold(self, *ids: str, domain: str | None = None, every: bool = False) -> list[InQueue]:
        """Have messages not attempted until they are released; return those that were not held before.

        Raises: UsageError, also if neither ids nor a domain are given nor `every`; LabError.
        """
        return self._ask("queue.hold", ids=list(ids), domain=domain, all=every)

    def release(self, *ids: str, domain: str | None = None, every: bool = False) -> list[InQueue]:
        """Have held messages attempted at once; return those that were held. Raises: as `hold`."""
        return self._ask("queue.release", ids=list(ids), domain=domain, all=every)

    def remove(self, *ids: str, domain: str | None = None, every: bool = False) -> list[InQueue]:
        """Forget messages; return them: their recipients will not get them. Nobody is told.

        Of one that was under way some recipients may get it all the same. Raises: as `hold`.
        """
        return self._ask("queue.remove", ids=list(ids), domain=domain, all=every)

    def _ask(self, method: str, **params: Any) -> list[InQueue]:
        answer = self._lab.call(method, host=self.host, **params)
        now = time.time()
        return [_in_queue(values, now) for values in answer["messages"]]


def of_run(
    run: Path, host: str, ids: Sequence[str] = (), domain: str | None = None, *, header: bool = False
) -> list[InQueue] | None:
    """Return what waits in a host's queue as it lies in a run directory, None if it has none."""
    from services.smtp.administration import chosen, header_text, message_values
    from services.smtp.peek import peek, peek_content

    spool = run / "hosts" / host / "spool"
    if not (spool / "queue").is_dir():
        return None
    try:
        now = time.time()
        return [
            _in_queue(
                {
                    **message_values(message),
                    "header": header_text(peek_content(spool, message.id) or b"") if header else "",
                },
                now,
            )
            for message in chosen(peek(spool), ids=list(ids), domain=domain)
        ]
    except PermissionError as error:
        raise LabError(f"{error.filename}: {error.strerror}") from error


def _in_queue(values: Mapping[str, Any], now: float) -> InQueue:
    recipients = tuple(Waiting(**recipient) for recipient in values["recipients"])
    age_s = round(max(now - values["arrival"], 0.0), 3)
    return InQueue(**{**values, "recipients": recipients, "age_s": age_s})
