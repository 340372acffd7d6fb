"""What comes of mail to a list's addresses."""

from __future__ import annotations

import pytest

from services.lists.settings import Purpose, may_be_member, returned_for
from tests.unit.lists.friends import ALICE, BOB, EVE, FRIENDS, World, letter

NOTICE = b"Content-Type: multipart/report\r\n\r\nFinal-Recipient: rfc822;bob@example.org\r\nAction: "


def test_every_member_gets_a_copy_with_a_reverse_path_of_their_own() -> None:
    """The author is a member like the others."""
    decision = World().gets()
    assert decision.action == "posted"
    assert [(one.sender, one.recipient) for one in decision.outgoing] == [
        ("friends-bounces+alice=example.com@lists.example.net", ALICE),
        ("friends-bounces+bob=example.org@lists.example.net", BOB),
    ]
    assert len({one.content for one in decision.outgoing}) == 1


def test_a_message_that_comes_again_after_a_crash_is_not_distributed_again() -> None:
    """Its queue id is in the journal."""
    world = World()
    world.gets(queue_id="SAME")
    assert world.gets(queue_id="SAME").outgoing == ()


def test_strangers_may_not_write_and_are_told() -> None:
    """The answer is from the null reverse-path, to the one that the message came from."""
    decision = World().gets(sender=EVE)
    (answer,) = decision.outgoing
    assert (decision.action, answer.sender, answer.recipient) == ("refused", "", EVE)
    assert b"Auto-Submitted: auto-replied" in answer.content


def test_a_list_for_everybody_takes_posts_of_strangers() -> None:
    """It is a matter of the list's settings."""
    assert World(posting="anyone").gets(sender=EVE).action == "posted"


@pytest.mark.parametrize(
    ("sender", "field", "action"),
    [
        pytest.param("", "X: y", "ignored", id="a bounce"),
        pytest.param(ALICE, "Auto-Submitted: auto-replied (holiday)", "ignored", id="on holiday"),
        pytest.param(ALICE, "X-BeenThere: friends@lists.example.net", "looped", id="been there"),
        pytest.param(ALICE, "List-Id: Friends <FRIENDS.lists.example.net>", "looped", id="our identifier"),
        pytest.param(ALICE, "Auto-Submitted: auto-generated", "posted", id="a machine that reports"),
        pytest.param(ALICE, "Auto-Submitted: no", "posted", id="a person, expressly"),
        pytest.param(ALICE, "X-BeenThere: others@lists.example.net", "posted", id="by way of another list"),
    ],
)
def test_what_would_go_round_in_circles_is_stopped(sender: str, field: str, action: str) -> None:
    """Nothing is sent, to nobody."""
    decision = World().gets(sender=sender, content=letter(ALICE, field))
    assert decision.action == action
    assert bool(decision.outgoing) == (action == "posted")


def test_two_lists_on_each_other_do_not_loop() -> None:
    """What one has sent to the other comes back once, and ends there."""
    first = World(members=(ALICE, "others@lists.example.net"))
    second = World(address="others@lists.example.net", members=(ALICE, "friends@lists.example.net"))
    copy = first.gets().outgoing[1]
    back = second.gets(sender=copy.sender, content=copy.content).outgoing[1]
    assert back.recipient == "friends@lists.example.net"
    assert first.gets(sender=back.sender, content=back.content).action == "looped"


def test_one_is_on_the_list_once_it_is_confirmed() -> None:
    """Asked, cookie sent to the address, confirmed from there, welcomed."""
    world = World()
    asked = world.gets("subscribe", sender=EVE)
    assert (asked.action, [one.recipient for one in asked.outgoing]) == ("asked", [EVE])
    assert b'From: "friends list" <friends-confirm+c1@lists.example.net>' in asked.outgoing[0].content
    assert EVE not in world.roster
    assert world.gets("confirm", sender=EVE, detail="c1").action == "subscribed"
    assert EVE in world.roster.reached()
    assert world.gets("confirm", sender=EVE, detail="c1").action == "unknown-cookie"


def test_one_is_off_the_list_once_it_is_confirmed() -> None:
    """Nobody takes another off it: the cookie goes to who is to leave."""
    world = World()
    asked = world.gets("unsubscribe", sender=EVE, content=letter(BOB))
    assert asked.outgoing[0].recipient == BOB
    assert world.gets("confirm", sender=BOB, detail="c1").action == "unsubscribed"
    assert world.roster.reached() == [ALICE]


def test_an_old_cookie_is_good_for_nothing() -> None:
    """It can be asked for again."""
    world = World()
    world.gets("subscribe", sender=EVE)
    world.now += world.settings.cookie_life_s
    assert world.gets("confirm", sender=EVE, detail="c1").action == "unknown-cookie"
    assert world.gets("subscribe", sender=EVE).action == "asked"


def test_a_stranger_cannot_flood_somebody_with_cookies() -> None:
    """It is the same one, three times at most while it is good."""
    world = World()
    actions = [world.gets("subscribe", sender=EVE) for _ in range(5)]
    assert [one.action for one in actions] == ["asked", "asked", "asked", "ignored", "ignored"]
    assert {one.entries[0].cookie for one in actions[:3]} == {"c1"}


@pytest.mark.parametrize(
    ("purpose", "sender", "action"),
    [
        pytest.param("subscribe", ALICE, "unchanged", id="on it already"),
        pytest.param("unsubscribe", EVE, "unchanged", id="not on it"),
        pytest.param("confirm", EVE, "unknown-cookie", id="nothing to confirm"),
        pytest.param("request", EVE, "helped", id="no command"),
        pytest.param(
            "subscribe", '"e v e"@example.net', "ignored", id="an address that fits no reverse-path"
        ),
    ],
)
def test_what_changes_nothing_is_said(purpose: Purpose, sender: str, action: str) -> None:
    """Nothing is written down."""
    decision = World().gets(purpose, sender=sender)
    assert (decision.action, decision.entries) == (action, ())


@pytest.mark.parametrize(("command", "wish"), [("subscribe", "subscribe"), ("Leave please", "unsubscribe")])
def test_commands_in_the_subject(command: str, wish: str) -> None:
    """The -request address takes them."""
    who = EVE if wish == "subscribe" else BOB
    decision = World().gets("request", sender=who, content=letter(who, subject=command))
    assert [entry.wish for entry in decision.entries] == [wish]


@pytest.mark.parametrize("purpose", ["subscribe", "unsubscribe", "confirm", "request"])
@pytest.mark.parametrize("field", ["Auto-Submitted: auto-replied", "Precedence: bulk", "List-Id: <x.y>"])
def test_machines_get_no_answer(purpose: Purpose, field: str) -> None:
    """Two machines would talk for ever; and a holiday notice confirms nothing."""
    world = World()
    world.gets("subscribe", sender=EVE)
    decision = world.gets(purpose, sender=EVE, content=letter(EVE, field), detail="c1")
    assert (decision.action, decision.outgoing, EVE in world.roster) == ("ignored", (), False)


def test_enough_bounces_disable_a_member_and_the_owner_is_told() -> None:
    """The member stays on the list and gets nothing, until they subscribe again."""
    world = World(bounce_limit=3)
    actions = [
        world.gets("bounces", sender="", content=NOTICE + b"failed\r\n", detail="bob=example.org")
        for _ in range(3)
    ]
    assert [one.action for one in actions] == ["bounced", "bounced", "disabled"]
    assert actions[2].outgoing[0].recipient == "postmaster@lists.example.net"
    assert world.roster.reached() == [ALICE]
    assert world.gets("subscribe", sender=BOB).action == "asked"
    world.gets("confirm", sender=BOB, detail="c1")
    assert world.roster.reached() == [ALICE, BOB]


def test_bounces_far_apart_do_not_add_up() -> None:
    """One that comes long after the last is the first again."""
    world = World(bounce_limit=2)
    for _ in range(4):
        assert world.gets("bounces", sender="", detail="bob=example.org").action == "bounced"
        world.now += world.settings.bounce_window_s + 1


@pytest.mark.parametrize(
    ("sender", "content", "detail"),
    [
        pytest.param("", NOTICE + b"delayed\r\n", "bob=example.org", id="only late"),
        pytest.param("", NOTICE + b"relayed\r\n", "bob=example.org", id="relayed"),
        pytest.param(BOB, letter(BOB), "bob=example.org", id="a holiday notice"),
        pytest.param("", NOTICE + b"failed\r\n", "eve=example.net", id="of somebody else"),
        pytest.param("", NOTICE + b"failed\r\n", "nonsense", id="of nobody"),
    ],
)
def test_what_is_no_bounce_of_a_member_counts_for_nothing(sender: str, content: bytes, detail: str) -> None:
    """Nothing is written down, nobody is told."""
    decision = World(bounce_limit=1).gets("bounces", sender=sender, content=content, detail=detail)
    assert (decision.action, decision.entries, decision.outgoing) == ("ignored", (), ())


def test_the_owner_gets_the_owner_s_mail() -> None:
    """What bounces then comes back to the list, and ends there."""
    world = World(owner=EVE)
    (going,) = world.gets("owner", sender=BOB).outgoing
    assert (going.sender, going.recipient) == ("friends-bounces@lists.example.net", EVE)
    assert world.gets("bounces", sender="").outgoing == ()


@pytest.mark.parametrize("member", [ALICE, "a+b=c@example.com", "o'neil@example.com"])
def test_a_reverse_path_names_its_member(member: str) -> None:
    """Whatever signs the address has."""
    detail = FRIENDS.return_path(member).partition("+")[2].rpartition("@")[0]
    assert may_be_member(member)
    assert returned_for(detail) == member
