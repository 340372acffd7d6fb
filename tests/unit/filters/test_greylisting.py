"""Greylisting: who is put off, for how long, and who is not any more."""

from __future__ import annotations

import pytest

from services.filters.greylisting import Greylist, Terms

DAY = 86400.0
ALICE, BOB = "alice@example.com", "bob@example.org"


@pytest.mark.parametrize(
    ("attempts", "waits"),
    [
        pytest.param([0], [300], id="a stranger is put off"),
        pytest.param([0, 100], [300, 200], id="one who comes again at once, too"),
        pytest.param([0, 300, 301], [300, 0, 0], id="one who waits is taken, and known from then on"),
        pytest.param([0, 3 * DAY], [300, 300], id="one who comes again too late is a stranger"),
        pytest.param(
            [0, 400, 30 * DAY, 60 * DAY], [300, 0, 0, 0], id="one who writes now and then stays known"
        ),
        pytest.param([0, 400, 40 * DAY], [300, 0, 300], id="one who has not written for long is forgotten"),
    ],
)
def test_attempts(attempts: list[float], waits: list[float]) -> None:
    """Attempts with the same message from the same client, by their times."""
    greylist = Greylist(Terms())
    assert [greylist.waits("198.18.1.10", ALICE, BOB, now) for now in attempts] == waits


@pytest.mark.parametrize(
    ("client", "sender", "recipient", "waits"),
    [
        pytest.param("198.18.1.99", ALICE, BOB, 0, id="a neighbour of the client"),
        pytest.param("198.18.1.10", "Alice@Example.com", "BOB@example.org", 0, id="in capitals"),
        pytest.param("198.18.2.10", ALICE, BOB, 300, id="another network"),
        pytest.param("198.18.1.10", "", BOB, 300, id="another sender: the null reverse-path"),
        pytest.param("198.18.1.10", ALICE, "dave@example.org", 300, id="another recipient"),
    ],
)
def test_who_is_known(client: str, sender: str, recipient: str, waits: float) -> None:
    """Network, sender and recipient together."""
    greylist = Greylist(Terms())
    greylist.waits("198.18.1.10", ALICE, BOB, 0)
    assert greylist.waits("198.18.1.10", ALICE, BOB, 300) == 0
    assert greylist.waits(client, sender, recipient, 301) == waits


def test_a_mail_server_is_trusted() -> None:
    """A network that has come again five times is put off no more, whoever writes."""
    greylist = Greylist(Terms())
    for number in range(5):
        assert greylist.waits("198.18.1.10", f"{number}@example.com", BOB, 0) == 300
    for number in range(5):
        assert greylist.waits("198.18.1.10", f"{number}@example.com", BOB, 400) == 0
    assert greylist.waits("198.18.1.11", "new@example.com", BOB, 500) == 0
    assert greylist.waits("198.18.3.1", "new@example.com", BOB, 500) == 300
    assert greylist.waits("198.18.1.11", "newer@example.com", BOB, 500 + 36 * DAY) == 300
