"""Servers that lie, and strangers that answer in their place."""

from __future__ import annotations

import pytest

from services.dns import message
from services.dns.asking import Ask, Failure
from tests.unit.dns.internet import ROOTS, Internet, forge

EVIL = "198.18.66.6"
LIES = [
    pytest.param({"answer": f"www.bank.org. 300 A {EVIL}"}, id="an answer about something else"),
    pytest.param(
        {"answer": f"mx1.example.org. 300 CNAME www.bank.net.\nwww.bank.net. 300 A {EVIL}", "flags": "QR"},
        id="an alias without authority",
    ),
    pytest.param(
        {"authority": "org. 86400 NS evil.org.", "additional": f"evil.org. 300 A {EVIL}", "flags": "QR"},
        id="a referral upwards",
    ),
    pytest.param(
        {"authority": "net. 86400 NS evil.net.", "additional": f"evil.net. 300 A {EVIL}", "flags": "QR"},
        id="a referral to somebody else's zone",
    ),
    pytest.param(
        {
            "authority": "bank.example.org. 86400 NS evil.example.org.",
            "additional": f"evil.example.org. 300 A {EVIL}",
            "flags": "QR",
        },
        id="a referral to a zone that was not asked about",
    ),
    pytest.param(
        {
            "authority": "mx1.example.org. 86400 NS a.mx1.example.org.\n"
            "mx1.example.org. 86400 NS b.mx1.example.org.\nmx1.example.org. 86400 NS c.mx1.example.org.",
            "additional": "a.mx1.example.org. 300 A 127.0.0.1\nb.mx1.example.org. 300 A 0.0.0.0\n"
            "c.mx1.example.org. 300 A 239.1.1.1",
            "flags": "QR",
        },
        id="a referral to the resolver itself, to nobody and to everybody",
    ),
]


@pytest.mark.parametrize("lie", LIES[:-1])
@pytest.mark.parametrize("liar", ["198.18.2.1", "198.18.2.2"])
def test_a_liar_is_passed_over(lie: dict[str, str], liar: str) -> None:
    """A server that says what it cannot know is of no use, and the other one is asked."""
    internet = Internet()
    internet.behaviours[liar] = lambda ask: forge(ask, **lie)
    for seed in range(4):
        resolver = internet.resolver(seed=seed)
        assert internet.look_up(resolver, "mx1.example.org A") == [
            "NOERROR",
            "mx1.example.org 300 A 198.18.3.1",
        ]
        assert not any(EVIL in datum for entry in resolver.cache.entries() for datum in entry.data)
    assert f"{liar} mx1.example.org A" in internet.asked


@pytest.mark.parametrize("lie", LIES)
def test_lies_are_not_believed(lie: dict[str, str]) -> None:
    """If all servers lie the question fails; nothing of it stays, and nobody is asked whom they name."""
    internet = Internet()
    internet.behaviours["198.18.2.1"] = internet.behaviours["198.18.2.2"] = lambda ask: forge(ask, **lie)
    resolver = internet.resolver()
    assert internet.look_up(resolver, "mx1.example.org A") == ["SERVFAIL"]
    assert not any(EVIL in datum for entry in resolver.cache.entries() for datum in entry.data)
    assert {line.split()[0] for line in internet.asked} <= {
        *ROOTS, "198.18.1.1", "198.18.2.1", "198.18.2.2",
    }  # fmt: skip


def test_what_a_true_answer_brings_along_is_not_believed() -> None:
    """NS and addresses that an answer has beside it, though in its own zone or above, change nothing."""
    internet = Internet()

    def poisoner(ask: Ask) -> bytes:
        return forge(
            ask,
            answer="mx1.example.org. 300 A 198.18.3.1",
            authority="example.org. 604800 NS evil.example.org.\norg. 604800 NS evil.example.org.",
            additional="".join(f"{name}.example.org. 604800 A {EVIL}\n" for name in ("evil", "ns1", "www")),
        )

    internet.behaviours["198.18.2.1"] = internet.behaviours["198.18.2.2"] = poisoner
    resolver = internet.resolver()
    assert internet.look_up(resolver, "mx1.example.org A")[1] == "mx1.example.org 300 A 198.18.3.1"
    assert not any(EVIL in datum for entry in resolver.cache.entries() for datum in entry.data)
    internet.clock += 301
    internet.look_up(resolver, "mx1.example.org A")
    assert not any(line.startswith(EVIL) for line in internet.asked)


def test_queries_are_hard_to_guess() -> None:
    """Each query has an id and a spelling of its own, and asks for no recursion; `test_client` has ports."""
    internet = Internet()
    resolver = internet.resolver()
    for i in range(20):
        internet.resolve(resolver, f"some-long-name-{i}.example.org A")
    assert len({ask.packet[:2] for ask in internet.packets}) > 18
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
    """A reply in other letters might be forged: the server is asked where nobody can, and so from then on."""
    internet = Internet()
    honest = internet.behaviours["198.18.1.1"]

    def lowering(ask: Ask) -> bytes | Failure:
        reply = honest(ask)
        assert isinstance(reply, bytes)
        return reply[:12] + reply[12:].lower()

    internet.behaviours["198.18.1.1"] = lowering
    resolver = internet.resolver()
    assert internet.look_up(resolver, "www.glueless.org A")[0] == "NOERROR"
    assert "198.18.1.1 www.glueless.org A" in internet.asked
    assert "198.18.1.1 www.glueless.org A tcp" in internet.asked
    internet.asked.clear()
    internet.look_up(resolver, "nope.org A")
    assert internet.asked == ["198.18.1.1 nope.org A tcp"]


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


def test_a_malformed_address_behind_an_answer() -> None:
    """Where the answer needs what stands behind it and that cannot be read, another server is asked."""
    internet = Internet()

    def broken(ask: Ask) -> bytes:
        reply = forge(ask, "example.org. 60 NS ns1.example.org.", additional=f"ns1.example.org. 60 A {EVIL}")
        return reply[:-6] + b"\0\3" + reply[-3:]

    internet.behaviours["198.18.2.1"] = broken
    for seed in range(20):
        resolver = internet.resolver(seed=seed)
        assert internet.look_up(resolver, "example.org NS")[0] == "NOERROR"
        if internet.asked[-2:] == ["198.18.2.1 example.org NS", "198.18.2.2 example.org NS"]:
            return
    raise AssertionError("the broken server was never asked first")
