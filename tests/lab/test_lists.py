"""Mailing lists in the world, and what becomes of a post by somebody whose domain says `reject`."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

import pytest

from mailbed import Lab
from mailbed.scoring.outcome import Traces
from mailbed.scoring.trial import events
from tests.lab.residue import until
from tests.lab.test_authentication import ALICE, BOB, judged

FRANK = "frank@lab.example.org"
LISTS = "lists.example.net"

pytestmark = pytest.mark.topology("two-companies")


def copies(lab: Lab, address: str, subject: str) -> list[bytes]:
    """What has come to a mailbox with that in its subject."""
    inbox = lab.maildir(address) / "new"
    found = [path.read_bytes() for path in inbox.iterdir()] if inbox.is_dir() else []
    return [text for text in found if re.search(rb"^Subject:.*" + subject.encode(), text, re.MULTILINE)]


def posted(lab: Lab, name: str) -> bytes:
    """Alice writes to a list; return frank's copy, whose server filters nothing."""
    subject = f"rehearsal of the {name}"
    letter = f"From: Alice <{ALICE}>\nTo: {name}@{LISTS}\nSubject: {subject}\n\nOn Friday.\n"
    sent = lab.send(letter, sender=ALICE, to=f"{name}@{LISTS}")
    assert [outcome.state for outcome in sent.wait(60).values()] == ["delivered"]
    return until(lambda: copies(lab, FRANK, subject) or None, 60)[0]


def found_by(lab: Lab, stored: bytes) -> dict[str, Any]:
    """What a filter finds that trusts the list's seal."""
    return judged(lab, stored, "lab-mx", (LISTS,))


def test_a_post_of_a_reject_domain_is_to_be_lost(shared_lab: Lab) -> None:
    """Tag and footer break her signature, and the list does not send for her: the classical misjudgement."""
    found = found_by(shared_lab, posted(shared_lab, "friends"))
    assert (found["spf"], found["dkim"]) == ("pass", [["fail", "example.com"]])
    assert found["dmarc"] == ["fail", "reject"]


def test_with_the_list_as_author_it_is_kept(shared_lab: Lab) -> None:
    """The list's own signature is the author's."""
    copy = posted(shared_lab, "choir")
    found = found_by(shared_lab, copy)
    assert ["pass", LISTS] in found["dkim"]
    assert found["dmarc"][1] == "none"
    assert f"Alice via choir <choir@{LISTS}>".encode() in copy


def test_with_a_seal_it_is_kept(shared_lab: Lab) -> None:
    """It is Alice's as before, and fails as before; the list vouches that it passed when it came."""
    copy = posted(shared_lab, "chess")
    found = found_by(shared_lab, copy)
    assert found["dkim"] == [["fail", "example.com"]]
    assert found["dmarc"] == ["fail", "none"]
    assert "arc=pass" in found["header"]
    assert f"From: Alice <{ALICE}>".encode() in copy
    assert judged(shared_lab, copy, "lab-mx")["dmarc"] == ["fail", "reject"], (
        "somebody who does not trust the list"
    )


def test_what_bob_s_filter_does_with_them(shared_lab: Lab) -> None:
    """Without a remedy his copy is lost; with either he has it."""
    for name in ("friends", "choir", "chess"):
        posted(shared_lab, name)
        reason = until(partial(verdict, shared_lab, name), 60)
        if name == "friends":
            assert reason == "DMARC: example.com asks to reject what does not prove to be its own"
            assert not copies(shared_lab, BOB, f"rehearsal of the {name}")
        else:
            assert until(partial(new, shared_lab, f"rehearsal of the {name}"), 60)


def verdict(lab: Lab, name: str) -> str | None:
    """Why bob's copy of the last post to a list was passed or not, by the filter's event; None before it."""
    told = list(events(lab.run / "events.jsonl"))
    posts = [event for event in told if event["kind"] == "list" and event["list"] == f"{name}@{LISTS}"]
    traces = Traces(told, {host.fqdn: host.name for host in lab.plan.hosts})
    found = traces.verdict(("lists", posts[-1]["id"]), BOB)
    return str(found["reason"]) if isinstance(found, dict) else None


def test_somebody_leaves_and_joins_by_mail(shared_lab: Lab) -> None:
    """Each time he confirms, by an answer to the list's letter."""
    journal = shared_lab.run / "hosts/lists/lists" / f"friends@{LISTS}.journal"
    for wish, word in (("unsubscribe", "you have left friends"), ("subscribe", "welcome to friends")):
        before = cookies(shared_lab)
        write(shared_lab, f"friends-{wish}")
        (asked,) = until(partial(new_cookies, shared_lab, before), 60)
        write(shared_lab, f"friends-confirm+{asked}")
        until(partial(new, shared_lab, word), 60)
        assert json.loads(journal.read_text().splitlines()[-1])["did"] == f"{wish}d"


def new(lab: Lab, subject: str) -> list[bytes] | None:
    return copies(lab, BOB, subject) or None


def new_cookies(lab: Lab, before: set[str]) -> set[str] | None:
    return cookies(lab) - before or None


def cookies(lab: Lab) -> set[str]:
    """What bob has been asked to confirm."""
    asked = b"".join(copies(lab, BOB, "confirm"))
    return {found.decode() for found in re.findall(rb"<friends-confirm\+([0-9a-f]+)@", asked)}


def write(lab: Lab, to: str) -> None:
    """Bob writes to one of the list's addresses."""
    sent = lab.send(f"From: {BOB}\nSubject: please\n\nx\n", sender=BOB, to=f"{to}@{LISTS}")
    assert [outcome.state for outcome in sent.wait(60).values()] == ["delivered"]
