"""What a question may cost at most, however the Internet is made."""

from __future__ import annotations

import pytest

from services.dns import message, names
from services.dns.asking import Ask
from services.dns.knowledge import Knowledge
from services.dns.names import Name
from services.dns.replies import Delegation
from services.dns.resolution import Limits
from tests.unit.dns.internet import EXAMPLE_NET, EXAMPLE_ORG, ORG, Internet, forge, where


def test_an_alias_loop_fails() -> None:
    """Aliases that lead back are SERVFAIL, at once."""
    internet = Internet()
    assert internet.look_up(internet.resolver(), "loop.example.org A") == ["SERVFAIL"]
    assert len(internet.asked) < 10


def test_servers_that_need_each_other() -> None:
    """Two zones whose servers lie in each other, without glue, end in SERVFAIL, and soon."""
    internet = Internet()
    internet.serve("198.18.1.1", ORG + "chicken NS ns.egg\negg NS ns.chicken\n")
    assert internet.look_up(internet.resolver(), "www.chicken.org A") == ["SERVFAIL"]
    assert len(internet.asked) < 10


def test_many_servers_that_need_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, a few are looked up, each once: the number of orders must not matter."""
    descents = []
    closest = Knowledge.closest

    def counting(self: Knowledge, name: Name, rtype: int) -> Delegation:
        descents.append(name)
        return closest(self, name, rtype)

    monkeypatch.setattr(Knowledge, "closest", counting)
    internet = Internet()
    zone = "".join(f"chicken NS ns{i}.egg\negg NS ns{i}.chicken\n" for i in range(13))
    internet.serve("198.18.1.1", ORG + zone)
    resolver = internet.resolver(limits=Limits(vain=100))
    assert internet.look_up(resolver, "www.chicken.org A") == ["SERVFAIL"]
    assert 13 < len(descents) < 50
    descents.clear()
    assert internet.look_up(internet.resolver(), "www.chicken.org A") == ["SERVFAIL"]
    assert len(descents) < 20


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


@pytest.mark.parametrize(
    ("servers", "most"),
    [
        pytest.param("ns{}.example.net.", 12, id="that do not exist, in somebody's zone"),
        pytest.param("ns.x{}.net.", 12, id="that do not exist, at a TLD"),
        pytest.param("real{}.example.net.", 12 + 2 * 16, id="that exist, and are not there"),
    ],
)
def test_a_flood_of_glueless_servers_is_bounded(servers: str, most: int) -> None:
    """A referral to many servers without glue costs a few queries, whatever they are (NXNSAttack)."""
    internet = Internet()
    many = "".join(f"victim NS {servers.format(i)}\n" for i in range(200))
    internet.serve("198.18.1.1", ORG + many)
    internet.serve("198.18.2.3", EXAMPLE_NET + "".join(f"real{i} A 198.18.9.{i}\n" for i in range(200)))
    resolved = internet.resolve(internet.resolver(), "www.victim.org A")
    assert resolved.rcode == names.SERVFAIL
    assert 6 < len(internet.asked) == resolved.queries <= most


def test_a_flood_of_servers_with_glue_is_bounded() -> None:
    """Of a referral to very many servers a score are considered (NRDelegationAttack)."""
    internet = Internet()
    glue = "".join(f"victim NS ns{i}.victim\nns{i}.victim A 198.18.9.{i}\n" for i in range(200))
    internet.serve("198.18.1.1", ORG + glue)
    assert internet.look_up(internet.resolver(), "www.victim.org A") == ["SERVFAIL"]
    assert len({line.split()[0] for line in internet.asked if line.startswith("198.18.9.")}) == 20


def test_queries_are_counted() -> None:
    """A question costs no more queries than the limit, whatever is still to be tried."""
    internet = Internet()
    limits = Limits(queries=3)
    resolved = internet.resolve(internet.resolver(limits=limits), "www.glueless.org A")
    assert (resolved.rcode, resolved.queries, resolved.why) == (
        names.SERVFAIL,
        3,
        "not found within 3 queries",
    )


def test_what_was_learnt_before_the_limit_is_kept() -> None:
    """A question that may go no further leaves in the cache the referral at which it stopped."""
    internet = Internet()
    resolver = internet.resolver(limits=Limits(queries=2))
    assert internet.look_up(resolver, "example.org MX") == ["SERVFAIL"]
    assert {entry.kind for entry in resolver.cache.entries((b"org",))} >= {"delegation", "glue"}


def test_a_client_is_told_before_it_gives_up() -> None:
    """SERVFAIL comes within less than the five seconds that dig and resolv.conf(5) wait."""
    internet = Internet()
    internet.kill("198.18.2.1", "198.18.2.2")
    started = internet.clock
    assert internet.look_up(internet.resolver(), "mx1.example.org A") == ["SERVFAIL"]
    assert internet.clock - started < 5


def test_a_long_chain_of_aliases_fails() -> None:
    """A chain that goes on and on is given up."""
    internet = Internet()
    chain = "".join(f"c{i} CNAME c{i + 1}.example.net.\n" for i in range(0, 40, 2))
    back = "".join(f"c{i} CNAME c{i + 1}.example.org.\n" for i in range(1, 40, 2))
    internet.serve("198.18.2.1", EXAMPLE_ORG + chain)
    internet.serve("198.18.2.2", EXAMPLE_ORG + chain)
    internet.serve("198.18.2.3", EXAMPLE_NET + back)
    assert internet.look_up(internet.resolver(), "c0.example.org A") == ["SERVFAIL"]
    assert len(internet.asked) < 30


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


def test_what_two_questions_need_is_asked_once() -> None:
    """While a server is asked, nobody asks it the same again: priming, and a server's address, are shared."""
    internet = Internet()
    questions = [f"{name}.glueless.org A" for name in ("www", "x", "y", "z")]
    resolver = internet.resolver()
    found = internet.resolve_together(resolver, *questions)
    assert [each.rcode for each in found] == [names.NOERROR, *(names.NXDOMAIN,) * 3]
    asked = where(internet)
    assert asked.count("root . NS") == 1
    assert asked.count("198.18.2.3 ns.example.net A") == 1
    assert len(set(internet.asked)) == len(internet.asked) == sum(each.queries for each in found)
    assert [each.shared > 0 for each in found] == [False, True, True, True]
    assert not resolver.pending


def test_the_same_question_twice_at_a_time() -> None:
    """Two who ask the same share every query, and are told the same."""
    internet = Internet()
    first, second = internet.resolve_together(internet.resolver(), *["www.example.org A"] * 2)
    assert first.answer == second.answer
    assert len(first.answer) == 3
    assert (second.queries, second.shared) == (0, first.queries)


def test_a_shared_query_that_fails() -> None:
    """A server that keeps silent is given up by all who wait for it; both turn to another one."""
    internet = Internet()
    internet.kill("198.18.2.1")
    for seed in range(4):
        internet.asked.clear()
        found = internet.resolve_together(internet.resolver(seed=seed), *["mx1.example.org A"] * 3)
        assert {each.rcode for each in found} == {names.NOERROR}
        assert len(set(internet.asked)) == len(internet.asked)
