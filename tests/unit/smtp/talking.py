"""What the tests of the server's core share: a session without a socket, and transcripts of one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from services.smtp.conversation import Terms
from services.smtp.incoming import Message
from services.smtp.policy import Directory, Policy
from services.smtp.replies import Reply
from services.smtp.session import Session, Turn
from tests.unit.smtp.running import config

QUEUED = Reply(250, "2.0.0", "Ok: queued as Q")


def terms(**values: Any) -> Terms:
    """Those of mx.example.org with bob's mailbox; `values` change the configuration, or `submission`."""
    submission = values.pop("submission", False)
    made = config(Path("nowhere"), smtp_port=25, **values)
    policy = Policy(
        Directory(made), made.relay_from, hostname=made.hostname, source_routes=made.source_routes
    )
    return Terms(
        hostname=made.hostname,
        submission=submission,
        starttls=submission,
        size_limit=made.size_limit,
        recipient_limit=made.recipient_limit,
        error_limit=made.error_limit,
        line_limit=made.line_limit,
        policy=policy,
    )


@dataclass
class Talk:
    """A session with a client at 198.18.0.1, whose messages are all put into a queue: `taken`."""

    terms: Terms = field(default_factory=terms)
    taken: list[Message] = field(default_factory=list)
    replies: bytes = b""
    rejected: list[tuple[str, str]] = field(default_factory=list)
    closed: bool = False

    def __post_init__(self) -> None:
        client = self.terms.policy.client("198.18.0.1", here="198.18.20.10")
        self.session = Session(
            self.terms, client, reject=lambda stage, reply: self.rejected.append((stage, str(reply)))
        )
        self.say(b"")

    def say(self, data: bytes, *, piece: int = 0) -> bytes:
        """Send octets, `piece` at a time; return what the server says to them."""
        said = b""
        for start in range(0, len(data) or 1, piece or len(data) or 1):
            if self.closed:
                break
            self.session.receive(data[start : start + (piece or len(data))])
            said += self._go_on()
        self.replies += said
        return said

    def _go_on(self) -> bytes:
        said = b""
        while True:
            turn = self.session.advance()
            said += self.session.replies()
            if isinstance(turn, Message):
                self.taken.append(turn)
                self.session.answer(QUEUED)
            elif turn is Turn.TAKE_UP_TLS:
                self.session.tls_taken_up()
            else:
                self.closed = turn is Turn.HANG_UP
                return said


def play(transcript: str, *, piece: int = 0, **values: Any) -> Talk:
    """Hold a conversation with a session; return what came of it.

    A `C:` line is sent with CRLF, an `R:` line without; both may hold escapes as in Python. Lines that
    begin with `S:` must come, `*` and `?` as in file names, and no others. `Q: RECIPIENTS SIZE` says that a
    message was taken, `X:` that the server closed.
    """
    talk = Talk(terms(**values))
    said = list(_lines(talk.replies))
    taken = 0
    for line in filter(str.strip, transcript.splitlines()):
        speaker, _, text = line.strip().partition(" ")
        match speaker:
            case "#":
                continue
            case "C:" | "R:":
                assert said == [], f"before {text!r} the server also said {said}"
                octets = text.encode().decode("unicode_escape").encode("latin-1")
                said = list(_lines(talk.say(octets + (b"\r\n" if speaker == "C:" else b""), piece=piece)))
            case "S:":
                assert said, f"expected {text!r}, the server said nothing"
                assert fnmatchcase(said[0], text), f"expected {text!r}, the server said {said[0]!r}"
                del said[0]
            case "Q:":
                message = talk.taken[taken]
                got = f"{','.join(message.arrival.recipients)} {len(message.content)}"
                assert fnmatchcase(got, text), f"expected {text!r}, taken was {got!r}"
                taken += 1
            case "X:":
                assert talk.closed
            case _:
                raise AssertionError(f"not a line of a transcript: {line!r}")
    assert said == [], f"at the end the server also said {said}"
    assert len(talk.taken) == taken, "another message was taken"
    return talk


def _lines(octets: bytes) -> Iterator[str]:
    lines = octets.decode().split("\r\n")
    assert lines.pop() == "", "a reply ends with CRLF"
    return iter(lines)
