"""`mailbed cache`: what a resolver remembers, and how it is made to forget."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailbed.cli import output, targets
from mailbed.cli.arguments import Group, Verb
from mailbed.cli.options import Json, RunningLab, examples, need_verb

if TYPE_CHECKING:
    from services.dns.entry import CacheEntry

EXAMPLES = (
    "mailbed cache show corp-dns",
    "mailbed cache flush '*-dns'",
)
app = typer.Typer(cls=Group, rich_markup_mode=None)

Host = Annotated[
    str,
    typer.Argument(
        metavar="HOST", help="A host with a resolver; a pattern means each that has one.", show_default=False
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="DOMAIN",
        help="Only this name and what lies below it (default: all).",
        show_default=False,
    ),
]


@app.callback(invoke_without_command=True)
def cache(context: typer.Context) -> None:
    """Look into the cache of a resolver, and empty it."""
    need_verb(context)


@app.command(
    cls=Verb,
    epilog=examples(
        "mailbed cache show corp-dns                     everything",
        "mailbed cache show corp-dns --name org          what it knows of .org",
        "mailbed cache show '*' --json                   of every resolver",
    ),
)
def show(host: Host, name: Name = None, lab: RunningLab = None, json: Json = False) -> None:
    """Show what resolvers remember, with the TTL that is left in seconds.

    \b
    answer               records that its zone's own servers gave
    delegation, glue     who to ask about a zone, and where they are
    NXDOMAIN, NODATA     that there is no such name, or nothing of that type
    SERVFAIL             that nobody could answer, a moment ago
    """
    from mailbed.lab import Lab

    with Lab.attach(lab) as handle:
        found = {host: handle.cache(host, name) for host in targets.resolvers(handle.plan, host)}
    if json:
        caches = [
            {"host": host, "entries": [asdict(entry) for entry in entries]} for host, entries in found.items()
        ]
        output.document({"lab": handle.name, "caches": caches})
    elif any(found.values()):
        output.table(("HOST", "NAME", "TYPE", "TTL", "KIND", "DATA"), _rows(found))
    else:
        output.say("Nothing of that is remembered." if name else "Nothing is remembered.")


@app.command(
    cls=Verb,
    epilog=examples(
        "mailbed cache flush corp-dns                    everything",
        "mailbed cache flush corp-dns --name example.org",
    ),
)
def flush(host: Host, name: Name = None, lab: RunningLab = None, json: Json = False) -> None:
    """Have resolvers forget what they remember: the next lookup starts anew, from the roots if need be."""
    from mailbed.lab import Lab

    with Lab.attach(lab) as handle:
        flushed: list[dict[str, Any]] = [
            {"host": each, "flushed": handle.flush_cache(each, name)}
            for each in targets.resolvers(handle.plan, host)
        ]
    if json:
        output.document({"lab": handle.name, "caches": flushed})
        return
    for one in flushed:
        output.say(f"{one['host']}: {output.count(one['flushed'], 'entry', 'entries')} forgotten")


def _rows(found: dict[str, list[CacheEntry]]) -> list[tuple[str, ...]]:
    """A line for each record, complete, so that it can be searched for."""
    return [
        (host, entry.name, entry.rtype, str(entry.ttl), entry.kind, data)
        for host, entries in found.items()
        for entry in entries
        for data in entry.data or ("",)
    ]
