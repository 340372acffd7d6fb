"""Commands are paired with replies, and transactions made of them."""

from __future__ import annotations

import pytest

from captures.conversations import End
from captures.smtp import Reply, Transaction, read_session
from tests.unit.captures.transcript import Said, connect, exchanges, pieces, said, session

PLAIN = """
    S: 220 mx.example.org ESMTP Mailbed
    C: EHLO alice.example.com
    S: 250-mx.example.org
    S: 250-PIPELINING
    S: 250 SIZE 52428800
    C: MAIL FROM:<alice@example.com> SIZE=9 BODY=8BITMIME
    S: 250 2.1.0 Ok
    C: RCPT TO:<bob@example.org>
    S: 250 2.1.5 Ok
    C: DATA
    S: 354 go on
    C: Hello.
    C: .
    S: 250 2.0.0 Ok: queued as KH7ORW5242
    C: QUIT
    S: 221 2.0.0 Bye
"""


def outcomes(transaction: Transaction) -> list[str]:
    """Each recipient with the code of its reply."""
    return [
        f"{to.address} {to.exchange.reply.code if to.exchange.reply else '-'}"
        for to in transaction.recipients
    ]


def test_a_whole_session() -> None:
    """Greeting, names, extensions, envelope, content and the reply to it are where they belong."""
    read = session(PLAIN)
    assert str(read.greeting) == "220 mx.example.org ESMTP Mailbed"
    assert (read.server_name, read.helo) == ("mx.example.org", "alice.example.com")
    assert read.extensions == ("PIPELINING", "SIZE 52428800")
    assert (read.tls, read.user, read.quit) == ("", "", True)
    (transaction,) = read.transactions
    assert (transaction.sender, transaction.parameters) == ("alice@example.com", "SIZE=9 BODY=8BITMIME")
    assert outcomes(transaction) == ["bob@example.org 250"]
    assert transaction.content == b"Hello.\r\n"
    assert transaction.complete
    assert transaction.accepted
    assert (transaction.size, transaction.queue_id) == (8, "KH7ORW5242")
    assert exchanges(read) == [
        "EHLO alice.example.com -> 250 mx.example.org PIPELINING SIZE 52428800",
        "MAIL FROM:<alice@example.com> SIZE=9 BODY=8BITMIME -> 250 2.1.0 Ok",
        "RCPT TO:<bob@example.org> -> 250 2.1.5 Ok",
        "DATA -> 354 go on",
        ". -> 250 2.0.0 Ok: queued as KH7ORW5242",
        "QUIT -> 221 2.0.0 Bye",
    ]


def test_times_and_frames_are_those_of_the_last_byte() -> None:
    """A multi-line reply is there with its last line, a content with its dot."""
    read = session(PLAIN)
    (transaction,) = read.transactions
    assert read.exchanges[0][1:3] == (2_000_000, 2)
    assert read.exchanges[0].reply == Reply(250, "mx.example.org\nPIPELINING\nSIZE 52428800", 5_000_000, 5)
    assert (transaction.content_ns, transaction.content_frame) == (13_000_000, 13)
    assert transaction.reply is not None
    assert transaction.reply[2:] == (14_000_000, 14)


PIPELINED = """
    S: 220 mx ESMTP
    C: EHLO a
    S: 250-mx
    S: 250 PIPELINING
    C: MAIL FROM:<a@example.com>
    C: RCPT TO:<b@example.org>
    C: RCPT TO:<nobody@example.org>
    C: RCPT TO:<full@example.org>
    C: DATA
    S: 250 2.1.0 Ok
    S: 250 2.1.5 Ok
    S: 550 5.1.1 No such user
    S: 452-4.2.2 Mailbox full,
    S: 452 4.2.2 try later
    S: 354 go on
    C: x
    C: .
    C: QUIT
    S: 250 Ok
    S: 221 Bye
"""


@pytest.mark.parametrize("at_once", [False, True])
def test_pipelined_commands_take_the_replies_in_order(at_once: bool) -> None:
    """Each command has its own reply, and each recipient its own fate, however the lines are packed."""
    read = session(said(PIPELINED, at_once=at_once))
    (transaction,) = read.transactions
    assert outcomes(transaction) == ["b@example.org 250", "nobody@example.org 550", "full@example.org 452"]
    assert [to.accepted for to in transaction.recipients] == [True, False, False]
    full = transaction.recipients[2].exchange.reply
    assert full is not None
    assert full.text == "4.2.2 Mailbox full,\n4.2.2 try later"
    assert transaction.content == b"x\r\n"
    assert exchanges(read)[-2:] == [". -> 250 Ok", "QUIT -> 221 Bye"]


ENVELOPE = "S: 220 mx\nC: MAIL FROM:<a@b>\nS: 250 Ok\nC: RCPT TO:<c@d>\nS: 250 to\n"


@pytest.mark.parametrize(
    ("lines", "transactions", "last"),
    [
        pytest.param("S: 421 busy", [], None, id="at once: for now"),
        pytest.param("S: 554 no mail here\nC: QUIT\nS: 221 Bye", [], "QUIT -> 221 Bye", id="at once: never"),
        pytest.param(
            "S: 220 mx\nC: EHLO a\nS: 502 what?\nC: HELO a\nS: 250 mx",
            [],
            "HELO a -> 250 mx",
            id="EHLO unknown",
        ),
        pytest.param(
            "S: 220 mx\nC: MAIL FROM:<a@b>\nS: 503 5.5.1 EHLO first",
            [("a@b", [], False, None)],
            "MAIL FROM:<a@b> -> 503 5.5.1 EHLO first",
            id="MAIL refused",
        ),
        pytest.param(
            "S: 220 mx\nC: MAIL FROM:<a@b>\nS: 451 4.7.1 greylisted\nC: RCPT TO:<c@d>\nS: 503 need MAIL",
            [("a@b", ["c@d 503"], False, None)],
            "RCPT TO:<c@d> -> 503 need MAIL",
            id="MAIL refused, RCPT all the same",
        ),
        pytest.param(
            ENVELOPE.replace("250 to", "550 5.7.1 no") + "C: DATA\nS: 554 nobody",
            [("a@b", ["c@d 550"], False, None)],
            "DATA -> 554 nobody",
            id="DATA refused",
        ),
        pytest.param(
            ENVELOPE + "C: DATA\nS: 354 go\nC: x\nC: .\nS: 550 5.7.1 spam, queued as such",
            [("a@b", ["c@d 250"], False, b"x\r\n")],
            ". -> 550 5.7.1 spam, queued as such",
            id="content refused",
        ),
        pytest.param(
            ENVELOPE + "C: DATA\nS: 354 go\nC: x\nC: .",
            [("a@b", ["c@d 250"], False, b"x\r\n")],
            ". -> -",
            id="no reply to the content",
        ),
    ],
)
def test_refusals(
    lines: str, transactions: list[tuple[str, list[str], bool, bytes | None]], last: str | None
) -> None:
    """What was refused is there with the reply; nothing is accepted that the server did not accept."""
    read = session(lines)
    told = [(each.sender, outcomes(each), each.accepted, each.content) for each in read.transactions]
    assert told == transactions
    assert exchanges(read)[-1:] == ([last] if last else [])
    assert [each.queue_id for each in read.transactions] == [""] * len(transactions)


def test_several_transactions_in_one_session() -> None:
    """RSET, EHLO and the reply to a content end a transaction, and so does the next MAIL."""
    read = session("""
        S: 220 mx
        C: MAIL FROM:<1@a>
        S: 250 Ok
        C: RSET
        S: 250 Ok
        C: RCPT TO:<nobody@b>
        S: 503 MAIL first
        C: MAIL FROM:<2@a>
        S: 250 Ok
        C: RCPT TO:<x@b>
        S: 250 Ok
        C: DATA
        S: 354 go
        C: two
        C: .
        S: 250 Ok: queued as TWO
        C: MAIL FROM:<3@a>
        S: 250 Ok
        C: EHLO again
        S: 250 mx
        C: RCPT TO:<nobody@b>
        S: 503 MAIL first
        C: MAIL FROM:<>
        S: 250 Ok
        C: MAIL FROM:<4@a>
        S: 503 nested
        C: RCPT TO:<y@b>
        S: 250 Ok
        C: DATA
        S: 354 go
        C: three
        C: .
        S: 250 Ok: queued as THREE
    """)
    told = [(each.sender, outcomes(each), each.queue_id) for each in read.transactions]
    assert told == [
        ("1@a", [], ""),
        ("2@a", ["x@b 250"], "TWO"),
        ("3@a", [], ""),
        ("", ["y@b 250"], "THREE"),
    ]


def test_a_reply_that_nobody_asked_for_shifts_no_other() -> None:
    """A 421 to an idle client came before the next command, so it does not answer it."""
    read = session("""
        S: 220 mx
        C: EHLO a
        S: 250 mx
        S: 421 4.4.2 idle
        C: MAIL FROM:<a@b>
    """)
    assert exchanges(read)[1:] == [" -> 421 4.4.2 idle", "MAIL FROM:<a@b> -> -"]
    assert (
        exchanges(session("S: 220 mx\nC: NOOP\nS: 250 Ok\nS: 421 shutting down"))[-1]
        == " -> 421 shutting down"
    )


def test_a_client_that_does_not_wait_for_the_greeting() -> None:
    """The first reply is the greeting, even to a client that talked before it."""
    read = session("C: EHLO early\nS: 220 mx\nS: 250 mx\nC: QUIT\nS: 221 Bye")
    assert str(read.greeting) == "220 mx"
    assert exchanges(read) == ["EHLO early -> 250 mx", "QUIT -> 221 Bye"]


@pytest.mark.parametrize(
    ("argument", "address", "parameters"),
    [
        ("<bob@example.org>", "bob@example.org", ""),
        (
            "<bob@example.org> NOTIFY=NEVER ORCPT=rfc822;b@c",
            "bob@example.org",
            "NOTIFY=NEVER ORCPT=rfc822;b@c",
        ),
        (" <bob@example.org>", "bob@example.org", ""),
        ("bob@example.org X=1", "bob@example.org", "X=1"),
        ("<Postmaster>", "Postmaster", ""),
        ('<"a > b"@example.org> X', '"a > b"@example.org', "X"),
        (r'<"a\"b>"@example.org>', r'"a\"b>"@example.org', ""),
        ("<@relay.example,@other.example:bob@example.org>", "bob@example.org", ""),
        ("<jörg@bücher.example> SMTPUTF8", "jörg@bücher.example", "SMTPUTF8"),
        ("<bob@[198.18.1.1]>", "bob@[198.18.1.1]", ""),
    ],
)
@pytest.mark.parametrize("word", ["TO", "to"])
def test_addresses_and_parameters(word: str, argument: str, address: str, parameters: str) -> None:
    """Paths are read with quoted strings, source routes and UTF-8, what follows is parameters."""
    read = session(f"S: 220 mx\nC: MAIL FROM:<>\nS: 250 Ok\nC: rcpt {word}:{argument}\nS: 250 Ok")
    (recipient,) = read.transactions[0].recipients
    assert (recipient.address, recipient.parameters) == (address, parameters)


@pytest.mark.parametrize(
    ("reply", "queue_id"),
    [
        ("250 2.0.0 Ok: queued as 4XbT9q2Zvnz1y", "4XbT9q2Zvnz1y"),
        ("250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as ABC", "ABC"),
        ("250 OK id=1tEXmp-000000004dP-0Abc", "1tEXmp-000000004dP-0Abc"),
        ("250 2.0.0 4A1BCd2e003456 Message accepted for delivery", "4A1BCd2e003456"),
        ("250 ok 1731200000 qp 4321", ""),
        ("451 4.3.0 not queued as yet", ""),
    ],
)
def test_queue_ids(reply: str, queue_id: str) -> None:
    """The id is read from the replies of Postfix, Mailbed, Exim and Sendmail, if they accept."""
    read = session(f"S: 220 mx\nC: MAIL FROM:<>\nS: 250 Ok\nC: DATA\nS: 354 go\nC: .\nS: {reply}")
    assert read.transactions[0].queue_id == queue_id


def test_what_is_shown_cannot_drive_a_terminal() -> None:
    """Control characters, broken UTF-8 and over-long lines come as escapes and shortened."""
    parts = [
        Said("S", b"220 mx\x1b[2J\xff\r\n"),
        Said("C", b"VRFY \x1b]0;x\x07\xe2\x80\xae\r\n"),
        Said("S", b"252 " + b"x" * 5000 + b"\r\n"),
    ]
    read = session(parts)
    assert str(read.greeting) == r"220 mx\x1b[2J\xff"
    assert read.exchanges[0].command == r"VRFY \x1b]0;x\x07\u202e"
    assert read.exchanges[0].reply is not None
    assert len(read.exchanges[0].reply.text) == 1000


def test_careless_replies() -> None:
    """Bare line feeds, missing texts and lines without a code within a reply are taken as they come."""
    read = session([Said("S", b"220-mx\nwelcome\n220\n"), Said("C", b"NOOP\n"), Said("S", b"huh?\n250\r\n")])
    assert read.greeting == Reply(220, "mx\nwelcome\n", 1_000_000, 1)
    assert exchanges(read) == ["NOOP -> 250"]


@pytest.mark.parametrize(
    ("sent", "received", "port", "smtp"),
    [
        pytest.param(b"", b"", 25, True, id="nothing was said"),
        pytest.param(b"EHLO a\r\n", b"", 25, True, id="the server says nothing"),
        pytest.param(b"", b"22", 25, True, id="the greeting breaks off in its code"),
        pytest.param(b"", b"220 mx ESM", 25, True, id="the greeting breaks off in its text"),
        pytest.param(b"", b"421\r\n", 2525, True, id="a refusal anywhere"),
        pytest.param(b"", b"", 53, False, id="nothing was said to another server"),
        pytest.param(b"", b"SSH-2.0-OpenSSH_9.2\r\n", 25, False, id="another protocol"),
        pytest.param(b"", b"250 mx\r\n", 25, False, id="the beginning is missing"),
        pytest.param(b"", b"2200 mx\r\n", 25, False, id="no code"),
        pytest.param(b"\0\x1d\x12\x34\x01\0", b"", 25, False, id="no command"),
        pytest.param(b"\0\x1d\x12\x34\x01\0", b"\0\x2d\x12\x34\x81\x80", 53, False, id="DNS"),
    ],
)
def test_what_is_smtp(sent: bytes, received: bytes, port: int, smtp: bool) -> None:
    """A session is what a server greets or refuses; on an SMTP port also where nobody was heard."""
    parts = [Said("S", received), Said("C", sent)]
    read = read_session(connect(pieces(parts, "C"), pieces(parts, "S"), port=port))
    assert (read is not None) == smtp
    if read is not None and received != b"421\r\n":
        assert (read.greeting, read.server_name, read.transactions) == (None, "", [])


@pytest.mark.parametrize("end", ["refused", "unanswered"])
def test_a_connection_that_never_came_about(end: End) -> None:
    """Nobody answers on port 25: a session all the same, for a journey tells of the attempt."""
    read = read_session(connect([], [], end=end))
    assert read is not None
    assert (read.greeting, read.exchanges) == (None, [])
