"""The labelled corpus: enough of it, all of it different, and nothing in it that says what it is."""

from __future__ import annotations

import email
import email.policy
import random
import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

from mailbed.corpus.generate import CATEGORIES, Labelled, corpus, write
from mailbed.corpus.stock import STOCK
from mailbed.corpus.templates import Template, templates
from mailbed.corpus.wording import Wording
from mailbed.errors import UsageError

NOW = 1_795_000_000.0
SLOT = re.compile(r"\{\$(\w+)\}")
OWN_SLOTS = {"to", "me", "genuine", "link"}


@pytest.fixture(scope="module")
def messages() -> list[Labelled]:
    return corpus(seed=7, now=NOW)


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]{4,}", text.lower()))


def all_of(category: str) -> list[Template]:
    return [*templates("training", category), *templates("testing", category)]


def test_there_are_enough_of_each_kind(messages: list[Labelled]) -> None:
    """Six categories, each for training and for testing; more than 600 in all."""
    counts = Counter((message.use, message.category) for message in messages)
    assert len(messages) >= 600
    assert len(counts) == 2 * len(CATEGORIES)
    assert len(set(counts.values())) == 1


def test_no_two_say_the_same(messages: list[Labelled]) -> None:
    """A filter cannot learn the testing ones by heart."""
    bodies = {message.content.partition(b"\r\n\r\n")[2] for message in messages}
    assert len(bodies) == len(messages)


def test_templates_for_testing_are_others_than_for_training() -> None:
    """Nor only a little different: no two share most of their words."""
    for category in CATEGORIES:
        for one, other in combinations(all_of(category), 2):
            mine, theirs = words(one.text), words(other.text)
            assert len(mine & theirs) < 0.5 * min(len(mine), len(theirs)), (one.subject, other.subject)


def test_equal_seeds_give_equal_messages(messages: list[Labelled]) -> None:
    """Octet for octet; another seed gives others."""
    assert corpus(seed=7, now=NOW) == messages
    others = {message.content for message in corpus(seed=8, now=NOW)}
    assert not others & {message.content for message in messages}


def test_more_messages_do_not_change_those_that_are_there(messages: list[Labelled]) -> None:
    """A message depends on its own number alone."""
    few = {message.path: message.content for message in corpus(seed=7, now=NOW, each=5)}
    assert few.items() <= {message.path: message.content for message in messages}.items()


def test_nothing_in_a_message_says_what_it_is(messages: list[Labelled]) -> None:
    """No header field is there in one category alone, but for what such senders really write."""
    seen: dict[str, set[str]] = {}
    for message in messages:
        for name in email.message_from_bytes(message.content):
            seen.setdefault(name.lower(), set()).add(message.category)
    assert [name for name, where in seen.items() if len(where) == 1] == ["list-unsubscribe"]


def test_all_are_well_formed(messages: list[Labelled]) -> None:
    """Lines end in CRLF, and no part has a defect; broken mail is tested elsewhere."""
    for message in messages:
        assert not re.search(rb"(?<!\r)\n", message.content), message.path
        parsed = email.message_from_bytes(message.content, policy=email.policy.default)
        assert not [defect for part in parsed.walk() for defect in part.defects], message.path
        assert parsed["Subject"], message.path


def test_no_slot_is_left_open(messages: list[Labelled]) -> None:
    """Every slot of every template has a stock, and every text is filled."""
    every = [each for category in CATEGORIES for each in all_of(category)]
    used = {slot for each in every for slot in SLOT.findall(each.subject + each.text + each.link)}
    assert used - set(STOCK) == OWN_SLOTS
    assert not [message.path for message in messages if re.search(rb"\{\$|\{link|\x00", message.content)]


def test_malware_has_something_to_be_found(messages: list[Labelled]) -> None:
    """Each of these has an attachment, and no other message has the test file of virus scanners."""
    for message in messages:
        parts = list(
            email.message_from_bytes(message.content, policy=email.policy.default).iter_attachments()
        )
        bare = any(b"EICAR" in (part.get_payload(decode=True) or b"") for part in parts)
        assert len(parts) == 1 if message.category == "malware" else not bare


def test_a_slot_is_the_same_all_over_a_message() -> None:
    """Who is met is who comes along."""
    wording = Wording(random.Random(1), {})
    friend = wording.filled("{$friend}")
    assert wording.filled("{a {$friend}|b {$friend}}") in (f"a {friend}", f"b {friend}")


def test_a_corpus_on_disk(tmp_path: Path) -> None:
    """What a message is says its directory; an existing one is not added to."""
    few = corpus(seed=1, now=NOW, each=2)
    assert write(few, tmp_path / "corpus") == 24
    assert (tmp_path / "corpus/testing/spam/0001.eml").read_bytes().startswith(b"Date: ")
    with pytest.raises(UsageError, match="is not empty"):
        write(few, tmp_path / "corpus")
