"""Resolution from the roots down, through an Internet in memory."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rrset
import pytest

from services.dns import message, names
from services.dns.asking import Ask, Failure
from services.dns.names import Name
from services.dns.replies import Delegation
from services.dns.resolution import Limits, Resolver
from tests.unit.dns.internet import EXAMPLE_NET, EXAMPLE_ORG, NET, ORG, Behaviour, Internet

ROOTS = {"198.41.0.4", "170.247.170.2"}


def where(internet: Internet) -> list[str]:
    """The queries sent, the root servers' addresses replaced by `root` and example.org's by `example`."""
    lines = []
    for line in internet.asked:
        address, rest = line.split(" ", 1)
        known = {"198.18.2.1": "example", "198.18.2.2": "example"} | dict.fromkeys(ROOTS, "root")
        lines.append(f"{known.get(address, address)} {rest}")
    return lines


def forge(
    ask: Ask, answer: str = "", authority: str = "", additional: str = "", flags: str = "QR AA"
) -> bytes:
    """A reply to the query with these records, written one a line as `name ttl type data`."""
    query = dns.message.from_wire(ask.packet)
    reply = dns.message.make_response(query)
    reply.flags = dns.flags.Flag(dns.flags.from_text(flags))
    for section, text in (
        (reply.answer, answer),
        (reply.authority, authority),
        (reply.additional, additional),
    ):
        for line in text.splitlines():
            name, ttl, rtype, data = line.split(" ", 3)
            section.append(dns.rrset.from_text(name, int(ttl), "IN", rtype, data))
    return reply.to_wire()


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


def test_an_alias_loop_fails() -> None:
    """Aliases that lead back are SERVFAIL, at once."""
    internet = Internet()
    assert internet.look_up(internet.resolver(), "loop.example.org A") == ["SERVFAIL"]
    assert len(internet.asked) < 10


@pytest.mark.parametrize(
    ("question", "rcode"),
    [("nope.example.org A", "NXDOMAIN"), ("mx1.example.org MX", "NOERROR"), ("nope A", "NXDOMAIN")],
)
def test_negative_answers_are_cached(question: str, rcode: str) -> None:
    """That there is none is remembered for the SOA's negative TTL (RFC 2308 §5), and told with the SOA."""
    internet = Internet()
    resolver = internet.resolver()
    first = internet.resolve(resolver, question)
    assert (names.rcode_text(first.rcode), first.answer) == (rcode, ())
    (soa,) = first.authority
    internet.asked.clear()
    internet.clock += 20
    second = internet.resolve(resolver, question)
    assert (second.rcode, second.authority[0].ttl) == (first.rcode, soa.ttl - 20)
    assert internet.asked == []
    internet.clock += soa.ttl
    internet.resolve(resolver, question)
    assert internet.asked


SOA = "example.org. 60 SOA ns1.example.org. root.example.org. 1 1 1 1 60"
NS = "example.org. 60 NS ns1.example.org."


@pytest.mark.parametrize(
    ("authority", "rcode", "remembered"),
    [
        pytest.param(f"{NS}\n{SOA}", "NOERROR", True, id="NoData with the zone's NS beside the SOA"),
        pytest.param(f"{NS}\n{SOA}", "NXDOMAIN", True, id="NXDOMAIN likewise"),
        pytest.param(NS, "NXDOMAIN", False, id="NXDOMAIN with NS and no SOA"),
        pytest.param("", "NOERROR", False, id="NoData with nothing at all"),
        pytest.param(
            SOA.replace("example.org. 60 SOA", "example.net. 60 SOA"), "NXDOMAIN", False, id="foreign SOA"
        ),
    ],
)
def test_forms_of_denial(authority: str, rcode: str, remembered: bool) -> None:
    """Denials come in several forms (RFC 2308 §2); without an SOA of the zone they are not cached (§5)."""
    internet = Internet()

    def deny(ask: Ask) -> bytes:
        reply = bytearray(forge(ask, authority=authority))
        reply[3] |= names.NXDOMAIN if rcode == "NXDOMAIN" else names.NOERROR
        return bytes(reply)

    internet.behaviours["198.18.2.1"] = internet.behaviours["198.18.2.2"] = deny
    resolver = internet.resolver()
    assert internet.look_up(resolver, "x.example.org A") == [rcode]
    count = len(internet.asked)
    assert internet.look_up(resolver, "x.example.org A") == [rcode]
    assert (len(internet.asked) == count) is remembered


def test_nxdomain_holds_for_every_type() -> None:
    """A name that does not exist has no records of any type (RFC 2308 §5)."""
    internet = Internet()
    resolver = internet.resolver()
    internet.resolve(resolver, "nope.example.org A")
    internet.asked.clear()
    assert internet.look_up(resolver, "nope.example.org MX") == ["NXDOMAIN"]
    assert internet.asked == []


def lame_refused(ask: Ask) -> bytes:
    return message.bare_reply(ask.packet, names.REFUSED)


def lame_upward(ask: Ask) -> bytes:
    return forge(ask, authority=". 60 NS a.root-servers.net.", flags="QR")


def lame_itself(ask: Ask) -> bytes:
    return forge(ask, authority="example.org. 60 NS ns1.example.org.", flags="QR")


def lame_without_authority(ask: Ask) -> bytes:
    return forge(ask, answer="mx1.example.org. 60 A 198.18.66.6", flags="QR RA")


def lame_empty(ask: Ask) -> bytes:
    return forge(ask, flags="QR RA")


def garbage(ask: Ask) -> bytes:
    return forge(ask, answer="mx1.example.org. 60 A 198.18.66.6")[:-3]


def silent(_: Ask) -> Failure:
    return Failure.TIMEOUT


def unreachable(_: Ask) -> Failure:
    return Failure.UNREACHABLE


BROKEN = [
    lame_refused, lame_upward, lame_itself, lame_without_authority, lame_empty, garbage, silent, unreachable,
]  # fmt: skip


@pytest.mark.parametrize("behaviour", BROKEN)
@pytest.mark.parametrize("broken", ["198.18.2.1", "198.18.2.2"])
def test_another_server_is_asked(behaviour: Behaviour, broken: str) -> None:
    """A server that is dead, lame or mad does not matter while another one answers."""
    internet = Internet()
    internet.behaviours[broken] = behaviour
    answers = {
        tuple(internet.look_up(internet.resolver(seed=seed), "mx1.example.org A")) for seed in range(6)
    }
    assert answers == {("NOERROR", "mx1.example.org 300 A 198.18.3.1")}
    assert f"{broken} mx1.example.org A" in internet.asked


@pytest.mark.parametrize("behaviour", BROKEN)
def test_nobody_answers(behaviour: Behaviour) -> None:
    """If no server answers, the question fails within its time; for a second nobody is asked again."""
    internet = Internet()
    internet.behaviours["198.18.2.1"] = internet.behaviours["198.18.2.2"] = behaviour
    resolver = internet.resolver()
    started = internet.clock
    resolved = internet.resolve(resolver, "mx1.example.org A")
    assert resolved.rcode == names.SERVFAIL
    assert resolved.why
    assert internet.clock - started <= 6.01
    count = len(internet.asked)
    assert internet.look_up(resolver, "mx1.example.org A") == ["SERVFAIL"]
    assert len(internet.asked) == count
    internet.clock += 1.1
    internet.look_up(resolver, "mx1.example.org A")
    assert len(internet.asked) > count


def test_a_lost_packet_is_sent_again() -> None:
    """A single server that keeps silent once is asked again, and waited for twice as long."""
    internet = Internet()
    honest = internet.behaviours["198.18.1.1"]
    silent_times = iter([True, True, False])
    internet.behaviours["198.18.1.1"] = lambda ask: Failure.TIMEOUT if next(silent_times) else honest(ask)
    internet.kill("198.18.2.1")
    assert internet.look_up(internet.resolver(), "org NS")[0] == "NOERROR"
    waits = [ask.timeout_s for ask in internet.packets if ask.address == "198.18.1.1"]
    assert waits == [0.8, 1.6, 3.2]


def test_a_dead_server_is_left_alone() -> None:
    """After a time-out the others are preferred, until a minute later the dead one has another chance."""
    internet = Internet()
    internet.kill("198.18.2.1")
    resolver = internet.resolver()
    for i in range(20):
        internet.look_up(resolver, f"x{i}.example.org A")
    assert sum(line.startswith("198.18.2.1 ") for line in internet.asked) == 1
    internet.clock += 61
    for i in range(20):
        internet.look_up(resolver, f"y{i}.example.org A")
    assert sum(line.startswith("198.18.2.1 ") for line in internet.asked) == 2


def test_near_servers_share_the_load_and_far_ones_do_not() -> None:
    """Servers within a band are chosen by lot; a much slower one is not asked while a fast one is known."""
    internet = Internet()
    resolver = internet.resolver()
    for i in range(40):
        internet.look_up(resolver, f"x{i}.example.org A")
    near = {line.split()[0] for line in internet.asked if ".example.org" in line}
    assert {"198.18.2.1", "198.18.2.2"} <= near
    resolver.servers.answered("198.18.2.2", 9.0)
    for _ in range(20):
        resolver.servers.answered("198.18.2.2", 0.7)
    internet.asked.clear()
    for i in range(40):
        internet.look_up(resolver, f"y{i}.example.org A")
    assert {line.split()[0] for line in internet.asked} == {"198.18.2.1"}


def test_equal_seeds_make_equal_choices() -> None:
    """Servers, ids, ports and spelling follow from the seed and the question, not from what came before."""
    runs = []
    for others in ([], ["nope.example.org A", "www.example.org A"]):
        internet = Internet()
        resolver = internet.resolver()
        for question in ("example.org NS", *others):
            internet.resolve(resolver, question)
        internet.packets.clear()
        internet.resolve(resolver, "mx1.example.org A")
        runs.append([(ask.address, ask.packet, ask.source_port) for ask in internet.packets])
    assert runs[0] == runs[1]
    assert len(runs[0]) == 1
    firsts = set()
    for seed in range(20):
        internet = Internet()
        internet.resolve(internet.resolver(seed=seed), "example.org MX")
        firsts.add(internet.asked[0].split()[0])
    assert firsts == ROOTS


def test_queries_are_hard_to_guess() -> None:
    """Each query has an id, a port and a spelling of its own, and asks for no recursion."""
    internet = Internet()
    resolver = internet.resolver()
    for i in range(20):
        internet.resolve(resolver, f"some-long-name-{i}.example.org A")
    assert len({ask.packet[:2] for ask in internet.packets}) > 18
    assert len({ask.source_port for ask in internet.packets}) > 18
    assert (
        sum(ask.packet[12:] == ask.packet[12:].lower() for ask in internet.packets if len(ask.packet) > 50)
        < 2
    )
    assert not any(message.read_query(ask.packet).flags & message.RD for ask in internet.packets)


def test_spelling_does_not_reach_the_answer() -> None:
    """Names in the data are as the zone has them, not as the query happened to be spelled."""
    internet = Internet()
    for seed in range(5):
        resolved = internet.resolve(internet.resolver(seed=seed), "example.org MX")
        wire = message.encode((b"example", b"org"), answer=resolved.answer).body
        assert wire == wire.lower()


def test_a_server_that_changes_the_spelling_is_asked_over_tcp() -> None:
    """A reply in other letters might be forged, so the server is asked where nobody can forge."""
    internet = Internet()
    honest = internet.behaviours["198.18.1.1"]

    def lowering(ask: Ask) -> bytes | Failure:
        reply = honest(ask)
        assert isinstance(reply, bytes)
        return reply if ask.stream else reply[:12] + reply[12:].lower()

    internet.behaviours["198.18.1.1"] = lowering
    assert internet.look_up(internet.resolver(), "www.glueless.org A")[0] == "NOERROR"
    assert "198.18.1.1 www.glueless.org A tcp" in internet.asked


def test_a_truncated_reply_is_asked_for_again_over_tcp() -> None:
    """TC means that there is more: the same server is asked over TCP (RFC 7766 §5)."""
    internet = Internet()
    many = "".join(f"many A 198.18.9.{i}\n" for i in range(100))
    internet.serve("198.18.2.1", EXAMPLE_ORG + many)
    internet.serve("198.18.2.2", EXAMPLE_ORG + many)
    assert len(internet.look_up(internet.resolver(), "many.example.org A")) == 101
    assert where(internet)[-2:] == ["example many.example.org A", "example many.example.org A tcp"]


def test_a_server_without_edns() -> None:
    """A server that takes EDNS for an error is asked without, and remembered for it."""
    internet = Internet()
    for address in ("198.18.2.1", "198.18.2.2"):
        honest = internet.behaviours[address]

        def ancient(ask: Ask, honest: Behaviour = honest) -> bytes | Failure:
            if message.read_query(ask.packet).edns is not None:
                return message.bare_reply(ask.packet, names.FORMERR)
            return honest(ask)

        internet.behaviours[address] = ancient
    resolver = internet.resolver()
    assert internet.look_up(resolver, "mx1.example.org A")[0] == "NOERROR"
    assert where(internet)[-2:] == ["example mx1.example.org A"] * 2


def test_data_out_of_bailiwick_are_ignored() -> None:
    """A server is believed about its own zone alone; the rest reaches neither client nor cache."""
    internet = Internet()

    def poisoner(ask: Ask) -> bytes:
        return forge(
            ask,
            answer="www.example.org. 300 CNAME web.example.net.\nweb.example.net. 300 A 198.18.66.6",
            authority="net. 86400 NS evil.example.org.\nexample.net. 3600 NS evil.example.org.",
            additional="evil.example.org. 3600 A 198.18.66.6\nns.example.net. 3600 A 198.18.66.6",
        )

    internet.behaviours["198.18.2.1"] = internet.behaviours["198.18.2.2"] = poisoner
    resolver = internet.resolver()
    assert internet.look_up(resolver, "www.example.org A")[-1] == "host.example.net 300 A 198.18.3.9"
    assert not any("198.18.66.6" in entry.data for entry in resolver.cache.entries())
    assert not any(line.startswith("198.18.66.6") for line in internet.asked)


def test_glue_out_of_bailiwick_is_ignored() -> None:
    """A referral's glue for a server in somebody else's zone is not believed; the server is looked up."""
    internet = Internet()

    def referring(ask: Ask) -> bytes:
        return forge(
            ask,
            authority="glueless.org. 3600 NS ns.example.net.",
            additional="ns.example.net. 3600 A 198.18.66.6",
            flags="QR",
        )

    internet.behaviours["198.18.1.1"] = referring
    assert internet.look_up(internet.resolver(), "www.glueless.org A")[-1].endswith("198.18.3.7")
    assert "198.18.1.2 ns.example.net A" in internet.asked


def test_glue_is_no_answer() -> None:
    """An address known from glue leads the way, but a client who asks for it gets the zone's own word."""
    internet = Internet()
    resolver = internet.resolver()
    internet.resolve(resolver, "example.org MX")
    internet.asked.clear()
    assert internet.look_up(resolver, "ns1.example.org A") == ["NOERROR", "ns1.example.org 300 A 198.18.2.1"]
    assert where(internet) == ["example ns1.example.org A"]


def test_servers_that_need_each_other() -> None:
    """Two zones whose servers lie in each other, without glue, end in SERVFAIL, and soon."""
    internet = Internet()
    internet.serve("198.18.1.1", ORG + "chicken NS ns.egg\negg NS ns.chicken\n")
    assert internet.look_up(internet.resolver(), "www.chicken.org A") == ["SERVFAIL"]
    assert len(internet.asked) < 10


def test_many_servers_that_need_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, each is looked up once: the number of orders must not matter."""
    descents = []
    closest = Resolver.closest

    def counting(self: Resolver, name: Name, rtype: int) -> Delegation:
        descents.append(name)
        assert len(descents) < 100
        return closest(self, name, rtype)

    monkeypatch.setattr(Resolver, "closest", counting)
    internet = Internet()
    zone = "".join(f"chicken NS ns{i}.egg\negg NS ns{i}.chicken\n" for i in range(13))
    internet.serve("198.18.1.1", ORG + zone)
    assert internet.look_up(internet.resolver(), "www.chicken.org A") == ["SERVFAIL"]
    assert len(descents) > 13


def test_a_delegation_into_itself_without_glue() -> None:
    """A zone whose only server lies in it, without glue, is given up at once."""
    internet = Internet()
    internet.serve("198.18.1.1", ORG + "lost NS ns.lost\n")
    resolved = internet.resolve(internet.resolver(), "www.lost.org A")
    assert (resolved.rcode, resolved.why) == (
        names.SERVFAIL,
        "lost.org: no address of a server is known",
    )
    assert where(internet) == ["root . NS", "root www.lost.org A", "198.18.1.1 www.lost.org A"]


def test_a_flood_of_glueless_servers_is_bounded() -> None:
    """A referral to many servers that do not exist costs no more than the limit (NXNSAttack)."""
    internet = Internet()
    many = "".join(f"victim NS ns{i}.example.net.\n" for i in range(200))
    internet.serve("198.18.1.1", ORG + many)
    limits = Limits(queries=30)
    resolved = internet.resolve(internet.resolver(limits=limits), "www.victim.org A")
    assert (resolved.rcode, resolved.queries, len(internet.asked)) == (names.SERVFAIL, 30, 30)


def test_endless_referrals_are_bounded() -> None:
    """A server that refers deeper and deeper does not keep the resolver for ever."""
    internet = Internet()

    def deeper(ask: Ask) -> bytes:
        name = message.read_query(ask.packet).name
        depth = min(len(internet.asked), len(name))
        cut = names.to_text(name[len(name) - depth :])
        return forge(
            ask, authority=f"{cut}. 60 NS ns.{cut}.", additional=f"ns.{cut}. 60 A 198.18.1.1", flags="QR"
        )

    internet.behaviours["198.18.1.1"] = deeper
    question = ".".join("x" * 60) + ".org A"
    assert internet.look_up(internet.resolver(), question) == ["SERVFAIL"]
    assert len(internet.asked) <= 60


def test_priming_once_a_ttl() -> None:
    """The root's own NS records replace the hints until they expire (RFC 8109 §3)."""
    internet = Internet()
    resolver = internet.resolver()
    for question in ("example.org MX", "web.example.net A", "nope A"):
        internet.resolve(resolver, question)
    assert where(internet).count("root . NS") == 1
    internet.clock += 86401
    internet.resolve(resolver, "nope2 A")
    assert where(internet).count("root . NS") == 2


def test_hints_serve_when_priming_fails() -> None:
    """Root servers that say nothing useful about themselves still refer."""
    internet = Internet()
    for address in ROOTS:
        honest = internet.behaviours[address]

        def shy(ask: Ask, honest: Behaviour = honest) -> bytes | Failure:
            if message.read_query(ask.packet).rtype == names.NS:
                return message.bare_reply(ask.packet, names.SERVFAIL)
            return honest(ask)

        internet.behaviours[address] = shy
    assert internet.look_up(internet.resolver(), "example.org MX")[0] == "NOERROR"


def test_all_roots_dead() -> None:
    """Without any root server a cold resolver gives up in time, a warm one goes on below what it knows."""
    internet = Internet()
    resolver = internet.resolver()
    internet.resolve(resolver, "example.org MX")
    internet.kill(*ROOTS)
    assert internet.look_up(resolver, "mx1.example.org A")[0] == "NOERROR"
    started = internet.clock
    assert internet.look_up(resolver, "web.example.net A") == ["SERVFAIL"]
    assert internet.clock - started <= 6.01


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
