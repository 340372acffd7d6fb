"""Captured connections from transcripts, as RFC 5321 writes them: lines that begin with `C: ` or `S: `.

Frame n is sent n milliseconds after 1970.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from textwrap import dedent
from typing import NamedTuple

from captures.conversations import Connection, End, Endpoint, Piece
from captures.smtp import Session, read_session


class Said(NamedTuple):
    """What one side sent at once."""

    side: str
    data: bytes


def said(transcript: str, *, at_once: bool = False) -> list[Said]:
    """What each line says; `at_once`: successive lines of one side in one piece, as if pipelined."""
    lines = [line.partition(": ") for line in dedent(transcript).strip().splitlines()]
    single = [Said(side, text.encode() + b"\r\n") for side, _, text in lines]
    if not at_once:
        return single
    groups = groupby(single, key=lambda line: line.side)
    return [Said(side, b"".join(line.data for line in group)) for side, group in groups]


def pieces(parts: Sequence[Said], side: str, *, first: int = 1) -> list[Piece]:
    """What `side` sent, with the times and frames of the whole."""
    numbered = enumerate(parts, first)
    return [Piece(frame * 1_000_000, frame, part.data) for frame, part in numbered if part.side == side]


def connect(sent: list[Piece], received: list[Piece], *, port: int = 25, end: End = "closed") -> Connection:
    """A connection from alice's host in which these bytes were sent."""
    return Connection(
        client=Endpoint("198.18.1.10", 40001, "alice", "alice.example.com"),
        server=Endpoint("198.18.1.11", port, "mx", "mx.example.org"),
        interface="alice-eth0",
        frame=1,
        opened_ns=0,
        established_ns=1 if end in ("closed", "open", "reset") else None,
        last_ns=0,
        last_frame=1,
        end=end,
        sent=sent,
        received=received,
        gap=False,
        path=("alice", "mx"),
    )


def session(parts: str | Sequence[Said], *, port: int = 25) -> Session:
    """The session that is read from a transcript."""
    whole = said(parts) if isinstance(parts, str) else parts
    read = read_session(connect(pieces(whole, "C"), pieces(whole, "S"), port=port))
    assert read is not None
    return read


def exchanges(read: Session) -> list[str]:
    """Each exchange as `command -> reply`; `-` for no reply."""
    return [f"{exchange.command} -> {exchange.reply or '-'}" for exchange in read.exchanges]
