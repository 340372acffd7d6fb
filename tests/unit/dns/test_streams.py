"""Random bits that depend on what they are for."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from services.dns.streams import Draws


@given(key=st.binary(max_size=40), sizes=st.lists(st.integers(0, 2100), max_size=20))
def test_equal_keys_give_equal_draws(key: bytes, sizes: list[int]) -> None:
    """What is drawn depends on the key and on what was drawn before, and is never above its size."""
    first, second = Draws(key), Draws(key)
    drawn = [first.getrandbits(size) for size in sizes]
    assert drawn == [second.getrandbits(size) for size in sizes]
    assert all(bits.bit_length() <= size for bits, size in zip(drawn, sizes, strict=True))


def test_other_keys_give_other_draws() -> None:
    """Keys that differ in one octet, or in length, share nothing."""
    keys = [b"", b"a", b"b", b"aa", b"a\0", b"x" * 1000, b"x" * 1001]
    assert len({Draws(key).getrandbits(64) for key in keys}) == len(keys)


def test_draws_are_even() -> None:
    """Every value comes up about as often as any other, as with Python's own generator."""
    for source in (Draws(b"even"), random.Random(1)):
        counts = Counter(source.getrandbits(4) for _ in range(16_000))
        assert len(counts) == 16
        # Five standard deviations; the keys are fixed, so this does not vary.
        assert all(abs(count - 1000) < 155 for count in counts.values())
