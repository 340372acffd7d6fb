"""On account of which of its clients' questions a resolver asked what it asked.

Theory of operation. `Resolver` is told in order of time what one resolver hears and says. It knows which
resolutions are open and by which names each of them is looking for something:

    waiting    the very names: the question's, aliases' targets, servers without glue
    below      all names above those (query name minimisation, RFC 9156; DS and DNSKEY)
    memory     what earlier replies said: the zones of each server, the aliases of each name

A query falls to the resolutions at the first of these places where there are any; one about the root
(priming, RFC 8109) to the resolution that has been open longest. Several resolutions of the same question are
one task and share it. Of different tasks it was one that did not wait for a reply, the one idle longest, as a
resolver goes on at once when a reply comes in. What falls to nobody is the resolver's own doing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final, TypeAlias

from captures.queries import Query
from captures.responses import unaddressed

_ROOT: Final = "."
_HIDING: Final = "_."
"""The label that some resolvers put in the place of those that they hide (RFC 7816 §3)."""


class Resolution:
    """The work on one question of a client; `upstream` takes the queries on its account."""

    def __init__(self, question: Query, upstream: list[Query]) -> None:
        self.question = question.name, question.type
        self.upstream = upstream
        self.wanted: dict[str, str] = {}  # names, each with the type that is looked for
        self._opened_ns = question.time_ns

    def waits(self, now_ns: int) -> bool:
        """Tell whether its last query has neither been answered nor been given up by then."""
        if not self.upstream:
            return False
        last = self.upstream[-1]
        return last.gave_up_ns is None and (last.answered_ns is None or last.answered_ns > now_ns)

    @property
    def idle_since_ns(self) -> int:
        """When it could go on asking."""
        last = self.upstream[-1] if self.upstream else None
        return last.answered_ns or last.time_ns if last else self._opened_ns

    def add(self, query: Query) -> None:
        """Take a query on its account; one for the same that is still without an answer has been given up."""
        for earlier in self.upstream:
            if earlier.outcome == "timeout" and (earlier.name, earlier.type) == (query.name, query.type):
                earlier.give_up(query.time_ns)
        self.upstream.append(query)


_Resolutions: TypeAlias = dict[Resolution, None]  # an ordered set: in the order in which they were opened


class Resolver:
    """One resolver, as it goes through its work."""

    def __init__(self) -> None:
        self._open: _Resolutions = {}
        self._waiting: dict[str, _Resolutions] = {}
        self._below: dict[str, _Resolutions] = {}
        self._zones: dict[str, set[str]] = {}
        self._aliases: dict[str, set[str]] = {}
        self._owners: dict[int, list[Resolution]] = {}  # of each query that is under way, by its identity

    def opened(self, resolution: Resolution, now_ns: int) -> None:
        """A question came in; if the resolver works on the same one already, they share what comes."""
        name, rtype = resolution.question
        self._open[resolution] = None
        running = self._task(resolution)
        self._want(resolution, name, rtype)
        if running is None:
            return
        for wanted in running.wanted.items():
            self._want(resolution, *wanted)
        if running.waits(now_ns):
            resolution.upstream.append(running.upstream[-1])
            self._owners.setdefault(id(running.upstream[-1]), []).append(resolution)

    def closed(self, resolution: Resolution) -> None:
        """The reply went out, or nothing will come of it."""
        del self._open[resolution]
        for name in resolution.wanted:
            del self._waiting[name][resolution]
            for above in _ancestors(name):
                self._below[above].pop(resolution, None)

    def asked(self, query: Query) -> None:
        """The resolver asked a server something."""
        owners = self._nearest(query) or self._remembered(query)
        for owner in owners:
            owner.add(query)
        if owners:
            self._owners[id(query)] = owners

    def heard(self, query: Query) -> None:
        """A reply came in: learn what it says, and what that leads to."""
        owners = [owner for owner in self._owners.pop(id(query), ()) if owner in self._open]
        reply = query.reply
        if reply is None:
            return
        for record in chain(reply.answers, reply.authority):
            if record.type == "NS":
                self._zones.setdefault(record.text, set()).add(record.name)
            elif record.type == "CNAME":
                self._aliases.setdefault(record.text, set()).add(record.name)
                for owner in owners:
                    self._want(owner, record.text, query.type)
        if query.outcome == "referral" and owners:
            for host in unaddressed(reply):
                for owner in owners:
                    self._want(owner, host, "A")

    def _want(self, resolution: Resolution, name: str, rtype: str) -> None:
        if name in resolution.wanted:
            return
        resolution.wanted[name] = rtype
        self._waiting.setdefault(name, {})[resolution] = None
        for above in _ancestors(name):
            self._below.setdefault(above, {})[resolution] = None

    def _task(self, resolution: Resolution) -> Resolution | None:
        """Return the first that is open for the same question."""
        waiting = self._waiting.get(resolution.question[0], ())
        return next((other for other in waiting if other.question == resolution.question), None)

    def _nearest(self, query: Query) -> list[Resolution]:
        name = query.name.removeprefix(_HIDING)
        if name == _ROOT:
            return self._longest_open(query)
        waiting = self._waiting.get(name)
        if waiting:
            same = [resolution for resolution in waiting if resolution.wanted[name] == query.type]
            return _turn(same or waiting, query.time_ns)
        return _turn(self._below.get(name, ()), query.time_ns)

    def _remembered(self, query: Query) -> list[Resolution]:
        """Return whose work it is to ask for a server or an alias that the resolver has known for a while."""
        name = query.name
        zones = self._zones.get(name, set())
        places = [self._waiting.get(place, {}) for place in (*zones, *self._aliases.get(name, ()))]
        places += [self._below.get(zone, {}) for zone in zones]
        owners = _turn(dict.fromkeys(chain.from_iterable(places)), query.time_ns)
        for owner in owners:
            self._want(owner, name, query.type)
        if not owners and _ROOT in zones:
            return self._longest_open(query)
        return owners

    def _longest_open(self, query: Query) -> list[Resolution]:
        now_ns = query.time_ns
        idle = next((resolution for resolution in self._open if not resolution.waits(now_ns)), None)
        first = idle or next(iter(self._open), None)
        if first is None:
            return []
        return [other for other in self._waiting[first.question[0]] if other.question == first.question]


def _turn(resolutions: Iterable[Resolution], now_ns: int) -> list[Resolution]:
    """Return those whose task it is to ask at that moment."""
    tasks: dict[tuple[str, str], list[Resolution]] = {}
    for resolution in resolutions:
        tasks.setdefault(resolution.question, []).append(resolution)
    if len(tasks) > 1:
        idle = [task for task in tasks.values() if not task[0].waits(now_ns)]
        if idle:
            return min(idle, key=lambda task: task[0].idle_since_ns)
    return list(chain.from_iterable(tasks.values()))


def _ancestors(name: str) -> Iterator[str]:
    """Yield the names above, from the closest; the root is left out."""
    while (dot := name.find(".")) >= 0 and name != _ROOT:
        name = name[dot + 1 :]
        yield name
