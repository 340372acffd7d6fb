"""Next hops: how many messages are brought to each at a time, and over which sessions.

Theory of operation. A hop has so many places, and a message waits for one. It looks its exchangers up by
itself, and opens a session with the one that it chose. When it has been transferred, the session

    ends                        if no other message is under way to this hop, nor was a moment ago
    is left for the next one    otherwise: whichever would have connected to the same address takes it over

So a single message has a session of its own, a queue goes over as many sessions as there are places, and a
change in DNS changes the path of every message after it. Messages that come in a stream do not all come
without a gap: a hop is remembered for a moment after the last, and what was left rests for as long.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from services.smtp.client import ClientSession, Stale
from services.smtp.routing import Remote

# Between two messages of a stream; whoever looks at a single one sees no session linger.
_MOMENT_S = 0.05

Connect = Callable[[], Awaitable[ClientSession]]


class Hop:
    """A hop that somebody is under way to, or was a moment ago: then it is `resting`.

    Sessions that are left for the next one are kept by address.
    """

    def __init__(self, places: int) -> None:
        self.free = asyncio.Semaphore(places)
        self.users = 0
        self.resting: asyncio.TimerHandle | None = None
        self._followed = False
        self._joined = asyncio.Event()
        self._places = places
        self._left: dict[str, list[ClientSession]] = {}

    @asynccontextmanager
    async def session(self, address: str, connect: Connect) -> AsyncIterator[ClientSession]:
        """Give a session with `address`: one that was left, or else a new one.

        It is left for the next, or ended. After Stale no other that was left is used either. Raises what
        `connect` raises.
        """
        taken = self._taken(address)
        session = taken or await connect()
        try:
            yield session
        except BaseException as error:
            await session.close(quit_first=False)
            if isinstance(error, Stale):
                await self._close(self._left.pop(address, []), quit_first=False)
            raise
        left = self._left.get(address, [])
        if (self.users > 1 or taken or self._followed) and session.usable and len(left) < self._places:
            self._left[address] = [*left, session]
        else:
            await session.close()

    def join(self) -> None:
        """One more is under way to this hop."""
        self.users += 1
        if self.users == 1:
            self._followed = self.resting is not None
        if self.resting:
            self.resting.cancel()
            self.resting = None
        if self.users > 1:
            self._joined.set()

    async def joined(self, timeout_s: float) -> None:
        """Wait until somebody else is under way to this hop too, at most `timeout_s`."""
        if self.users == 1:
            self._joined.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._joined.wait()

    async def close(self) -> None:
        """End the sessions that are left."""
        while self._left:
            await self._close(self._left.popitem()[1])

    def _taken(self, address: str) -> ClientSession | None:
        left = self._left.get(address, [])
        while left:
            # The last one left: the others may rest until the server is tired of them.
            session = left.pop()
            if session.usable:
                return session
        return None

    async def _close(self, sessions: list[ClientSession], *, quit_first: bool = True) -> None:
        await asyncio.gather(*(session.close(quit_first=quit_first) for session in sessions))


class Hops:
    """The hops that somebody is under way to, or was a moment ago, each with `places` places."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._hops: dict[Remote, Hop] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._hops)

    @asynccontextmanager
    async def place(self, remote: Remote) -> AsyncIterator[Hop]:
        """Wait for a place at a hop and hold it."""
        with self.under_way(remote) as hop:
            async with hop.free:
                yield hop

    @contextmanager
    def under_way(self, remote: Remote) -> Iterator[Hop]:
        """Be under way to a hop, without a place there yet (`free`)."""
        loop = asyncio.get_running_loop()
        hop = self._hops.get(remote)
        if hop is None:
            hop = self._hops[remote] = Hop(self._places)
        hop.join()
        try:
            yield hop
        finally:
            hop.users -= 1
            if not hop.users:
                hop.resting = loop.call_later(_MOMENT_S, self._end, remote)

    async def close(self) -> None:
        """End the sessions that rest; return when they have ended."""
        for remote in [remote for remote, hop in self._hops.items() if hop.resting]:
            self._end(remote)
        await asyncio.gather(*self._ending)

    def _end(self, remote: Remote) -> None:
        hop = self._hops.pop(remote)
        if hop.resting:
            hop.resting.cancel()
        task = asyncio.get_running_loop().create_task(hop.close())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
