"""What an administrator asks of the quarantine, and does to it.

    quarantine.list       what is kept: the records          quarantine.release    delivered after all, marked
    quarantine.show       one record, with the message       quarantine.delete     gone for good

What is not there is passed over: who asked sees what is missing from the answer. A released message is in the
queue, and on disk, before it leaves the quarantine; it is not judged again, and says on top who let it out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from services.filters.quarantine import Kept, Quarantine, shown
from services.notices import Handler, Notices
from services.smtp.address import parse_address
from services.smtp.envelope import Envelope
from services.smtp.queue import Queue
from services.smtp.trace import date_text


class Custody:
    """Answers for the quarantine of one host, called `hostname` in the field that marks what is released."""

    def __init__(self, quarantine: Quarantine, queue: Queue, notices: Notices, *, hostname: str) -> None:
        self._quarantine = quarantine
        self._queue = queue
        self._notices = notices
        self._hostname = hostname
        # Two administrators must not release the same message twice.
        self._one = asyncio.Lock()

    def serve(self, notices: Notices) -> None:
        """Have the questions answered; to be called before the server is ready."""
        handlers: dict[str, Handler] = {
            "quarantine.list": self.listing,
            "quarantine.show": self.show,
            "quarantine.release": self.release,
            "quarantine.delete": self.delete,
        }
        for method, handler in handlers.items():
            notices.handle(method, handler)

    def listing(self, _params: Mapping[str, Any]) -> dict[str, object]:
        """Return the records as `messages`, oldest first."""
        return {"messages": [asdict(kept) for kept in self._quarantine.all()]}

    def show(self, params: Mapping[str, Any]) -> dict[str, object]:
        """Return one record by its `id` with its `content` (of a long one the beginning); or nothing."""
        kept = self._quarantine.find(str(params["id"]))
        if kept is None:
            return {"messages": []}
        return {"messages": [{**asdict(kept), "content": shown(self._quarantine.content(kept.id))}]}

    async def release(self, params: Mapping[str, Any]) -> dict[str, object]:
        """Put messages by their `ids` back into the queue; return the records, each with its `queue_id`."""
        async with self._one:
            return {"messages": [await self._release(kept) for kept in self._chosen(params)]}

    async def delete(self, params: Mapping[str, Any]) -> dict[str, object]:
        """Forget messages by their `ids`; return the records."""
        async with self._one:
            chosen = self._chosen(params)
            for kept in chosen:
                await asyncio.to_thread(self._quarantine.remove, kept.id)
                self._notices.event("quarantine-deleted", quarantine_id=kept.id)
            return {"messages": [asdict(kept) for kept in chosen]}

    async def _release(self, kept: Kept) -> dict[str, object]:
        content = await asyncio.to_thread(self._quarantine.content, kept.id)
        envelope = Envelope(
            sender=parse_address(kept.sender) if kept.sender else None,
            recipients=tuple(map(parse_address, kept.recipients)),
            body="8BITMIME" if kept.body == "8BITMIME" else "7BIT",
            smtputf8=kept.smtputf8,
        )

        def compose(queue_id: str, now: float) -> bytes:
            return mark(kept, by=self._hostname, queue_id=queue_id, now=now) + content

        message = await self._queue.commit(envelope, compose, filtered=True)
        await asyncio.to_thread(self._quarantine.remove, kept.id)
        self._notices.event(
            "quarantine-released", id=message.id, quarantine_id=kept.id, recipients=list(kept.recipients)
        )
        return {**asdict(kept), "queue_id": message.id}

    def _chosen(self, params: Mapping[str, Any]) -> list[Kept]:
        found = (self._quarantine.find(str(one)) for one in dict.fromkeys(params["ids"]))
        return [kept for kept in found if kept]


def mark(kept: Kept, *, by: str, queue_id: str, now: float) -> bytes:
    """Return the field on top of a released message: who released it as what, when, and why it was kept.

    It is no Received field: the message has not been with another server.
    """
    lines = [
        f"X-Quarantine-Released: by {by} id {queue_id}; {date_text(now)};",
        f"\tkept since {kept.reason}",
    ]
    return "".join(f"{line}\r\n" for line in lines).encode("utf-8", "replace")
