"""Messages followed through the events of services."""

from __future__ import annotations

from itertools import permutations

import pytest

from mailbed.tracking import Outcome, Tracker

HOSTS = {"198.18.2.10": "rcpt-mx", "rcpt-mx.example.org": "rcpt-mx", "10.1.0.2": "corp-hub"}


def event(text: str, **fields: object) -> dict[str, object]:
    """An event written as `HOST KIND ID RECIPIENT`, with more fields."""
    host, kind, number, recipient = text.split()
    return {"time": 1.5, "host": host, "kind": kind, "id": number, "recipient": recipient, **fields}


def relayed(text: str, host: str, remote: str, **fields: object) -> dict[str, object]:
    """A `relayed` event, `HOST ID RECIPIENT`: to an address or a name, under the queue id there."""
    where, number, recipient = text.split()
    return event(f"{where} relayed {number} {recipient}", next_address=host, remote_id=remote, **fields)


def accepted(text: str, **rewritten: list[str]) -> dict[str, object]:
    """An `accepted` event, `HOST ID`, with whom each recipient at example.org stands for."""
    host, number = text.split()
    named = {f"{name}@example.org": reached for name, reached in rewritten.items()}
    return {"time": 1.5, "host": host, "kind": "accepted", "id": number, "rewritten": named}


def outcome(*events: dict[str, object], recipient: str = "bob@example.org") -> Outcome:
    """What became of the message that corp-mta queued as A1."""
    tracker = Tracker(HOSTS)
    for each in events:
        tracker.learn(each)
    return tracker.outcome(("corp-mta", "A1"), recipient)


RELAYED = relayed("corp-mta A1 bob@example.org", "198.18.2.10", "B2")
DELIVERED = event("rcpt-mx delivered B2 bob@example.org", file="mail/x", reply="250 ok")


@pytest.mark.parametrize(
    ("events", "state", "path"),
    [
        pytest.param([], "pending", "corp-mta", id="nothing is known"),
        pytest.param([event("corp-mta delivered A1 bob@example.org")], "delivered", "corp-mta", id="local"),
        pytest.param([RELAYED], "pending", "corp-mta rcpt-mx", id="on its way"),
        pytest.param([RELAYED, DELIVERED], "delivered", "corp-mta rcpt-mx", id="arrived"),
        pytest.param(
            [event("corp-mta deferred A1 bob@example.org")], "deferred", "corp-mta", id="waiting in a queue"
        ),
        pytest.param(
            [event("corp-mta deferred A1 bob@example.org"), RELAYED, DELIVERED],
            "delivered",
            "corp-mta rcpt-mx",
            id="waited, and arrived",
        ),
        pytest.param(
            [RELAYED, event("rcpt-mx bounced B2 bob@example.org")],
            "bounced",
            "corp-mta rcpt-mx",
            id="bounced",
        ),
        pytest.param(
            [
                relayed("corp-mta A1 bob@example.org", "10.1.0.2", "C3"),
                relayed("corp-hub C3 bob@example.org", "198.18.2.10", "B2"),
                DELIVERED,
            ],
            "delivered",
            "corp-mta corp-hub rcpt-mx",
            id="through a hub",
        ),
        pytest.param(
            [event("corp-mta delivered A1 bob@example.org"), event("corp-mta deferred A1 bob@example.org")],
            "delivered",
            "corp-mta",
            id="what is final stays",
        ),
        pytest.param(
            [event("corp-mta delivered A1 dave@example.org")], "pending", "corp-mta", id="somebody else"
        ),
        pytest.param(
            [event("corp-mta delivered A9 bob@example.org")], "pending", "corp-mta", id="another message"
        ),
        pytest.param(
            [relayed("corp-mta A1 bob@example.org", "192.0.2.1", "X")],
            "pending",
            "corp-mta ?",
            id="to a stranger",
        ),
    ],
)
def test_an_outcome_is_read_from_events(events: list[dict[str, object]], state: str, path: str) -> None:
    """The chain of queue ids leads to where the message is, and names the hosts that had it."""
    found = outcome(*events)
    assert (found.state, " ".join(found.path), found.host) == (state, path, path.split()[-1])


def test_the_order_of_events_does_not_matter() -> None:
    """Events of different hosts may come in any order: the outcome is the same."""
    events = [
        relayed("corp-mta A1 bob@example.org", "10.1.0.2", "C3"),
        relayed("corp-hub C3 bob@example.org", "198.18.2.10", "B2"),
        DELIVERED,
    ]
    assert {outcome(*order) for order in permutations(events)} == {
        Outcome(
            recipient="bob@example.org",
            state="delivered",
            host="rcpt-mx",
            path=("corp-mta", "corp-hub", "rcpt-mx"),
            reply="250 ok",
            file="mail/x",
            time=1.5,
        )
    }


def test_recipients_part_ways() -> None:
    """Each recipient of one message has an outcome of its own."""
    tracker = Tracker(HOSTS)
    tracker.learn(RELAYED)
    tracker.learn(event("corp-mta delivered A1 carol@example.com"))
    assert tracker.outcome(("corp-mta", "A1"), "bob@example.org").state == "pending"
    assert tracker.outcome(("corp-mta", "A1"), "carol@example.com").state == "delivered"


@pytest.mark.parametrize(
    ("asked", "state"), [("bob@EXAMPLE.org", "delivered"), ("Bob@example.org", "pending")]
)
def test_domains_compare_without_case(asked: str, state: str) -> None:
    """The domain of an address compares without case, the local part with it (RFC 5321 §2.4)."""
    assert outcome(event("corp-mta delivered A1 bob@Example.Org"), recipient=asked).state == state


def test_a_next_host_is_known_by_its_name_too() -> None:
    """Without an address that is known, the name of the next host says which it is."""
    found = outcome(
        event("corp-mta relayed A1 bob@example.org", next_host="RCPT-MX.example.org", remote_id="B2"),
        DELIVERED,
    )
    assert found.path == ("corp-mta", "rcpt-mx")


def test_a_loop_ends() -> None:
    """Events that lead in a circle are no reason to run in one."""
    found = outcome(
        relayed("corp-mta A1 bob@example.org", "10.1.0.2", "C3"),
        event("corp-hub relayed C3 bob@example.org", next_host="corp-mta", remote_id="A1"),
    )
    assert found.state == "pending"


@pytest.mark.parametrize("kind", ["accepted", "rejected", "ready", "service-ended"])
def test_other_events_change_nothing(kind: str) -> None:
    """Events that are not about where a recipient's message is are passed over."""
    assert outcome({"time": 1.0, "host": "corp-mta", "kind": kind}).state == "pending"


@pytest.mark.parametrize(
    ("state", "settled"),
    [("delivered", True), ("bounced", True), ("refused", True), ("deferred", False), ("pending", False)],
)
def test_what_is_settled(state: str, settled: bool) -> None:
    """Nothing more happens to what was delivered, bounced or refused."""
    assert Outcome(recipient="b@c", state=state, host="a", path=("a",)).settled is settled


ALIAS = accepted("corp-mta A1", bob=["bob@example.org", "carol@example.com"])
BOB, CAROL = (f"corp-mta {{}} A1 {one}" for one in ("bob@example.org", "carol@example.com"))


@pytest.mark.parametrize(
    ("events", "state", "path"),
    [
        pytest.param([event(BOB.format("delivered"))], "pending", "corp-mta", id="not yet for all"),
        pytest.param(
            [event(BOB.format("delivered")), event(CAROL.format("delivered"))],
            "delivered", "corp-mta", id="for all",
        ),
        pytest.param(
            [event(BOB.format("bounced")), event(CAROL.format("delivered"))],
            "bounced", "corp-mta", id="not for one",
        ),
        pytest.param(
            [event(CAROL.format("delivered")), RELAYED, accepted("rcpt-mx B2", bob=["x@example.org"]),
             event("rcpt-mx deferred B2 x@example.org")],
            "deferred", "corp-mta rcpt-mx", id="an alias behind an alias",
        ),
    ],
)  # fmt: skip
def test_aliases(events: list[dict[str, object]], state: str, path: str) -> None:
    """Whoever writes to an alias hears of the unluckiest of those it stands for."""
    found = outcome(ALIAS, *events)
    assert (found.recipient, found.state, " ".join(found.path)) == ("bob@example.org", state, path)


def test_aliases_that_go_round_in_a_circle() -> None:
    """Hosts that hand a message to each other for ever have an outcome all the same."""
    there = relayed("corp-mta A1 x@example.org", "198.18.2.10", "B2")
    back = relayed("rcpt-mx B2 x@example.org", "10.1.0.2", "C3")
    assert outcome(accepted("corp-mta A1", bob=["x@example.org"]), there, back).state == "pending"


def test_what_a_filter_keeps_back() -> None:
    """A filter settles it with its reason; what is released goes on under another id of the same host."""
    there = relayed("corp-mta A1 bob@example.org", "198.18.2.10", "B1")
    kept = event("rcpt-mx quarantined B1 bob@example.org", reason="it holds Eicar", notice_id=None)
    found = outcome(there, kept)
    assert (found.state, found.host, found.reply) == ("quarantined", "rcpt-mx", "it holds Eicar")
    assert found.settled
    assert not found.told
    released = {
        "time": 2.0,
        "host": "rcpt-mx",
        "kind": "quarantine-released",
        "id": "B2",
        "quarantine_id": "B1",
        "recipients": ["bob@example.org"],
    }
    assert outcome(there, kept, released).state == "pending"
    delivered = event("rcpt-mx delivered B2 bob@example.org", file="x")
    assert outcome(there, kept, released, delivered).state == "delivered"
    assert outcome(event("corp-mta deleted A1 bob@example.org", reason="spam")).state == "deleted"
