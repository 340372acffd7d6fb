"""The queue: ids, order, and what a disk that comes back makes good."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from services.smtp.address import parse_address
from services.smtp.envelope import Envelope
from services.smtp.errors import SpoolUnavailable
from services.smtp.message import Progress, QueuedMessage
from services.smtp.peek import peek
from services.smtp.queue import Queue
from services.smtp.record import Arrived, Entry
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
            await queue.remove([(await put(queue, "dave@example.org")).id])
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

    def write(self, entries: Sequence[Entry]) -> None:
        if self.broken:
            raise SpoolUnavailable("the spool cannot be written: No space left on device")
        super().write(entries)


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
            assert peek(tmp_path) == []

    asyncio.run(main())


def test_two_hops_that_end_together(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What two hops of a message come to at the same time is written in order, and the message is gone."""
    addresses = ["bob@example.org", "dave@example.org"]

    async def main() -> None:
        problems: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        async with opened(tmp_path) as queue:
            message = await put(queue, *addresses)
            done = [Progress(recipient=address, fate="relayed", reply="250 ok") for address in addresses]
            await asyncio.gather(*(queue.record(message.id, [step]) for step in done))
            assert len(queue) == 0
        gc.collect()
        assert not problems

    asyncio.run(main())
    assert not caplog.records
    assert peek(tmp_path) == []


def test_a_message_that_does_not_fit_takes_no_other_with_it(tmp_path: Path) -> None:
    """Of a batch that fails each entry is tried alone: only those fail that cannot be written."""

    class Tight(Spool):
        def write(self, entries: Sequence[Entry]) -> None:
            if any(isinstance(entry, Arrived) and len(entry.content) > 1000 for entry in entries):
                raise SpoolUnavailable("full")
            super().write(entries)

    async def put_sized(queue: Queue, size: int) -> None:
        envelope = Envelope(sender=None, recipients=(parse_address("bob@example.org"),))
        await queue.commit(envelope, lambda *_: b"x" * size)

    async def main() -> None:
        async with opened(tmp_path, spool=Tight(tmp_path)) as queue:
            await put(queue)
            results = await asyncio.gather(
                *(put_sized(queue, size) for size in (10, 2000, 20)), return_exceptions=True
            )
            assert [isinstance(result, SpoolUnavailable) for result in results] == [False, True, False]
            assert len(queue) == 3

    asyncio.run(main())


def test_commits_share_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred messages at once cost a few syncs; none is acknowledged before its own."""
    syncs = 0
    real = os.fdatasync

    def fdatasync(fd: int) -> None:
        nonlocal syncs
        syncs += 1
        real(fd)

    async def main() -> None:
        async with opened(tmp_path) as queue:
            await put(queue)
            monkeypatch.setattr(os, "fdatasync", fdatasync)
            await asyncio.gather(*(put(queue) for _ in range(100)))

    asyncio.run(main())
    assert 1 <= syncs <= 3
    assert len(peek(tmp_path)) == 101


def test_held_messages_wait(tmp_path: Path) -> None:
    """What is held is not handed out, not after a restart either, until it is released: then at once."""

    async def main() -> None:
        async with opened(tmp_path) as queue:
            held, other = await put(queue), await put(queue)
            assert await queue.hold([held.id, "NONE"], hold=True) == [held.id]
            assert (await queue.take()).id == other.id
        async with opened(tmp_path) as queue:
            assert {message.id: message.held for message in queue.messages()} == {
                held.id: True,
                other.id: False,
            }
            assert (await queue.take()).id == other.id
            taking = asyncio.create_task(queue.take())
            await asyncio.sleep(0.01)
            assert not taking.done()
            assert await queue.hold([held.id], hold=False) == [held.id]
            assert (await asyncio.wait_for(taking, 5)).id == held.id

    asyncio.run(main())


def test_removed_messages_are_gone(tmp_path: Path) -> None:
    """What is removed is told with its recipients, and is nowhere; an attempt under way ends quietly."""

    async def main() -> None:
        async with opened(tmp_path) as queue:
            first = await put(queue, "bob@example.org", "dave@example.org")
            assert (await queue.take()).id == first.id
            second = await put(queue)
            (removed,) = await queue.remove([first.id, "NONE"])
            assert [recipient.address for recipient in removed.recipients] == [
                "bob@example.org",
                "dave@example.org",
            ]
            await queue.record(first.id, [Progress(recipient="bob@example.org", fate="relayed")])
            queue.release(first.id)
            assert [message.id for message in queue.messages()] == [second.id]
        assert [message.id for message in peek(tmp_path)] == [second.id]

    asyncio.run(main())


def test_corrupt_content_is_set_aside_and_told(tmp_path: Path) -> None:
    """A message that is not as it was accepted is never handed out for sending; the others are."""
    told: list[tuple[str, str, Path]] = []

    async def main() -> None:
        spool = Spool(tmp_path)
        streams = Streams(seed=1, host="mx", role="mta")
        queue = Queue(spool, streams=streams, clock=Clock(), set_aside=lambda *what: told.append(what))
        await queue.open()
        first, second = await put(queue), await put(queue)
        (path,) = (tmp_path / "queue").iterdir()
        whole = f"{first.id} 1000.0".encode()
        path.write_bytes(path.read_bytes().replace(whole, whole.lower()))
        with pytest.raises(SpoolUnavailable, match="set aside"):
            await queue.content(first.id)
        assert await queue.content(second.id)
        assert [message.id for message in queue.messages()] == [second.id]
        await queue.close()
        assert [(queue_id, place.name) for queue_id, _, place in told] == [(first.id, first.id)]
        assert [message.id for message in peek(tmp_path)] == [second.id]

    asyncio.run(main())


def test_an_old_message_does_not_keep_the_disk_full(tmp_path: Path) -> None:
    """While a message waits for long, the many that pass it do not fill the disk; it comes through whole."""

    async def main() -> None:
        async with opened(tmp_path, spool=Spool(tmp_path, segment_bytes=4000)) as queue:
            old = await put(queue)
            for _ in range(200):
                message = await put(queue)
                await queue.record(message.id, [Progress(recipient="bob@example.org", fate="relayed")])
            assert await queue.content(old.id) == f"{old.id} 1000.0\r\n".encode()
        assert sum(path.stat().st_size for path in (tmp_path / "queue").iterdir()) < 25_000
        assert [message.id for message in peek(tmp_path)] == [old.id]

    asyncio.run(main())


FILL = """
import asyncio, sys
from pathlib import Path
from services.smtp.address import parse_address
from services.smtp.envelope import Envelope
from services.smtp.queue import Queue
from services.smtp.spool import Spool
from services.smtp.streams import Streams

def pss():
    with open("/proc/self/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:")) * 1024

async def main(root, count):
    def queue(name):
        return Queue(Spool(root / name), streams=Streams(seed=1, host="mx", role="mta"), clock=lambda: 1.0)

    async def put(queue, number):
        recipient = parse_address(f"user{number}@example.org")
        envelope = Envelope(sender=parse_address("alice@example.com"), recipients=(recipient,))
        await queue.commit(envelope, lambda *_: b"x" * 4096)

    async def fill(queue, count):
        for start in range(0, count, 50):
            await asyncio.gather(*(put(queue, number) for number in range(start, start + 50)))

    small, large = queue("small"), queue("large")
    await small.open()
    await fill(small, 50)
    before = pss()
    await large.open()
    await fill(large, count)
    print((pss() - before) // count)
    await large.close()
    before = pss()
    again = queue("large")
    await again.open()
    print((pss() - before) // count)
    assert len(again.messages()) == count

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


def test_a_message_in_the_queue_costs_less_than_a_kilobyte(tmp_path: Path) -> None:
    """Ten thousand messages of 4 KB take less than 1 KB of memory each, taken in or read after a restart."""
    run = subprocess.run(
        [sys.executable, "-c", FILL, str(tmp_path), "10000"], capture_output=True, text=True, check=True
    )
    assert [0 < int(line) < 1024 for line in run.stdout.splitlines()] == [True, True], run.stdout
