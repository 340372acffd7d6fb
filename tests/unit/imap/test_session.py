"""Sessions of the IMAP server, as transcripts."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.imap.transcript import Reader

MESSAGE = b"Subject: one\r\nFrom: Alice <alice@example.com>\r\n\r\nHello\r\n"
AWKWARD = [
    pytest.param(b"Subject: x\r\n\r\n" + bytes(range(128, 256)) + b"\r\n", id="8-bit"),
    pytest.param(b"Subject: x\r\n\r\n" + b"y" * 998 + b"\r\n", id="998 octets"),
    pytest.param(b"Subject: x\r\n\r\nno end", id="no final line end"),
    pytest.param(b"Subject: x\r\n\r\n", id="empty body"),
    pytest.param(b"Subject: x\r\n", id="no body at all"),
    pytest.param(b"\r\nno header", id="no header"),
    pytest.param(b"", id="nothing"),
    pytest.param("Subject: Grüße\r\nTo: юлия@пример.example\r\n\r\nя\r\n".encode(), id="SMTPUTF8"),
    pytest.param(b"Subject: x\r\n\r\na\nb\rc\r\n", id="bare line ends"),
    pytest.param(b"Subject: x\r\n\r\n" + b"0123456789abcde\n" * 1_600_000, id="25 MB"),
]


@pytest.mark.parametrize("content", AWKWARD)
def test_what_was_delivered_is_what_is_fetched(tmp_path: Path, content: bytes) -> None:
    """BODY[] is the delivered octets, unchanged, and RFC822.SIZE how many they are."""
    reader = Reader(tmp_path).selected(content)
    answer = reader.say(b"f FETCH 1 (RFC822.SIZE BODY.PEEK[])\r\n")
    size = b"%d" % len(content)
    assert answer == (
        b"* 1 FETCH (RFC822.SIZE " + size + b" BODY[] {" + size + b"}\r\n" + content + b")\r\nf OK done\r\n"
    )
    # Taken apart, whatever it is, and put together again.
    whole = reader.say(b"f FETCH 1 (BODY.PEEK[HEADER] BODY.PEEK[TEXT])\r\n")
    head, _, rest = whole.partition(b"BODY[HEADER] {")[2].partition(b"}\r\n")
    header, rest = rest[: int(head)], rest[int(head) :]
    length, _, rest = rest.partition(b"BODY[TEXT] {")[2].partition(b"}\r\n")
    assert header + rest[: int(length)] == content
    assert reader.say(b"f FETCH 1 (ENVELOPE BODYSTRUCTURE)\r\n").endswith(b"f OK done\r\n")


def test_partial(tmp_path: Path) -> None:
    """A piece of a section says where it begins; beyond the end there is nothing."""
    reader = Reader(tmp_path).selected(MESSAGE)
    assert b"BODY[TEXT]<1> {3}\r\nell" in reader.say(b"f FETCH 1 BODY.PEEK[TEXT]<1.3>\r\n")
    assert b"BODY[TEXT]<99> {0}\r\n)" in reader.say(b"f FETCH 1 BODY.PEEK[TEXT]<99.3>\r\n")


def test_flags(tmp_path: Path) -> None:
    """Fetching a body marks it as seen, peeking does not; flags are in the file's name, and stay."""
    reader = Reader(tmp_path).selected(MESSAGE)
    assert b"FLAGS" not in reader.say(b"f FETCH 1 BODY.PEEK[]\r\n")
    assert b"FLAGS (\\Seen \\Recent)" in reader.say(b"f FETCH 1 BODY[]\r\n")
    stored = reader.say(b"f STORE 1 +FLAGS (\\Flagged \\Answered $Junk)\r\n")
    assert b"FLAGS (\\Answered \\Flagged \\Seen \\Recent)" in stored
    assert [path.name.partition(":")[2] for path in (reader.directory / "cur").iterdir()] == ["2,FRS"]
    assert reader.say(b"f STORE 1 -FLAGS.SILENT \\Answered\r\n") == b"f OK done\r\n"
    assert b"FLAGS (\\Draft \\Recent)" in reader.say(b"f UID STORE 1 FLAGS (\\Draft)\r\n")


def test_examine_changes_nothing(tmp_path: Path) -> None:
    """A mailbox that is opened for looking stays as it is, also the file."""
    reader = Reader(tmp_path).selected()
    file = reader.deliver(MESSAGE)
    reader.say(b"e EXAMINE INBOX\r\n")
    assert b"Hello" in reader.say(b"f FETCH 1 BODY[]\r\n")
    assert b"NO [READ-ONLY]" in reader.say(b"f STORE 1 +FLAGS \\Seen\r\n")
    assert b"NO [READ-ONLY]" in reader.say(b"f EXPUNGE\r\n")
    assert file.exists()


def test_idle_tells_of_new_mail(tmp_path: Path) -> None:
    """A message that the MDA delivers while the client idles is told at the next look."""
    reader = Reader(tmp_path).selected()
    assert reader.say(b"i IDLE\r\n") == b"+ idling\r\n"
    reader.deliver(MESSAGE)
    reader.session.poll()
    assert b"".join(reader.session.output) == b"* 1 EXISTS\r\n* 1 RECENT\r\n"
    assert reader.say(b"DONE\r\n") == b"i OK done\r\n"
    assert b"Hello" in reader.say(b"f FETCH 1 BODY[TEXT]\r\n")


def test_two_sessions(tmp_path: Path) -> None:
    """What one does the other is told, but that messages are gone not while it names them by number."""
    one = Reader(tmp_path).selected(MESSAGE, MESSAGE)
    two = one.another()
    one.say(b"l LOGIN bob@example.org secret\r\ns SELECT INBOX\r\n", two)
    one.say(b"d STORE 1 +FLAGS \\Deleted\r\n")
    assert one.say(b"d EXPUNGE\r\n") == b"* 1 EXPUNGE\r\nd OK done\r\n"
    told = one.say(b"f FETCH 1:2 FLAGS\r\n", two)
    assert b"EXPUNGE\r\n" not in told
    assert b"f NO [EXPUNGEISSUED]" in told
    assert b"* 1 EXPUNGE\r\n" in one.say(b"n NOOP\r\n", two)
    assert b"* 1 FETCH (UID 2" in one.say(b"f FETCH 1 UID\r\n", two)


def test_uids_are_for_good(tmp_path: Path) -> None:
    """A UID is never given twice, also by a server that was started again."""
    reader = Reader(tmp_path).selected(MESSAGE, MESSAGE)
    validity = reader.folder_opened.validity
    reader.say(b"d UID STORE 2 +FLAGS \\Deleted\r\nd UID EXPUNGE 2\r\n")
    again = Reader(tmp_path)
    again.deliver(MESSAGE)  # the name of the first one: it is there already
    again._delivered = 5
    again.deliver(MESSAGE)
    again.selected()
    assert again.folder_opened.validity == validity
    assert b"SEARCH 1 3\r\n" in again.say(b"u UID SEARCH ALL\r\n")


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("ALL", "1 2"),
        ("SUBJECT one", "1"),
        ("SUBJECT grüße", "2"),
        ("NOT SUBJECT one", "2"),
        ("OR SUBJECT one FROM юлия", "1 2"),
        ("FROM alice BODY hello", "1"),
        ("TEXT приве", "2"),
        ("UID 2:*", "2"),
        ("2", "2"),
        ("LARGER 10000", ""),
        ("UNSEEN", "1 2"),
        ("SEEN", ""),
        ("RECENT", "1 2"),
        ("HEADER Subject o (SENTSINCE 1-Jan-2026)", ""),
        ("SINCE 24-Nov-2026 BEFORE 25-Nov-2026", "1 2"),
        ("CHARSET UTF-8 SUBJECT one", "1"),
    ],
)
def test_search(tmp_path: Path, search: str, found: str) -> None:
    """Text is found as it is meant, whatever its encoding; the rest as RFC 3501 §6.4.4 has it."""
    encoded = (
        "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nFrom: юлия@example.org\r\n"
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    ).encode() + base64.encodebytes("Привет".encode())
    reader = Reader(tmp_path).selected(MESSAGE, encoded)
    words = b" ".join(
        word.encode() if word.isascii() else b"{%d+}\r\n" % len(word.encode()) + word.encode()
        for word in search.split()
    )
    answer = reader.say(b"s SEARCH " + words + b"\r\n")
    assert answer == b"* SEARCH" + (f" {found}" if found else "").encode() + b"\r\ns OK done\r\n"


def test_append(tmp_path: Path) -> None:
    """A message that a client adds has its octets, flags and date."""
    reader = Reader(tmp_path).selected()
    command = b'a APPEND INBOX (\\Seen) "24-Nov-2026 10:11:12 +0100" {%d}\r\n' % len(MESSAGE)
    assert reader.say(command) == b"+ go on\r\n"
    assert b"a OK [APPENDUID " in reader.say(MESSAGE + b"\r\n")
    fetched = reader.say(b"f FETCH 1 (FLAGS INTERNALDATE BODY.PEEK[])\r\n")
    assert b'INTERNALDATE "24-Nov-2026 09:11:12 +0000"' in fetched
    assert b"\\Seen" in fetched
    assert MESSAGE in fetched


def test_parts(tmp_path: Path) -> None:
    """Sections name the parts of a multipart, and of a message in it."""
    inner = b"Subject: inner\r\n\r\ninside\r\n"
    message = (
        b'Content-Type: multipart/mixed; boundary="=_x"\r\n\r\npreamble\r\n--=_x\r\n\r\nfirst\r\n--=_x\r\n'
        b"Content-Type: message/rfc822\r\n\r\n" + inner + b"\r\n--=_x--\r\nepilogue\r\n"
    )
    reader = Reader(tmp_path).selected(message)
    for section, content in (
        (b"1", b"first"),
        (b"2", inner),
        (b"2.HEADER", b"Subject: inner\r\n\r\n"),
        (b"2.TEXT", b"inside\r\n"),
        (b"2.1", b"inside\r\n"),
        (b"2.MIME", b"Content-Type: message/rfc822\r\n\r\n"),
        (b"2.HEADER.FIELDS (SUBJECT)", b"Subject: inner\r\n\r\n"),
        (b"HEADER.FIELDS.NOT (CONTENT-TYPE)", b"\r\n"),
    ):
        answer = reader.say(b"f FETCH 1 BODY.PEEK[" + section + b"]\r\n")
        assert b"BODY[" + section + b"] {%d}\r\n" % len(content) + content + b")\r\n" in answer
    assert b"BODY[3] NIL" in reader.say(b"f FETCH 1 BODY.PEEK[3]\r\n")
    structure = reader.say(b"f FETCH 1 BODYSTRUCTURE\r\n")
    assert b'"MIXED" ("BOUNDARY" "=_x")' in structure
    assert b'("MESSAGE" "RFC822"' in structure


def test_passwords_need_tls(tmp_path: Path) -> None:
    """In the clear no password is taken, and what comes with STARTTLS is not run under TLS."""
    reader = Reader(tmp_path, secure=False)
    assert b"NO [PRIVACYREQUIRED]" in reader.say(b"a LOGIN bob@example.org secret\r\n")
    assert b"NO [PRIVACYREQUIRED]" in reader.say(b"a AUTHENTICATE PLAIN\r\n")
    assert reader.say(b"a STARTTLS\r\nb LOGIN bob@example.org secret\r\n") == b"a OK begin TLS now\r\n"
    assert reader.session.wants_tls
    reader.session.secured()
    assert reader.say(b"") == b""
    assert not reader.session.authenticated
    plain = base64.b64encode(b"\0bob@example.org\0secret")
    assert reader.say(b"a AUTHENTICATE PLAIN\r\n") == b"+ \r\n"
    assert reader.say(plain + b"\r\n").startswith(b"a OK")


def test_who_guesses_is_sent_away(tmp_path: Path) -> None:
    """After three wrong passwords the session ends."""
    reader = Reader(tmp_path)
    for _ in range(2):
        assert b"NO [AUTHENTICATIONFAILED]" in reader.say(b'a LOGIN bob@example.org "no"\r\n')
    assert b"* BYE" in reader.say(b"a LOGIN nobody x\r\n")
    assert reader.session.closing


@pytest.mark.parametrize(
    "command",
    [
        b"\r\n",
        b"x\r\n",
        b" x\r\n",
        b"a \r\n",
        b"a NONSENSE\r\n",
        b"a FETCH\r\n",
        b"a FETCH 1\r\n",
        b"a FETCH 0 FLAGS\r\n",
        b"a FETCH 2 FLAGS\r\n",
        b"a FETCH 99999999999 FLAGS\r\n",
        b"a FETCH 1 (FLAGS\r\n",
        b"a FETCH 1 ()\r\n",
        b"a FETCH 1 BODY[\r\n",
        b"a FETCH 1 BODY[MIME]\r\n",
        b"a FETCH 1 BODY[]<1>\r\n",
        b"a FETCH 1 BODY[1.]x\r\n",
        b"a FETCH 1:,2 FLAGS\r\n",
        b"a UID\r\n",
        b"a UID NOOP\r\n",
        b"a STORE 1 FLAGS\r\n",
        b"a STORE 1 *FLAGS (\\Seen)\r\n",
        b"a SEARCH\r\n",
        b"a SEARCH (ALL\r\n",
        b"a SEARCH " + b"NOT " * 1000 + b"ALL\r\n",
        b"a SEARCH " + b"(" * 1000 + b"\r\n",
        b"a SEARCH SINCE 31-Feb-2026\r\n",
        b'a SELECT "INBOX\r\n',
        b"a STATUS INBOX ()\r\n",
        b"a STATUS INBOX (NONSENSE)\r\n",
        b"a APPEND INBOX x\r\n",
        b'a APPEND INBOX "yesterday" {1+}\r\nx\r\n',
        b"a LOGIN bob@example.org secret\r\n",
        b"a STARTTLS\r\n",
        b"a NOOP x\r\n",
        b"\xff\xfe\x00 NOOP\r\n",
        b"a IDLE\r\nNOT DONE\r\n",
    ],
)
def test_broken_commands(tmp_path: Path, command: bytes) -> None:
    """What makes no sense is answered with BAD, and the session goes on as if it had not been."""
    reader = Reader(tmp_path).selected(MESSAGE)
    assert b" BAD " in reader.say(command)
    assert b"Hello" in reader.say(b"f FETCH 1 BODY.PEEK[]\r\n")


_WORDS = st.sampled_from(
    b'a FETCH STORE SEARCH UID 1 1:* * ( ) BODY[ ] <0.1> FLAGS \\Seen {3+}\r\nabc {2} " \r\n DONE IDLE'.split(
        b" "
    )
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(_WORDS, st.binary(max_size=8)), max_size=30))
def test_whatever_comes(tmp_path: Path, words: list[bytes]) -> None:
    """No octets bring the server to anything but an answer."""
    reader = Reader(tmp_path).selected()
    if not reader.folder_opened.entries:
        reader.deliver(MESSAGE)
    reader.say(b" ".join(words) + b"\r\n")
    reader.session.poll()


def test_too_many_mistakes(tmp_path: Path) -> None:
    """Who speaks another protocol is sent away."""
    reader = Reader(tmp_path)
    assert b"* BYE" in reader.say(b"GET / HTTP/1.1\r\n" * 30)


def test_fetches_are_told(tmp_path: Path) -> None:
    """That a whole message was fetched is an event, by whom and which file; looking at a header is none."""
    reader = Reader(tmp_path).selected(MESSAGE)
    reader.say(b"f FETCH 1 (ENVELOPE BODY.PEEK[HEADER])\r\n")
    assert reader.told == []
    reader.say(b"f FETCH 1 BODY.PEEK[]\r\n")
    ((kind, fields),) = reader.told
    assert kind == "fetched"
    assert fields["user"] == "bob@example.org"
    assert str(fields["file"]).endswith(".Q1R0.mda")
