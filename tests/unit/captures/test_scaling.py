"""What each of many rings gets."""

from __future__ import annotations

import itertools

import pytest

from captures.scaling import (
    ALL_KIB,
    LARGEST_KIB,
    LEAST_KIB,
    PAGE,
    SHORTEST_MS,
    TIMERS_EACH_MS,
    block_size,
    measure,
)

COUNTS = [0, 1, 2, 14, 50, 51, 106, 128, 129, 282, 730, 2048, 2049, 2298, 12_000]


@pytest.mark.parametrize("rings", [0, 1, 14, 50])
def test_a_small_lab_has_all_it_wants(rings: int) -> None:
    """Up to fifty rings are large and handed over every ten milliseconds."""
    assert (measure(rings).ring_kib, measure(rings).block_timeout_ms) == (LARGEST_KIB, SHORTEST_MS)


@pytest.mark.parametrize("rings", COUNTS)
def test_all_rings_together_stay_within_the_budget(rings: int) -> None:
    """Neither memory nor timers grow with the number of rings, but for the least that a ring needs."""
    each = measure(rings)
    assert rings * each.ring_kib <= max(ALL_KIB, rings * LEAST_KIB)
    assert rings / each.block_timeout_ms < TIMERS_EACH_MS + 1
    assert LEAST_KIB <= each.ring_kib <= LARGEST_KIB


@pytest.mark.parametrize(("few", "many"), list(itertools.pairwise(COUNTS)))
def test_more_rings_are_never_larger_nor_quicker(few: int, many: int) -> None:
    """What a ring gets only shrinks as their number grows."""
    assert measure(many).ring_kib <= measure(few).ring_kib
    assert measure(many).block_timeout_ms >= measure(few).block_timeout_ms


@pytest.mark.parametrize("rings", COUNTS)
def test_packets_are_held_for_longer_than_a_ring_keeps_them(rings: int) -> None:
    """Else a packet that its ring hands over last would stand behind later ones in the file."""
    assert measure(rings).reorder_ms > measure(rings).block_timeout_ms


@pytest.mark.parametrize("kib", [1, 128, 160, 352, 512, 864, 2047, 2048, 8192])
def test_blocks_are_what_the_kernel_takes(kib: int) -> None:
    """A block is whole pages, of a power of two: the kernel rounds others up, and memory would be lost."""
    size = block_size(kib)
    assert size % PAGE == 0
    assert size & (size - 1) == 0
    assert size <= 256 * 1024


@pytest.mark.parametrize("rings", COUNTS)
def test_a_ring_has_eight_blocks_at_least(rings: int) -> None:
    """While the kernel fills one the recorder reads another; few would leave it nothing to fill."""
    kib = measure(rings).ring_kib
    assert kib * 1024 // block_size(kib) >= 8
