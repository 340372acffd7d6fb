"""Resolution from the roots down, through an Internet in memory."""

from __future__ import annotations

from services.dns import names
from tests.unit.dns.internet import EXAMPLE_NET, EXAMPLE_ORG, NET, Internet, where


def test_from_the_roots_down() -> None:
    """A cold resolver primes, then is referred from the root to the domain's servers."""
    internet = Internet()
    assert internet.look_up(internet.resolver(), "example.org MX") == [
        "NOERROR",
        "example.org 300 MX 10 mx1.example.org",
        "example.org 300 MX 20 mx2.example.net",
    ]
    assert where(internet) == [
        "root . NS",
        "root example.org MX",
        "198.18.1.1 example.org MX",
        "example example.org MX",
    ]


def test_a_warm_cache_shortens_the_way() -> None:
    """A second question below a known delegation starts there, and the same question costs nothing."""
    internet = Internet()
    resolver = internet.resolver()
    internet.resolve(resolver, "example.org MX")
    internet.asked.clear()
    internet.clock += 10
    assert internet.look_up(resolver, "example.org MX")[1] == "example.org 290 MX 10 mx1.example.org"
    assert internet.asked == []
    assert internet.look_up(resolver, "mx1.example.org A") == ["NOERROR", "mx1.example.org 300 A 198.18.3.1"]
    assert where(internet) == ["example mx1.example.org A"]
    internet.look_up(resolver, "glueless.org NS")
    assert where(internet)[1] == "198.18.1.1 glueless.org NS"


def test_records_expire() -> None:
    """When the TTL is over, the question is asked again."""
    internet = Internet()
    resolver = internet.resolver()
    internet.resolve(resolver, "mx1.example.org A")
    internet.asked.clear()
    internet.clock += 301
    assert internet.look_up(resolver, "mx1.example.org A") == ["NOERROR", "mx1.example.org 300 A 198.18.3.1"]
    assert where(internet) == ["example mx1.example.org A"]


def test_glueless_delegation() -> None:
    """A server whose address no glue tells is looked up from the roots, then asked."""
    internet = Internet()
    assert internet.look_up(internet.resolver(), "www.glueless.org A") == [
        "NOERROR",
        "www.glueless.org 300 A 198.18.3.7",
    ]
    assert where(internet) == [
        "root . NS",
        "root www.glueless.org A",
        "198.18.1.1 www.glueless.org A",
        "root ns.example.net A",
        "198.18.1.2 ns.example.net A",
        "198.18.2.3 ns.example.net A",
        "198.18.2.3 www.glueless.org A",
    ]


def test_a_known_address_spares_the_search() -> None:
    """A server without glue whose address was learnt elsewhere is asked right away."""
    internet = Internet()
    resolver = internet.resolver()
    internet.resolve(resolver, "host.example.net A")
    internet.asked.clear()
    assert internet.look_up(resolver, "www.glueless.org A")[0] == "NOERROR"
    assert where(internet) == [
        "root www.glueless.org A",
        "198.18.1.1 www.glueless.org A",
        "198.18.2.3 www.glueless.org A",
    ]


def test_an_alias_into_another_zone() -> None:
    """An alias that leaves its zone is followed from the roots; the answer has the whole chain."""
    internet = Internet()
    assert internet.look_up(internet.resolver(), "www.example.org A") == [
        "NOERROR",
        "www.example.org 300 CNAME web.example.net",
        "web.example.net 300 CNAME host.example.net",
        "host.example.net 300 A 198.18.3.9",
    ]
    resolver = internet.resolver()
    assert internet.look_up(resolver, "www.example.org MX")[:3] == [
        "NOERROR",
        "www.example.org 300 CNAME web.example.net",
        "web.example.net 300 CNAME host.example.net",
    ]
    internet.asked.clear()
    assert len(internet.look_up(resolver, "www.example.org MX")) == 3
    assert internet.asked == []


def test_glue_is_no_answer() -> None:
    """An address known from glue leads the way, but a client who asks for it gets the zone's own word."""
    internet = Internet()
    resolver = internet.resolver()
    internet.resolve(resolver, "example.org MX")
    internet.asked.clear()
    assert internet.look_up(resolver, "ns1.example.org A") == ["NOERROR", "ns1.example.org 300 A 198.18.2.1"]
    assert where(internet) == ["example ns1.example.org A"]


def test_one_server_for_parent_and_child() -> None:
    """A server of both zones answers for the child without a referral; that is its right."""
    internet = Internet()
    internet.serve("198.18.1.2", EXAMPLE_NET, NET)
    assert internet.look_up(internet.resolver(), "host.example.net A")[0] == "NOERROR"
    assert where(internet) == ["root . NS", "root host.example.net A", "198.18.1.2 host.example.net A"]


def test_a_record_with_ttl_0_is_used_once() -> None:
    """TTL 0 means "for this question only" (RFC 1035 §3.2.1)."""
    internet = Internet()
    zone = EXAMPLE_ORG + "now 0 A 198.18.3.3\n"
    internet.serve("198.18.2.1", zone)
    internet.serve("198.18.2.2", zone)
    resolver = internet.resolver()
    for _ in range(2):
        assert internet.look_up(resolver, "now.example.org A") == [
            "NOERROR",
            "now.example.org 0 A 198.18.3.3",
        ]
    assert where(internet).count("example now.example.org A") == 2


def test_a_referral_is_in_the_cache_once_the_next_query_is_on_its_way() -> None:
    """What it teaches is put off until then, and others who look it up meanwhile find it."""
    internet = Internet()
    resolver = internet.resolver()
    internet.resolve(resolver, "nope A")
    steps = resolver.resolve((b"example", b"org"), names.MX)
    steps.send(internet.exchange(next(steps)))
    below = (b"org",)
    assert not list(resolver.cache.entries(below))
    resolver.catch_up()
    assert {entry.rtype for entry in resolver.cache.entries(below)} >= {"NS", "A"}
    steps.close()
