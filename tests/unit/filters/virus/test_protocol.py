"""clamd's protocol, octet by octet."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.filters.virus.protocol import Dialogue, Kind


def chunked(message: bytes, size: int = 7) -> bytes:
    """A message as INSTREAM has it."""
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(len(piece).to_bytes(4, "big") + piece for piece in [*pieces, b""])


SCAN = b"zINSTREAM\0" + chunked(b"Subject: x\n\nhello\n")


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (b"PING\n", b"PONG\n"),
        (b"PING\r\n", b"PONG\n"),
        (b"nPING\n", b"PONG\n"),
        (b"zPING\0", b"PONG\0"),
    ],
)
def test_a_reply_ends_as_its_command(command: bytes, reply: bytes) -> None:
    """Each of the three ways to end a command is that of its reply, and ends the connection."""
    (request,) = Dialogue(100).feed(command)
    assert (request.kind, request.reply("PONG"), request.last) == (Kind.PING, reply, True)


@given(st.lists(st.integers(0, len(SCAN)), max_size=8))
def test_however_it_is_cut(places: list[int]) -> None:
    """A message is the same however the network cuts it."""
    dialogue, found = Dialogue(100), []
    edges = [0, *sorted(places), len(SCAN)]
    for start, end in pairwise(edges):
        found += list(dialogue.feed(SCAN[start:end]))
    assert [(request.kind, request.message) for request in found] == [(Kind.SCAN, b"Subject: x\n\nhello\n")]


def test_a_session() -> None:
    """In a session commands are numbered, until END."""
    said = b"zIDSESSION\0zPING\0" + SCAN + b"zVERSION\0zEND\0zPING\0"
    requests = list(Dialogue(100).feed(said))
    assert [(request.kind, request.number, request.last) for request in requests] == [
        (Kind.PING, 1, False),
        (Kind.SCAN, 2, False),
        (Kind.VERSION, 3, False),
        (Kind.END, 4, True),
    ]
    assert requests[1].reply("stream: OK") == b"2: stream: OK\0"


def test_only_one_command_without_a_session() -> None:
    """Without a session what follows the first command is not heard."""
    assert [request.kind for request in Dialogue(100).feed(b"zPING\0zPING\0")] == [Kind.PING]


@pytest.mark.parametrize("chunks", [chunked(bytes(101)), chunked(bytes(101), 101), b"\xff\xff\xff\xff"])
def test_too_large(chunks: bytes) -> None:
    """A message above the limit ends the connection, even one that is only announced."""
    (request,) = Dialogue(100).feed(b"zIDSESSION\0zINSTREAM\0" + chunks)
    assert (request.kind, request.last) == (Kind.TOO_LARGE, True)


@pytest.mark.parametrize(
    "said", [b"zSCAN /etc/passwd\0", b"nFILDES\n", b"ping\n", b"zIDSESSION\0zIDSESSION\0", b"\n", b"x" * 2000]
)
def test_unknown(said: bytes) -> None:
    """What is not known is refused, and nothing more is heard."""
    requests = list(Dialogue(100).feed(said))
    assert [(request.kind, request.last) for request in requests] == [(Kind.UNKNOWN, True)]


@given(st.lists(st.binary(max_size=50)))
def test_any_octets(pieces: list[bytes]) -> None:
    """Whatever arrives, at most one request is the last, and nothing follows it."""
    dialogue = Dialogue(1000)
    lasts = [request.last for piece in pieces for request in dialogue.feed(b"n" + piece)]
    assert True not in lasts[:-1]
