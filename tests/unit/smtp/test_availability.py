"""Which addresses are left alone, and for how long."""

from __future__ import annotations

import pytest

from services.smtp.availability import Availability, BackOff
from services.smtp.replies import Reply

REFUSED = Reply(451, "4.4.1", "Connection refused")
ONE, TWO = "198.18.0.1", "198.18.0.2"


@pytest.mark.parametrize(
    ("failures", "scale", "seconds"),
    [(1, 1, 30), (2, 1, 60), (4, 1, 240), (5, 1, 300), (500, 1, 300), (1, 60, 0.5), (1, 1_000_000, 0.1)],
)
def test_how_long(failures: int, scale: float, seconds: float) -> None:
    """Each failure in a row doubles the time, up to five minutes and down to a tenth of a second."""
    assert BackOff(time_scale=scale).wait(failures) == seconds


def test_a_host_that_fails() -> None:
    """It is left alone, and says why; another one is not. When its time has come one may try it."""
    known = Availability(BackOff(), attempt_s=5)
    known.failed(ONE, REFUSED, 1000)
    assert known.left_alone(ONE, 1029) == REFUSED
    assert known.left_alone(TWO, 1029) is None
    assert known.again(ONE) == 1030
    assert known.left_alone(ONE, 1030) is None, "the first who asks is to try it"
    assert known.left_alone(ONE, 1030) == REFUSED, "the next one is not, until it is known what came of that"
    known.failed(ONE, REFUSED, 1033)
    assert known.again(ONE) == 1093


def test_a_host_that_is_back() -> None:
    """One success is enough, and begins anew."""
    known = Availability(BackOff(), attempt_s=5)
    for now in (0, 30, 90):
        known.failed(ONE, REFUSED, now)
    known.worked(ONE)
    assert known.left_alone(ONE, 91) is None
    assert len(known) == 0
    known.failed(ONE, REFUSED, 100)
    assert known.again(ONE) == 130


def test_an_attempt_that_takes_long() -> None:
    """Until it is known what came of it nobody else tries, however short the back-off is."""
    known = Availability(BackOff(time_scale=600), attempt_s=60)
    known.failed(ONE, REFUSED, 1000)
    assert known.left_alone(ONE, 1000.2) is None
    assert known.left_alone(ONE, 1059) == REFUSED
    known.failed(ONE, REFUSED, 1060)
    assert known.left_alone(ONE, 1060.2) is None
