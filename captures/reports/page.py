"""Journeys as one HTML page, which a browser opens from anywhere: it loads nothing and runs no script.

Theory of operation. The words come from the account (captures.journeys.steps), the picture from `ladder`, the
bars from `waterfall`; the templates beside this module only lay them out. Addresses, subjects and replies
are whatever somebody sent: jinja2 escapes every value, `visible` takes out what would disturb a page as text,
and a content security policy keeps the browser from running anything, should both fail.

A thousand messages make a table of a thousand rows; the first fifty of them are told in full.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from captures.journeys.document import display_filter
from captures.journeys.model import STEPS, Attempt, Fetch, Hop, Journey, Journeys, Reading, State, Step
from captures.journeys.steps import Told, duration, steps
from captures.lookups import Lookup
from captures.reports.ladder import ladder, side, sides, verdict
from captures.reports.levels import Levels
from captures.reports.shapes import Ladder, Side
from captures.reports.visible import visible
from captures.reports.waterfall import Bar, Spent, totals, waterfall

TOLD_IN_FULL: Final = 50
"""So many journeys are told in full; the table has all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """A journey as the page shows it.

    `anchor` is its place on the page; `account` has each step with its own place there; `route` has each host
    that had the message, whose it is and the letter of the hop that led there; `bars` are those of each hop.
    """

    anchor: str
    journey: Journey
    account: list[tuple[Told, str]]
    picture: Ladder
    route: list[tuple[str, Side, Step | None]]
    bars: list[list[Bar]]
    spent: dict[Spent, int]
    lookups: int
    asked: int


def page(
    found: Journeys,
    *,
    title: str,
    capture_file: str = "network.pcapng",
    facts: Mapping[str, str] | None = None,
) -> str:
    """Return a page that shows the journeys of a capture.

    `title` says what was captured, `capture_file` where the capture lies, relative to the page; `facts` are
    further things to be told at the top, as name and value.
    """
    told = found.journeys[:TOLD_IN_FULL]
    levels = Levels(lookup for journey in told for hop in journey.hops for lookup in hop.lookups)
    template = _environment().get_template("page.html.jinja")
    return template.render(
        title=title,
        capture_file=capture_file,
        facts=facts or {},
        found=found,
        chapters=[_chapter(journey, levels) for journey in told],
        steps=STEPS,
    )


def _chapter(journey: Journey, levels: Levels) -> Chapter:
    anchor = f"j{journey.number}"
    bars = waterfall(journey)
    lookups = [lookup for hop in journey.hops for lookup in hop.lookups]
    return Chapter(
        anchor=anchor,
        journey=journey,
        account=list(_account(journey, anchor)),
        picture=ladder(journey, levels, anchor),
        route=list(_route(journey)),
        bars=bars,
        spent=totals(bars),
        lookups=len(lookups),
        asked=sum(len(lookup.upstream) for lookup in lookups),
    )


def _route(journey: Journey) -> Iterator[tuple[str, Side, Step | None]]:
    """Each host that had the message, whose it is, and the letter of the hop that led there."""
    sender, recipient = sides(journey)
    client = journey.hops[0].client
    yield client.host, side(client, sender, recipient), None
    for hop in journey.hops:
        if hop.accepted and hop.server is not None:
            yield hop.server.host, side(hop.server, sender, recipient), hop.step


def _account(journey: Journey, anchor: str) -> Iterator[tuple[Told, str]]:
    """The steps, each with its place on the page if the picture points there; else ''."""
    places = _places(journey, anchor)
    for told in steps(journey):
        yield told, "" if told.about is None else next(places)


def _places(journey: Journey, anchor: str) -> Iterator[str]:
    """Where lookups, sessions and fetches are told, in the order of the account."""
    for number, hop in enumerate(journey.hops, 1):
        for index in range(1, len(hop.lookups) + 1):
            yield f"{anchor}-h{number}-l{index}"
        if hop.server is not None:
            yield f"{anchor}-h{number}"
    for number in range(1, len(journey.fetches) + 1):
        yield f"{anchor}-g{number}"


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "duration": duration,
        "ms": _ms,
        "when": _when,
        "number": "{:,}".format,
        "link": _link,
    }
    environment.tests |= {
        "lookup": lambda value: isinstance(value, Lookup),
        "hop": lambda value: isinstance(value, Hop),
        "fetch": lambda value: isinstance(value, Fetch) and value.session is not None,
    }
    environment.globals |= {"display_filter": display_filter, "sign": _sign, "tls": _tls, "verdict": verdict}
    return environment


def _shown(value: object) -> object:
    """A value as it goes into the page, where jinja2 escapes it."""
    if value is None:
        return ""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _link(file: str) -> str:
    """A file's name as a link to it, relative to the page, whatever bytes it has."""
    return quote(file.encode(errors="surrogateescape"))


def _ms(time_ns: int, start_ns: int) -> str:
    return f"{(time_ns - start_ns) / 1e6:,.1f}"


def _when(time_ns: int | None) -> str:
    if time_ns is None:
        return ""
    try:
        return f"{datetime.fromtimestamp(time_ns // 1_000_000_000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, OSError, ValueError):
        # A capture from elsewhere may hold any time.
        return "beyond the calendar"


def _sign(state: State) -> tuple[str, str]:
    """A state's sign, and how it is marked: not by colour alone."""
    if state == "delivered":
        return "✓", "good"
    failed = state in ("bounced", "quarantined", "deleted", "refused")
    return ("✕", "bad") if failed else ("…", "soft")


def _tls(attempt: Attempt | Reading) -> str:
    if attempt.greeting is None and not attempt.tls:
        return ""
    return {"opened": "TLS 1.3", "sealed": "TLS that cannot be opened"}.get(attempt.tls, "in the clear")
