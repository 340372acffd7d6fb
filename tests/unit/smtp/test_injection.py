"""Messages handed straight to a server, by whatever name and by a chain that the sender chose."""

from __future__ import annotations

import asyncio

import pytest

from services.smtp.address import parse_address
from services.smtp.errors import SubmissionFailed
from services.smtp.injection import Injection, inject, path
from services.smtp.mua import Receipt
from tests.unit.smtp.running import ScriptedServer, free_port


@pytest.mark.parametrize(
    ("via", "percent", "expected"),
    [
        (["a.example"], False, "bob@example.org"),
        (["a.example", "b.example"], False, "@b.example:bob@example.org"),
        (["a.example", "b.example", "c.example"], False, "@b.example,@c.example:bob@example.org"),
        (["a.example"], True, "bob%example.org@a.example"),
        (["a.example", "b.example"], True, "bob%example.org%b.example@a.example"),
        (["a.example", "b.example", "c.example"], True, "bob%example.org%c.example%b.example@a.example"),
    ],
)
def test_how_a_chain_is_written(via: list[str], percent: bool, expected: str) -> None:
    """The first host is given the others in their order, each behind the one that it is taken off by."""
    assert str(path(parse_address("bob@example.org"), via, percent=percent)) == expected


def handed(server: ScriptedServer, *recipients: str, port: int = 0) -> Receipt:
    async def main() -> Receipt:
        async with server:
            injection = Injection(
                via=("localhost", "b.example"), hostname="mallory.example", port=port or server.port
            )
            return await inject(injection, b"Subject: x\n\nx\n", "ceo@example.com", recipients)

    return asyncio.run(main())


def test_a_message_is_handed_over() -> None:
    """There is no TLS and no login; the envelope and the content are as the caller says."""
    server = ScriptedServer(replies={"RCPT TO:<@b.example:eve": "550 5.7.1 no"}, extensions=("STARTTLS",))
    receipt = handed(server, "bob@example.org", "eve@example.org")
    assert receipt.queue_id == "SCRIPTED"
    assert receipt.refused == {"eve@example.org": "550 5.7.1 no"}
    assert server.commands == [
        "EHLO mallory.example",
        "MAIL FROM:<ceo@example.com>",
        "RCPT TO:<@b.example:bob@example.org>",
        "RCPT TO:<@b.example:eve@example.org>",
        "DATA",
        "QUIT",
    ]
    assert server.messages == [b"Subject: x\r\n\r\nx\r\n.\r\n"]


@pytest.mark.parametrize(
    ("server", "says", "temporary"),
    [
        (ScriptedServer(greeting="554 5.3.2 no mail"), "localhost said: 554 5.3.2 no mail", False),
        (
            ScriptedServer(replies={"RCPT": "550 5.7.1 no"}),
            "localhost took no recipient: 550 5.7.1 no",
            False,
        ),
        (ScriptedServer(replies={"MAIL": ""}), "localhost took no recipient: 451 4.4.2 the session", True),
    ],
)
def test_a_server_that_refuses(server: ScriptedServer, says: str, temporary: bool) -> None:
    """What it said is in the error."""
    with pytest.raises(SubmissionFailed) as caught:
        handed(server, "bob@example.org")
    assert str(caught.value).startswith(says)
    assert caught.value.temporary is temporary


def test_a_server_that_is_not_there() -> None:
    """That is told in the system's words, and may pass."""
    with pytest.raises(SubmissionFailed, match=r"localhost:.*Connection refused") as caught:
        handed(ScriptedServer(), "bob@example.org", port=free_port())
    assert caught.value.temporary
