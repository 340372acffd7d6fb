"""What is written down, told and reported of what attempts come to."""

from __future__ import annotations

import asyncio
import email
import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from services.smtp import spool
from services.smtp.address import parse_address
from services.smtp.envelope import Envelope, Wishes
from services.smtp.message import Progress, QueuedMessage
from services.smtp.outcomes import Ledger, Outcome
from services.smtp.peek import peek
from services.smtp.policy import Mailbox
from services.smtp.queue import Queue
from services.smtp.replies import Reply
from services.smtp.retry import RetryPolicy
from services.smtp.routing import Target
from services.smtp.spool import Spool
from services.smtp.streams import Streams
from tests.unit.smtp.running import Events

HOUR = 3600.0
CONTENT = b"Subject: x\r\n\r\nhi\r\n"
MX = Target(domain="example.org", host="mx1", address="127.0.0.2")
OK, LATER, NO = Reply(250, "2.0.0", "Ok"), Reply(450, "4.2.1", "later"), Reply(550, "5.1.1", "no")


@dataclass
class Desk:
    """A ledger over a queue on disk, with a clock that stands where it is put."""

    directory: Path
    now: float = 1000.0
    events: Events = field(default_factory=Events)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Desk]:
        """Read the queue, and close it in the end: what follows another opening is after a restart."""
        streams = Streams(seed=1, host="mx", role="mta")
        self.queue = Queue(Spool(self.directory), streams=streams, clock=lambda: self.now)
        self.ledger = Ledger(
            hostname="mx.example.com",
            retry=RetryPolicy(),
            queue=self.queue,
            notices=self.events,
            streams=streams,
            clock=lambda: self.now,
        )
        await self.queue.open()
        try:
            yield self
        finally:
            await self.queue.close()

    async def take_in(self, *recipients: str, sender: str = "alice@example.com", notify: str = "") -> str:
        """Put a message for people at example.org into the queue, and return its id."""
        addresses = tuple(parse_address(f"{name}@example.org") for name in recipients)
        wishes = Wishes(notify=tuple(notify.split(",")) if notify else ())
        envelope = Envelope(
            sender=parse_address(sender) if sender else None,
            recipients=addresses,
            wishes=dict.fromkeys(addresses, wishes),
        )
        return (await self.queue.commit(envelope, lambda *_: CONTENT)).id

    async def attempt(self, queue_id: str, *replies: Reply, reports: bool = False) -> None:
        """Have an attempt at a message come to these replies, one for each recipient that it waits for."""
        message = self.message(queue_id)
        results = [
            Outcome(recipient=recipient, reply=reply, target=MX, reports=reports)
            for recipient, reply in zip(message.recipients, replies, strict=True)
        ]
        rest = await self.ledger.settle(message, CONTENT, results)
        await self.ledger.conclude(message, CONTENT, rest)

    async def file(self, queue_id: str) -> None:
        """Have a message filed for every recipient."""
        message = self.message(queue_id)
        mailbox = Mailbox(domain="example.org", user="x")
        files = [(recipient, mailbox, "new/1") for recipient in message.recipients]
        await self.ledger.filed(message, CONTENT, files)

    def message(self, queue_id: str) -> QueuedMessage:
        return next(message for message in self.waiting() if message.id == queue_id)

    def waiting(self) -> Sequence[QueuedMessage]:
        return peek(self.directory)

    async def reports(self) -> list[tuple[str, list[str]]]:
        """Return what the reports in the queue say: the action, and for whom."""
        found = []
        for message in self.waiting():
            if not message.sender and [each.address for each in message.recipients] == ["alice@example.com"]:
                report = email.message_from_bytes(await self.queue.content(message.id))
                status = report.get_payload(1)
                assert isinstance(status, Message)
                _, *entries = [block for block in status.get_payload() if isinstance(block, Message)]
                named = [str(entry["Final-Recipient"]).removeprefix("rfc822; ") for entry in entries]
                names = [address.partition("@")[0] for address in named]
                found.append((str(entries[0]["Action"]), names))
        return found


def at_desk(directory: Path, steps: Callable[[Desk], Awaitable[None]]) -> Desk:
    desk = Desk(directory)

    async def main() -> None:
        async with desk.open():
            await steps(desk)

    asyncio.run(main())
    return desk


@pytest.mark.parametrize(
    ("notify", "reports", "expected"),
    [
        pytest.param("SUCCESS", False, [("relayed", ["bob", "dave"])], id="the next server knows no DSN"),
        pytest.param("SUCCESS", True, [], id="the next server reports itself"),
        pytest.param("", False, [], id="not asked for"),
        pytest.param("FAILURE,DELAY", False, [], id="asked for other news"),
    ],
)
def test_relayed(tmp_path: Path, notify: str, *, reports: bool, expected: list[Any]) -> None:
    """Who asked for news of success hears of the last server that could have told (RFC 3461 §5.2.2)."""

    async def steps(desk: Desk) -> None:
        queue_id = await desk.take_in("bob", "dave", notify=notify)
        await desk.attempt(queue_id, OK, OK, reports=reports)
        assert await desk.reports() == expected
        assert len(desk.events.of("relayed")) == 2

    at_desk(tmp_path, steps)


@pytest.mark.parametrize(
    ("notify", "expected"),
    [("SUCCESS", [("delivered", ["bob", "dave"])]), ("", []), ("NEVER", [])],
)
def test_delivered(tmp_path: Path, notify: str, expected: list[Any]) -> None:
    """Final delivery is reported to who asked for it, for all recipients at once."""

    async def steps(desk: Desk) -> None:
        await desk.file(await desk.take_in("bob", "dave", notify=notify))
        assert await desk.reports() == expected
        assert [event["recipient"] for event in desk.events.of("delivered")] == [
            "bob@example.org",
            "dave@example.org",
        ]

    at_desk(tmp_path, steps)


@pytest.mark.parametrize(
    ("notify", "sender", "told"),
    [
        pytest.param("", "alice@example.com", True, id="by default"),
        pytest.param("FAILURE,SUCCESS", "alice@example.com", True, id="asked for"),
        pytest.param("NEVER", "alice@example.com", False, id="never"),
        pytest.param("DELAY", "alice@example.com", False, id="asked for other news"),
        pytest.param("FAILURE", "", False, id="from the null reverse-path"),
    ],
)
def test_failed(tmp_path: Path, notify: str, sender: str, *, told: bool) -> None:
    """A failure closes the recipient, and is reported unless the sender is nobody or does not want it."""

    async def steps(desk: Desk) -> None:
        queue_id = await desk.take_in("bob", "dave", notify=notify, sender=sender)
        await desk.attempt(queue_id, NO, NO)
        assert await desk.reports() == ([("failed", ["bob", "dave"])] if told else [])
        one, other = desk.events.of("bounced")
        assert (one["bounce_id"] is not None) is told
        assert one["bounce_id"] == other["bounce_id"]
        assert len(desk.waiting()) == int(told)

    at_desk(tmp_path, steps)


def test_a_warning(tmp_path: Path) -> None:
    """After four hours the sender is warned, once for each recipient, also across a restart."""

    async def steps(desk: Desk) -> None:
        queue_id = await desk.take_in("bob", "dave")
        desk.now += 3.9 * HOUR
        await desk.attempt(queue_id, LATER, LATER)
        assert await desk.reports() == []
        desk.now += 0.2 * HOUR
        await desk.attempt(queue_id, LATER, LATER)
        desk.now += HOUR
        await desk.attempt(queue_id, LATER, LATER)
        assert await desk.reports() == [("delayed", ["bob", "dave"])]
        warnings = [event["warning"] for event in desk.events.of("deferred")]
        assert warnings == [False, False, True, True, False, False]

    desk = at_desk(tmp_path, steps)

    async def after() -> None:
        async with desk.open():
            (queue_id,) = {message.id for message in desk.waiting() if message.sender}
            assert desk.message(queue_id).recipients[0].attempts == 3
            await desk.attempt(queue_id, LATER, LATER)
            assert len(await desk.reports()) == 1

    asyncio.run(after())


@pytest.mark.parametrize(
    ("notify", "warned"),
    [("DELAY", True), ("FAILURE,DELAY", True), ("FAILURE", False), ("SUCCESS", False), ("NEVER", False)],
)
def test_who_is_warned(tmp_path: Path, notify: str, *, warned: bool) -> None:
    """A NOTIFY without DELAY is a wish not to be warned (RFC 3461 §4.1)."""

    async def steps(desk: Desk) -> None:
        queue_id = await desk.take_in("bob", notify=notify)
        desk.now += 5 * HOUR
        await desk.attempt(queue_id, LATER)
        assert await desk.reports() == ([("delayed", ["bob"])] if warned else [])
        assert desk.events.of("deferred")[0]["warning"] is warned

    at_desk(tmp_path, steps)


def test_all_that_can_happen_at_once(tmp_path: Path) -> None:
    """Of one attempt there is one report of each kind, and each names its own recipients."""

    async def steps(desk: Desk) -> None:
        queue_id = await desk.take_in("ann", "bob", "carl", "dave", notify="SUCCESS,FAILURE,DELAY")
        desk.now += 5 * HOUR
        await desk.attempt(queue_id, OK, NO, LATER, NO)
        assert sorted(await desk.reports()) == [
            ("delayed", ["carl"]),
            ("failed", ["bob", "dave"]),
            ("relayed", ["ann"]),
        ]
        actions = sorted(event["action"] for event in desk.events.of("reported"))
        assert actions == ["delayed", "failed", "relayed"]
        assert [recipient.address for recipient in desk.message(queue_id).recipients] == ["carl@example.org"]

    at_desk(tmp_path, steps)


def test_too_old(tmp_path: Path) -> None:
    """What is deferred after five days has failed; the report states the code of the last reply."""

    async def steps(desk: Desk) -> None:
        queue_id = await desk.take_in("bob")
        desk.now += 121 * HOUR
        await desk.attempt(queue_id, LATER)
        assert await desk.reports() == [("failed", ["bob"])]
        reply = "550 5.4.7 delivery time expired; the last attempt got: 450 4.2.1 later"
        assert desk.events.of("bounced")[0]["reply"] == reply
        (report,) = desk.waiting()
        assert b"Status: 4.2.1\r\n" in await desk.queue.content(report.id)

    at_desk(tmp_path, steps)


def test_no_room_for_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be reported stays in the queue until it can; only what was relayed is not sent again."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def steps(desk: Desk) -> None:
        failed = await desk.take_in("bob")
        filed = await desk.take_in("carl", notify="SUCCESS")
        relayed = await desk.take_in("dave", notify="SUCCESS")
        delayed = await desk.take_in("erik")
        desk.now += 5 * HOUR
        with monkeypatch.context() as patch:
            patch.setattr(spool, "_check_room", full)
            await desk.attempt(failed, NO)
            await desk.file(filed)
            await desk.attempt(relayed, OK)
            await desk.attempt(delayed, LATER)
        assert {message.id for message in desk.waiting()} == {failed, filed, delayed}
        assert [event["recipient"] for event in desk.events.of("deferred")] == [
            "bob@example.org",
            "carl@example.org",
            "erik@example.org",
        ]
        await desk.attempt(failed, NO)
        await desk.file(filed)
        await desk.attempt(delayed, LATER)
        assert sorted(await desk.reports()) == [
            ("delayed", ["erik"]),
            ("delivered", ["carl"]),
            ("failed", ["bob"]),
        ]

    at_desk(tmp_path, steps)


@pytest.mark.parametrize("what", ["failed", "delivered", "delayed"])
def test_a_crash_after_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Killed between the report and what it is about, a server reports again rather than never."""

    class Killed(BaseException):
        """The process is gone at this point."""

    async def steps(desk: Desk) -> None:
        record = Queue.record

        async def until_reported(queue: Queue, queue_id: str, progress: Sequence[Progress]) -> None:
            if desk.events.of("reported"):
                raise Killed
            await record(queue, queue_id, progress)

        queue_id = await desk.take_in("bob", notify="SUCCESS,FAILURE,DELAY")
        desk.now += 5 * HOUR
        with monkeypatch.context() as patch:
            patch.setattr(Queue, "record", until_reported)
            with pytest.raises(Killed):
                await come_to(desk, queue_id)

    async def come_to(desk: Desk, queue_id: str) -> None:
        if what == "delivered":
            await desk.file(queue_id)
        else:
            await desk.attempt(queue_id, NO if what == "failed" else LATER)

    desk = at_desk(tmp_path, steps)

    async def after() -> None:
        async with desk.open():
            (queue_id,) = [message.id for message in desk.waiting() if message.sender]
            await come_to(desk, queue_id)
            assert await desk.reports() == [(what, ["bob"])] * 2
            assert [message for message in desk.waiting() if message.sender] == [] or what == "delayed"

    asyncio.run(after())
