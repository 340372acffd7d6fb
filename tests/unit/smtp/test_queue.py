"""The queue: ids, order, and what a disk that comes back makes good."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from services.smtp.address import parse_address
from services.smtp.envelope import Envelope
from services.smtp.errors import SpoolUnavailable
from services.smtp.message import Progress, QueuedMessage
from services.smtp.queue import Queue
from services.smtp.spool import Spool
from services.smtp.streams import Streams


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def opened(
    root: Path, *, seed: int = 1, clock: Clock | None = None, spool: Spool | None = None
) -> AsyncIterator[Queue]:
    streams = Streams(seed=seed, host="mx", role="mta")
    queue = Queue(spool or Spool(root), streams=streams, clock=clock or Clock())
    await queue.open()
    try:
        yield queue
    finally:
        await queue.close()


async def put(queue: Queue, *recipients: str) -> QueuedMessage:
    envelope = Envelope(sender=None, recipients=tuple(map(parse_address, recipients or ("bob@example.org",))))
    return await queue.commit(envelope, lambda queue_id, now: f"{queue_id} {now}\r\n".encode())


def deferred(address: str, due: float) -> Progress:
    return Progress(recipient=address, fate="deferred", reply="450 no", attempts=1, due=due)


def test_equal_seeds_give_equal_ids(tmp_path: Path) -> None:
    """Ids are short and unique, and come from the seed, even if messages are committed together."""

    async def ids(directory: str, seed: int) -> list[str]:
        async with opened(tmp_path / directory, seed=seed) as queue:
            return [message.id for message in await asyncio.gather(*(put(queue) for _ in range(50)))]

    one, same, other = (asyncio.run(ids(name, seed)) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert one == same
    assert len(set(one + other)) == 100
    assert all(len(queue_id) == 10 and queue_id.isalnum() for queue_id in one)


@pytest.mark.parametrize("numbers_lost", [False, True])
def test_ids_after_a_restart(tmp_path: Path, *, numbers_lost: bool) -> None:
    """No id that lies in the spool is given again, not even if the record of used numbers is gone."""

    async def main() -> None:
        async with opened(tmp_path) as queue:
            before = {(await put(queue)).id for _ in range(5)}
        if numbers_lost:
            (tmp_path / "next-id").write_text("garbage")
        async with opened(tmp_path) as queue:
            after = {(await put(queue)).id for _ in range(5)}
            assert len(queue) == 10
        assert not before & after

    asyncio.run(main())


def test_order_by_due_time(tmp_path: Path) -> None:
    """Messages are handed out when a recipient is due, the earliest first, and to one attempt only."""

    async def main() -> None:
        clock = Clock()
        async with opened(tmp_path, clock=clock) as queue:
            first = await put(queue)
            clock.now += 1
            second = await put(queue)
            assert (await queue.take()).id == first.id
            assert (await queue.take()).id == second.id
            await queue.record(first.id, [deferred("bob@example.org", clock.now + 10)])
            await queue.record(second.id, [deferred("bob@example.org", clock.now + 5)])
            queue.release(first.id)
            queue.release(second.id)

            taking = asyncio.create_task(queue.take())
            await asyncio.sleep(0.01)
            assert not taking.done()
            clock.now += 20
            third = await put(queue)
            taken = [await taking, await queue.take(), await queue.take()]
            assert [message.id for message in taken] == [second.id, first.id, third.id]

    asyncio.run(main())


def test_flush_makes_everything_due(tmp_path: Path) -> None:
    """After a flush nothing waits for its time any more."""

    async def main() -> None:
        async with opened(tmp_path) as queue:
            message = await put(queue)
            await queue.take()
            await queue.record(message.id, [deferred("bob@example.org", 1e9)])
            queue.release(message.id)
            queue.flush()
            assert (await asyncio.wait_for(queue.take(), 1)).id == message.id

    asyncio.run(main())


def test_a_client_that_hangs_up(tmp_path: Path) -> None:
    """A commit whose caller is cancelled is finished: the message is in the queue, not only on disk."""

    async def main() -> None:
        async with opened(tmp_path) as queue:
            committing = asyncio.create_task(put(queue))
            await asyncio.sleep(0)
            committing.cancel()
            with suppress(asyncio.CancelledError):
                await committing
            assert (await asyncio.wait_for(queue.take(), 2)).recipients[0].address == "bob@example.org"

    asyncio.run(main())


class Unsteady(Spool):
    """A spool whose disk can be taken away."""

    broken = False

    def append(self, message_id: str, progress: list[Progress]) -> None:
        self._check()
        super().append(message_id, progress)

    def remove(self, message_id: str) -> None:
        self._check()
        super().remove(message_id)

    def _check(self) -> None:
        if self.broken:
            raise SpoolUnavailable("the spool cannot be written: No space left on device")


@pytest.mark.parametrize("done", [1, 2])
def test_progress_survives_a_disk_that_is_full_for_a_while(tmp_path: Path, done: int) -> None:
    """What was sent is not sent again: progress that could not be written is written later."""
    addresses = ["bob@example.org", "dave@example.org"]

    async def main() -> None:
        spool = Unsteady(tmp_path)
        async with opened(tmp_path, spool=spool) as queue:
            message = await put(queue, *addresses)
            spool.broken = True
            for address in addresses[:done]:
                await queue.record(message.id, [Progress(recipient=address, fate="relayed", reply="250 ok")])
            assert [waiting.address for waiting in queue.waiting(message.id)] == addresses[done:]
            spool.broken = False
        async with opened(tmp_path) as queue:
            left = [waiting.address for waiting in queue.waiting(message.id)]
            assert left == addresses[done:]

    asyncio.run(main())


def test_a_finished_message_leaves(tmp_path: Path) -> None:
    """When no recipient is left, neither memory nor disk knows the message any more."""

    async def main() -> None:
        async with opened(tmp_path) as queue:
            message = await put(queue)
            await queue.take()
            await queue.record(message.id, [Progress(recipient="bob@example.org", fate="delivered")])
            queue.release(message.id)
            assert len(queue) == 0
            assert not list((tmp_path / "queue").iterdir())

    asyncio.run(main())


def test_two_hops_that_end_together(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A record that reaches the disk after the one that closed the message finds it gone, and rests."""
    addresses = ["bob@example.org", "dave@example.org"]

    class Slow(Spool):
        """The first record waits until the message has been removed."""

        removed = threading.Event()

        def append(self, message_id: str, progress: list[Progress]) -> None:
            self.removed.wait(10)
            super().append(message_id, progress)

        def remove(self, message_id: str) -> None:
            super().remove(message_id)
            self.removed.set()

    async def main() -> None:
        problems: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        async with opened(tmp_path, spool=Slow(tmp_path)) as queue:
            message = await put(queue, *addresses)
            done = [Progress(recipient=address, fate="relayed", reply="250 ok") for address in addresses]
            await asyncio.gather(*(queue.record(message.id, [step]) for step in done))
            assert len(queue) == 0
        gc.collect()
        assert not problems

    asyncio.run(main())
    assert not caplog.records
