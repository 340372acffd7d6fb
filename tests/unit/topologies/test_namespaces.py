"""How many hosts fit into what a process may have open."""

from __future__ import annotations

import pytest

from topologies.namespaces import why_no_room


@pytest.mark.parametrize(
    ("hosts", "others", "allowed"),
    [
        pytest.param(62, 106, 1024, id="two-companies with the usual limit"),
        pytest.param(665, 730, 4096, id="300 domains"),
        pytest.param(100, 100, 600, id="just so many"),
        pytest.param(100_000, 200_000, -1, id="no limit"),
    ],
)
def test_there_is_room(hosts: int, others: int, allowed: int) -> None:
    """Four descriptors a host, the others, and some for the process itself."""
    assert why_no_room(hosts, others=others, allowed=allowed) is None


def test_there_is_no_room() -> None:
    """The sentence says what is needed, what is allowed, and what to do."""
    reason = why_no_room(2149, others=2298, allowed=4096) or ""
    assert [
        word for word in ("2,149 hosts", "10,994", "4,096", "ulimit -Hn 10994") if word not in reason
    ] == []


def test_one_too_many() -> None:
    """The limit itself is what may be open, not one less."""
    assert why_no_room(100, others=100, allowed=599) is not None
