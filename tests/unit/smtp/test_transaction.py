"""What a client says for one message, and what it makes of the replies; written as transcripts."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.smtp.address import parse_address
from services.smtp.envelope import Envelope, Wishes
from services.smtp.replies import Reply, parse_reply
from services.smtp.transaction import Transaction

ALICE, BOB, EVE = map(parse_address, ("alice@example.com", "bob@example.org", "eve@example.org"))
CONTENT = b"Subject: x\r\n\r\nx\r\n"
PIPELINING = {"pipelining": ""}


def converse(transaction: Transaction, replies: str) -> list[str]:
    """Hold the conversation with a server that says these replies, one a line; return what was written.

    A line is one write, its commands joined by ` / `; `the message` stands for that. If the replies are used
    up, the connection is lost.
    """
    written = []
    left = [
        parse_reply(int(line.split()[0]), line.partition(" ")[2]) if line[:3] != "354" else Reply(354, "", "")
        for line in map(str.strip, replies.strip().splitlines())
    ]
    while step := transaction.step():
        commands = step.commands.decode().removesuffix("\r\n").replace("\r\n", " / ")
        written.append("the message" if step.message else commands)
        given, left = left[: step.replies], left[step.replies :]
        if given:
            transaction.take(given)
        if len(given) < step.replies and not transaction.broken:
            transaction.fail(Reply(451, "4.4.2", "lost"))
    return written


def transaction(
    offered: Mapping[str, str] = PIPELINING, *, reset: bool = False, content: bytes = CONTENT
) -> Transaction:
    envelope = Envelope(sender=ALICE, recipients=(BOB, EVE))
    return Transaction(envelope, content, offered, reset=reset)


ENVELOPE = "MAIL FROM:<alice@example.com> / RCPT TO:<bob@example.org> / RCPT TO:<eve@example.org> / DATA"


@pytest.mark.parametrize(
    ("replies", "written", "bob", "eve", "left_open", "broken"),
    [
        pytest.param(
            "250 ok\n250 ok\n250 ok\n354 go\n250 taken",
            [ENVELOPE, "the message"],
            "250 taken", "250 taken", False, False, id="both are taken",
        ),
        pytest.param(
            "250 ok\n250 ok\n550 5.1.1 who\n354 go\n250 taken",
            [ENVELOPE, "the message"],
            "250 taken", "550 5.1.1 who", False, False, id="one of them",
        ),
        pytest.param(
            "250 ok\n450 later\n550 5.1.1 who\n554 5.5.1 nobody",
            [ENVELOPE],
            "450 later", "550 5.1.1 who", True, False, id="none, and DATA is refused",
        ),
        pytest.param(
            "250 ok\n450 later\n550 5.1.1 who\n354 go\n554 5.5.1 nobody",
            [ENVELOPE, "."],
            "450 later", "550 5.1.1 who", False, False, id="none, and DATA is taken (RFC 2920 §3.1)",
        ),
        pytest.param(
            "451 4.7.1 later\n503 x\n503 x\n503 x",
            [ENVELOPE],
            "451 4.7.1 later", "451 4.7.1 later", False, False, id="MAIL is refused",
        ),
        pytest.param(
            "451 4.7.1 later\n250 x\n250 x\n354 x\n250 x",
            [ENVELOPE, "."],
            "451 4.7.1 later", "451 4.7.1 later", False, False, id="only MAIL is refused",
        ),
        pytest.param(
            "250 ok\n550 5.1.1 who\n421 4.3.2 closing",
            [ENVELOPE],
            "550 5.1.1 who", "421 4.3.2 closing", True, True, id="421 amid the envelope",
        ),
        pytest.param(
            "250 ok\n250 ok\n250 ok\n451 4.3.0 no",
            [ENVELOPE],
            "451 4.3.0 no", "451 4.3.0 no", True, False, id="DATA is refused",
        ),
        pytest.param(
            "250 ok\n250 ok\n250 ok\n250 what",
            [ENVELOPE],
            "451 4.5.0 unexpected reply: 250 what", "451 4.5.0 unexpected reply: 250 what", True, True,
            id="250 to DATA",
        ),
        pytest.param(
            "250 ok\n250 ok\n552 5.5.3 too many\n354 go\n452 4.3.1 full",
            [ENVELOPE, "the message"],
            "452 4.3.1 full", "452 4.5.3 too many", False, False, id="552 to a recipient is 452",
        ),
        pytest.param(
            "250 ok\n250 ok",
            [ENVELOPE],
            "451 4.4.2 lost", "451 4.4.2 lost", True, True, id="lost amid the envelope",
        ),
        pytest.param(
            "250 ok\n250 ok\n550 5.1.1 who\n354 go",
            [ENVELOPE, "the message"],
            "451 4.4.2 lost", "550 5.1.1 who", True, True, id="the final reply is lost",
        ),
    ],
)  # fmt: skip
def test_one_group(
    replies: str, written: list[str], bob: str, eve: str, left_open: bool, broken: bool
) -> None:
    """With PIPELINING the envelope goes in one write; each recipient has the reply that decided."""
    one = transaction()
    assert converse(one, replies) == written
    assert {str(address): str(reply) for address, reply in one.replies.items()} == {
        "bob@example.org": bob,
        "eve@example.org": eve,
    }
    assert (one.open, one.broken) == (left_open, broken)


def test_what_may_have_arrived() -> None:
    """Only a message whose final reply was lost may have arrived without a word."""
    lost, early = transaction(), transaction()
    converse(lost, "250 ok\n250 ok\n250 ok\n354 go")
    converse(early, "250 ok\n250 ok")
    assert (lost.sent, early.sent) == (True, False)


def test_one_after_the_other() -> None:
    """Without PIPELINING each command waits, and DATA is not said when nobody was taken."""
    one = transaction({}, reset=True)
    written = ["RSET", *ENVELOPE.split(" / ")]
    assert converse(one, "250 reset\n250 ok\n550 no\n550 no") == written[:-1]
    assert converse(transaction({}, reset=True), "250 reset\n450 no") == written[:2]
    assert converse(transaction({}), "250 ok\n250 ok\n550 no\n354 go\n250 taken") == [
        *written[1:],
        "the message",
    ]


def test_the_end_of_an_earlier_one() -> None:
    """RSET goes with the rest, and ends what was open."""
    one = transaction(reset=True)
    assert converse(one, "250 reset\n451 no\n503 x\n503 x\n503 x") == [f"RSET / {ENVELOPE}"]
    assert not one.open


@pytest.mark.parametrize(
    "content", [b"a\nb\r\n", b"a\r\n.\nb\r\n", b"a\rb\r\n", b"a\n.\r\n\r\nb\r\n", b"\r\r\n"]
)
def test_bare_line_ends_stay_here(content: bytes) -> None:
    """A message that two servers could read differently is not sent at all (RFC 5321 §2.3.8)."""
    one = transaction(content=content)
    assert converse(one, "") == []
    assert {reply.enhanced for reply in one.replies.values()} == {"5.6.0"}


@pytest.mark.parametrize(
    ("offered", "expected"),
    [
        pytest.param(
            {"dsn": "", "pipelining": ""},
            "MAIL FROM:<alice@example.com> RET=HDRS ENVID=a+2Bb"
            " / RCPT TO:<bob@example.org> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob+2Bx@example.org"
            " / RCPT TO:<eve@example.org> / DATA",
            id="offered",
        ),
        pytest.param(PIPELINING, ENVELOPE, id="not offered"),
    ],
)
def test_what_a_sender_wishes_to_be_told(offered: dict[str, str], expected: str) -> None:
    """RET, ENVID, NOTIFY and ORCPT travel on as they came, to a server that offers DSN (RFC 3461 §5.2.1)."""
    wishes = Wishes(notify=("SUCCESS", "FAILURE"), orcpt="rfc822;bob+2Bx@example.org")
    envelope = Envelope(sender=ALICE, recipients=(BOB, EVE), ret="HDRS", envid="a+2Bb", wishes={BOB: wishes})
    assert converse(Transaction(envelope, CONTENT, offered), "421 no") == [expected]


@given(
    st.lists(st.sampled_from([250, 251, 354, 421, 450, 452, 500, 503, 550, 552, 554, 334, 220]), max_size=9),
    st.booleans(),
    st.sets(st.sampled_from(["pipelining", "dsn", "smtputf8"])),
)
def test_whatever_a_server_says(codes: list[int], reset: bool, offered: set[str]) -> None:
    """Each recipient has one reply; a positive one only if the message went out whole and was taken then."""
    left = [Reply(code, "", "said") for code in codes]
    one = transaction(dict.fromkeys(offered, ""), reset=reset)
    final: Reply | None = None
    for _ in range(20):
        step = one.step()
        if step is None:
            break
        given, left = left[: step.replies], left[step.replies :]
        closed = next((n for n, reply in enumerate(given, 1) if reply.code == 421), None)
        given = given[:closed]
        if given:
            one.take(given)
        if step.message and given:
            final = given[0]
        if len(given) < step.replies:
            one.fail(Reply(451, "4.4.2", "lost"))
    assert one.step() is None
    assert set(one.replies) == {BOB, EVE}
    taken = {address for address, reply in one.replies.items() if reply.positive}
    assert not taken or (final is not None and final.positive)
    assert all(reply.code >= 400 or reply.positive for reply in one.replies.values())
    assert one.broken or not one.sent
