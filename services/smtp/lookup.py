"""The resolver that the mail service asks: services.dns.stub, in the words of routing.

Nothing is remembered here for a record's TTL: that is the resolver's task, and whoever flushes its cache
shall see the path change. But of many messages under way to one place not each need ask anew: what is asked
within a tenth of a second is asked once (`SharedLookups`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from services.dns.stub import Answer, ResolutionFailed, StubResolver
from services.smtp.errors import LookupFailed
from services.smtp.mx import Exchanger
from services.smtp.routing import NoSuchDomain, Resolver

# How many look-ups are kept before old ones are thrown away.
_REMEMBERED = 100


class StubLookups:
    """Look-ups through the recursive resolvers of the host, as routing.Resolver has them."""

    def __init__(self, servers: Sequence[str], *, port: int, rng: random.Random) -> None:
        self._stub = StubResolver(servers, port=port, rng=rng) if servers else None

    async def mx(self, domain: str) -> list[Exchanger]:
        """Return the MX records of `domain`. Raises: NoSuchDomain, LookupFailed."""
        answer = await self._query(domain, "MX")
        if answer.rcode == "NXDOMAIN":
            raise NoSuchDomain(f"the domain {domain} does not exist")
        return [_exchanger(record.data) for record in answer.records if record.rtype == "MX"]

    async def addresses(self, host: str) -> list[str]:
        """Return the IPv4 addresses of `host`. Raises: LookupFailed."""
        answer = await self._query(host, "A")
        return [record.data for record in answer.records if record.rtype == "A"]

    async def _query(self, name: str, rtype: str) -> Answer:
        if self._stub is None:
            raise LookupFailed("no name server is configured")
        try:
            return await self._stub.query(name, rtype)
        except ResolutionFailed as error:
            raise LookupFailed(f"{name}/{rtype}: {error}") from error


class SharedLookups:
    """Look-ups of `resolver` that all who ask within `held_s` seconds of the first share; errors as well."""

    def __init__(self, resolver: Resolver, *, clock: Callable[[], float], held_s: float = 0.1) -> None:
        self._resolver = resolver
        self._clock = clock
        self._held_s = held_s
        self._asked: dict[tuple[str, str], tuple[float, asyncio.Task[Any]]] = {}

    def __len__(self) -> int:
        return len(self._asked)

    async def mx(self, domain: str) -> list[Exchanger]:
        """Return the MX records of `domain`. Raises: NoSuchDomain, LookupFailed."""
        found: list[Exchanger] = await self._shared(("MX", domain), lambda: self._resolver.mx(domain))
        return found

    async def addresses(self, host: str) -> list[str]:
        """Return the IPv4 addresses of `host`. Raises: LookupFailed."""
        found: list[str] = await self._shared(("A", host), lambda: self._resolver.addresses(host))
        return found

    async def _shared(self, key: tuple[str, str], ask: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        now = self._clock()
        asked_at, task = self._asked.get(key) or (0.0, None)
        if task is None or not 0 <= now - asked_at < self._held_s:
            self._forget(now)
            task = asyncio.create_task(ask())
            self._asked[key] = now, task
        # One who gives up does not take the answer away from the others.
        return await asyncio.shield(task)

    def _forget(self, now: float) -> None:
        if len(self._asked) > _REMEMBERED:
            self._asked = {
                key: value for key, value in self._asked.items() if 0 <= now - value[0] < self._held_s
            }


def _exchanger(data: str) -> Exchanger:
    preference, _, host = data.partition(" ")
    # The root's name, without its final dot, is empty: a null MX (RFC 7505 §3).
    return Exchanger(preference=int(preference), host=host or ".")
