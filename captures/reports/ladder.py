"""The picture of a journey: who had the message, top to bottom, and what it took to get to the next host.

Theory of operation. Hosts are columns, grouped by whose they are; time goes downwards, from row to row, not
to scale. DNS servers share a column for each level, and a lookup is one row:

             example.com             Internet  │              DNS
         alice   corp-msa  corp-mta1   isp-a1  │  resolver    root       .com       domain
           ┃─ A corp-msa ────────────────────────── ■ ──────── ● ──────── ● ──────── ■
           ┃──(A)──►┃                          │
                    ┃ D 0.7 ms                 │
                    ┃──(C)──►┃                 │

A thick line is the message at that host. Here everything gets its place, in pixels; the template draws it.
Long journeys, with many attempts, are told from both their ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from captures.journeys.model import Fetch, Hop, Journey, Place
from captures.journeys.places import organisation
from captures.journeys.rounds import in_line
from captures.journeys.steps import duration
from captures.lookups import Lookup, Query
from captures.reports.levels import LEVELS, Levels
from captures.reports.shapes import Column, Custody, Group, Kind, Ladder, Mark, Row, Side
from captures.reports.visible import shortened

_HEIGHTS: Final[dict[Kind, int]] = {
    "lookup": 27, "hop": 50, "queue": 22, "accepted": 22, "end": 36, "fetch": 50, "skipped": 34,
}  # fmt: skip
_TOP: Final = 66
_GUTTER: Final = 84
_STRIDE: Final = 90
_DNS_GAP: Final = 46
_DNS_STRIDE: Final = 96
_CHARACTER: Final = 6.6
_NAME_LENGTH: Final = 13
_LEAST_ANSWER: Final = 9
"""Where there is room for fewer characters, the answer is left out."""
_MOST_ROWS: Final = 120
_FIRST_ROWS: Final = 80
_LONG_WAIT_NS: Final = 1_000_000_000


def ladder(journey: Journey, levels: Levels, anchor: str) -> Ladder:
    """Return the picture of a journey; its hops are told at `#{anchor}-h1` and so on, lookups at `-h1-l1`."""
    return _Drawing(journey, levels, anchor).ladder()


@dataclass(slots=True)
class _Drawing:
    journey: Journey
    levels: Levels
    anchor: str
    columns: dict[str, Column] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)
    dns_x: int = 0

    def ladder(self) -> Ladder:
        self._place_hosts()
        rows = list(self._rows())
        skipped = max(0, len(rows) - _MOST_ROWS)
        if skipped:
            rows[_FIRST_ROWS : _FIRST_ROWS + skipped] = [_skipped(rows[_FIRST_ROWS].time_ns, skipped)]
        y = _TOP
        for row in rows:
            height = _HEIGHTS[row.kind] + (12 if row.long else 0)
            row.y = y + (22 if row.kind in ("hop", "fetch") else height // 2)
            y += height
        dns = Column(x=self.dns_x, label="resolver", title="the host's own resolver")
        names = zip(("root", "top level", "domain"), LEVELS, strict=True)
        levels = [
            Column(x=self._level_x(index), label=label, title=f"name servers: {label}")
            for index, (label, _) in enumerate(names)
        ]
        end = levels[-1].x + _DNS_STRIDE - 16
        group = Group(x=self.dns_x - _DNS_STRIDE // 2, end=end, label="DNS", kind="dns")
        return Ladder(
            width=end + 8,
            height=y + 10,
            groups=(*self.groups, group),
            columns=tuple(self.columns.values()),
            levels=(dns, *levels),
            rows=tuple(rows),
            custody=tuple(self._custody(rows)),
            described=self._described(),
            top=_TOP,
        )

    def _place_hosts(self) -> None:
        """Give each host a column: the sender's side first, the recipient's last, in order of appearance."""
        places: dict[str, Place] = {}
        for hop in self.journey.hops:
            for place in (hop.client, hop.server):
                if place is not None:
                    places.setdefault(place.host, place)
        for fetch in self.journey.fetches:
            for place in (fetch.server, fetch.client):
                places.setdefault(place.host, place)
        sender, recipient = sides(self.journey)
        sorts: list[tuple[Side, str]] = [
            ("sender", sender),
            ("internet", "Internet"),
            ("recipient", recipient),
        ]
        x = _GUTTER
        for kind, label in sorts:
            here = [place for place in places.values() if side(place, sender, recipient) == kind]
            if not here:
                continue
            start = x
            for place in here:
                title = ", ".join(filter(None, (place.host, place.name, place.address)))
                name = shortened(place.host, _NAME_LENGTH)
                self.columns[place.host] = Column(x=x + _STRIDE // 2, label=name, title=title)
                x += _STRIDE
            self.groups.append(Group(x=start, end=x, label=label, kind=kind))
        self.dns_x = x + _DNS_GAP + _DNS_STRIDE // 2

    def _level_x(self, index: int) -> int:
        return self.dns_x + (index + 1) * _DNS_STRIDE

    def _x(self, place: Place) -> int:
        return self.columns[place.host].x

    def _rows(self) -> Iterator[Row]:
        for number, hop in enumerate(self.journey.hops, 1):
            href = f"{self.anchor}-h{number}"
            if hop.waited_ns is not None and not in_line(hop):
                yield self._queue(hop, hop.waited_ns)
            for index, lookup in enumerate(hop.lookups, 1):
                yield self._lookup(hop, lookup, f"{href}-l{index}")
            if hop.server is not None:
                yield self._transfer(hop, hop.server, href)
                if hop is self.journey.handed_in:
                    label = f"accepted as {hop.queue_id}" if hop.queue_id else "accepted"
                    x = self._x(hop.server)
                    yield Row(kind="accepted", time_ns=hop.ended_ns, letter="B", x=x, label=label)
        yield self._end()
        for number, fetch in enumerate(self.journey.fetches, 1):
            yield self._fetch(fetch, f"{self.anchor}-g{number}")

    def _queue(self, hop: Hop, waited_ns: int) -> Row:
        return Row(
            kind="queue",
            time_ns=hop.began_ns,
            letter="D",
            x=self._x(hop.client),
            label=f"{duration(waited_ns)} in the queue",
            long=waited_ns >= _LONG_WAIT_NS,
        )

    def _lookup(self, hop: Hop, lookup: Lookup, href: str) -> Row:
        query = lookup.query
        x = self._x(hop.client)
        marks = tuple(self._marks(lookup))
        space = int((self.dns_x - x - 20) / _CHARACTER)
        label = shortened(f"{query.type} {query.name}", max(space, 6))
        left = space - len(label) - 3
        return Row(
            kind="lookup",
            time_ns=query.time_ns,
            letter=hop.step,
            x=x,
            end=marks[-1].x,
            label=label,
            note=shortened(query.said, left) if left >= _LEAST_ANSWER else "",
            title=f"{query.client.host} asks {query.server.host} for {query.name} {query.type}: {query.said}",
            href=href,
            good=query.outcome in ("answer", "alias"),
            marks=marks,
        )

    def _marks(self, lookup: Lookup) -> Iterator[Mark]:
        query = lookup.query
        cached = ", cached" if lookup.cached else ""
        name = f"{shortened(query.server.host, _NAME_LENGTH)}{cached}"
        silent = query.answer_frame is None
        yield Mark(x=self.dns_x, label=name, kind="silent" if silent else "cached" if cached else "resolver")
        asked = list(zip(self.levels.of(lookup), lookup.upstream, strict=True))
        for index, level in enumerate(LEVELS):
            here = [query for at, query in asked if at == level]
            if here:
                kinds = [_kind(query) for query in here]
                more = f" +{len(here) - 1}" if len(here) > 1 else ""
                yield Mark(
                    x=self._level_x(index),
                    label=f"{shortened(here[-1].server.host, _NAME_LENGTH)}{more}",
                    kind=kinds[-1],
                    failed="silent" in kinds[:-1],
                )

    def _transfer(self, hop: Hop, server: Place, href: str) -> Row:
        attempt = hop.attempt
        began = max(hop.began_ns, attempt.opened_ns) if attempt else hop.began_ns
        return Row(
            kind="hop",
            time_ns=began,
            letter=hop.step,
            x=self._x(hop.client),
            end=self._x(server),
            label=verdict(hop),
            note=duration(hop.ended_ns - began),
            title=f"{hop.client.host} to {server.host}: {hop.reached}. {hop.reply or ''}",
            href=href,
            good=hop.accepted,
        )

    def _end(self) -> Row:
        end = self.journey.end
        last = self.journey.hops[-1]
        column = self.columns.get(end.host) or self.columns[last.client.host]
        delivered = end.state == "delivered"
        return Row(
            kind="end",
            time_ns=end.time_ns,
            letter="G" if delivered else last.step,
            x=column.x,
            label=end.state,
            good=delivered,
        )

    def _fetch(self, fetch: Fetch, href: str) -> Row:
        who = f"{fetch.client.host} fetches the message from {fetch.server.host}"
        return Row(
            kind="fetch",
            time_ns=fetch.began_ns,
            letter="G",
            x=self._x(fetch.server),
            end=self._x(fetch.client),
            label="fetched" if fetch.session else "fetched (an event)",
            note=duration(fetch.ended_ns - fetch.began_ns) if fetch.session else "no packets",
            title=f"{who}: {f'{fetch.size:,} bytes' if fetch.session else 'as that server tells'}",
            href=href,
        )

    def _custody(self, rows: Sequence[Row]) -> Iterator[Custody]:
        """Where the message was from when it came until it was handed on, or to the end of the picture."""
        at: int | None = self._x(self.journey.hops[0].client)
        since = _TOP
        for row in rows:
            if row.kind == "skipped" and at is not None:
                yield Custody(x=at, y=since, end=row.y)
                # Where it is behind the gap, the next row that hands it on tells.
                at, since = None, row.y
            elif row.kind == "hop" and row.good:
                yield Custody(x=row.x, y=since, end=row.y)
                at, since = row.end, row.y
        yield Custody(x=rows[-1].x if at is None else at, y=since, end=rows[-1].y)

    def _described(self) -> str:
        path = ", then ".join(self.journey.path)
        tried = [hop for hop in self.journey.hops if not hop.accepted]
        failed = f" {len(tried)} {'attempt' if len(tried) == 1 else 'attempts'} failed." if tried else ""
        times = len(self.journey.fetches)
        read = f" It was fetched {'once' if times == 1 else f'{times} times'}." if times else ""
        return f"The message went from {path}. It ended as {self.journey.end.state}.{failed}{read}"


def sides(journey: Journey) -> tuple[str, str]:
    """Return the sender's organisation and the recipient's; a notice has no sender, but an author."""
    sender = journey.sender.rpartition("@")[2] or journey.hops[0].client.name
    return organisation(sender), organisation(journey.recipient.rpartition("@")[2])


def side(place: Place, sender: str, recipient: str) -> Side:
    """Return whose a host is."""
    whose = organisation(place.name)
    return "sender" if whose == sender else "recipient" if whose == recipient else "internet"


def verdict(hop: Hop) -> str:
    """Return in a word or two what came of a hop: the reply's code, or why there is none."""
    if hop.reply is not None:
        return str(hop.reply.code)
    ended = hop.attempt.ended if hop.attempt else ""
    return {"refused": "refused", "unanswered": "no answer", "reset": "reset"}.get(ended, "broken off")


def _kind(query: Query) -> Literal["referral", "answer", "silent"]:
    if query.outcome in ("timeout", "error"):
        return "silent"
    return "referral" if query.outcome in ("referral", "truncated") else "answer"


def _skipped(time_ns: int, count: int) -> Row:
    return Row(kind="skipped", time_ns=time_ns, letter="D", label=f"{count} rows are left out here")
