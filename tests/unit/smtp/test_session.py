"""The server's core: what it does with what clients say, without a socket."""

from __future__ import annotations

import base64
import re
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.smtp.address import parse_address
from services.smtp.config import Alias, Domain, User
from services.smtp.envelope import Wishes
from tests.unit.smtp.running import ALICE, BOB
from tests.unit.smtp.talking import Talk, play, terms

BROKEN = sorted((Path(__file__).parent / "broken_sessions").glob("*.txt"))
LIMITS = {"error_limit": 20, "recipient_limit": 5, "size_limit": 2000, "line_limit": 1000}
EHLO = b"EHLO c.example\r\n"
MAIL = b"MAIL FROM:<a@example.com>\r\nRCPT TO:<bob@example.org>\r\n"


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_broken_sessions(path: Path) -> None:
    """Whatever a client does, each reply belongs to a command, and no message comes of what is none."""
    play(path.read_text(encoding="utf-8"), **LIMITS)


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_broken_sessions_octet_by_octet(path: Path) -> None:
    """What comes in many packets means the same, but that nobody can see who did not wait for a reply."""
    text = path.read_text(encoding="utf-8")
    if "not-waited" not in path.stem:
        play(text, piece=1, **LIMITS)


COMMANDS = [
    *(b"EHLO c.example", b"HELO c", b"NOOP", b"RSET", b"VRFY a", b"FOO", b"", b"STARTTLS", b"AUTH PLAIN ="),
    *(b"MAIL FROM:<a@example.com>", b"MAIL FROM:<> RET=FULL", b"MAIL FROM:<a@b> BODY=8BITMIME SIZE=9999"),
    *(b"RCPT TO:<bob@example.org>", b"RCPT TO:<eve@example.org>", b"RCPT TO:<a%b@example.org> NOTIFY=NEVER"),
    *(b"DATA", b"BDAT 3\r\na\r\n", b"BDAT 0 LAST", b"BDAT 2 LAST\r\n\r\n", b"BDAT 9999\r\n", b"BDAT x"),
    *(b"Subject: x", b".", b"..", b"a\n.", b"\r.", b"x" * 2500, b"QUIT now"),
]  # fmt: skip
SESSIONS = st.lists(st.sampled_from(COMMANDS) | st.binary(max_size=30), max_size=40).map(
    lambda lines: b"".join(line + b"\r\n" for line in lines)
)
REPLY = re.compile(rb"(?:220 mx|250-|250 mx|250 CHUNKING|334 |354 |([245])\d\d \1\.\d+\.\d+ )[ -~]*")


def run(octets: bytes, piece: int) -> Talk:
    talk = Talk(terms(**LIMITS))
    talk.say(octets, piece=piece)
    return talk


@given(SESSIONS, st.integers(1, 200))
def test_any_session(octets: bytes, piece: int) -> None:
    """Any octets at all get well-formed replies, with enhanced codes, and only whole messages are taken."""
    talk = run(EHLO + MAIL + octets, piece)
    assert all(map(REPLY.fullmatch, talk.replies.split(b"\r\n")[:-1])), talk.replies
    for message in talk.taken:
        assert message.envelope.recipients == (parse_address("bob@example.org"),)
        assert not re.search(rb"\r(?!\n)|(?<!\r)\n", message.content)
        assert len(message.content) <= LIMITS["size_limit"]


@given(SESSIONS, st.integers(1, 200))
def test_replies_do_not_depend_on_pieces(octets: bytes, piece: int) -> None:
    """However the octets are cut, the same is said and taken, as long as the client was in step."""
    whole, cut = run(EHLO + octets, len(octets) + 20), run(EHLO + octets, piece)
    if not (whole.closed or cut.closed):
        assert (cut.replies, cut.taken) == (whole.replies, whole.taken)


@given(SESSIONS)
def test_in_step_again(octets: bytes) -> None:
    """After whatever came, a client that ends its message and says RSET may begin anew."""
    talk = run(EHLO + octets, 50)
    talk.say(b"x" * 10_000 + b"\r\n.\r\n")  # the rest of a chunk, and the end of a message
    talk.say(b"*\r\nRSET\r\n")
    taken = len(talk.taken)
    said = talk.say(MAIL + b"DATA\r\n") + talk.say(b"A: b\r\n.\r\n")
    if not talk.closed:
        assert [line[:3] for line in said.splitlines()] == [b"250", b"250", b"354", b"250"]
        assert talk.taken[taken].content == b"A: b\r\n"


@pytest.mark.parametrize(
    ("octets", "content"),
    [
        (b"BDAT 6 LAST\r\na: b\r\n", b"a: b\r\n"),
        (b"BDAT 0 LAST\r\n", b""),
        (b"bdat 4\r\na: bBDAT 2 last\r\n\r\n", b"a: b\r\n"),
        (b"BDAT 5\r\n.\r\n.\rBDAT 1\r\n\nBDAT 0 LAST\r\n", b".\r\n.\r\n"),
        (b"BDAT 8 LAST\r\nDATA\r\n\r\n", b"DATA\r\n\r\n"),
    ],
)
def test_chunks(octets: bytes, content: bytes) -> None:
    """A message comes in chunks as they are, dots and commands in it included; each has its reply."""
    talk = run(EHLO + MAIL + octets + b"NOOP\r\n", 1000)
    assert [message.content for message in talk.taken] == [content]
    replies = talk.replies.split(b"\r\n")[:-1]
    chunks = octets.upper().count(b"BDAT")
    assert all(reply.startswith(b"250 2.0.0 ") for reply in replies[-chunks - 1 :])


def test_wishes() -> None:
    """What MAIL and RCPT say of reports goes with the message (RFC 3461)."""
    (message,) = run(
        EHLO + b"MAIL FROM:<a@example.com> RET=HDRS ENVID=Q+2B1\r\n"
        b"RCPT TO:<bob@example.org> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b+2Bx@a.b\r\nDATA\r\n.\r\n",
        1000,
    ).taken
    envelope = message.envelope
    assert (envelope.ret, envelope.envid) == ("HDRS", "Q+2B1")
    wishes = Wishes(notify=("SUCCESS", "FAILURE"), orcpt="rfc822;b+2Bx@a.b")
    assert dict(envelope.wishes) == {parse_address("bob@example.org"): wishes}


def reached(recipient: str, **values: object) -> list[str] | str:
    """Whom a recipient stands for, or the reply that refuses."""
    talk = Talk(terms(**values))
    said = talk.say(EHLO + f"MAIL FROM:<a@example.com>\r\nRCPT TO:<{recipient}>\r\n".encode())
    reply = said.decode().splitlines()[-1]
    if not reply.startswith("250"):
        return reply[:9]
    talk.say(b"DATA\r\n.\r\n")
    return [str(one) for one in talk.taken[0].envelope.recipients]


ALIASES = tuple(
    Alias(address=parse_address(name), to=tuple(map(parse_address, to)))
    for name, to in {
        "info@example.org": ["bob@example.org", "staff@example.org", "alice@example.com"],
        "staff@example.org": ["bob+work@example.org", "info@example.org"],
        "bob@example.org": ["bob@example.org", "carol@example.net"],
        "round@example.org": ["about@example.org"],
        "about@example.org": ["round@example.org"],
    }.items()
)


@pytest.mark.parametrize(
    ("recipient", "expected"),
    [
        ("bob@example.org", ["bob@example.org", "carol@example.net"]),
        ("Staff+x@example.org", ["bob@example.org", "carol@example.net", "alice@example.com"]),
        ("round@example.org", "550 5.1.1"),
        ("postmaster@example.org", ["postmaster@example.org"]),
        ("eve@example.org", "550 5.1.1"),
        ("alice@example.com", "550 5.7.1"),
    ],
)
def test_aliases(recipient: str, expected: list[str] | str) -> None:
    """An alias leads to people here and elsewhere, to each of them once, and never round in a circle."""
    assert reached(recipient, aliases=ALIASES) == expected


def test_an_alias_is_named_in_reports() -> None:
    """Reports tell the sender of the address that they know (RFC 3461 §5.2.7), and events say who it is."""
    talk = Talk(terms(aliases=ALIASES))
    talk.say(EHLO + b"MAIL FROM:<a@example.com>\r\nRCPT TO:<bob@example.org> NOTIFY=NEVER\r\nDATA\r\n.\r\n")
    (message,) = talk.taken
    assert set(message.envelope.wishes.values()) == {
        Wishes(notify=("NEVER",), orcpt="rfc822;bob@example.org")
    }
    assert message.rewritten == {"bob@example.org": ["bob@example.org", "carol@example.net"]}


OPEN = {
    "hostname": "open-1.example.net",
    "domains": (),
    "users": (),
    "relay_from": (ip_network("0.0.0.0/0"),),
    "source_routes": True,
}


@pytest.mark.parametrize(
    ("recipient", "expected"),
    [
        ("bob@example.org", "bob@example.org"),
        ("@open-1.example.net:bob@example.org", "bob@example.org"),
        ("@OPEN-1.example.net,@open-2.example.net:bob@example.org", "@open-2.example.net:bob@example.org"),
        ("@[198.18.20.10]:bob@example.org", "bob@example.org"),
        ("@open-2.example.net:bob@example.org", "@open-2.example.net:bob@example.org"),
        ("bob%example.org@open-1.example.net", "bob@example.org"),
        ("bob%example.org%open-2.example.net@open-1.example.net", "bob%example.org@open-2.example.net"),
        ("bob%example.org%open-1.example.net@[198.18.20.10]", "bob@example.org"),
        ("@open-1.example.net:bob%example.org@open-1.example.net", "bob@example.org"),
        ("bob%example.org@elsewhere.example", "bob%example.org@elsewhere.example"),
        ("bob%-x@open-1.example.net", "bob%-x@open-1.example.net"),
    ],
)
def test_open_relays_go_where_the_sender_says(recipient: str, expected: str) -> None:
    """A source route loses this host (RFC 821 §3.6), and `user%domain@here` becomes `user@domain`."""
    assert reached(recipient, **OPEN) == [expected]


@pytest.mark.parametrize(
    "recipient",
    [
        "carol@example.com", "@mx.example.org:carol@example.com", "@a.b,@c.d:carol@example.com",
        "carol%example.com@example.org", "carol%example.com@mx.example.org", "carol%example.com@example.net",
        '"carol@example.com"@example.org', "example.com!carol@example.org", "carol@[198.18.0.9]",
    ],
)  # fmt: skip
def test_no_other_host_relays_for_strangers(recipient: str) -> None:
    """However a stranger writes an address elsewhere, it is refused (550 5.7.1)."""
    domains = (Domain(name="example.org", kind="local"), Domain(name="example.net", kind="relay"))
    assert reached(recipient, domains=domains) == "550 5.7.1"


def plain(name: str, password: str) -> bytes:
    return b"AUTH PLAIN " + base64.b64encode(f"\0{name}\0{password}".encode()) + b"\r\n"


def signed_in(**values: object) -> Talk:
    talk = Talk(terms(submission=True, users=(ALICE, BOB), **values))
    talk.say(EHLO + b"STARTTLS\r\nNOOP injected\r\n")
    talk.say(EHLO)
    assert talk.say(plain("alice@example.com", "secret of alice")).startswith(b"235 2.7.0")
    return talk


def test_what_follows_starttls_in_the_clear_is_nobodys() -> None:
    """An injected command is neither carried out nor answered under TLS (RFC 3207 §6)."""
    talk = Talk(terms(submission=True))
    assert talk.say(EHLO + b"STARTTLS\r\nNOOP\r\nMAIL FROM:<a@b.c>\r\n").endswith(
        b"220 2.0.0 ready to start TLS\r\n"
    )
    assert talk.say(b"NOOP\r\n") == b"250 2.0.0 OK\r\n"
    assert talk.say(b"MAIL FROM:<a@b.c>\r\n").startswith(b"503 5.5.1"), "what EHLO said is forgotten too"


def test_a_user_sends_under_an_alias() -> None:
    """The sender must belong to the user: their address, with or without detail, or an alias of theirs."""
    aliases = (
        Alias(address=parse_address("office@example.com"), to=(parse_address("alice@example.com"),)),
        Alias(address=parse_address("boss@example.com"), to=(parse_address("carol@example.com"),)),
    )
    domains = (Domain(name="example.com", kind="local"),)
    talk = signed_in(aliases=aliases, domains=domains)
    for sender, reply in (("office", b"250 2.1.0"), ("alice+x", b"250 2.1.0"), ("boss", b"553 5.7.1")):
        said = talk.say(f"MAIL FROM:<{sender}@example.com>\r\nRSET\r\n".encode())
        assert said.startswith(reply)


def test_passwords_are_not_guessed_for_long() -> None:
    """The third wrong password ends the session."""
    talk = Talk(terms(submission=True, users=(User(address=ALICE.address, password="x"),)))
    talk.say(EHLO + b"STARTTLS\r\n")
    talk.say(EHLO)
    said = [talk.say(plain("alice@example.com", guess))[:9] for guess in "abc"]
    assert said == [b"535 5.7.8", b"535 5.7.8", b"421 4.7.0"]
    assert talk.closed


def test_plain_without_a_first_response() -> None:
    """PLAIN is asked for with an empty challenge, whose blank is there (RFC 4954 §4)."""
    talk = Talk(terms(submission=True, users=(ALICE,)))
    talk.say(EHLO + b"STARTTLS\r\n")
    talk.say(EHLO)
    assert talk.say(b"AUTH PLAIN\r\n") == b"334 \r\n"
    response = plain("alice@example.com", "secret of alice").removeprefix(b"AUTH PLAIN ")
    assert talk.say(response) == b"235 2.7.0 authentication successful\r\n"


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        ("AUTH LOGIN\r\n*", "501 5.7.0"), ("AUTH LOGIN\r\n???", "501 5.5.2"), ("AUTH PLAIN =", "501 5.5.2"),
        ("AUTH PLAIN QQ== QQ==", "501 5.5.4"), ("AUTH", "501 5.5.4"), ("AUTH GSSAPI", "504 5.5.4"),
        ("AUTH PLAIN\r\nQQ==", "501 5.5.2"), ("AUTH LOGIN " + "A" * 12300, "500 5.5.2"),
        ("AUTH LOGIN\r\n" + "A" * 12300, "500 5.5.2"),
    ],
)  # fmt: skip
def test_failed_exchanges(lines: str, reply: str) -> None:
    """An exchange that fails is over: the next line is a command again."""
    talk = Talk(terms(submission=True))
    talk.say(EHLO + b"STARTTLS\r\n")
    talk.say(EHLO)
    said = talk.say(lines.encode() + b"\r\nNOOP\r\n").decode().splitlines()
    assert [line[:9] for line in said[-2:]] == [reply, "250 2.0.0"]


@pytest.mark.parametrize("verb", [b"bdat", b"BDAT\xc3\xa9\0", b"bdat\xc3\xa9\0", b"BDAT\0"])
def test_octets_behind_what_may_be_bdat_are_no_commands(verb: bytes) -> None:
    """Where a chunk may follow, and nobody can tell how long it is, the session ends (RFC 3030 §2)."""
    talk = Talk()
    said = talk.say(b"EHLO a\r\n" + verb + b" x\r\nRCPT TO:<bob@example.org>\r\n")
    assert said.splitlines()[-1].startswith(b"421 ")
    assert b"503" not in said
    assert talk.closed


def test_verbs_are_ascii() -> None:
    """A letter that only looks like one of a verb in capitals does not make one."""
    assert Talk().say("ma\u0131l FROM:<a@b.c>\r\n".encode()).startswith(b"500 5.5.2 command not known")
