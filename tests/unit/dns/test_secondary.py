"""When a secondary asks its primary, and when it stops serving: on a clock that the test moves."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

import pytest

from services.dns.secondary import Ask, Expire, Fetch, Rest, Secondary, Terms

PRIMARY = "198.18.0.1"
OTHER = "198.18.0.2"


def terms(serial: int = 1) -> Terms:
    """What the SOA says: refresh after 100 s, retry after 20 s, expiry after 1000 s."""
    return Terms(serial=serial, refresh_s=100, retry_s=20, expire_s=1000)


@dataclass(kw_only=True)
class Bench:
    """A secondary and its clock. `primaries` answer with `serials` of theirs; without one they are dead."""

    primaries: tuple[str, ...] = (PRIMARY,)
    serials: dict[str, int] = field(default_factory=dict)
    time_scale: float = 1.0
    now: float = 5000.0

    def __post_init__(self) -> None:
        self.secondary = Secondary(self.primaries, rng=random.Random(1), time_scale=self.time_scale)
        self.told: list[str] = []

    def hold(self, serial: int = 1, *, age_s: float = 0.0, trusted: bool = True) -> None:
        """Resume with a copy."""
        self.secondary.resume(terms(serial), age_s=age_s, trusted=trusted, now=self.now)

    def run(self, seconds: float) -> list[str]:
        """Let so much time pass; return what the secondary did: `ask`, `fetch`, `expire` and when (s)."""
        started, until = self.now, self.now + seconds
        done: list[str] = []
        while True:
            match self.secondary.step(self.now):
                case Rest(until=due):
                    if due > until:
                        self.now = until
                        return done
                    assert due > self.now, "a rest that is none would go on for ever"
                    self.now = due
                    continue
                case Ask(primary=address):
                    done.append(f"{self.now - started:.0f} ask {address[-1]}")
                    self._answer(address)
                case Fetch(primary=address):
                    done.append(f"{self.now - started:.0f} fetch {address[-1]}")
                    self.secondary.fetched(terms(self.serials[address]), self.now)
                case Expire():
                    done.append(f"{self.now - started:.0f} expire")

    def _answer(self, address: str) -> None:
        if address in self.serials:
            self.secondary.heard(self.serials[address], self.now)
        else:
            self.secondary.failed(self.now)


def test_without_a_copy_it_is_fetched_at_once() -> None:
    """A secondary that has nothing asks and fetches."""
    bench = Bench(serials={PRIMARY: 7})
    assert bench.secondary.serial is None
    assert bench.run(1) == ["0 ask 1", "0 fetch 1"]
    assert bench.secondary.serial == 7


def test_without_a_copy_it_tries_again_with_growing_pauses() -> None:
    """There is no SOA yet to say when to retry: after 1, 2, 4, … s, at most 60 s."""
    bench = Bench()
    asked = [int(line.split()[0]) for line in bench.run(300)]
    assert asked == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]


def test_a_copy_from_the_start_needs_no_question_before_the_refresh() -> None:
    """What was put there with the primary's file is trusted for three quarters of the refresh at least."""
    bench = Bench(serials={PRIMARY: 1})
    bench.hold()
    assert bench.run(74) == []
    assert [line.split()[1] for line in bench.run(26)] == ["ask"]


def test_a_server_that_is_started_again_asks_at_once() -> None:
    """A copy of an earlier run may be old news: it is served, and the primary is asked."""
    bench = Bench(serials={PRIMARY: 2})
    bench.hold(1, age_s=30, trusted=False)
    assert bench.secondary.serial == 1
    assert bench.run(1) == ["0 ask 1", "0 fetch 1"]
    assert bench.secondary.serial == 2


def test_an_equal_serial_confirms() -> None:
    """As long as the primary has the same serial, nothing is fetched and nothing expires."""
    bench = Bench(serials={PRIMARY: 1})
    bench.hold()
    done = bench.run(5000)
    assert {line.split()[1] for line in done} == {"ask"}
    assert 50 <= len(done) <= 67


def test_secondaries_do_not_ask_in_step() -> None:
    """Each refresh comes after between three quarters and all of the SOA's time."""
    bench = Bench(serials={PRIMARY: 1})
    bench.hold()
    times = [int(line.split()[0]) for line in bench.run(2000)]
    pauses = {after - before for before, after in itertools.pairwise(times)}
    assert len(pauses) > 5
    assert all(74 <= pause <= 101 for pause in pauses)


def test_while_the_primary_is_down_it_serves_and_retries_until_it_expires() -> None:
    """Retries come at the SOA's interval, until the expiry, which counts from the last confirmation."""
    bench = Bench()
    bench.hold()
    done = bench.run(990)
    first = int(done[0].split()[0])
    assert [int(line.split()[0]) for line in done] == list(range(first, 991, 20))
    assert bench.secondary.serial == 1
    assert "10 expire" in bench.run(11)
    assert bench.secondary.serial is None


def test_an_expired_zone_comes_back_with_the_primary() -> None:
    """After the expiry it goes on asking at the same interval, and fetches even what has the old serial."""
    bench = Bench()
    bench.hold()
    bench.run(2000)
    bench.serials[PRIMARY] = 1
    assert [line.split()[1] for line in bench.run(21)][:2] == ["ask", "fetch"]
    assert bench.secondary.serial == 1


@pytest.mark.parametrize(
    ("age_s", "served"), [pytest.param(999, True, id="young"), pytest.param(1001, False, id="too old")]
)
def test_a_copy_is_as_old_as_it_is(age_s: float, served: bool) -> None:
    """The time that the server was off counts: what is past its expiry is not served."""
    bench = Bench()
    bench.hold(age_s=age_s, trusted=False)
    assert ("0 expire" in bench.run(0.5)) is not served
    assert (bench.secondary.serial == 1) is served


def test_the_next_primary_is_asked_when_one_fails() -> None:
    """With several primaries a dead one costs nothing but the wait for it."""
    bench = Bench(primaries=(PRIMARY, OTHER), serials={OTHER: 3})
    assert bench.run(1) == ["0 ask 1", "0 ask 2", "0 fetch 2"]


def test_a_failed_transfer_is_tried_again() -> None:
    """If the transfer fails, the copy stays, and after the retry interval the primary is asked again."""
    bench = Bench(serials={PRIMARY: 2})
    bench.hold(1, trusted=False)
    assert isinstance(bench.secondary.step(bench.now), Ask)
    assert bench.secondary.heard(2, bench.now) is False
    assert isinstance(bench.secondary.step(bench.now), Fetch)
    bench.secondary.failed(bench.now)
    assert bench.secondary.serial == 1
    assert bench.run(21) == ["20 ask 1", "20 fetch 1"]


def test_a_serial_that_goes_backwards_changes_nothing() -> None:
    """An older serial at the primary is for people to put right: the copy stays, and is confirmed."""
    bench = Bench(serials={PRIMARY: 4})
    bench.hold(5)
    assert {line.split()[1] for line in bench.run(3000)} == {"ask"}
    assert bench.secondary.serial == 5


def test_notify_makes_it_ask_now() -> None:
    """A NOTIFY from the primary with a newer serial, or with none, brings the question forward."""
    for hint in (2, None):
        bench = Bench(serials={PRIMARY: 2})
        bench.hold()
        bench.run(10)
        assert bench.secondary.notified(PRIMARY, hint, bench.now) is True
        assert bench.run(1) == ["0 ask 1", "0 fetch 1"]


def test_notify_of_what_is_known_is_no_news() -> None:
    """A NOTIFY whose serial is not newer is taken, and nobody is asked."""
    bench = Bench(serials={PRIMARY: 1})
    bench.hold()
    assert bench.secondary.notified(PRIMARY, 1, bench.now) is True
    assert bench.run(10) == []


def test_notify_from_a_stranger_is_not_taken() -> None:
    """Only the primaries may bring the question forward."""
    bench = Bench(serials={PRIMARY: 2})
    bench.hold()
    assert bench.secondary.notified("198.18.9.9", 2, bench.now) is False
    assert bench.run(10) == []


def test_notify_during_a_transfer_means_another_look() -> None:
    """What was fetched meanwhile may be older than the change that the NOTIFY tells of."""
    bench = Bench(serials={PRIMARY: 3})
    bench.hold(1, trusted=False)
    bench.secondary.step(bench.now)
    bench.secondary.heard(2, bench.now)
    bench.secondary.step(bench.now)
    bench.secondary.notified(PRIMARY, 3, bench.now)
    bench.secondary.fetched(terms(2), bench.now)
    assert bench.run(1) == ["0 ask 1", "0 fetch 1"]
    assert bench.secondary.serial == 3


def test_the_notify_goes_to_the_primary_that_sent_it() -> None:
    """With several primaries, the one that has something new is asked first."""
    bench = Bench(primaries=(PRIMARY, OTHER), serials={PRIMARY: 1, OTHER: 2})
    bench.hold()
    bench.secondary.notified(OTHER, 2, bench.now)
    assert bench.run(1) == ["0 ask 2", "0 fetch 2"]


def test_hurry() -> None:
    """The primary is asked at once when somebody wants it."""
    bench = Bench(serials={PRIMARY: 1})
    bench.hold()
    bench.secondary.hurry(bench.now)
    assert bench.run(1) == ["0 ask 1"]


def test_the_time_scale_divides_every_interval() -> None:
    """At ten times the speed: refresh after 10 s at most, retry after 2 s, expiry after 100 s."""
    bench = Bench(time_scale=10)
    bench.hold()
    done = bench.run(99)
    assert 7 <= int(done[0].split()[0]) <= 10
    assert len(done) in range(44, 48)
    assert "1 expire" in bench.run(1.5)


def test_primaries_are_not_asked_without_pause() -> None:
    """However small the intervals get, there is a second between two questions."""
    bench = Bench(time_scale=1e6, serials={PRIMARY: 1})
    secondary = bench.secondary
    secondary.resume(
        Terms(serial=1, refresh_s=0, retry_s=0, expire_s=1e9), age_s=0, trusted=False, now=bench.now
    )
    assert len(bench.run(30)) <= 41
