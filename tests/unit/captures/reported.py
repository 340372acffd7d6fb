"""Journeys to report on, and the servers that resolvers asked for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from captures.conversations import Endpoint
from captures.journeys import Journey, Journeys
from captures.journeys.reading import journeys
from captures.lookups import Lookup, Outcome, Query
from tests.unit.captures.mail import Wire, message

ROOT, TLD, AUTH = (
    Endpoint("202.12.27.33", 53, "m-root", "m.root-servers.net"),
    Endpoint("198.18.0.50", 53, "org-ns1", "org-ns1.nic.net"),
    Endpoint("198.18.0.60", 53, "org-auth1", "org-auth1.example.org"),
)


def asks(
    wire: Wire, lookup: Lookup, server: Endpoint, outcome: Outcome, said: str = "", zone: str = ""
) -> Query:
    """Have the resolver of a lookup ask a server on account of it; with `timeout` there is no answer."""
    asked, frame = wire.tick(), wire.frame
    answered = outcome != "timeout"
    query = replace(
        lookup.query,
        client=lookup.query.server,
        server=server,
        recursive=False,
        time_ns=asked,
        frame=frame,
        answered_ns=wire.tick() if answered else None,
        answer_frame=wire.frame if answered else None,
        reply=lookup.query.reply if answered else None,
        outcome=outcome,
        said=said or outcome,
        zone=zone,
        path=("corp-dns", "core1", server.host),
    )
    lookup.upstream.append(query)
    return query


def resolved(wire: Wire, client: str = "corp-mta1") -> Lookup:
    """A lookup of example.org's MX, from the root down."""
    lookup = wire.asks(client, "example.org", "MX", "10 rcpt-mx1.example.org.", "20 rcpt-mx2.example.org.")
    asks(wire, lookup, ROOT, "referral", "referral to org: org-ns1.nic.net", "org")
    asks(wire, lookup, TLD, "referral", "referral to example.org: org-auth1.example.org", "example.org")
    asks(wire, lookup, AUTH, "answer", "10 rcpt-mx1.example.org, 20 rcpt-mx2.example.org")
    return lookup


def crossed(*, failed: bool = False, queued: str = "Q3") -> Wire:
    """alice, corp-msa, corp-mta1, rcpt-mx1, rcpt-mda; with `failed` mx1 refuses and it is mx2."""
    wire = Wire()
    wire.asks("alice", "corp-msa.example.com", "A", "10.1.0.12")
    wire.sends("alice", "corp-msa", port=587, content=message(), queued="Q1")
    wire.sends("corp-msa", "corp-mta1", content=message(("corp-msa", "Q1")), queued="Q2")
    resolved(wire)
    wire.asks("corp-mta1", "rcpt-mx1.example.org", "A", "198.18.2.10")
    mx = "rcpt-mx1"
    if failed:
        wire.fails("corp-mta1", "rcpt-mx1")
        mx = "rcpt-mx2"
        wire.asks("corp-mta1", "rcpt-mx2.example.org", "A", "198.18.2.11")
    wire.sends("corp-mta1", mx, content=message(("corp-mta1", "Q2"), ("corp-msa", "Q1")), queued=queued)
    trace = ((mx, queued), ("corp-mta1", "Q2"), ("corp-msa", "Q1"))
    wire.sends(mx, "rcpt-mda", content=message(*trace), queued="Q4")
    return wire


def found(wire: Wire) -> Journeys:
    """What a capture of all that holds."""
    return of(journeys(wire.sessions, wire.lookups))


def of(told: Sequence[Journey], *, dropped: int | None = 0, cut: bool = False) -> Journeys:
    """These journeys, as if a capture held them."""
    first = told[0].started_ns if told else None
    last = max((journey.end.time_ns for journey in told), default=None)
    return Journeys(journeys=tuple(told), packets=100, dropped=dropped, cut=cut, first_ns=first, last_ns=last)
