"""That there is none: what is believed and how long it is remembered."""

from __future__ import annotations

import pytest

from services.dns import names
from services.dns.asking import Ask
from tests.unit.dns.internet import Internet, forge


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
