"""The classifier: how votes are combined, what is kept, and what it tells."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services.filters.spam import bayes
from services.filters.spam.bayes import Totals, chi_square_tail, classify, combine
from services.filters.spam.database import Database
from tests.unit.filters.spam.letters import examined, letter

MANY = Totals(spam=100, ham=100)


@pytest.mark.parametrize(
    ("value", "freedom", "tail"),
    # From tables of the chi-square distribution.
    [(3.841, 1 * 2, 0.1465), (5.991, 2, 0.05), (9.488, 4, 0.05), (18.307, 10, 0.05), (0.0, 6, 1.0)],
)
def test_chi_square(value: float, freedom: int, tail: float) -> None:
    """The distribution's upper tail."""
    assert chi_square_tail(value, freedom) == pytest.approx(tail, abs=2e-4)


@pytest.mark.parametrize(
    ("votes", "least", "most"),
    [
        pytest.param([0.99] * 20, 0.99, 1.0, id="all for spam"),
        pytest.param([0.01] * 20, 0.0, 0.01, id="all for ham"),
        pytest.param([0.99] * 10 + [0.01] * 10, 0.45, 0.55, id="both as clearly"),
        pytest.param([0.6], 0.5, 0.7, id="one, weakly"),
        pytest.param([1e-4] * 150, 0.0, 0.01, id="as many as there may be"),
    ],
)
def test_votes(votes: list[float], least: float, most: float) -> None:
    """What clear votes, and contradicting ones, come to."""
    assert least <= combine(votes) <= most


def test_too_few_tell_nothing() -> None:
    """Nor does a message of which nothing was ever seen."""
    assert classify({"casino": (19, 0)}, Totals(spam=19, ham=100)) is None
    assert classify({"casino": (0, 0)}, MANY) is None
    assert classify({}, MANY) is None


def test_what_told_it_is_named() -> None:
    """The tokens with the clearest votes."""
    taught = classify({"casino": (50, 0), "lake": (0, 10), "the": (90, 90)}, MANY)
    assert taught is not None
    assert (taught.spammy, taught.hammy) == (("casino",), ("lake",))


def test_tokens() -> None:
    """Words, the subject's apart, hosts of links, marks; nothing that servers on the way have written."""
    message = letter(html='<p>Hello Bob, see <a href="http://www.evil.test/offer">the lake</a></p>')
    found = bayes.tokens(examined(message))
    assert {
        "hello",
        "lake",
        "subject:lunch",
        "url:evil.test",
        "path:offer",
        "from:example.com",
        "tag:a",
    } <= found
    assert not [token for token in found if "mx1" in token or "esmtp" in token or "198" in token]


def test_a_message_counts_once(tmp_path: Path) -> None:
    """As what it was taught last; what was forgotten is gone."""
    database = Database(tmp_path / "taught.sqlite3")
    assert database.teach(b"one", ["casino", "lake"], "spam")
    assert not database.teach(b"one", ["casino", "lake"], "spam")
    assert (database.counts(["casino", "no"]), database.totals()) == (
        {"casino": (1, 0)},
        Totals(spam=1, ham=0),
    )
    assert database.teach(b"one", ["casino", "lake"], "ham")
    assert database.counts(["casino"]) == {"casino": (0, 1)}
    assert database.totals() == Totals(spam=0, ham=1)
    assert database.forget(b"one", ["casino", "lake"])
    assert not database.forget(b"one", ["casino", "lake"])
    assert database.totals() == Totals(spam=0, ham=0)
    database.close()


def test_what_was_taught_survives_a_kill(tmp_path: Path) -> None:
    """Of a process that is killed amid teaching, each message told of is there, as a whole."""
    program = (
        "import sys; from services.filters.spam.database import Database\n"
        "database = Database(sys.argv[1])\n"
        "for number in range(100000):\n"
        "    database.teach(b'%d' % number, ['all', f'own{number}'], 'spam')\n"
        "    print(number, flush=True)\n"
    )
    path = tmp_path / "taught.sqlite3"
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [next(process.stdout) for _ in range(30)]
        os.kill(process.pid, signal.SIGKILL)
        said += process.stdout.readlines()
    last = int([line for line in said if line.endswith("\n")][-1])
    database = Database(path)
    taught = database.totals().spam
    assert last + 1 <= taught <= last + 2
    assert database.counts(["all"]) == {"all": (taught, 0)}
    assert len(database.counts(f"own{number}" for number in range(taught))) == taught
    database.close()
