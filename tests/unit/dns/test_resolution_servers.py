"""Servers that are slow, silent, lame or old, and the choice among those that are not."""

from __future__ import annotations

import pytest

from services.dns import message, names
from services.dns.asking import Ask, Failure
from tests.unit.dns.internet import EXAMPLE_ORG, ROOTS, Behaviour, Internet, forge, where


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


def lame_elsewhere(ask: Ask) -> bytes:
    return forge(ask, answer="other.example.org. 60 A 198.18.66.6")


def lame_sideways(ask: Ask) -> bytes:
    return forge(ask, authority="other.example.org. 60 NS ns1.example.org.", flags="QR")


def garbage(ask: Ask) -> bytes:
    return forge(ask, answer="mx1.example.org. 60 A 198.18.66.6")[:-3]


def silent(_: Ask) -> Failure:
    return Failure.TIMEOUT


def unreachable(_: Ask) -> Failure:
    return Failure.UNREACHABLE


BROKEN = [
    lame_refused, lame_upward, lame_itself, lame_without_authority, lame_empty, lame_elsewhere, lame_sideways,
    garbage, silent, unreachable,
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
    assert internet.clock - started <= 4.51
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
    assert waits[:2] == [0.8, 1.6]
    assert 1.6 < waits[2] <= 3.2  # what the question has left


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
    """Servers, ids and spelling follow from the seed and the question, not from what came before."""
    runs = []
    for others in ([], ["nope.example.org A", "www.example.org A"]):
        internet = Internet()
        resolver = internet.resolver()
        for question in ("example.org NS", *others):
            internet.resolve(resolver, question)
        internet.packets.clear()
        internet.resolve(resolver, "mx1.example.org A")
        runs.append([(ask.address, ask.packet) for ask in internet.packets])
    assert runs[0] == runs[1]
    assert len(runs[0]) == 1
    firsts = set()
    for seed in range(20):
        internet = Internet()
        internet.resolve(internet.resolver(seed=seed), "example.org MX")
        firsts.add(internet.asked[0].split()[0])
    assert firsts == ROOTS


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
