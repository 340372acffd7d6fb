"""On account of which lookups resolvers asked their questions; each test is a short capture."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.lookups import Lookup
from tests.unit.captures.dnswire import MS, Wire, endpoint, pieces, query, reply, stream

NO_GLUE = "example.org. NS ns.example.net."
GLUE = "org-ns. A 198.18.1.1"


def account(lookup: Lookup) -> list[str]:
    """What the resolver asked whom, and what came back."""
    return [f"{asked.server.host} {asked.type} {asked.name}: {asked.said}" for asked in lookup.upstream]


def test_from_the_root_down() -> None:
    """A resolver that knows nothing primes, then goes from referral to referral, all for this lookup."""
    wire = Wire()
    asked = wire.look_up(0, "example.org MX")
    wire.ask(1, "res", "root", ". NS").reply(2, answer="NS a.root-servers.net.")
    wire.ask(3, "res", "root", "example.org MX").reply(4, refer="org. NS org-ns.", glue=GLUE)
    wire.ask(5, "res", "org-ns", "example.org MX").reply(
        6, refer="example.org. NS ns.example.org.", glue="ns.example.org. A 198.18.1.2"
    )
    wire.ask(7, "res", "ns", "example.org MX").reply(8, answer="MX 10 mx1.example.org.", flags="AA")
    asked.reply(9, answer="MX 10 mx1.example.org.", flags="RA")
    [lookup] = wire.lookups()
    assert account(lookup) == [
        "root NS .: a.root-servers.net",
        "root MX example.org: referral to org: org-ns",
        "org-ns MX example.org: referral to example.org: ns.example.org",
        "ns MX example.org: 10 mx1.example.org",
    ]
    assert [each.zone for each in lookup.upstream] == ["", "org", "example.org", ""]
    assert (lookup.query.said, lookup.cached, lookup.retries) == ("10 mx1.example.org", False, 0)


def test_what_is_cached() -> None:
    """A known TLD needs no root step, a known answer no step at all; an authority's answer was not cached."""
    wire = Wire()
    first = wire.look_up(0, "example.org MX")
    wire.ask(1, "res", "org-ns", "example.org MX").reply(
        2, refer="example.org. NS ns.", glue="ns. A 198.18.1.2"
    )
    wire.ask(3, "res", "ns", "example.org MX").reply(4, answer="MX 10 mx1.example.org.")
    first.reply(5, answer="MX 10 mx1.example.org.", flags="RA")
    wire.look_up(6, "example.org MX").reply(7, answer="MX 10 mx1.example.org.", flags="RA")
    wire.look_up(8, "example.net MX").reply(9, soa="example.net", flags="RA")
    wire.look_up(10, "example.com MX").reply(11, answer="MX 10 mx.example.com.", flags="AA")
    wire.look_up(12, "example.edu MX").reply(13, rcode="REFUSED")
    wire.look_up(14, "example.gov MX")
    assert [lookup.cached for lookup in wire.lookups()] == [False, True, True, False, False, False]
    assert [each.server.host for each in wire.lookups()[0].upstream] == ["org-ns", "ns"]


def test_a_resolver_whose_own_side_was_not_captured() -> None:
    """Where nothing is seen of what a resolver asks, nobody knows whether the answer was cached."""
    wire = Wire()
    wire.look_up(0, "example.org MX").reply(1, answer="MX 10 mx1.example.org.", flags="RA")
    assert [lookup.cached for lookup in wire.lookups()] == [False]


def test_an_alias_across_zones() -> None:
    """An alias's target is looked up on account of the lookup that met the alias, here or in the cache."""
    wire = Wire()
    asked = wire.look_up(0, "www.example.org A")
    wire.ask(1, "res", "ns", "www.example.org A").reply(2, answer="CNAME web.example.net.")
    wire.ask(3, "res", "net-ns", "web.example.net A").reply(
        4, refer="example.net. NS ns2.", glue="ns2. A 1.2.3.4"
    )
    wire.ask(5, "res", "ns2", "web.example.net A").reply(6, answer="A 198.18.2.9")
    asked.reply(7, answer="CNAME web.example.net.\nweb.example.net. A 198.18.2.9", flags="RA")
    # The address has expired in the cache, the alias has not.
    asked = wire.look_up(60_000, "www.example.org A")
    wire.ask(60_001, "res", "ns2", "web.example.net A").reply(60_002, answer="A 198.18.2.9")
    asked.reply(60_003, answer="CNAME web.example.net.\nweb.example.net. A 198.18.2.9", flags="RA")
    first, second = wire.lookups()
    assert account(first) == [
        "ns A www.example.org: alias of web.example.net",
        "net-ns A web.example.net: referral to example.net: ns2",
        "ns2 A web.example.net: 198.18.2.9",
    ]
    assert account(second) == ["ns2 A web.example.net: 198.18.2.9"]
    assert second.query.said == "alias of web.example.net: 198.18.2.9"


def test_a_delegation_without_glue() -> None:
    """A server's address is looked up on account of the lookup that needs it, with all that this takes."""
    wire = Wire()
    asked = wire.look_up(0, "example.org MX")
    wire.ask(1, "res", "org-ns", "example.org MX").reply(2, refer=NO_GLUE)
    wire.ask(3, "res", "root", "ns.example.net A").reply(
        4, refer="net. NS net-ns.", glue="net-ns. A 198.18.1.1"
    )
    wire.ask(5, "res", "net-ns", "ns.example.net A").reply(6, answer="CNAME ns.example.com.")
    wire.ask(7, "res", "com-ns", "ns.example.com A").reply(8, answer="A 198.18.1.4")
    wire.ask(9, "res", "ns", "example.org MX").reply(10, answer="MX 10 mx1.example.org.")
    asked.reply(11, answer="MX 10 mx1.example.org.", flags="RA")
    [lookup] = wire.lookups()
    assert account(lookup) == [
        "org-ns MX example.org: referral to example.org: ns.example.net (no glue)",
        "root A ns.example.net: referral to net: net-ns",
        "net-ns A ns.example.net: alias of ns.example.com",
        "com-ns A ns.example.com: 198.18.1.4",
        "ns MX example.org: 10 mx1.example.org",
    ]


def test_a_server_known_from_an_earlier_referral() -> None:
    """The second server of a zone that is cached is looked up for the lookup of a name in that zone."""
    wire = Wire()
    first = wire.look_up(0, "example.org MX")
    wire.ask(1, "res", "org-ns", "example.org MX").reply(
        2, refer=f"{NO_GLUE}\nexample.org. NS ns2.example.com."
    )
    first.reply(3, rcode="SERVFAIL")
    other = wire.look_up(10, "www.example.edu A")
    second = wire.look_up(10, "www.example.org A")
    wire.ask(11, "res", "com-ns", "ns2.example.com A").reply(12, answer="A 198.18.1.5")
    wire.ask(13, "res", "ns2", "www.example.org A").reply(14, answer="A 198.18.2.9")
    second.reply(15, answer="A 198.18.2.9", flags="RA")
    other.reply(16, rcode="NXDOMAIN", soa="edu", flags="RA")
    accounts = {lookup.query.name: account(lookup) for lookup in wire.lookups()}
    assert accounts["www.example.org"] == [
        "com-ns A ns2.example.com: 198.18.1.5",
        "ns2 A www.example.org: 198.18.2.9",
    ]
    assert accounts["www.example.edu"] == []


def test_time_outs_and_fail_over() -> None:
    """A server that keeps silent is told with how long it was waited for, until another was asked or none."""
    wire = Wire()
    asked = wire.look_up(0, "example.org A")
    wire.ask(1, "res", "ns1", "example.org A")
    wire.ask(801, "res", "ns2", "example.org A", lost=True)
    wire.ask(2001, "res", "ns1", "example.org A").reply(2002, answer="A 198.18.2.3", lost=True)
    wire.ask(3601, "res", "ns3", "example.org A")
    asked.reply(6000, rcode="SERVFAIL", flags="RA")
    # These two show that something is captured at all where packets got lost.
    wire.ask(7000, "x", "ns2", "example.org A").reply(7001, answer="A 198.18.2.3")
    [lookup] = wire.lookups()
    assert account(lookup) == [
        "ns1 A example.org: no answer within 800 ms",
        "ns2 A example.org: no answer within 1.2 s (the query was lost)",
        "ns1 A example.org: no answer within 1.6 s (the reply was lost)",
        "ns3 A example.org: no answer within 2.4 s",
    ]
    assert {each.outcome for each in lookup.upstream} == {"timeout"}
    assert lookup.query.said == "SERVFAIL"


@pytest.mark.parametrize("rcode", ["REFUSED", "SERVFAIL"])
def test_a_lame_server(rcode: str) -> None:
    """What a lame server said is told, and who was asked in its place."""
    wire = Wire()
    asked = wire.look_up(0, "example.org A")
    wire.ask(1, "res", "ns1", "example.org A").reply(2, rcode=rcode)
    wire.ask(3, "res", "ns2", "example.org A").reply(4, answer="A 198.18.2.3")
    asked.reply(5, answer="A 198.18.2.3", flags="RA")
    [lookup] = wire.lookups()
    assert account(lookup) == [f"ns1 A example.org: {rcode}", "ns2 A example.org: 198.18.2.3"]
    assert lookup.upstream[0].outcome == "error"


def test_clients_that_ask_again() -> None:
    """The same packet is one lookup however often it is sent; with another id it is another one."""
    wire = Wire()
    first = wire.ask(0, "mta", "res1", "example.org A", ident=7)
    first.again(2000)
    first.again(4000)
    second = wire.ask(5000, "mta", "res2", "example.org A", ident=8)
    wire.ask(5001, "res2", "ns", "example.org A").reply(5002, answer="A 198.18.2.3")
    second.reply(5003, answer="A 198.18.2.3", flags="RA")
    one, other = wire.lookups()
    assert (one.retries, one.query.said) == (2, "no answer within 5 s to 3 tries")
    assert (other.retries, account(other)) == (0, ["ns A example.org: 198.18.2.3"])


def test_a_lost_question_that_is_sent_again() -> None:
    """The resolver works on it from when it first arrived."""
    wire = Wire()
    asked = wire.look_up(0, "example.org A")
    asked.wire.datagrams[0] = replace(wire.datagrams[0], arrived_ns=None)
    asked.again(1000)
    wire.ask(1001, "res", "ns", "example.org A").reply(1002, answer="A 198.18.2.3")
    asked.reply(1003, answer="A 198.18.2.3", flags="RA")
    [lookup] = wire.lookups()
    assert (lookup.retries, lookup.query.arrived_ns) == (1, 1000.1 * MS)
    assert account(lookup) == ["ns A example.org: 198.18.2.3"]


def test_two_clients_asking_the_same() -> None:
    """What the resolver asks while both wait is on account of both, what was under way already as well."""
    wire = Wire()
    first = wire.look_up(0, "example.org MX", client="mta1")
    wire.ask(1, "res", "root", "example.org MX").reply(2, refer="org. NS org-ns.", glue=GLUE)
    wire.ask(3, "res", "org-ns", "example.org MX").reply(6, refer=NO_GLUE)
    second = wire.look_up(4, "example.org MX", client="mta2")
    wire.ask(7, "res", "net-ns", "ns.example.net A").reply(8, answer="A 198.18.1.4")
    wire.ask(9, "res", "ns", "example.org MX").reply(10, answer="MX 10 mx1.example.org.")
    first.reply(11, answer="MX 10 mx1.example.org.", flags="RA")
    second.reply(11, answer="MX 10 mx1.example.org.", flags="RA")
    one, other = wire.lookups()
    assert [each.server.host for each in one.upstream] == ["root", "org-ns", "net-ns", "ns"]
    assert [each.server.host for each in other.upstream] == ["org-ns", "net-ns", "ns"]
    assert not other.cached


def test_a_second_client_while_a_server_is_looked_for() -> None:
    """Whoever joins a lookup shares what it is looking for by then: here the address of a server."""
    wire = Wire()
    wire.look_up(0, "example.org MX")
    wire.ask(1, "res", "org-ns", "example.org MX").reply(2, refer=NO_GLUE)
    wire.ask(3, "res", "root", "ns.example.net A").reply(4, refer="net. NS net-ns.", glue="net-ns. A 1.2.3.4")
    wire.look_up(4.5, "example.org MX", client="mta2")
    wire.ask(5, "res", "net-ns", "ns.example.net A").reply(6, answer="A 198.18.1.4")
    wire.ask(7, "res", "ns", "example.org MX").reply(8, answer="MX 10 mx1.example.org.")
    one, other = wire.lookups()
    assert [each.server.host for each in one.upstream] == ["org-ns", "root", "net-ns", "ns"]
    assert [each.server.host for each in other.upstream] == ["net-ns", "ns"]


def test_both_addresses_of_a_name() -> None:
    """A client that asks for A and AAAA at once has two lookups, each with the queries of its type."""
    wire = Wire()
    for rtype in ("A", "AAAA"):
        wire.look_up(0, f"mx.example.org {rtype}")
    for rtype in ("AAAA", "A"):
        wire.ask(1, "res", "ns", f"mx.example.org {rtype}").reply(2, soa="example.org")
    for lookup in wire.lookups():
        assert [each.type for each in lookup.upstream] == [lookup.query.type]


def test_two_lookups_in_flight() -> None:
    """Each lookup has its own queries, told by name and type, however they are interleaved."""
    wire = Wire()
    mx, a = wire.look_up(0, "example.org MX"), wire.look_up(0.2, "example.org A")
    other = wire.look_up(0.4, "example.com MX")
    for ms, server in ((1, "root"), (4, "tld"), (7, "ns")):
        steps = [
            wire.ask(ms + n / 10, "res", server, asked.question) for n, asked in enumerate((mx, a, other))
        ]
        for step in reversed(steps):
            step.reply(ms + 1, refer="x. NS tld.", glue="tld. A 1.2.3.4")
    for asked in (mx, a, other):
        asked.reply(11, rcode="SERVFAIL")
    for lookup in wire.lookups():
        said = f"{lookup.query.type} {lookup.query.name}: referral to x: tld"
        assert account(lookup) == [f"root {said}", f"tld {said}", f"ns {said}"]


def test_two_lookups_that_need_the_same_server() -> None:
    """Of lookups that look for the same address the one asked that was not waiting for a reply."""
    wire = Wire()
    one, other = wire.look_up(0, "example.org MX"), wire.look_up(0.5, "example.com MX")
    wire.ask(1, "res", "org-ns", "example.org MX").reply(2, refer=NO_GLUE)
    wire.ask(1.5, "res", "com-ns", "example.com MX").reply(6, refer="example.com. NS ns.example.net.")
    wire.ask(3, "res", "net1", "ns.example.net A").reply(9, answer="A 198.18.1.4")
    wire.ask(7, "res", "net2", "ns.example.net A").reply(8, answer="A 198.18.1.4")
    one.reply(10, rcode="SERVFAIL")
    other.reply(10, rcode="SERVFAIL")
    assert [[each.server.host for each in lookup.upstream] for lookup in wire.lookups()] == [
        ["org-ns", "net1"],
        ["com-ns", "net2"],
    ]


def test_priming_falls_to_the_lookup_that_was_first() -> None:
    """Questions about the root, or for a root server's address, belong to the lookup open longest."""
    wire = Wire()
    one, other = wire.look_up(0, "example.org MX"), wire.look_up(0.5, "example.com MX")
    wire.ask(1, "res", "root", ". NS").reply(2, answer="NS b.root-servers.net.")
    wire.ask(3, "res", "root", "b.root-servers.net AAAA").reply(4, soa="root-servers.net")
    one.reply(5, rcode="SERVFAIL")
    other.reply(6, rcode="SERVFAIL")
    assert [len(lookup.upstream) for lookup in wire.lookups()] == [2, 0]


@pytest.mark.parametrize("hidden", ["org A", "_.org A", "org DNSKEY", "example.org DS"])
def test_a_resolver_that_asks_about_the_names_above(hidden: str) -> None:
    """Query name minimisation (RFC 9156) and DNSSEC ask for ancestors of the name: still for this lookup."""
    wire = Wire()
    asked = wire.look_up(0, "mail.example.org A")
    other = wire.look_up(0, "mail.example.com A")
    wire.ask(1, "res", "root", hidden).reply(2, refer="org. NS org-ns.", glue=GLUE)
    asked.reply(3, rcode="SERVFAIL")
    other.reply(3, rcode="SERVFAIL")
    assert {lookup.query.name: len(lookup.upstream) for lookup in wire.lookups()} == {
        "mail.example.org": 1,
        "mail.example.com": 0,
    }


def test_spelling_does_not_matter() -> None:
    """Queries in letters of random case, and their replies, belong together and to the lookup."""
    wire = Wire()
    asked = wire.look_up(0, "example.org MX")
    wire.ask(1, "res", "root", "eXaMPle.oRG MX").reply(2, refer="oRg. NS ORG-ns.", glue=GLUE)
    asked.reply(3, rcode="SERVFAIL")
    [lookup] = wire.lookups()
    assert account(lookup) == ["root MX example.org: referral to org: org-ns"]


def test_truncation_then_tcp() -> None:
    """A truncated reply and the same question over TCP are two queries on account of the same lookup."""
    wire = Wire()
    asked = wire.look_up(0, "example.org TXT")
    wire.ask(1, "res", "ns", "example.org TXT").reply(2, flags="TC")
    wire.connections.append(
        stream(
            endpoint("res", 4000), endpoint("ns"),
            sent=pieces(3, query("example.org TXT"), size=9),
            received=pieces(20, reply("example.org TXT", answer='example.org. TXT "x"'), size=9),
        )
    )  # fmt: skip
    asked.reply(90, answer='TXT "x"', flags="RA")
    [lookup] = wire.lookups()
    assert account(lookup) == ["ns TXT example.org: truncated", 'ns TXT example.org: "x"']
    by_tcp = lookup.upstream[1]
    assert (by_tcp.transport, by_tcp.path) == ("tcp", ("res", "core1", "ns"))
    # 42 octets of query and 2 of length are 5 pieces: the last one leaves 4 ms after the first.
    assert (by_tcp.time_ns, by_tcp.frame) == (7 * MS, 1004)


def test_a_capture_that_shows_no_arrivals() -> None:
    """From one place alone, or without directions, nothing is known of losses: all counts as arrived."""
    wire = Wire()
    asked = wire.look_up(0, "example.org A")
    wire.ask(1, "res", "ns1", "example.org A")
    wire.ask(2, "res", "ns2", "example.org A").reply(3, answer="A 198.18.2.3")
    asked.reply(4, answer="A 198.18.2.3", flags="RA")
    wire.datagrams = [replace(datagram, arrived_ns=None) for datagram in wire.datagrams]
    [lookup] = wire.lookups()
    assert account(lookup) == [
        "ns1 A example.org: no answer within 1 ms",
        "ns2 A example.org: 198.18.2.3",
    ]
    assert lookup.query.said == "198.18.2.3"


def test_what_is_nobodys() -> None:
    """Queries of a resolver about other things, or before and after the lookup, are on nobody's account."""
    wire = Wire()
    wire.ask(0, "res", "ns", "example.org A").reply(1, answer="A 198.18.2.3")
    asked = wire.look_up(2, "example.org A")
    wire.ask(3, "res", "ns", "example.com A").reply(4, answer="A 198.18.2.4")
    wire.ask(3, "mta", "ns", "example.org A").reply(4, answer="A 198.18.2.4")
    asked.reply(5, answer="A 198.18.2.3", flags="RA")
    wire.ask(6, "res", "ns", "example.org A").reply(7, answer="A 198.18.2.3")
    [lookup] = wire.lookups()
    assert account(lookup) == []
    assert [each.time_ns // MS for each in wire.queries()] == [0, 2, 3, 3, 6]


def test_a_resolver_that_forwards() -> None:
    """A question passed on to another resolver is a lookup of its own, and on account of the first."""
    wire = Wire()
    asked = wire.ask(0, "mta", "res1", "example.org A")
    passed_on = wire.ask(1, "res1", "res2", "example.org A")
    wire.ask(2, "res2", "ns", "example.org A").reply(3, answer="A 198.18.2.3")
    passed_on.reply(4, answer="A 198.18.2.3", flags="RA")
    asked.reply(5, answer="A 198.18.2.3", flags="RA")
    first, second = wire.lookups()
    assert account(first) == ["res2 A example.org: 198.18.2.3"]
    assert account(second) == ["ns A example.org: 198.18.2.3"]


def test_a_host_that_asks_itself() -> None:
    """A question that a resolver's host puts to it is a lookup, and not on its own account."""
    wire = Wire()
    asked = wire.ask(0, "res", "res", "example.org A")
    wire.ask(1, "res", "ns", "example.org A").reply(2, answer="A 198.18.2.3")
    asked.reply(3, answer="A 198.18.2.3", flags="RA")
    [lookup] = wire.lookups()
    assert account(lookup) == ["ns A example.org: 198.18.2.3"]
    wire.ask(1, "res", "res", "example.org A")
    assert [each.server.host for each in wire.lookups()[0].upstream] == ["ns"]


def test_many_on_one_host_ask_the_same_of_a_dead_resolver() -> None:
    """Programs that ask at the same time are not taken for one that asks again."""
    wire = Wire()
    for n in range(5):
        wire.look_up(n, "example.org A")
    assert [lookup.query.said for lookup in wire.lookups()] == ["no answer"] * 5


NAMES = ["org", "example.org", "www.example.org", "ns.example.org", "ns.example.net", "."]
QUESTIONS = st.builds("{} {}".format, st.sampled_from(NAMES), st.sampled_from(["A", "MX", "NS"]))
LINES = st.sampled_from(
    [
        "example.org. NS ns.example.net.",
        "org. NS ns.example.org.",
        ". NS ns.example.net.",
        "www.example.org. CNAME ns.example.net.",
        "ns.example.net. CNAME www.example.org.",
        "ns.example.org. A 198.18.1.1",
    ]
)
HOSTS = st.sampled_from(["mta", "res1", "res2", "root", "ns"])


@st.composite
def conversations(draw: st.DrawFn) -> Wire:
    """Hosts that ask each other all kinds of things in any order, lose some and answer with anything."""
    wire = Wire()
    for _ in range(draw(st.integers(1, 12))):
        ms = draw(st.integers(0, 40))
        asked = wire.ask(ms, draw(HOSTS), draw(HOSTS), draw(QUESTIONS), lost=draw(st.booleans()))
        for after in draw(st.lists(st.integers(0, 20), max_size=2)):
            sections = [draw(LINES) if draw(st.booleans()) else "" for _ in range(2)]
            packet = reply(asked.question, answer=sections[0], authority=sections[1], ident=asked.ident)
            wire.send(ms + after, asked.server, asked.client, packet, lost=draw(st.booleans()))
    return wire


@given(conversations())
def test_whatever_is_said(wire: Wire) -> None:
    """Every question with RD is a lookup; what is on its account its resolver asked, in order, and once."""
    lookups, queries = wire.lookups(), wire.queries()
    assert [each.query.frame for each in lookups] == [each.frame for each in queries if each.recursive]
    for lookup in lookups:
        frames = [each.frame for each in lookup.upstream]
        assert frames == sorted(set(frames), key=lambda frame: (wire.datagrams[frame - 1].time_ns, frame))
        for each in lookup.upstream:
            assert each.client.host == lookup.query.server.host
            assert each.answered_ns is None or each.answered_ns >= (lookup.query.arrived_ns or 0)
            assert each.time_ns <= (lookup.query.replied_ns or each.time_ns)
