"""What DNS is asked about a message, and what is made of its answers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from services.dns.stub import Answer, Record, ResolutionFailed
from services.filters.spam.findings import Findings, address_name, reason
from services.filters.spam.lookups import Origins, Remembered
from tests.unit.filters.spam.letters import FIELDS, examined, letter

ZONE = {
    ("10.1.18.198.in-addr.arpa", "PTR"): ["mta.example.com"],
    ("mta.example.com", "A"): ["198.18.1.10"],
    ("example.com", "MX"): ["10 mta.example.com"],
}


@dataclass
class Dns:
    """A resolver that knows a few records; what it does not know does not exist."""

    zone: dict[tuple[str, str], list[str]] = field(default_factory=lambda: dict(ZONE))
    failing: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    asked: list[tuple[str, str]] = field(default_factory=list)
    ttl: int = 300

    async def query(self, name: str, rtype: str) -> Answer:
        self.asked.append((name, rtype))
        await asyncio.sleep(0)
        if name in self.failing:
            raise ResolutionFailed(name)
        if name in self.silent:
            await asyncio.Event().wait()
        data = self.zone.get((name, rtype), [])
        records = tuple(Record(name=name, ttl=self.ttl, rtype=rtype, data=each) for each in data)
        return Answer(rcode="NOERROR" if data else "NXDOMAIN", records=records)


def found(dns: Dns, message: bytes | None = None, *, timeout_s: float = 30.0) -> Findings:
    """What comes of a letter."""
    origins = Origins(dns.query, lists=["bl.test"], url_lists=["dbl.test"], timeout_s=timeout_s)
    return asyncio.run(origins.find(examined(letter() if message is None else message)))


def test_a_server_with_a_name() -> None:
    """Its name has its address, and the domains take mail."""
    findings = found(Dns())
    assert findings.reverse == findings.confirmed == ("mta.example.com",)
    assert findings.helo == ("198.18.1.10",)
    assert (findings.sender_exists, findings.author_exists) == (True, True)
    assert findings.listings == ()


def test_nothing_exists() -> None:
    """That a name does not exist is known then."""
    findings = found(Dns(zone={}))
    assert (findings.reverse, findings.confirmed, findings.helo) == ((), (), ())
    assert (findings.sender_exists, findings.author_exists) == (False, False)


def test_nobody_answers() -> None:
    """Nothing is known then, and what is known of the rest still is."""
    failing = found(Dns(failing=("10.1.18.198.in-addr.arpa", "example.com")))
    assert (failing.reverse, failing.sender_exists, failing.helo) == (None, None, ("198.18.1.10",))
    silent = found(Dns(silent=("10.1.18.198.in-addr.arpa",)), timeout_s=0.2)
    assert (silent.reverse, silent.author_exists) == (None, True)


@pytest.mark.parametrize(
    ("zone", "listed"),
    [
        pytest.param(
            {("10.1.18.198.bl.test", "A"): ["127.0.0.2"]}, [("entry", "sender", "")], id="the client"
        ),
        pytest.param(
            {("10.1.18.198.bl.test", "A"): ["127.0.0.5"], ("10.1.18.198.bl.test", "TXT"): ["open"]},
            [("entry", "relay", "open")],
            id="with a text",
        ),
        pytest.param(
            {("7.9.18.198.bl.test", "A"): ["127.0.0.2"]}, [("claimed", "sender", "")], id="one before"
        ),
        pytest.param(
            {("evil.test.dbl.test", "A"): ["127.0.0.2"]}, [("url", "sender", "")], id="a link's domain"
        ),
        pytest.param(
            {("www.evil.test.dbl.test", "A"): ["127.0.0.2"]}, [("url", "sender", "")], id="a link's host"
        ),
        pytest.param({("10.1.18.198.bl.test", "A"): ["192.0.2.1"]}, [], id="an address that is no code"),
        pytest.param({("10.1.18.198.bl.test", "A"): ["127.255.255.254"]}, [], id="an error of the asker's"),
        pytest.param(
            {("10.1.18.198.bl.test", "A"): ["127.0.0.2"], ("1.0.0.127.bl.test", "A"): ["127.0.0.2"]},
            [],
            id="a list of everything",
        ),
        pytest.param(
            {("evil.test.dbl.test", "A"): ["127.0.0.2"], ("invalid.dbl.test", "A"): ["127.0.0.2"]},
            [],
            id="a list of every domain",
        ),
    ],
)
def test_block_lists(zone: dict[tuple[str, str], list[str]], listed: list[tuple[str, str, str]]) -> None:
    """Addresses and domains that are listed, why, and lists that are not to be believed (RFC 5782)."""
    before = "from x.example.com ([198.18.9.7]) by mta.example.com; Tue, 24 Nov 2026 09:59:00 +0000"
    fields: dict[str, str | None] = {"Received": f"{FIELDS['Received']}\r\nReceived: {before}"}
    message = letter(fields, "See http://www.evil.test/ there\r\n")
    findings = found(Dns(zone={**ZONE, **zone}), message)
    assert [(each.where, each.reason, each.text) for each in findings.listings] == listed


def test_our_own_mail_is_not_asked_about() -> None:
    """A message that no stranger has handed in: only its domains and links are looked up."""
    dns = Dns()
    found(
        dns,
        letter({"Received": "from bob ([10.2.0.11]) by mda.example.org; Tue, 24 Nov 2026 10:00:00 +0000"}),
    )
    assert not [name for name, _ in dns.asked if "bl.test" in name or "arpa" in name]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.99", "99.2.0.192.bl.test"),
        ("2001:db8::1", f"1.{'0.' * 23}8.b.d.0.1.0.0.2.bl.test"),
    ],
)
def test_names_on_lists(address: str, name: str) -> None:
    """Octets, or nibbles, the last one first (RFC 5782 §2.1, §2.4)."""
    assert address_name(address, "bl.test") == name


@pytest.mark.parametrize(
    ("codes", "why"),
    [
        (("127.0.0.2",), "sender"),
        (("127.0.0.10", "127.0.0.4"), "relay"),
        (("127.0.0.11",), "policy"),
        (("127.0.0.64",), "sender"),
        (("127.0.0.1",), None),
        ((), None),
    ],
)
def test_codes(codes: tuple[str, ...], why: str | None) -> None:
    """What a list's answer means; of several the gravest."""
    assert reason(codes) == why


def test_answers_are_remembered() -> None:
    """As long as their TTL says, what is not there for a minute; failures are not."""
    now = 1000.0
    dns = Dns(failing=("broken.test",))
    remembered = Remembered(dns.query, lambda: now)

    async def scenario() -> None:
        nonlocal now
        both = await asyncio.gather(*(remembered.query("mta.example.com", "A") for _ in range(5)))
        assert len({answer.records for answer in both}) == 1
        await remembered.query("no.test", "A")
        assert dns.asked == [("mta.example.com", "A"), ("no.test", "A")]
        now += 61
        await remembered.query("MTA.example.com", "A")
        await remembered.query("no.test", "A")
        assert dns.asked[2:] == [("no.test", "A")]
        now += 300
        await remembered.query("mta.example.com", "A")
        assert dns.asked[3:] == [("mta.example.com", "A")]
        for _ in range(2):
            with pytest.raises(ResolutionFailed):
                await remembered.query("broken.test", "A")
        assert len(dns.asked) == 6

    asyncio.run(scenario())
