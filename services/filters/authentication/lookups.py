"""What authentication asks of DNS, and the host's own resolver in these words.

A `Resolver` answers with an empty list where the name or the type does not exist, and raises LookupFailed
where nobody answers: then a check comes to `temperror`, which is not the same as `none`.

pyspf and dkimpy block while they ask. So they run in a thread, and `Blocking` passes their questions to the
event loop that serves everything else, until a deadline.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from services.dns.stub import ResolutionFailed, StubResolver
from services.errors import ServiceError

_Found = TypeVar("_Found")


class LookupFailed(ServiceError):
    """DNS gave neither an answer nor a denial: trying later may help."""


class Resolver(Protocol):
    """Names are absolute, a final dot is optional; so are names in answers. Raises: LookupFailed."""

    async def txt(self, name: str) -> Sequence[bytes]:
        """Return the TXT records, each its strings joined."""

    async def a(self, name: str) -> Sequence[str]:
        """Return the IPv4 addresses."""

    async def aaaa(self, name: str) -> Sequence[str]:
        """Return the IPv6 addresses."""

    async def mx(self, name: str) -> Sequence[tuple[int, str]]:
        """Return the exchangers: preference and host name."""

    async def ptr(self, name: str) -> Sequence[str]:
        """Return the names that `name` (below in-addr.arpa) points to."""


class HostResolver:
    """A Resolver that asks the recursive resolvers of the host, by IPv4 address."""

    def __init__(self, servers: Sequence[str], *, port: int = 53, rng: random.Random) -> None:
        self._stub = StubResolver(servers, port=port, rng=rng)

    async def txt(self, name: str) -> list[bytes]:
        return [data.encode() for data in await self._data(name, "TXT")]

    async def a(self, name: str) -> list[str]:
        return await self._data(name, "A")

    async def aaaa(self, name: str) -> list[str]:
        return await self._data(name, "AAAA")

    async def mx(self, name: str) -> list[tuple[int, str]]:
        pairs = [data.partition(" ") for data in await self._data(name, "MX")]
        return [(int(preference), host) for preference, _, host in pairs]

    async def ptr(self, name: str) -> list[str]:
        return await self._data(name, "PTR")

    async def _data(self, name: str, rtype: str) -> list[str]:
        try:
            # A backslash that a sender's local part brings into a name is one, and no escape.
            answer = await self._stub.query(name.replace("\\", r"\\"), rtype)
        except ResolutionFailed as error:
            raise LookupFailed(str(error)) from error
        return list(answer.data(rtype))


class Blocking:
    """A Resolver for code that runs in a thread beside the event loop `loop`.

    From `deadline` on, by the loop's clock, every look-up fails. Raises: LookupFailed.
    """

    def __init__(self, resolver: Resolver, loop: asyncio.AbstractEventLoop, *, deadline: float) -> None:
        self._resolver = resolver
        self._loop = loop
        self._deadline = deadline

    def txt(self, name: str) -> Sequence[bytes]:
        """Return the TXT records, each its strings joined."""
        return self._ask(self._resolver.txt, name)

    def look_up(self, name: str, rtype: str) -> Sequence[object]:
        """Return the data of one of the types that Resolver knows; of any other, nothing."""
        methods: dict[str, Callable[[str], Coroutine[Any, Any, Sequence[object]]]] = {
            "TXT": self._resolver.txt,
            "A": self._resolver.a,
            "AAAA": self._resolver.aaaa,
            "MX": self._resolver.mx,
            "PTR": self._resolver.ptr,
        }
        return self._ask(methods[rtype], name) if rtype in methods else ()

    def _ask(self, method: Callable[[str], Coroutine[Any, Any, _Found]], name: str) -> _Found:
        left = self._deadline - self._loop.time()
        if left <= 0:
            raise LookupFailed(f"{name}: the time for all look-ups is up")
        future = asyncio.run_coroutine_threadsafe(method(name), self._loop)
        try:
            return future.result(left)
        except (TimeoutError, asyncio.CancelledError) as error:
            future.cancel()
            raise LookupFailed(f"{name}: no answer in time") from error
