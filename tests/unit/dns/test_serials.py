"""Serial numbers go round (RFC 1982)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.dns.serials import following, is_newer

SERIALS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(
    ("serial", "than", "newer"),
    [
        pytest.param(2, 1, True, id="one more"),
        pytest.param(1, 1, False, id="the same"),
        pytest.param(1, 2, False, id="one less"),
        pytest.param(0, 2**32 - 1, True, id="past the end"),
        pytest.param(2**31 - 1, 0, True, id="just less than half the circle"),
        pytest.param(2**31, 0, False, id="half the circle: neither"),
        pytest.param(0, 2**31, False, id="half the circle: neither, the other way"),
        pytest.param(2**31 + 1, 0, False, id="more than half is behind"),
        pytest.param(2026010100, 5, True, id="from a counter to a date"),
    ],
)
def test_newer(serial: int, than: int, newer: bool) -> None:
    """A serial is newer if it is less than half the circle ahead."""
    assert is_newer(serial, than) is newer


@given(SERIALS, SERIALS)
def test_at_most_one_is_newer(one: int, other: int) -> None:
    """Of two serials, never are both newer than the other."""
    assert not (is_newer(one, other) and is_newer(other, one))


@given(SERIALS)
def test_following(serial: int) -> None:
    """The next serial is newer, and never 0."""
    assert is_newer(following(serial), serial)
    assert 0 < following(serial) < 2**32
