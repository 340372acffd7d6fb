"""What the stub resolver's answers mean to the mail service."""

from __future__ import annotations

import asyncio
import random

import pytest

from services.dns.stub import Answer, Record, ResolutionFailed, StubResolver
from services.smtp.errors import LookupFailed
from services.smtp.lookup import SharedLookups, StubLookups
from services.smtp.mx import Exchanger
from services.smtp.routing import NoSuchDomain
from tests.unit.smtp.running import TableResolver


def lookups(monkeypatch: pytest.MonkeyPatch, result: Answer | Exception) -> StubLookups:
    """Look-ups whose stub resolver always gives `result`."""

    async def query(_: StubResolver, name: str, rtype: str) -> Answer:
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(StubResolver, "query", query)
    return StubLookups(["127.0.0.1"], port=53, rng=random.Random(1))


def answer(*records: str, rcode: str = "NOERROR") -> Answer:
    rows = (line.split(maxsplit=2) for line in records)
    return Answer(
        rcode=rcode,
        records=tuple(Record(name=name, ttl=60, rtype=rtype, data=data) for name, rtype, data in rows),
    )


def test_mx_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """MX records are read with their preference; a CNAME before them is not one."""
    records = ("a.example CNAME b.example", "b.example MX 10 mx1.example", "b.example MX 20 mx2.example")
    found = asyncio.run(lookups(monkeypatch, answer(*records)).mx("a.example"))
    assert found == [
        Exchanger(preference=10, host="mx1.example"),
        Exchanger(preference=20, host="mx2.example"),
    ]


@pytest.mark.parametrize("data", ["0 .", "0 "])
def test_null_mx(monkeypatch: pytest.MonkeyPatch, data: str) -> None:
    """The root as exchanger is a null MX, however its name is written."""
    record = Record(name="a.example", ttl=60, rtype="MX", data=data)
    found = asyncio.run(lookups(monkeypatch, Answer(rcode="NOERROR", records=(record,))).mx("a.example"))
    assert found == [Exchanger(preference=0, host=".")]


def test_denials(monkeypatch: pytest.MonkeyPatch) -> None:
    """A domain that does not exist is an error of its own; no record of a type, or no host, is none."""
    with pytest.raises(NoSuchDomain):
        asyncio.run(lookups(monkeypatch, answer(rcode="NXDOMAIN")).mx("a.example"))
    assert asyncio.run(lookups(monkeypatch, answer()).mx("a.example")) == []
    assert asyncio.run(lookups(monkeypatch, answer(rcode="NXDOMAIN")).addresses("mx.example")) == []


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host's addresses are found behind its CNAME."""
    found = lookups(monkeypatch, answer("a.example CNAME b.example", "b.example A 198.18.0.1"))
    assert asyncio.run(found.addresses("a.example")) == ["198.18.0.1"]


def test_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that fails, or none at all, leaves hope."""
    with pytest.raises(LookupFailed, match=r"a\.example/MX: timed out"):
        asyncio.run(lookups(monkeypatch, ResolutionFailed("timed out")).mx("a.example"))
    with pytest.raises(LookupFailed, match="no name server is configured"):
        asyncio.run(StubLookups([], port=53, rng=random.Random(1)).mx("a.example"))


def test_shared_lookups() -> None:
    """What is asked at once is asked once, errors too; a moment later it is asked anew."""
    now = 100.0
    table = TableResolver("example.org MX 10 mx1\nmx1 A 127.0.0.1\nexample.net SERVFAIL")

    async def main() -> None:
        nonlocal now
        shared = SharedLookups(table, clock=lambda: now)
        one, two = await asyncio.gather(shared.mx("example.org"), shared.mx("example.org"))
        assert one == two == [Exchanger(preference=10, host="mx1")]
        assert await shared.addresses("mx1") == ["127.0.0.1"]
        for _ in range(2):
            with pytest.raises(LookupFailed):
                await shared.mx("example.net")
        assert table.asked == ["example.org MX", "mx1 A", "example.net MX"]
        table.table = "example.org MX 10 mx2"
        now += 0.2
        assert await shared.mx("example.org") == [Exchanger(preference=10, host="mx2")]

    asyncio.run(main())


def test_who_gives_up_does_not_keep_the_answer_from_others() -> None:
    """A look-up that one of those who share it has left goes on for the others."""

    class Slow(TableResolver):
        async def addresses(self, host: str) -> list[str]:
            await asyncio.sleep(0.01)
            return await super().addresses(host)

    async def main() -> None:
        shared = SharedLookups(Slow("mx1 A 127.0.0.1"), clock=lambda: 0.0)
        leaves, stays = (asyncio.create_task(shared.addresses("mx1")) for _ in range(2))
        await asyncio.sleep(0)
        leaves.cancel()
        assert await stays == ["127.0.0.1"]

    asyncio.run(main())


def test_old_look_ups_are_forgotten() -> None:
    """However many names are asked for, few are remembered."""
    now = 0.0

    async def main() -> None:
        nonlocal now
        shared = SharedLookups(TableResolver(""), clock=lambda: now)
        for number in range(1000):
            now += 0.01
            await shared.addresses(f"mx{number}")
        assert len(shared) <= 120

    asyncio.run(main())
