"""Where commands end: lines, literals, and what is too large."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.imap.framing import LINE_LIMIT, Framer, TooLarge, Waiting, Whole


def framed(*pieces: bytes) -> list[object]:
    framer = Framer(literal_limit=1000, message_limit=5000)
    found: list[object] = []
    for piece in pieces:
        framer.feed(piece)
        while (each := framer.next()) is not None:
            found.append(each)
    return found


def test_a_line_is_a_command() -> None:
    """Commands end with a line end, LF alone included."""
    assert framed(b"a NOOP\r\nb NOOP\nc NO", b"OP\r\n") == [
        Whole(octets=b"a NOOP"),
        Whole(octets=b"b NOOP"),
        Whole(octets=b"c NOOP"),
    ]


def test_a_literal_waits_for_leave() -> None:
    """A literal is asked for, and may hold line ends and what looks like another literal."""
    assert framed(b"a LOGIN {5}\r\n", b"x{3}\r", b" {0}\r\n", b"\r\n") == [
        Waiting(),
        Waiting(),
        Whole(octets=b"a LOGIN {5}\r\nx{3}\r {0}\r\n"),
    ]
    assert framed(b"a X {3+}\r\n{9}\r\n") == [Whole(octets=b"a X {3+}\r\n{9}")]


def test_a_literal_without_leave() -> None:
    """A client that says `+` waits for nothing (RFC 7888)."""
    assert framed(b"a LOGIN {1+}\r\nx {1+}\r\ny\r\n") == [Whole(octets=b"a LOGIN {1+}\r\nx {1+}\r\ny")]


def test_what_is_too_large() -> None:
    """A literal that waits is refused; one that comes at once, or an endless line, ends the session."""
    assert framed(b"a LOGIN {1001}\r\n") == [TooLarge(tag=b"a", told=True)]
    assert framed(b"a LOGIN {1001+}\r\n") == [TooLarge(tag=b"a", told=False)]
    assert framed(b"a APPEND INBOX {5000}\r\n") == [Waiting()]
    assert framed(b"a APPEND INBOX {5001}\r\n") == [TooLarge(tag=b"a", told=True)]
    assert framed(b"a " + b"x" * LINE_LIMIT) == [TooLarge(tag=b"a", told=False)]


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.data())
def test_however_it_is_cut(literals: list[bytes], data: st.DataObject) -> None:
    """However the network cuts a command into pieces, the same command comes out."""
    command = b"a X"
    for literal in literals:
        command += b" {%d+}\r\n" % len(literal) + literal
    sent = command + b"\r\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=5)))
    pieces = [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    assert framed(*pieces) == [Whole(octets=command)]
