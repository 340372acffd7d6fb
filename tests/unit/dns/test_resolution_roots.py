"""Hints and priming."""

from __future__ import annotations

from collections import Counter

from services.dns import message, names
from services.dns.asking import Ask, Failure
from tests.unit.dns.internet import ROOT, ROOTS, Behaviour, Internet, forge, where


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
    resolver = internet.resolver()
    assert internet.look_up(resolver, "example.org MX")[0] == "NOERROR"
    primed = where(internet).count("root . NS")
    assert primed == 2
    assert internet.look_up(resolver, "web.example.net A")[0] == "NOERROR"
    assert where(internet).count("root . NS") == primed
    internet.clock += 1.1
    internet.look_up(resolver, "nope A")
    assert where(internet).count("root . NS") == 2 * primed


def test_priming_without_addresses() -> None:
    """Root servers that do not tell their addresses are where the hints say, and are not primed anew."""
    internet = Internet()
    for address in ROOTS:
        honest = internet.behaviours[address]

        def short(ask: Ask, honest: Behaviour = honest) -> bytes | Failure:
            if message.read_query(ask.packet).rtype == names.NS:
                return forge(ask, answer=". 3600 NS a.root-servers.net.\n. 3600 NS b.root-servers.net.")
            return honest(ask)

        internet.behaviours[address] = short
    resolver = internet.resolver()
    for question in ("example.org MX", "web.example.net A", "nope A"):
        assert internet.look_up(resolver, question)[0] in ("NOERROR", "NXDOMAIN")
    assert where(internet).count("root . NS") == 1


def test_roots_that_are_no_longer_among_the_hints() -> None:
    """What the roots say of themselves replaces the hints: a server that has gone is not asked again."""
    internet = Internet()
    internet.serve("198.41.0.4", ROOT.replace("@        NS   b.root-servers.net.\n", ""))
    internet.serve("170.247.170.2", ROOT.replace("@        NS   b.root-servers.net.\n", ""))
    resolver = internet.resolver()
    for i in range(12):
        internet.look_up(resolver, f"x{i} A")
    assert [line for line in internet.asked[1:] if line.startswith("170.247.170.2 ")] == []


def test_the_roots_share_the_load() -> None:
    """All thirteen, near as they are to each other, are asked about as often, as the seed has it."""
    others = {f"{letter}.root-servers.net.": f"198.18.7.{ord(letter)}" for letter in "cdefghijklm"}
    root = ROOT + "".join(f"@ NS {host}\n{host} A {address}\n" for host, address in others.items())
    counts: Counter[str] = Counter()
    for seed in range(3):
        internet = Internet()
        for address in (*ROOTS, *others.values()):
            internet.serve(address, root)
        resolver = internet.resolver(seed=seed, root=root)
        for i in range(130):
            internet.look_up(resolver, f"x{i} A")
        counts.update(line.split()[0] for line in internet.asked)
    assert set(counts) == {*ROOTS, *others.values()}
    assert max(counts.values()) < 3 * min(counts.values())


def test_all_roots_dead() -> None:
    """Without any root server a cold resolver gives up in time, a warm one goes on below what it knows."""
    internet = Internet()
    resolver = internet.resolver()
    internet.resolve(resolver, "example.org MX")
    internet.kill(*ROOTS)
    assert internet.look_up(resolver, "mx1.example.org A")[0] == "NOERROR"
    started = internet.clock
    assert internet.look_up(resolver, "web.example.net A") == ["SERVFAIL"]
    assert internet.clock - started <= 4.51


def test_priming_again_after_a_flush() -> None:
    """Whoever flushes the root sees it asked about at once, however busy the resolver is."""
    internet = Internet()
    resolver = internet.resolver()
    internet.resolve(resolver, "example.org MX")
    resolver.cache.flush()
    internet.resolve(resolver, "example.org MX")
    assert where(internet).count("root . NS") == 2
