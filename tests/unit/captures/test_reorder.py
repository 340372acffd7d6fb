"""Packets of several rings come out in the order of time."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from captures.reorder import ReorderBuffer


def block(time_ns: int) -> tuple[int, bytes]:
    """A block that says its time."""
    return time_ns, str(time_ns).encode()


def test_only_what_is_older_than_the_horizon_is_taken() -> None:
    """Blocks up to the horizon, itself included, come out in order; the others are held."""
    buffer = ReorderBuffer()
    buffer.extend(map(block, [5, 9, 1]))
    assert buffer.take(4) == [b"1"]
    buffer.extend(map(block, [3, 7]))
    assert buffer.take(7) == [b"3", b"5", b"7"]
    assert len(buffer) == 1
    assert buffer.take() == [b"9"]
    assert buffer.late == 0


@given(
    st.lists(st.lists(st.integers(0, 10_000), max_size=30).map(sorted), min_size=1, max_size=5),
    st.integers(0, 50),
    st.integers(),
)
def test_rings_that_are_late_by_less_than_the_horizon_do_not_disturb_the_order(
    rings: list[list[int]], late: int, seed: int
) -> None:
    """If no ring hands a packet over later than the horizon allows, the whole is sorted."""
    rng = random.Random(seed)
    arrivals = sorted((time + rng.randint(0, late), time) for ring in rings for time in ring)
    buffer = ReorderBuffer()
    out = []
    for now, time in arrivals:
        # Nothing that arrives from now on can be older than this.
        out += buffer.take(now - late - 1)
        buffer.extend([block(time)])
    out += buffer.take()
    assert [int(text) for text in out] == sorted(time for ring in rings for time in ring)
    assert buffer.late == 0


def test_equal_times_keep_their_order() -> None:
    """Of packets with the same time stamp, the one that came first stays first."""
    buffer = ReorderBuffer()
    buffer.extend([(1, b"first"), (1, b"second"), (0, b"zeroth")])
    assert buffer.take(1) == [b"zeroth", b"first", b"second"]


def test_what_comes_too_late_is_kept_and_counted() -> None:
    """A packet older than one already taken still comes out."""
    buffer = ReorderBuffer()
    buffer.extend([block(10)])
    assert buffer.take(10) == [b"10"]
    buffer.extend(map(block, [8, 12]))
    assert buffer.take() == [b"8", b"12"]
    assert buffer.late == 1
