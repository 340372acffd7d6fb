"""Of what a host asked while it had a message: what belongs to the message's hops, and what to none."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from captures.journeys import Journey
from captures.journeys.reading import journeys
from tests.unit.captures.mail import BOB, HOSTS, Wire, message

CAROL = "carol@example.com"


def read(wire: Wire) -> list[Journey]:
    return journeys(wire.sessions, wire.lookups)


def submitted(wire: Wire, queued: str = "Q1", to: str | Sequence[str] = BOB, **options: str) -> None:
    content = message(message_id=options.get("message_id", "<1@example.com>"))
    wire.sends("alice", "corp-msa", port=587, content=content, to=to, queued=queued)


def asked(wire: Wire) -> list[list[str]]:
    """The names that were looked up for each hop."""
    (journey,) = read(wire)
    return [[lookup.query.name for lookup in hop.lookups] for hop in journey.hops]


def test_somebody_looks_around() -> None:
    """What somebody asks at a host while a message waits there has nothing to do with it."""
    wire = Wire()
    submitted(wire)
    wire.asks("corp-msa", "example.net", "MX", "10 isp-a1.example.net.")
    wire.asks("corp-msa", "example.org", "MX", "10 rcpt-mx1.example.org.")
    wire.tick(1_000)
    wire.finds("corp-msa", "example.org", "rcpt-mx1")
    wire.sends("corp-msa", "rcpt-mx1", content=message(("corp-msa", "Q1")), queued="Q2")
    assert asked(wire)[1] == ["example.org", "rcpt-mx1.example.org"]
    assert read(wire)[0].hops[1].began_ns == wire.lookups[2].query.time_ns


def test_in_vain_before() -> None:
    """An earlier attempt that DNS did not answer, with all that it asked in turn, belongs to the hop."""
    wire = Wire()
    submitted(wire)
    for name in ("isp-b.example.net", "isp-a.example.net"):
        wire.asks("corp-msa", name, "MX", rcode="")
    wire.tick(20_000)
    wire.asks("corp-msa", "elsewhere.example", "MX", rcode="")
    wire.tick(20_000)
    wire.finds("corp-msa", "isp-a.example.net", "isp-a1")
    wire.sends("corp-msa", "isp-a1", content=message(("corp-msa", "Q1")), queued="Q2")
    assert asked(wire)[1] == [
        "isp-b.example.net",
        "isp-a.example.net",
        "isp-a.example.net",
        "isp-a1.example.net",
    ]


def test_right_before() -> None:
    """What was asked in one go before the connection belongs to it, an exchanger without address too."""
    wire = Wire()
    submitted(wire)
    wire.asks("corp-msa", "isp-b.example.net", "MX", rcode="NXDOMAIN")
    wire.asks("corp-msa", "example.org", "MX", "10 gone.example.org.", "20 rcpt-mx1.example.org.")
    wire.asks("corp-msa", "gone.example.org", "A")
    wire.asks("corp-msa", "rcpt-mx1.example.org", "A", HOSTS["rcpt-mx1"][0])
    wire.sends("corp-msa", "rcpt-mx1", content=message(("corp-msa", "Q1")), queued="Q2")
    assert asked(wire)[1] == [lookup.query.name for lookup in wire.lookups]


def test_for_other_recipients() -> None:
    """What was asked for a recipient elsewhere is told in that one's journey alone."""
    wire = Wire()
    other = "x@example.net"
    submitted(wire, to=(BOB, other))
    wire.asks("corp-msa", "example.net", "MX", "10 isp-a1.example.net.")
    wire.asks("corp-msa", "example.org", "MX", "10 rcpt-mx1.example.org.")
    wire.asks("corp-msa", "isp-a1.example.net", "A", HOSTS["isp-a1"][0])
    wire.asks("corp-msa", "rcpt-mx1.example.org", "A", HOSTS["rcpt-mx1"][0])
    wire.sends("corp-msa", "isp-a1", content=message(("corp-msa", "Q1")), to=other, queued="Q2")
    wire.sends("corp-msa", "rcpt-mx1", content=message(("corp-msa", "Q1")), queued="Q3")
    names = [[lookup.query.name for lookup in journey.hops[1].lookups] for journey in read(wire)]
    assert names == [
        ["example.org", "rcpt-mx1.example.org"],
        ["example.net", "isp-a1.example.net"],
    ]


@pytest.mark.parametrize(("rtype", "after_ms"), [("MX", 5_000), ("MX", 500), ("A", 1)])
def test_what_a_mailbox_host_asks(rtype: str, after_ms: int) -> None:
    """A host that files a message asks nothing for it: what somebody asks there later is no route."""
    wire = Wire()
    submitted(wire, to=CAROL)
    wire.tick(after_ms)
    wire.asks("corp-msa", "nowhere.example", rtype, rcode="NXDOMAIN")
    (journey,) = read(wire)
    assert (len(journey.hops), journey.end.state) == (1, "delivered")


def test_null_mx() -> None:
    """A domain that takes no mail names no server to try (RFC 7505)."""
    wire = Wire()
    submitted(wire)
    wire.asks("corp-msa", "example.org", "MX", "0 .")
    (journey,) = read(wire)
    assert (journey.hops[-1].reached, journey.end.state) == ("unroutable", "refused")


def test_dns_that_does_not_answer() -> None:
    """Each attempt that DNS left without an answer is told, and the message is not given up."""
    wire = Wire()
    submitted(wire)
    for _ in range(2):
        wire.asks("corp-msa", "isp-a.example.net", "MX", rcode="")
        wire.asks("corp-msa", "isp-b.example.net", "MX", rcode="")
        wire.tick(60_000)
    (journey,) = read(wire)
    assert len(journey.hops[-1].lookups) == 4
    assert (journey.hops[-1].reached, journey.end.state) == ("unroutable", "deferred")
