"""What the cache keeps, for how long, and who may replace it."""

from __future__ import annotations

from collections.abc import Iterator

import dnslib
import pytest

from services.dns import names
from services.dns.cache import Cache, Negative, Rank
from services.dns.entry import CacheEntry
from services.dns.names import Name
from services.dns.records import RRset

WWW: Name = (b"www", b"example", b"org")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def a(address: str, *, ttl: int = 60, owner: Name = WWW) -> RRset:
    return RRset(owner=owner, rtype=names.A, ttl=ttl, rdatas=(dnslib.A(address),))


def soa(*, ttl: int = 600, minimum: int = 30) -> RRset:
    rdata = dnslib.SOA(
        dnslib.DNSLabel("ns.example.org"), dnslib.DNSLabel("root.example.org"), (1, 2, 3, 4, minimum)
    )
    return RRset(owner=WWW[1:], rtype=names.SOA, ttl=ttl, rdatas=(rdata,))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> Cache:
    return Cache(clock)


def known(cache: Cache, rank: Rank = Rank.ANSWER) -> str | None:
    rrset = cache.rrset(WWW, names.A, rank)
    return None if rrset is None else f"{rrset.ttl} {rrset.rdatas[0]!r}"


def test_the_ttl_counts_down(cache: Cache, clock: Clock) -> None:
    """What is kept shows the TTL that is left, never 0, and is gone when the time is up."""
    cache.put(a("198.18.0.1"), Rank.ANSWER)
    seen = []
    for clock.now in (0.0, 0.5, 1.0, 59.9, 60.0):
        seen.append(known(cache))
    assert seen == ["60 198.18.0.1", "60 198.18.0.1", "59 198.18.0.1", "1 198.18.0.1", None]


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (Rank.ANSWER, Rank.REFERRAL, "60 198.18.0.1"),
        (Rank.ANSWER, Rank.ANSWER, "60 198.18.0.2"),
        (Rank.REFERRAL, Rank.ANSWER, "60 198.18.0.2"),
    ],
)
def test_ranks(cache: Cache, first: Rank, second: Rank, kept: str) -> None:
    """Glue never replaces an answer (RFC 2181 §5.4.1)."""
    cache.put(a("198.18.0.1"), first)
    cache.put(a("198.18.0.2"), second)
    assert known(cache) == kept


def test_glue_is_not_given_as_an_answer(cache: Cache) -> None:
    """What came with a referral is found only by who takes referrals."""
    cache.put(a("198.18.0.1"), Rank.REFERRAL)
    assert known(cache) is None
    assert known(cache, Rank.REFERRAL) == "60 198.18.0.1"


def test_glue_replaces_an_answer_that_expired(cache: Cache, clock: Clock) -> None:
    """A rank holds as long as its data."""
    cache.put(a("198.18.0.1"), Rank.ANSWER)
    clock.now = 60
    cache.put(a("198.18.0.2"), Rank.REFERRAL)
    assert known(cache, Rank.REFERRAL) == "60 198.18.0.2"


@pytest.mark.parametrize(
    ("rcode", "rtype", "found"),
    [
        pytest.param(names.NOERROR, names.MX, True, id="NoData for the type asked"),
        pytest.param(names.NOERROR, names.TXT, False, id="NoData says nothing of others"),
        pytest.param(names.NXDOMAIN, names.TXT, True, id="NXDOMAIN does"),
    ],
)
def test_negatives(cache: Cache, clock: Clock, rcode: int, rtype: int, found: bool) -> None:
    """NoData holds for its type, NXDOMAIN for all; both for the lesser of the SOA's TTL and minimum."""
    cache.put_negative(WWW, names.MX, Negative(rcode=rcode, soa=soa()))
    clock.now = 10
    negative = cache.negative(WWW, rtype)
    assert (negative is not None) is found
    if negative is not None:
        assert (negative.rcode, negative.soa.ttl) == (rcode, 20)
    clock.now = 30
    assert cache.negative(WWW, rtype) is None


def test_an_answer_ends_nxdomain(cache: Cache) -> None:
    """A name that answers exists."""
    cache.put_negative(WWW, names.MX, Negative(rcode=names.NXDOMAIN, soa=soa()))
    cache.put(a("198.18.0.1"), Rank.ANSWER)
    assert cache.negative(WWW, names.MX) is None


def test_failures_last_a_second(cache: Cache, clock: Clock) -> None:
    """A failure is remembered for a second, whatever glue is known of the name, or until there are data."""
    cache.put_failure(WWW, names.A)
    assert cache.failed(WWW, names.A)
    assert not cache.failed(WWW, names.MX)
    clock.now = 1
    assert not cache.failed(WWW, names.A)
    cache.put_failure(WWW, names.A)
    cache.put(a("198.18.0.1"), Rank.REFERRAL)
    assert cache.failed(WWW, names.A)
    assert known(cache, Rank.REFERRAL) == "60 198.18.0.1"
    cache.put(a("198.18.0.1"), Rank.ANSWER)
    assert not cache.failed(WWW, names.A)
    cache.put_failure(WWW, names.MX)
    cache.put_negative(WWW, names.MX, Negative(rcode=names.NOERROR, soa=soa()))
    assert not cache.failed(WWW, names.MX)


def test_failures_do_not_fill_the_memory(cache: Cache, clock: Clock) -> None:
    """Of a flood of names that fail some thousands are remembered, and room is made when they end."""
    for i in range(12_000):
        cache.put_failure((str(i).encode(),), names.A)
    assert len(list(cache.entries())) == 10_000
    clock.now = 1
    cache.put_failure(WWW, names.A)
    assert [entry.name for entry in cache.entries()] == ["www.example.org"]


def test_data_may_end_before_their_ttl(cache: Cache, clock: Clock) -> None:
    """What is kept until a given time is gone then, and shows no more than what is left until then."""
    cache.put(a("198.18.0.1"), Rank.ANSWER, until=20.0)
    assert (known(cache), cache.held_until(WWW, names.A)) == ("20 198.18.0.1", 20.0)
    clock.now = 20
    assert known(cache) is None


@pytest.mark.parametrize("ttl", [0, 8 * 86400, 2**31 - 1])
def test_extreme_ttls(cache: Cache, clock: Clock, ttl: int) -> None:
    """TTL 0 is not kept at all, and nothing longer than a week."""
    cache.put(a("198.18.0.1", ttl=ttl), Rank.ANSWER)
    assert known(cache) == (f"{7 * 86400} 198.18.0.1" if ttl else None)


def fill(cache: Cache) -> Iterator[CacheEntry]:
    cache.put(a("198.18.0.1"), Rank.ANSWER)
    cache.put(a("198.18.0.2", owner=(b"ns", b"org"), ttl=90), Rank.REFERRAL)
    cache.put_negative((b"nope", b"example", b"org"), names.MX, Negative(rcode=names.NXDOMAIN, soa=soa()))
    cache.put_negative(WWW, names.MX, Negative(rcode=names.NOERROR, soa=soa()))
    cache.put_failure((b"net",), names.A)
    cache.put(a("198.18.0.3", owner=(b"old", b"org"), ttl=1), Rank.ANSWER)
    return cache.entries()


def test_entries(cache: Cache, clock: Clock) -> None:
    """The cache can be listed by name, with what is left of each TTL; what expired is not shown."""
    entries = fill(cache)
    clock.now = 0.5
    assert [(e.name, e.rtype, e.ttl, e.kind) for e in entries] == [
        ("net", "A", 1, "SERVFAIL"),
        ("nope.example.org", "ANY", 30, "NXDOMAIN"),
        ("www.example.org", "A", 60, "answer"),
        ("www.example.org", "MX", 30, "NODATA"),
        ("ns.org", "A", 90, "glue"),
        ("old.org", "A", 1, "answer"),
    ]
    clock.now = 2
    (www,) = (e for e in cache.entries() if e.kind == "answer")
    assert (www.name, www.ttl, www.data) == ("www.example.org", 58, ("198.18.0.1",))


@pytest.mark.parametrize(("below", "flushed"), [((), 6), ((b"example", b"org"), 3), ((b"com",), 0)])
def test_flush(cache: Cache, below: Name, flushed: int) -> None:
    """Everything at or below a name can be listed and forgotten; flushes are counted."""
    list(fill(cache))
    assert len(list(cache.entries(below))) == flushed
    before = cache.flushes
    assert cache.flush(below) == flushed
    assert cache.flushes == before + 1
    assert len(list(cache.entries())) == 6 - flushed
    assert list(cache.entries(below)) == []


def test_the_oldest_are_forgotten_first(clock: Clock) -> None:
    """A full cache keeps to its limit and forgets what came first, expired things before all."""
    cache = Cache(clock, limit=100)
    cache.put(a("198.18.0.1", ttl=10), Rank.ANSWER)
    for i in range(250):
        cache.put(a("198.18.0.2", owner=(str(i).encode(),), ttl=1000), Rank.ANSWER)
        assert len(list(cache.entries())) <= 100
    assert cache.rrset((b"249",), names.A, Rank.ANSWER) is not None
    assert cache.rrset((b"0",), names.A, Rank.ANSWER) is None
