"""What waits for a hop, and in which order it goes on."""

from __future__ import annotations

import asyncio

from services.smtp.recovery import Recovery
from services.smtp.routing import Remote

HOP, OTHER = Remote(domains=("example.org",)), Remote(domains=("example.net",))


def test_what_waits() -> None:
    """It is given back once, without what has left the queue; each hop has its own."""
    recovery = Recovery()
    recovery.waits(HOP, "A", ["a@example.org"])
    recovery.waits(HOP, "B", ["b@example.org", "c@example.org"])
    recovery.waits(OTHER, "A", ["d@example.net"])
    recovery.forget(HOP, "A")
    assert recovery.reached(HOP) == {"B": ("b@example.org", "c@example.org")}
    assert recovery.reached(HOP) == {}
    assert recovery.waiting(OTHER) == {"A": ("d@example.net",)}


async def passing(recovery: Recovery, *ids: str) -> list[str]:
    """Let messages pass the hop at the same time; return when each begins and ends."""
    seen: list[str] = []

    async def one(queue_id: str) -> None:
        async with recovery.turn(HOP, queue_id, alone=False):
            seen.append(queue_id)
            await asyncio.sleep(0)
            seen.append(queue_id.lower())

    await asyncio.gather(*map(one, ids))
    return seen


def test_one_after_the_other() -> None:
    """While a hop catches up there is one message at a time; afterwards they go side by side again."""

    async def main() -> None:
        recovery = Recovery()
        assert await passing(recovery, "A", "B") == ["A", "B", "a", "b"]
        for queue_id in "ABC":
            recovery.waits(HOP, queue_id, ["x@example.org"])
        recovery.reached(HOP)
        assert await passing(recovery, "A", "B", "C") == ["A", "a", "B", "b", "C", "c"]
        assert await passing(recovery, "A", "B") == ["A", "B", "a", "b"]

    asyncio.run(main())


def test_a_message_that_never_comes() -> None:
    """What was removed from the queue meanwhile does not keep the hop to one at a time for ever."""

    async def main() -> None:
        recovery = Recovery()
        recovery.waits(HOP, "REMOVED", ["x@example.org"])
        recovery.reached(HOP)
        async with recovery.turn(HOP, "A", alone=True):
            pass
        assert await passing(recovery, "B", "C") == ["B", "C", "b", "c"]

    asyncio.run(main())
