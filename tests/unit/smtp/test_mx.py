"""Each test's docstring states the behaviour; each table row is one case."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from services.smtp.mx import Exchanger, MailLoop, NullMx, delivery_order


def order(zone: str, *, own: tuple[str, ...] = (), seed: int = 1) -> list[str]:
    """Order for example.org, given its MX records as they stand in a zone file."""
    records = [
        Exchanger(preference=int(preference), host=host)
        for _, preference, host in (line.split() for line in zone.strip().splitlines())
    ]
    return delivery_order("example.org", records, own_names=own, rng=random.Random(seed))


@pytest.mark.parametrize(
    ("zone", "own", "expected"),
    [
        pytest.param("", (), ["example.org"], id="no MX: the domain itself"),
        pytest.param("MX 20 mx2\nMX 10 mx1", (), ["mx1", "mx2"], id="lowest preference first"),
        pytest.param("MX 10 mx1\nMX 20 mx2", ("MX2",), ["mx1"], id="a backup sends to the primary only"),
        pytest.param("MX 10 a\nMX 20 b\nMX 20 me\nMX 30 c", ("me",), ["a"], id="no equals, no worse"),
    ],
)
def test_order(zone: str, own: tuple[str, ...], expected: list[str]) -> None:
    """Hosts are tried by preference, and never at or above one's own."""
    assert order(zone, own=own) == expected


def test_equal_preferences_share_the_load() -> None:
    """Equal exchangers come in an order that depends on the seed, not on the answer's order."""
    one, other = "MX 10 a\nMX 10 b\nMX 10 c", "MX 10 c\nMX 10 a\nMX 10 b"
    assert all(order(one, seed=seed) == order(other, seed=seed) for seed in range(20))
    assert {order(one, seed=seed)[0] for seed in range(20)} == {"a", "b", "c"}


def test_weights() -> None:
    """Of equal exchangers one of weight 3 comes first three times as often; rank goes before weight."""
    records = [Exchanger(preference=10, host=host) for host in ("a", "B", "c")]
    worse = Exchanger(preference=20, host="d")
    found = [
        delivery_order(
            "x", [worse, *records], own_names=(), rng=random.Random(seed), weights={"b": 3, "d": 100}
        )
        for seed in range(1000)
    ]
    first = Counter(hosts[0] for hosts in found)
    assert 540 < first["B"] < 660
    assert 160 < first["a"] < 240
    assert all(sorted(hosts[:3]) == ["B", "a", "c"] and hosts[3] == "d" for hosts in found)


def test_null_mx_is_permanent() -> None:
    """A domain with a null MX takes no mail."""
    with pytest.raises(NullMx) as caught:
        order("MX 0 .")
    assert caught.value.enhanced_code == "5.1.10"


def test_the_best_exchanger_does_not_send_to_itself() -> None:
    """The most preferred host has nobody left to send to: a loop."""
    with pytest.raises(MailLoop):
        order("MX 10 me\nMX 20 mx2", own=("me",))
