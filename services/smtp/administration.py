"""What an administrator asks of a queue, and does to it.

Theory of operation. Questions come with JSON parameters (services.notices); each names the messages that it
means by `ids`, by the `domain` of a recipient, or by both. What is not there is passed over: who asked sees
what is missing from the answer. What empties or stops a queue says `all` to mean all of it.

    queue.list      what waits, without content        queue.flush      due now, hosts that failed too
    queue.show      one message, with its header       queue.hold       not attempted until it is released
    queue.remove    forgotten, not sent                queue.release    attempted again, at once
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.notices import Handler, Notices
from services.smtp.message import QueuedMessage, Recipient
from services.smtp.queue import Queue
from services.smtp.trace import header_section

_LONGEST_HEADER = 64 * 1024


class Administration:
    """Answers for one queue; `forget_failures` has hosts that did not answer tried again."""

    def __init__(self, queue: Queue, forget_failures: Callable[[], None], notices: Notices) -> None:
        self._queue = queue
        self._forget_failures = forget_failures
        self._notices = notices

    def serve(self) -> None:
        """Have the questions answered; to be called before the server is ready."""
        handlers: dict[str, Handler] = {
            "queue.list": self.listing,
            "queue.show": self.show,
            "queue.flush": self.flush,
            "queue.hold": self.hold,
            "queue.release": self.release,
            "queue.remove": self.remove,
        }
        for method, handler in handlers.items():
            self._notices.handle(method, handler)

    def listing(self, params: Mapping[str, Any]) -> dict[str, object]:
        """Return `messages`, in order of arrival."""
        return {"messages": [self._values(message) for message in self._chosen(params)]}

    async def show(self, params: Mapping[str, Any]) -> dict[str, object]:
        """Return one message by its `id` with its `header`, `messages` empty if there is none."""
        found = [message for message in self._queue.messages() if message.id == params["id"]]
        return {
            "messages": [
                {**self._values(message), "header": header_text(await self._queue.content(message.id))}
                for message in found
            ]
        }

    def flush(self, params: Mapping[str, Any]) -> dict[str, object]:
        """Make recipients due now, those of the `domain` alone if it is given; return what was flushed.

        What is held stays as it is.
        """
        domain = params.get("domain")
        chosen = [message for message in self._chosen(params) if not message.held]
        self._forget_failures()
        self._queue.hasten(
            {
                message.id: [one.address for one in message.recipients if is_at(one, domain)]
                for message in chosen
            }
        )
        return {"messages": [self._values(message) for message in chosen]}

    async def hold(self, params: Mapping[str, Any]) -> dict[str, object]:
        """Hold messages; return those that were not held before."""
        return await self._hold(params, hold=True)

    async def release(self, params: Mapping[str, Any]) -> dict[str, object]:
        """Have messages attempted again; return those that were held before."""
        self._forget_failures()
        return await self._hold(params, hold=False)

    async def _hold(self, params: Mapping[str, Any], *, hold: bool) -> dict[str, object]:
        chosen = self._named(params)
        changed = await self._queue.hold([message.id for message in chosen], hold=hold)
        for queue_id in changed:
            self._notices.event("held" if hold else "released", id=queue_id)
        return {"messages": [{**self._values(each), "held": hold} for each in chosen if each.id in changed]}

    async def remove(self, params: Mapping[str, Any]) -> dict[str, object]:
        """Forget messages; return them: their recipients will not get them.

        Of one that is `under_way` some may all the same.
        """
        chosen = self._named(params)
        under_way = {message.id for message in chosen if self._queue.under_way(message.id)}
        removed = await self._queue.remove([message.id for message in chosen])
        for message in removed:
            recipients = [recipient.address for recipient in message.recipients]
            self._notices.event("removed", id=message.id, recipients=recipients)
        return {
            "messages": [
                {**message_values(message), "under_way": message.id in under_way} for message in removed
            ]
        }

    def _values(self, message: QueuedMessage) -> dict[str, object]:
        return message_values(message, under_way=self._queue.under_way(message.id))

    def _named(self, params: Mapping[str, Any]) -> list[QueuedMessage]:
        """Return the messages that are meant, all of them only if that is said. Raises: ValueError."""
        if not (params.get("ids") or params.get("domain") or params.get("all")):
            raise ValueError("name messages, or a domain, or say that all are meant")
        return self._chosen(params)

    def _chosen(self, params: Mapping[str, Any]) -> list[QueuedMessage]:
        return chosen(self._queue.messages(), ids=params.get("ids"), domain=params.get("domain"))


def chosen(
    messages: list[QueuedMessage], *, ids: list[str] | None, domain: str | None
) -> list[QueuedMessage]:
    """Return the messages that have one of the ids, and a recipient in the domain; None means any."""
    wanted = None if not ids else set(ids)
    return [
        message
        for message in messages
        if (wanted is None or message.id in wanted)
        and any(is_at(recipient, domain) for recipient in message.recipients)
    ]


def is_at(recipient: Recipient, domain: str | None) -> bool:
    """Return whether a recipient's domain is this one, in whatever case; None means any."""
    return not domain or recipient.address.rpartition("@")[2].lower() == domain.lower()


def message_values(message: QueuedMessage, *, under_way: bool = False) -> dict[str, object]:
    """Return what is told of a message that waits, as a JSON object; times are seconds since 1970."""
    return {
        "id": message.id,
        "size": message.size,
        "arrival": message.arrival,
        "sender": message.sender,
        "held": message.held,
        "under_way": under_way,
        "recipients": [
            {
                "address": recipient.address,
                "attempts": recipient.attempts,
                "next_attempt": recipient.due,
                "reply": recipient.reply,
            }
            for recipient in message.recipients
        ],
    }


def header_text(content: bytes) -> str:
    """Return the header of a message, as people read it."""
    return header_section(content)[:_LONGEST_HEADER].decode("utf-8", "replace").replace("\r\n", "\n")
