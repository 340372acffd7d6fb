"""What DNS knows of a message's origin, asked in parallel, within a limit, and remembered.

Theory of operation. All questions about a message start at once; what has no answer when time is up is not
known. Answers are kept for as long as their TTL says, those that say that there is nothing for a minute;
of questions that are asked at the same time each goes out once.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TypeVar

from services.dns.stub import Answer, ResolutionFailed
from services.filters.spam.examined import Examined, domain
from services.filters.spam.findings import (
    MOST_HOPS,
    MOST_HOSTS,
    Findings,
    Listing,
    Where,
    address_name,
    reason,
)

Query = Callable[[str, str], Awaitable[Answer]]
"""Asks for a name and a type. Raises: ResolutionFailed."""

_NOTHING_FOR_S = 60.0
_LONGEST_S = 3600.0
_MOST_KEPT = 20_000

_Found = TypeVar("_Found")


class Remembered:
    """Asks, and remembers the answers; `clock` is in seconds."""

    def __init__(self, query: Query, clock: Callable[[], float]) -> None:
        self._query = query
        self._clock = clock
        self._kept: dict[tuple[str, str], tuple[float, Answer]] = {}
        self._under_way: dict[tuple[str, str], asyncio.Task[Answer]] = {}

    async def query(self, name: str, rtype: str) -> Answer:
        """Return the answer. Raises: ResolutionFailed."""
        key = name.lower(), rtype
        kept = self._kept.get(key)
        if kept is not None and kept[0] > self._clock():
            return kept[1]
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.ensure_future(self._ask(key))
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._done(key, done))
        # One who gives up leaves the answer to those who still wait.
        return await asyncio.shield(task)

    def _done(self, key: tuple[str, str], task: asyncio.Task[Answer]) -> None:
        del self._under_way[key]
        if not task.cancelled():
            # If it failed, those who waited know; if nobody waits any more, nobody needs to.
            task.exception()

    async def _ask(self, key: tuple[str, str]) -> Answer:
        answer = await self._query(*key)
        if len(self._kept) >= _MOST_KEPT:
            for oldest in list(self._kept)[: _MOST_KEPT // 10]:
                del self._kept[oldest]
        ttl = min((record.ttl for record in answer.records), default=_NOTHING_FOR_S)
        self._kept[key] = (self._clock() + min(ttl, _LONGEST_S), answer)
        return answer


class Origins:
    """Finds out what DNS knows; `lists` and `url_lists` are the block lists' names."""

    def __init__(
        self, query: Query, *, lists: Sequence[str], url_lists: Sequence[str], timeout_s: float
    ) -> None:
        self._query = query
        self._lists = tuple(lists)
        self._url_lists = tuple(url_lists)
        self._timeout_s = timeout_s

    async def find(self, examined: Examined) -> Findings:
        """Return what DNS says of a message's origin; it takes no longer than the limit."""
        entry = examined.trace.entry
        address = entry.address if entry else None
        reverse = self._start(self._reverse(address)) if address else None
        helo = self._start(self._addresses(entry.helo)) if entry and "." in entry.helo else None
        sender = self._start(self._takes_mail(domain(examined.sender or "")))
        author = self._start(self._takes_mail(examined.author_domain))
        listings = [self._start(self._listed(*each)) for each in self._asked_of_lists(examined)]
        tasks = {task for task in (reverse, helo, sender, author, *listings) if task is not None}
        _, late = await asyncio.wait(tasks, timeout=self._timeout_s)
        for task in late:
            task.cancel()
        names, confirmed = _result(reverse) or (None, None)
        return Findings(
            reverse=names,
            confirmed=confirmed,
            helo=_result(helo),
            sender_exists=_result(sender),
            author_exists=_result(author),
            listings=tuple(found for task in listings if (found := _result(task)) is not None),
        )

    def _start(self, work: Coroutine[object, object, _Found]) -> asyncio.Task[_Found]:
        return asyncio.get_running_loop().create_task(work)

    def _asked_of_lists(self, examined: Examined) -> list[tuple[str, str, Where]]:
        asked: list[tuple[str, str, Where]] = []
        entry = examined.trace.entry
        if entry is not None and entry.address is not None:
            asked += [(zone, entry.address, "entry") for zone in self._lists]
        before = [hop.address for hop in examined.trace.claimed if hop.address and _is_public(hop.address)]
        for address in list(dict.fromkeys(before))[:MOST_HOPS]:
            if entry is None or address != entry.address:
                asked += [(zone, address, "claimed") for zone in self._lists]
        domains = dict.fromkeys(url.domain for url in examined.urls if not url.is_address)
        hosts = dict.fromkeys(url.host for url in examined.urls if not url.is_address)
        # A host may be listed where its domain, a provider's, is not.
        for name in list({**domains, **hosts})[:MOST_HOSTS]:
            asked += [(zone, name, "url") for zone in self._url_lists]
        return asked

    async def _listed(self, zone: str, about: str, where: Where) -> Listing | None:
        if where == "url":
            name, never = f"{about}.{zone}", f"invalid.{zone}"
        else:
            name, never = address_name(about, zone), address_name("127.0.0.1", zone)
        answer = await self._query(name, "A")
        why = reason(answer.data("A"))
        if why is None or reason((await self._query(never, "A")).data("A")):
            return None
        try:
            texts = (await self._query(name, "TXT")).data("TXT")
        except ResolutionFailed:
            texts = ()
        text = texts[0][:100] if texts else ""
        return Listing(zone=zone, about=about, where=where, reason=why, text=text)

    async def _reverse(self, address: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        pointer = ipaddress.ip_address(address).reverse_pointer
        names = (await self._query(pointer, "PTR")).data("PTR")[:5]
        found = await asyncio.gather(*map(self._addresses, names))
        return names, tuple(
            name for name, addresses in zip(names, found, strict=True) if address in addresses
        )

    async def _addresses(self, name: str) -> tuple[str, ...]:
        return (await self._query(name, "A")).data("A")

    async def _takes_mail(self, name: str) -> bool | None:
        if not name:
            return None
        if name.startswith("["):
            return True
        exchangers = (await self._query(name, "MX")).data("MX")
        return bool(exchangers) or bool(await self._addresses(name))


def _result(task: asyncio.Task[_Found] | None) -> _Found | None:
    if task is None or not task.done() or task.cancelled():
        return None
    failure = task.exception()
    # A resolver that does not answer, and a name that is none: neither tells anything.
    if failure is not None and not isinstance(failure, ResolutionFailed | ValueError):
        raise failure
    return None if failure is not None else task.result()


def _is_public(address: str) -> bool:
    number = ipaddress.ip_address(address)
    # The benchmark range is a lab's Internet, whatever the library calls it.
    return number.is_global or number in ipaddress.ip_network("198.18.0.0/15")
