"""A post as the members of a list get it."""

from __future__ import annotations

import email
import email.policy
from dataclasses import replace
from email.message import EmailMessage, Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.lists.posts import distributed, identifiers
from tests.unit.lists.friends import ALICE, FRIENDS, LETTER, letter

FOOTER = "Mail to everybody: friends@lists.example.net"


def read(content: bytes) -> EmailMessage:
    return email.message_from_bytes(content, policy=email.policy.default)


def texts(message: Message) -> list[str]:
    parts = [part.get_payload(decode=True) for part in message.walk() if not part.is_multipart()]
    return [part.decode("utf-8", "replace") for part in parts if isinstance(part, bytes)]


def test_a_post_says_which_list_it_is_from() -> None:
    """RFC 2369 and RFC 2919; and how to leave."""
    message = read(distributed(FRIENDS, LETTER))
    assert message["List-Id"] == "Friends <friends.lists.example.net>"
    assert message["List-Post"] == "<mailto:friends@lists.example.net>"
    assert message["List-Unsubscribe"] == "<mailto:friends-unsubscribe@lists.example.net>"
    assert message["Subject"] == "[Friends] lunch"
    assert message["From"] == "Alice <alice@example.com>"
    assert FOOTER in texts(message)[0]


def test_a_list_may_leave_the_message_as_it_is() -> None:
    """Without tag and footer only fields are added: the author's signature holds."""
    changed = distributed(replace(FRIENDS, tag=False, footer=False), LETTER)
    header, _, body = LETTER.partition(b"\r\n\r\n")
    assert changed.startswith(header + b"\r\n")
    assert changed.endswith(b"\r\n\r\n" + body)


def test_what_another_list_said_of_itself_is_replaced() -> None:
    """One List-Id; but where it has been is kept, or loops could not be seen."""
    theirs = letter(ALICE, "List-Id: <other.example>", "X-BeenThere: other@example", "List-Help: <mailto:x>")
    message = read(distributed(FRIENDS, theirs))
    assert message.get_all("List-Id") == ["Friends <friends.lists.example.net>"]
    assert len(message.get_all("List-Help", [])) == 1
    assert identifiers(message.as_bytes()) >= {"other@example", "friends@lists.example.net"}


@pytest.mark.parametrize(
    ("subject", "tagged"),
    [
        pytest.param("lunch", "[Friends] lunch", id="plain"),
        pytest.param("Re: [Friends] lunch", "Re: [Friends] lunch", id="there already"),
        pytest.param("=?utf-8?q?caf=C3=A9?=", "[Friends] café", id="encoded"),
        pytest.param("=?utf-8?q?=5BFriends=5D_caf=C3=A9?=", "[Friends] café", id="there, encoded"),
        pytest.param("a\r\n folded", "[Friends] a folded", id="folded"),
        pytest.param("=?none?b?????=", "[Friends] =?none?b?????=", id="garbled"),
    ],
)
def test_the_subject_gets_a_tag_once(subject: str, tagged: str) -> None:
    """The rest of it stays as it is written."""
    raw = distributed(FRIENDS, letter(ALICE, subject=subject))
    if "none" in subject:
        assert f"Subject: {tagged}\r\n".encode() in raw
    else:
        assert read(raw)["Subject"] == tagged


def test_a_message_without_a_subject_gets_one() -> None:
    """So that the tag is there."""
    assert b"Subject: [Friends] (no subject)\r\n" in distributed(FRIENDS, b"From: a@b.c\r\n\r\nx\r\n")


def test_the_list_becomes_the_author() -> None:
    """Who wrote it is in the name, and gets the replies."""
    message = read(distributed(replace(FRIENDS, rewrite_from=True), LETTER))
    assert message["From"] == "Alice via Friends <friends@lists.example.net>"
    assert message["Reply-To"] == "alice@example.com"


def test_the_author_s_own_reply_to_is_kept() -> None:
    """Where somebody wants replies to go is theirs to say."""
    message = read(distributed(replace(FRIENDS, rewrite_from=True), letter(ALICE, "Reply-To: x@y.z")))
    assert message.get_all("Reply-To") == ["x@y.z"]
    assert message["From"] == "alice via Friends <friends@lists.example.net>"


def _html() -> EmailMessage:
    message = EmailMessage()
    message["From"] = ALICE
    message.set_content("grüße", cte="base64")
    return message


def _alternative() -> EmailMessage:
    message = EmailMessage()
    message["From"] = ALICE
    message.set_content("hello")
    message.add_alternative("<p>hello</p>", subtype="html")
    return message


def _mixed() -> EmailMessage:
    message = _alternative()
    message.add_attachment(b"\x00\x01", maintype="application", subtype="octet-stream", filename="a.bin")
    return message


def _quoted() -> EmailMessage:
    message = EmailMessage()
    message["From"] = ALICE
    message.set_content("naïve = simple", cte="quoted-printable")
    return message


@pytest.mark.parametrize("make", [_html, _alternative, _mixed, _quoted])
def test_the_footer_is_there_whatever_the_message_is_made_of(make: object) -> None:
    """And all that was there before reads as before."""
    original = make().as_bytes(policy=email.policy.SMTP)  # type: ignore[operator]
    before, after = texts(read(original)), texts(read(distributed(FRIENDS, original)))
    assert FOOTER in after[-1]
    assert [text.strip() for text in before] == [
        text.split("_" * 47)[0].strip() for text in after[: len(before)]
    ]


_PIECES = st.sampled_from(
    [
        *(b"From: a@example.com\r\n", b"Subject: x\r\n", b"Subject:\r\n", b"broken\r\n", b"\r\n", b" \r\n"),
        *(b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Type: multipart/mixed\r\n"),
        *(
            b"Content-Transfer-Encoding: quoted-printable\r\n",
            b"--b\r\n",
            b"--b--",
            b"=\r\n",
            b"\xff\xfe\r\n",
        ),
        *(b"Content-Type: text/plain; charset=utf-16\r\n", b"From: =?x?q?\xff?= <\r\n", b":\r\n"),
    ]
)


@given(st.lists(_PIECES, max_size=8).map(b"".join), st.booleans())
def test_any_message_can_be_distributed(content: bytes, rewrite: bool) -> None:
    """Broken ones too: the list's own fields are there, and the body is not lost."""
    changed = distributed(replace(FRIENDS, rewrite_from=rewrite), content)
    header, found, body = changed.partition(b"\r\n\r\n")
    assert found
    assert b"List-Id: Friends <friends.lists.example.net>" in header
    assert content.partition(b"\r\n\r\n")[2].strip() in body or b"--b--" in content
