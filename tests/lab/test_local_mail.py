"""What the sender's own server does with a message: mailboxes, details, aliases, and the rest goes on."""

from __future__ import annotations

import pytest

from mailbed import Lab

pytestmark = pytest.mark.topology("minimal")


def test_one_message_here_and_elsewhere(shared_lab: Lab) -> None:
    """An alias reaches its people, a detail its user, and who is elsewhere is routed: all at once."""
    to = ["info@example.com", "carol+lists@example.com", "bob@example.org"]
    sent = shared_lab.send("Subject: to all\n\nhello\n", sender="alice@example.com", to=to)
    outcomes = sent.wait()
    assert {name: (outcome.state, outcome.path) for name, outcome in outcomes.items()} == {
        "info@example.com": ("delivered", ("corp-mta",)),
        "carol+lists@example.com": ("delivered", ("corp-mta",)),
        "bob@example.org": ("delivered", ("corp-mta", "rcpt-mx")),
    }
    found = {
        file.parents[1].name: file.read_bytes()
        for file in shared_lab.run.glob("hosts/*/mail/*/*/new/*")
        if b"Subject: to all" in file.read_bytes()
    }
    assert sorted(found) == ["alice", "bob", "carol"]
    # The MSA adds what alice's program left out, once for all of them.
    for field in (b"\r\nDate: ", b"\r\nMessage-ID: <"):
        assert all(content.count(field) == 1 for content in found.values())


def test_an_alias_that_is_nobodys(shared_lab: Lab) -> None:
    """Who is neither a user nor an alias is refused while the sender still listens."""
    sent = shared_lab.send(
        "Subject: x\n\nx\n", sender="alice@example.com", to=["info@example.com", "nobody@example.com"]
    )
    assert sent.wait()["nobody@example.com"].state == "refused"
