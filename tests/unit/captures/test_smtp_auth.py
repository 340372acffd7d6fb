"""AUTH: who it is can be read, the secret cannot. STARTTLS: the session goes on inside."""

from __future__ import annotations

from base64 import b64encode

import pytest

from captures import streams
from captures.conversations import Piece
from captures.errors import Sealed
from captures.smtp import Session, read_session
from captures.tls import Opened, Secrets
from tests.unit.captures.transcript import Said, connect, exchanges, pieces, said, session


def b64(*parts: str) -> str:
    """Text as AUTH carries it, its parts with NUL between."""
    return b64encode("\0".join(parts).encode()).decode()


SECRET = b64("s3cret")
TOKEN = b64("user=alice\1auth=Bearer s3cret\1\1")
DIGEST = b64("al ice b913a602c7eda7a495b4e6e7334d3890")


@pytest.mark.parametrize(
    ("lines", "user", "shown"),
    [
        pytest.param(
            f"C: AUTH PLAIN {b64('', 'alice@example.com', 's3cret')}\nS: 235 Ok",
            "alice@example.com",
            ["AUTH PLAIN *** -> 235 Ok"],
            id="PLAIN with an initial response",
        ),
        pytest.param(
            f"C: auth plain\nS: 334 \nC: {b64('boss', 'jörg', 's3cret')}\nS: 235 Ok",
            "jörg",
            ["auth plain -> 334", "*** -> 235 Ok"],
            id="PLAIN when asked, for somebody else",
        ),
        pytest.param(
            f"C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: {b64('alice')}\n"
            f"S: 334 UGFzc3dvcmQ6\nC: {SECRET}\nS: 235 Ok",
            "alice",
            ["AUTH LOGIN -> 334 VXNlcm5hbWU6", "*** -> 334 UGFzc3dvcmQ6", "*** -> 235 Ok"],
            id="LOGIN",
        ),
        pytest.param(
            f"C: AUTH LOGIN {b64('alice')}\nS: 334 UGFzc3dvcmQ6\nC: {SECRET}\nS: 235 Ok",
            "alice",
            ["AUTH LOGIN *** -> 334 UGFzc3dvcmQ6", "*** -> 235 Ok"],
            id="LOGIN with an initial response",
        ),
        pytest.param(
            f"C: AUTH CRAM-MD5\nS: 334 PDFAbXg+\nC: {DIGEST}\nS: 235 Ok",
            "al ice",
            ["AUTH CRAM-MD5 -> 334 PDFAbXg+", "*** -> 235 Ok"],
            id="CRAM-MD5",
        ),
        pytest.param(
            f"C: AUTH XOAUTH2 {TOKEN}\nS: 235 Ok",
            "alice",
            ["AUTH XOAUTH2 *** -> 235 Ok"],
            id="XOAUTH2",
        ),
        pytest.param("C: AUTH GSSAPI YII=\nS: 235 Ok", "", ["AUTH GSSAPI *** -> 235 Ok"], id="not readable"),
        pytest.param("C: AUTH PLAIN %%\nS: 235 Ok", "", ["AUTH PLAIN *** -> 235 Ok"], id="not base64"),
        pytest.param("C: AUTH\nS: 501 how?", "", ["AUTH -> 501 how?"], id="no mechanism"),
        pytest.param(
            f"C: AUTH PLAIN {b64('', 'alice', 'wrong')}\nS: 535 5.7.8 no",
            "",
            ["AUTH PLAIN *** -> 535 5.7.8 no"],
            id="refused",
        ),
        pytest.param(
            "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: *\nS: 501 as you wish",
            "",
            ["AUTH LOGIN -> 334 VXNlcm5hbWU6", "* -> 501 as you wish"],
            id="cancelled",
        ),
        pytest.param(
            f"C: AUTH LOGIN\nC: {b64('alice')}\nC: {SECRET}\nC: MAIL FROM:<>\n"
            "S: 502 what?\nS: 500 what?\nS: 500 what?\nS: 250 Ok",
            "",
            ["AUTH LOGIN -> 502 what?", "*** -> 500 what?", "*** -> 500 what?", "MAIL FROM:<> -> 250 Ok"],
            id="a client that does not listen",
        ),
        pytest.param(
            f"C: AUTH LOGIN\nC: {b64('alice')}\nC: {SECRET}\nC: NOOP",
            "",
            ["AUTH LOGIN -> -", "*** -> -", "*** -> -", "NOOP -> -"],
            id="replies that were not captured",
        ),
    ],
)
def test_auth(lines: str, user: str, shown: list[str]) -> None:
    """The user is known once the server has said 235; no secret is shown in any case."""
    read = session("S: 220 mx\n" + lines)
    assert read.user == user
    assert exchanges(read) == shown
    assert SECRET not in repr(read.exchanges)


STARTTLS = said("""
    S: 220 mx.example.org
    C: EHLO alice
    S: 250-mx.example.org
    S: 250 STARTTLS
    C: STARTTLS
    S: 220 go on
""")
HELLO = b"\x16\x03\x01\x00\x05hello"
TLS = [Said("C", HELLO), Said("S", b"\x16\x03\x03hello"), Said("C", b"\x17\x03\x03sealed")]
INSIDE = said("""
    C: EHLO alice
    S: 250-mx.example.org
    S: 250 AUTH PLAIN
    C: MAIL FROM:<alice@example.com>
    S: 250 Ok
    C: RCPT TO:<bob@example.org>
    S: 250 Ok
    C: DATA
    S: 354 go
    C: x
    C: .
    S: 250 Ok: queued as Z
""")


@pytest.fixture
def opening(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[Piece], list[Piece], object]]:
    """TLS that opens to INSIDE; each call's arguments are noted."""
    calls: list[tuple[list[Piece], list[Piece], object]] = []

    def open_tls(sent: list[Piece], received: list[Piece], secrets: bytes | Secrets) -> Opened:
        calls.append((sent, received, secrets))
        return Opened(sent=pieces(INSIDE, "C", first=100), received=pieces(INSIDE, "S", first=100))

    monkeypatch.setattr(streams, "open_tls", open_tls)
    return calls


def read(parts: list[Said], *, port: int = 25, secrets: bytes = b"the key log") -> Session:
    """The session in these parts."""
    found = read_session(connect(pieces(parts, "C"), pieces(parts, "S"), port=port), secrets)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([*STARTTLS, *TLS], id="apart"),
        pytest.param(
            [*STARTTLS[:-1], Said("S", STARTTLS[-1].data + TLS[1].data), TLS[0], TLS[2]], id="in one piece"
        ),
        pytest.param(
            [*STARTTLS[:-2], Said("C", STARTTLS[-2].data + HELLO), STARTTLS[-1], *TLS[1:]],
            id="without waiting",
        ),
    ],
)
def test_starttls_goes_on_inside(
    opening: list[tuple[list[Piece], list[Piece], object]], parts: list[Said]
) -> None:
    """What follows STARTTLS and its 220 is opened, and the session goes on with what is in it."""
    found = read(parts)
    assert found.tls == "opened"
    assert found.extensions == ("AUTH PLAIN",)
    assert exchanges(found)[1:3] == ["STARTTLS -> 220 go on", "EHLO alice -> 250 mx.example.org AUTH PLAIN"]
    assert found.exchanges[2].frame == 100
    (transaction,) = found.transactions
    assert (transaction.content, transaction.queue_id) == (b"x\r\n", "Z")
    ((sent, received, secrets),) = opening
    assert b"".join(piece.data for piece in sent) == HELLO + TLS[2].data
    assert b"".join(piece.data for piece in received) == TLS[1].data
    assert secrets == b"the key log"


def test_starttls_that_is_refused(opening: list[object]) -> None:
    """The session goes on in the clear."""
    found = read(said("S: 220 mx\nC: STARTTLS\nS: 454 4.7.0 not now\nC: NOOP\nS: 250 Ok"))
    assert (found.tls, opening) == ("", [])
    assert exchanges(found) == ["STARTTLS -> 454 4.7.0 not now", "NOOP -> 250 Ok"]


def test_starttls_after_which_nothing_comes(opening: list[object]) -> None:
    """There is nothing to open."""
    assert read(STARTTLS).tls == ""
    assert opening == []


def test_commands_injected_behind_starttls(opening: list[tuple[list[Piece], list[Piece], object]]) -> None:
    """They are noted, without a reply and without secrets, and TLS is opened behind them."""
    injected = b"STARTTLS\r\nMAIL FROM:<mallory@example.net>\r\nAUTH PLAIN AGEAYg==\r\n"
    found = read([*STARTTLS[:-2], Said("C", injected), STARTTLS[-1], *TLS])
    assert exchanges(found)[2:4] == ["MAIL FROM:<mallory@example.net> -> -", "AUTH PLAIN *** -> -"]
    assert found.tls == "opened"
    assert [each.sender for each in found.transactions] == ["alice@example.com"]
    assert opening[0][0][0].data == HELLO


def test_tls_that_stays_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was said before is there, and why no more."""

    def open_tls(*_: object) -> Opened:
        raise Sealed("no secrets for this session")

    monkeypatch.setattr(streams, "open_tls", open_tls)
    found = read([*STARTTLS, *TLS])
    assert (found.tls, found.sealed_reason) == ("sealed", "no secrets for this session")
    assert (found.helo, found.extensions, found.transactions) == ("alice", ("STARTTLS",), [])
    implicit = read(TLS, port=465)
    assert (implicit.tls, implicit.greeting) == ("sealed", None)
    assert read_session(connect(pieces(TLS, "C"), [], port=443)) is None


def test_implicit_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """On port 465 the greeting is inside (RFC 8314 §3.3)."""
    inside = [*said("S: 220 mx.example.org"), *INSIDE]

    def open_tls(*_: object) -> Opened:
        return Opened(sent=pieces(inside, "C"), received=pieces(inside, "S"))

    monkeypatch.setattr(streams, "open_tls", open_tls)
    found = read(TLS, port=465)
    assert (found.tls, found.server_name) == ("opened", "mx.example.org")
    assert found.transactions[0].queue_id == "Z"
