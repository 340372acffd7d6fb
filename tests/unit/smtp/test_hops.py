"""Next hops: places, and sessions that are left for the next message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest

from services.smtp.client import ClientSession, Stale
from services.smtp.hops import Hops
from services.smtp.routing import Remote

HOP, OTHER = Remote(domains=("example.org",)), Remote(domains=("example.net",))
ONE, TWO = "198.18.0.1", "198.18.0.2"


class Session(ClientSession):
    """A session with nobody."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.said: list[str] = []
        self.alive = True

    @property
    def usable(self) -> bool:
        return self.alive

    async def close(self, *, quit_first: bool = True) -> None:
        self.said.append("QUIT" if quit_first else "gone")


class World:
    """Hops, and every session that was opened."""

    def __init__(self, places: int) -> None:
        self.hops = Hops(places)
        self.opened: list[Session] = []

    async def pass_by(
        self, address: str = ONE, *, then: Callable[[Session], None] = lambda _: None
    ) -> Session:
        """Use one session at HOP, as a message does."""

        async def connect() -> ClientSession:
            self.opened.append(Session(address))
            return self.opened[-1]

        async with self.hops.place(HOP) as hop, hop.session(address, connect) as session:
            assert isinstance(session, Session)
            await asyncio.sleep(0)
            then(session)
            return session

    def ends(self) -> list[list[str]]:
        return [session.said for session in self.opened]


def run(steps: Callable[[World], Coroutine[Any, Any, None]], *, places: int = 2) -> World:
    async def main() -> World:
        world = World(places)
        await steps(world)
        await asyncio.sleep(0.1)
        assert len(world.hops) == 0, "a hop is forgotten soon after nobody is under way to it"
        return world

    return asyncio.run(main())


def test_a_message_alone() -> None:
    """Its session ends with it, and the next message has its own."""

    async def steps(world: World) -> None:
        await world.pass_by()
        assert world.ends() == [["QUIT"]]
        await asyncio.sleep(0.1)
        await world.pass_by()

    assert run(steps).ends() == [["QUIT"], ["QUIT"]]


def test_one_by_one() -> None:
    """Messages that never meet but follow each other at once share a session from the second on."""

    async def steps(world: World) -> None:
        for _ in range(5):
            await world.pass_by()
        assert world.ends() == [["QUIT"], []]

    assert run(steps).ends() == [["QUIT"], ["QUIT"]]


@pytest.mark.parametrize("places", [1, 2, 5])
def test_a_queue(places: int) -> None:
    """As many sessions as there are places carry all messages of a queue, and end soon after the last."""

    async def steps(world: World) -> None:
        await asyncio.gather(*(world.pass_by() for _ in range(20)))

    assert run(steps, places=places).ends() == [["QUIT"]] * places


def test_a_stream() -> None:
    """A session that carries one message after the other waits a moment for the next, and carries it."""

    async def steps(world: World) -> None:
        await asyncio.gather(*(world.pass_by() for _ in range(3)))
        assert world.ends() == [[]]
        await asyncio.sleep(0.01)
        await world.pass_by()
        assert world.ends() == [[]]

    assert run(steps, places=1).ends() == [["QUIT"]]


def test_the_end_of_a_stream() -> None:
    """Whoever closes the hops does not wait for that moment, but for the sessions' last word."""

    async def steps(world: World) -> None:
        await asyncio.gather(*(world.pass_by() for _ in range(3)))
        await world.hops.close()
        assert world.ends() == [["QUIT"]]
        assert len(world.hops) == 0

    run(steps, places=1)


def test_another_address() -> None:
    """A session is taken over only by a message that would have connected to the same address."""

    async def steps(world: World) -> None:
        used = await asyncio.gather(*(world.pass_by(address) for address in (ONE, TWO, ONE, TWO)))
        assert [session.address for session in used] == [ONE, TWO, ONE, TWO]

    assert run(steps, places=1).ends() == [["QUIT"]] * 2


def test_a_session_that_was_closed_meanwhile() -> None:
    """What is no longer usable is not left for anybody, and not taken."""

    def dies(session: Session) -> None:
        session.alive = False

    async def steps(world: World) -> None:
        await asyncio.gather(*(world.pass_by(then=dies) for _ in range(3)))

    assert len(run(steps, places=1).opened) == 3


def test_a_stale_session() -> None:
    """It is dropped without a word, as are the others to that host; those to another stay."""

    def stale(_: Session) -> None:
        raise Stale("421 go away")

    async def steps(world: World) -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(world.hops.place(HOP))  # Somebody else is under way.
            await asyncio.gather(world.pass_by(), world.pass_by(), world.pass_by(TWO))
            with suppress(Stale):
                await world.pass_by(then=stale)
            assert sorted(world.ends()) == [[], ["gone"], ["gone"]]
            await world.pass_by(TWO)

    assert len(run(steps, places=4).opened) == 3


def test_a_message_that_fails() -> None:
    """A session in which something unexpected happened is not used again."""

    def fails(_: Session) -> None:
        raise ZeroDivisionError

    async def steps(world: World) -> None:
        async with world.hops.place(HOP):
            with pytest.raises(ZeroDivisionError):
                await world.pass_by(then=fails)
            await world.pass_by()

    assert run(steps).ends() == [["gone"], ["QUIT"]]


def test_hops_are_apart() -> None:
    """One hop whose places are taken does not hold up another."""

    async def steps(world: World) -> None:
        async with world.hops.place(OTHER):
            await asyncio.wait_for(world.pass_by(), 5)

    run(steps, places=1)
