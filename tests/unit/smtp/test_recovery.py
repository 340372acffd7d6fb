"""What waits for a hop, and in which order it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from services.smtp.message import QueuedMessage
from services.smtp.recovery import Recovery
from services.smtp.routing import Remote

HOP, OTHER = Remote(domains=("example.org",)), Remote(domains=("example.net",))


def message(name: str) -> QueuedMessage:
    """A message that arrived as its name stands in the alphabet; ids tell nothing of that."""
    return QueuedMessage(
        id=name, arrival=float(ord(name)), sender="", recipients=(), body="7BIT", smtputf8=False, size=1
    )


class Hop:
    """One hop, and the queue before it: what is `at_hand` there is handed out next."""

    def __init__(self) -> None:
        self.at_hand: set[str] = set()
        self.recovery = Recovery(lambda queue_id: queue_id in self.at_hand)
        self.seen: list[str] = []

    def waits(self, names: str) -> None:
        for name in names:
            self.recovery.waits(HOP, message(name), [f"{name}@example.org"])

    def reached(self) -> None:
        self.at_hand |= set(self.recovery.reached(HOP))

    def begin(self, names: str) -> None:
        for name in names:
            self.at_hand.discard(name)
            self.recovery.begins(HOP, message(name))

    async def passes(self, name: str) -> None:
        """Bring a message that has begun to the hop, as soon as it is its turn."""
        back = True
        while back and await self.recovery.turn(HOP, name):
            # Somebody gets a session; the hop answers.
            await asyncio.sleep(0)
            self.reached()
            if self.recovery.is_first(HOP, name):
                self.seen.append(name)
                await asyncio.sleep(0)
                self.seen.append(name.lower())
                back = False
        self.recovery.ends(HOP, name, back=back)
        if back:
            self.at_hand.add(name)
            self.seen.append(f"{name} goes back")
        self.recovery.released(HOP, name)

    async def all_pass(self, names: str) -> list[str]:
        """Let messages come to the hop at the same time; return when each begins and ends."""
        self.begin(names)
        self.seen = []
        await asyncio.gather(*map(self.passes, names))
        return self.seen


def run(steps: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(steps, 10))


def test_what_waits() -> None:
    """It is given back once, without what has left the queue; each hop has its own."""
    recovery = Recovery(lambda _: True)
    recovery.waits(HOP, message("A"), ["a@example.org"])
    recovery.waits(HOP, message("B"), ["b@example.org", "c@example.org"])
    recovery.waits(OTHER, message("A"), ["d@example.net"])
    recovery.forget(HOP, "A")
    assert recovery.reached(HOP) == {"B": ("b@example.org", "c@example.org")}
    assert recovery.reached(HOP) == {}
    assert recovery.waiting(OTHER) == {"A": ("d@example.net",)}


def test_one_after_the_other() -> None:
    """While a hop catches up there is one message at a time; before and afterwards they go side by side."""

    async def main() -> None:
        hop = Hop()
        assert await hop.all_pass("BA") == ["B", "A", "b", "a"]
        hop.waits("ABC")
        hop.reached()
        assert await hop.all_pass("ABC") == ["A", "a", "B", "b", "C", "c"]
        assert await hop.all_pass("BA") == ["B", "A", "b", "a"]
        assert len(hop.recovery) == 0, "a hop that nobody is under way to is forgotten"

    run(main())


@pytest.mark.parametrize("names", ["ABCD", "DCBA", "BADC", "CADB"])
def test_who_is_under_way_when_the_hop_is_back(names: str) -> None:
    """Those whose own time has come go in order too, whoever gets through first."""

    async def main() -> None:
        hop = Hop()
        hop.waits("ABCD")
        assert await hop.all_pass(names) == ["A", "a", "B", "b", "C", "c", "D", "d"]
        assert len(hop.recovery) == 0

    run(main())


def test_one_that_is_not_called_yet() -> None:
    """A newer one that finds the hop goes back to the queue, and comes again behind those that waited."""

    async def main() -> None:
        hop = Hop()
        hop.waits("AB")
        assert await hop.all_pass("C") == ["C goes back"]
        assert hop.at_hand == {"A", "B", "C"}
        assert await hop.all_pass("ABCD") == ["A", "a", "B", "b", "C", "c", "D", "d"]
        assert len(hop.recovery) == 0

    run(main())


def test_one_that_goes_back_is_waited_for() -> None:
    """What comes meanwhile goes behind it, although nothing but that one is left of what waited."""

    async def main() -> None:
        hop = Hop()
        hop.waits("A")
        await hop.all_pass("B")
        assert await hop.all_pass("A") == ["A", "a"]
        assert await hop.all_pass("C") == ["C goes back"]
        assert await hop.all_pass("BC") == ["B", "b", "C", "c"]
        assert len(hop.recovery) == 0

    run(main())


def test_a_message_that_does_not_come() -> None:
    """What is removed, held or tried elsewhere meanwhile keeps nobody waiting, nor to one at a time."""

    async def main() -> None:
        hop = Hop()
        hop.waits("A")
        hop.reached()
        hop.at_hand.clear()
        assert await hop.all_pass("CB") == ["C", "B", "c", "b"]
        assert len(hop.recovery) == 0

    run(main())


def test_a_message_that_waits_again() -> None:
    """The hop is gone before its turn: it keeps its place for when the hop is back for good."""

    async def main() -> None:
        hop = Hop()
        hop.waits("AB")
        hop.reached()
        hop.begin("A")
        hop.waits("A")
        hop.recovery.ends(HOP, "A")
        hop.recovery.released(HOP, "A")
        assert await hop.all_pass("B") == ["B goes back"]
        assert await hop.all_pass("AB") == ["A", "a", "B", "b"]
        assert len(hop.recovery) == 0

    run(main())
