"""What an administrator asks of a queue and does to it, as the questions and answers are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from services.smtp.address import parse_address
from services.smtp.administration import Administration, chosen, header_text
from services.smtp.envelope import Envelope
from services.smtp.message import Progress, QueuedMessage, Recipient
from services.smtp.queue import Queue
from services.smtp.spool import Spool
from services.smtp.streams import Streams
from tests.unit.smtp.running import Events

BOB, DAVE, EVE = "bob@example.org", "dave@Example.ORG", "eve@example.net"
NEXT = 5000.0


class Desk:
    """An administration over a queue with two messages that were deferred: one to three, one to eve alone."""

    def __init__(self, root: Path) -> None:
        streams = Streams(seed=1, host="mx", role="mta")
        self.now = 1000.0
        self.forgotten = 0
        self.events = Events()
        self.queue = Queue(Spool(root), streams=streams, clock=lambda: self.now)
        self.ask = Administration(self.queue, self._forget, self.events)
        self.ids: list[str] = []

    def _forget(self) -> None:
        self.forgotten += 1

    async def open(self) -> None:
        await self.queue.open()
        for recipients in ((BOB, DAVE, EVE), (EVE,)):
            envelope = Envelope(sender=None, recipients=tuple(map(parse_address, recipients)))
            message = await self.queue.commit(envelope, lambda *_: b"Subject: x\r\n\r\nhidden\r\n")
            assert (await self.queue.take()).id == message.id
            steps = [
                Progress(recipient=one.address, fate="deferred", reply="450 no", attempts=1, due=NEXT)
                for one in message.recipients
            ]
            await self.queue.record(message.id, steps)
            self.queue.release(message.id)
            self.ids.append(message.id)
            self.now += 1

    def due(self) -> dict[str, list[bool]]:
        """Whether each recipient of each message is due."""
        return {
            message.id: [recipient.due < NEXT for recipient in message.recipients]
            for message in self.queue.messages()
        }


def at(desk_root: Path, steps: Callable[[Desk], Awaitable[None]]) -> None:
    async def main() -> None:
        desk = Desk(desk_root)
        await desk.open()
        await steps(desk)
        await desk.queue.close()

    asyncio.run(main())


def ids(answer: dict[str, Any]) -> list[str]:
    return [message["id"] for message in answer["messages"]]


def test_what_is_told(tmp_path: Path) -> None:
    """A message is told with its envelope and what each recipient got; shown, with its header too."""

    async def steps(desk: Desk) -> None:
        answer: dict[str, Any] = desk.ask.listing({})
        assert ids(answer) == desk.ids
        assert answer["messages"][1] == {
            "id": desk.ids[1],
            "size": 22,
            "arrival": 1001.0,
            "sender": "",
            "held": False,
            "under_way": False,
            "recipients": [{"address": EVE, "attempts": 1, "next_attempt": NEXT, "reply": "450 no"}],
        }
        shown: dict[str, Any] = await desk.ask.show({"id": desk.ids[1]})
        assert shown["messages"][0]["header"] == "Subject: x\n"
        assert (await desk.ask.show({"id": "NONE"}))["messages"] == []

    at(tmp_path, steps)


def test_a_flush_of_a_domain(tmp_path: Path) -> None:
    """Only recipients of the domain are due now, whatever its case; hosts that failed are tried again."""

    async def steps(desk: Desk) -> None:
        assert ids(desk.ask.flush({"domain": "EXAMPLE.org"})) == [desk.ids[0]]
        assert desk.due() == {desk.ids[0]: [True, True, False], desk.ids[1]: [False]}
        assert desk.forgotten == 1
        assert ids(desk.ask.flush({"ids": [desk.ids[1], "NONE"]})) == [desk.ids[1]]
        assert desk.due()[desk.ids[1]] == [True]

    at(tmp_path, steps)


def test_a_flush_leaves_what_is_held(tmp_path: Path) -> None:
    """Held messages stay as they are; released, they are due."""

    async def steps(desk: Desk) -> None:
        assert ids(await desk.ask.hold({"domain": "example.org"})) == [desk.ids[0]]
        assert ids(await desk.ask.hold({"ids": desk.ids})) == [desk.ids[1]]
        assert ids(await desk.ask.release({"ids": [desk.ids[1]]})) == [desk.ids[1]]
        assert ids(desk.ask.flush({})) == [desk.ids[1]]
        assert [event["id"] for event in desk.events.of("held")] == desk.ids
        assert [event["id"] for event in desk.events.of("released")] == [desk.ids[1]]
        assert desk.due() == {desk.ids[0]: [False, False, False], desk.ids[1]: [True]}

    at(tmp_path, steps)


@pytest.mark.parametrize("verb", ["hold", "release", "remove"])
def test_nothing_named_is_no_question(tmp_path: Path, verb: str) -> None:
    """What stops or empties a queue must be told what is meant."""

    async def steps(desk: Desk) -> None:
        with pytest.raises(ValueError, match="name messages, or a domain"):
            await getattr(desk.ask, verb)({"ids": [], "domain": None, "all": False})
        assert len(desk.queue) == 2

    at(tmp_path, steps)


def test_removing_all(tmp_path: Path) -> None:
    """All is removed if that is said, and the answer names those who will not get it."""

    async def steps(desk: Desk) -> None:
        answer: dict[str, Any] = await desk.ask.remove({"all": True})
        lost = [one["address"] for message in answer["messages"] for one in message["recipients"]]
        assert lost == [BOB, DAVE, EVE, EVE]
        assert [(event["id"], event["recipients"]) for event in desk.events.of("removed")] == [
            (desk.ids[0], [BOB, DAVE, EVE]),
            (desk.ids[1], [EVE]),
        ]
        assert len(desk.queue) == 0

    at(tmp_path, steps)


def test_ids_and_domain_together() -> None:
    """Both hold: a message that is named but has nobody in the domain is not meant."""
    message = QueuedMessage(
        id="A",
        arrival=1.0,
        sender="",
        recipients=(Recipient(address=BOB, number=0, due=1.0),),
        body="7BIT",
        smtputf8=False,
        size=1,
    )
    assert chosen([message], ids=["A"], domain="example.org") == [message]
    assert chosen([message], ids=["A"], domain="example.net") == []
    assert chosen([message], ids=["B"], domain=None) == []


def test_a_header_that_is_no_text() -> None:
    """Whatever the header holds, it can be shown."""
    assert header_text(b"Subject: \xff\r\nA: b\r\n\r\nbody") == "Subject: \ufffd\nA: b\n"
