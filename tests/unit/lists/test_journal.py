"""Who is on a list, on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.lists.journal import BadJournal, Journal
from services.lists.roster import Entry, Roster
from tests.unit.lists.friends import ALICE, BOB, EVE, FRIENDS

CHANGES = [
    Entry(did="asked", at=1.0, address=EVE, id="A", wish="subscribe", cookie="c", count=1),
    Entry(did="subscribed", at=2.0, address=EVE, id="B", cookie="c"),
    Entry(did="bounced", at=3.0, address=BOB, id="C", count=4),
    Entry(did="disabled", at=3.0, address=BOB),
    Entry(did="asked", at=4.0, address=ALICE, id="D", wish="unsubscribe", cookie="d", count=2),
    Entry(did="posted", at=5.0, id="E"),
]


def seen(roster: Roster) -> object:
    """All that can be seen of a roster."""
    known = [roster.member(who) for who in (ALICE, BOB, EVE)], [roster.knows(one) for one in "ABCDE"]
    return roster.reached(), known, roster.requested(ALICE, "unsubscribe", 6.0)


def test_a_new_list_has_the_members_of_its_settings(tmp_path: Path) -> None:
    """Later the journal counts: who has left stays away."""
    path = tmp_path / "lists" / "friends.journal"
    journal = Journal(path)
    assert journal.open(FRIENDS, 0.0).reached() == [ALICE, BOB]
    journal.append([Entry(did="unsubscribed", at=1.0, address=BOB)])
    assert Journal(path).open(FRIENDS, 2.0).reached() == [ALICE]


def test_a_list_is_after_a_restart_what_it_was(tmp_path: Path) -> None:
    """Members, requests, bounces, and what has been dealt with."""
    journal = Journal(tmp_path / "j")
    roster = journal.open(FRIENDS, 0.0)
    for entry in CHANGES:
        journal.append([entry])
        roster.apply(entry)
    assert seen(Journal(tmp_path / "j").open(FRIENDS, 6.0)) == seen(roster)


def test_a_crash_at_any_octet_leaves_a_list_that_opens(tmp_path: Path) -> None:
    """What was cut off was promised to nobody, and the next entry stands on a line of its own."""
    Journal(tmp_path / "whole").open(FRIENDS, 0.0)
    Journal(tmp_path / "whole").append(CHANGES)
    data = (tmp_path / "whole").read_bytes()
    for length in range(len(data) + 1):
        path = tmp_path / "cut"
        path.write_bytes(data[:length])
        Journal(path).open(FRIENDS, 6.0)
        Journal(path).append([Entry(did="subscribed", at=7.0, address=EVE)])
        assert EVE in Journal(path).open(FRIENDS, 8.0)


@pytest.mark.parametrize("line", ["{}", "nonsense", "[]", '{"did": "flew", "at": 1}', '{"did": "posted"}'])
def test_a_line_that_does_not_read_stops_the_list(tmp_path: Path, line: str) -> None:
    """The error names file and line: nobody is to be dropped from a list in silence."""
    path = tmp_path / "j"
    Journal(path).open(FRIENDS, 0.0)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(BadJournal, match=r"j:3: not an entry"):
        Journal(path).open(FRIENDS, 1.0)


def test_a_long_journal_is_written_anew(tmp_path: Path) -> None:
    """It says the same in fewer lines."""
    journal = Journal(tmp_path / "j")
    roster = journal.open(FRIENDS, 0.0)
    flood = [
        Entry(did="subscribed" if number % 2 else "unsubscribed", at=float(number), address=EVE)
        for number in range(4000)
    ]
    for entry in [*CHANGES, *flood]:
        roster.apply(entry)
    journal.append([*CHANGES, *flood])
    for _ in range(2):
        assert seen(Journal(tmp_path / "j").open(FRIENDS, 6.0)) == seen(roster)
    lines = (tmp_path / "j").read_text().splitlines()
    assert len(lines) < 50
    assert all(json.loads(line)["did"] for line in lines)
