"""The retry policy."""

from __future__ import annotations

import random

import pytest

from services.smtp.retry import RetryPolicy
from services.smtp.streams import Streams


class Middle(random.Random):
    """Draws the middle of every range."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(1, 300), (2, 600), (3, 1200), (4, 2400), (5, 3600), (6, 3600), (10_000, 3600)]
)
def test_waits_double_up_to_an_hour(attempts: int, seconds: float) -> None:
    """Each wait is twice the one before, and never more than an hour."""
    assert RetryPolicy().wait(attempts, rng=Middle()) == pytest.approx(seconds)
    assert RetryPolicy(time_scale=60).wait(attempts, rng=Middle()) == pytest.approx(seconds / 60)


def test_waits_are_spread() -> None:
    """Waits differ by up to a tenth each way, and not by more."""
    waits = [RetryPolicy().wait(1, rng=random.Random(seed)) for seed in range(500)]
    assert 270 <= min(waits) < 275
    assert 325 < max(waits) <= 330


@pytest.mark.parametrize(
    ("age", "scale", "expired"),
    [(0, 1, False), (431_999, 1, False), (432_000, 1, True), (431.9, 1000, False), (432, 1000, True)],
)
def test_five_days(age: float, scale: float, *, expired: bool) -> None:
    """A message is given up after five days, which a lab may shorten."""
    assert RetryPolicy(time_scale=scale).expired(age) is expired


@pytest.mark.parametrize(
    ("now", "due"),
    [
        pytest.param(100.0, 3700.0, id="an hour later"),
        pytest.param(430_000.0, 432_000.0, id="for the last time when it is given up"),
        pytest.param(432_000.0, 435_600.0, id="too old, but not for want of a reply"),
    ],
)
def test_the_last_attempt(now: float, due: float) -> None:
    """A message is not kept beyond its time by a wait that ends after it."""
    assert RetryPolicy().due(9, arrival=0.0, now=now, rng=Middle()) == pytest.approx(due)


def test_streams_depend_on_their_key_alone() -> None:
    """Equal keys draw alike, whatever was drawn before; each part of the key matters."""
    keys = [
        (1, "mx", "mta", "retry", "A/1"),
        (2, "mx", "mta", "retry", "A/1"),
        (1, "mx2", "mta", "retry", "A/1"),
        (1, "mx", "msa", "retry", "A/1"),
        (1, "mx", "mta", "order", "A/1"),
        (1, "mx", "mta", "retry", "A/2"),
        (1, "mx", "mta", "retryA", "/1"),
    ]

    def draw(seed: int, host: str, role: str, purpose: str, subject: str) -> float:
        return Streams(seed=seed, host=host, role=role).stream(purpose, subject).random()

    drawn = [draw(*key) for key in keys]
    assert len(set(drawn)) == len(keys)
    assert [draw(*key) for key in reversed(keys)] == drawn[::-1]
