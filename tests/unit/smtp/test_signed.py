"""DKIM at a mail server: what users submit and what it writes itself is signed, nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import dkim
import pytest

from services.errors import ConfigError
from services.smtp.config import Signing, TlsConfig
from tests.unit.filters.keys import pem, published, signing_key
from tests.unit.smtp.running import config, play, running
from tests.unit.smtp.test_journey import World


def signing(directory: Path) -> tuple[Signing, ...]:
    """The configuration of a key for example.com."""
    path = directory / "example.com.pem"
    path.write_bytes(pem(signing_key()))
    return (Signing(domain="example.com", selector="lab", key=path),)


def verifies(message: bytes) -> bool:
    """Whether dkimpy accepts the signature."""
    _, (record,) = published(signing_key())
    return dkim.verify(message, dnsfunc=lambda *_, **__: record.encode())


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"From: alice@example.com\nSubject: hi\n\nHello\n", id="without Date and Message-ID"),
        pytest.param(
            b"From: alice@example.com\nDate: x\nMessage-ID: <1@x>\n\n" + b"ab  c\n" * 50_000, id="long"
        ),
        pytest.param(b"From: alice@example.com\n\n\xff \t8 bits\n\n\n", id="8 bits, empty lines"),
        pytest.param(b"From: alice@example.com\n", id="no body"),
    ],
)
def test_submitted_mail_is_signed(tmp_path: Path, tls: TlsConfig, content: bytes) -> None:
    """It verifies where it is delivered, below what servers added, and is otherwise as it was."""

    async def main() -> None:
        async with World(tmp_path, tls, signing=signing(tmp_path)) as world:
            await world.send(content)
            await world.at_mta.wait("delivered")
            (message,) = world.inbox(world.mta, "bob@example.org")
            assert message.count(b"DKIM-Signature:") == 1
            assert message.endswith(content.replace(b"\n", b"\r\n"))
            assert verifies(message)

    asyncio.run(main())


def test_somebody_else_s_name_is_not_signed(tmp_path: Path, tls: TlsConfig) -> None:
    """Alice may write what she wants into From; the domain vouches only for its own."""

    async def main() -> None:
        async with World(tmp_path, tls, signing=signing(tmp_path)) as world:
            await world.send(b"From: bob@example.org\n\nHello\n")
            await world.at_mta.wait("delivered")
            (message,) = world.inbox(world.mta, "bob@example.org")
            assert b"DKIM-Signature" not in message

    asyncio.run(main())


def test_a_notice_is_signed(tmp_path: Path, tls: TlsConfig) -> None:
    """What the server itself tells a sender comes from its own name, which lies in the domain."""

    async def main() -> None:
        async with World(tmp_path, tls, signing=signing(tmp_path)) as world:
            await world.send(b"From: alice@example.com\n\nHello\n", "nobody@example.org")
            await world.at_msa.wait("delivered")
            (notice,) = world.inbox(world.msa, "alice@example.com")
            assert b"\r\nFrom: MAILER-DAEMON@msa.example.com\r\n" in notice
            assert verifies(notice)

    asyncio.run(main())


def test_what_comes_from_outside_is_not_signed(tmp_path: Path) -> None:
    """On port 25 anybody can say to be the domain's."""
    server = config(tmp_path, signing=signing(tmp_path))

    async def main() -> None:
        async with running(server) as events:
            await play(
                server.smtp_port,
                """
                S: 220 *
                C: HELO mallory
                S: 250 *
                C: MAIL FROM:<>
                S: 250 *
                C: RCPT TO:<bob@example.org>
                S: 250 *
                C: DATA
                S: 354 *
                C: From: alice@example.com\\r\\n\\r\\nbuy\\r\\n.
                S: 250 *
                """,
            )
            await events.wait("delivered")
        (stored,) = (path for path in server.mailboxes.rglob("*") if path.is_file())
        assert b"DKIM-Signature" not in stored.read_bytes()

    asyncio.run(main())


def test_a_key_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    """The server does not start, and says which file."""
    missing = Signing(domain="example.com", selector="lab", key=tmp_path / "missing.pem")

    async def main() -> None:
        with pytest.raises(ConfigError, match=r"missing\.pem: No such file"):
            async with running(config(tmp_path, signing=(missing,))):
                pass

    asyncio.run(main())
