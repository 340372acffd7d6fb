"""Messages from end to end: MUA to MSA to MTA to mailbox, over loopback."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from services.mailbox.maildir import list_messages, read_message
from services.smtp.config import Domain, MtaConfig, TlsConfig
from services.smtp.mua import Receipt, SubmissionConfig, submit
from tests.unit.smtp.running import ALICE, Events, config, free_port, running

DNS = """
    example.com MX 10 msa
    example.org MX 10 mx
    msa A 127.0.0.1
    mx A 127.0.0.1
"""


class World:
    """An MSA for alice@example.com and an MTA for bob@example.org, each sending to the other."""

    def __init__(self, directory: Path, tls: TlsConfig, *, dns: str = DNS, **msa: Any) -> None:
        self.directory = directory
        self.dns = dns
        self.mta = config(directory / "mx")
        self.msa = config(
            directory / "msa",
            **{
                "hostname": "msa.example.com",
                "host": "msa",
                "submission_port": free_port(),
                "remote_port": self.mta.smtp_port,
                "tls": tls,
                "domains": (Domain(name="example.com", kind="local"),),
                "users": (ALICE,),
                **msa,
            },
        )
        assert tls
        self.mua = SubmissionConfig(
            server="localhost",
            port=self.msa.submission_port,
            username="alice@example.com",
            password=ALICE.password,
            ca_file=tls.cert,
            keylog=tls.keylog,
            hostname="alice-pc.example.com",
        )

    async def __aenter__(self) -> World:
        self._stack = AsyncExitStack()
        self.at_msa: Events = await self._stack.enter_async_context(running(self.msa, self.dns))
        self.at_mta: Events = await self._stack.enter_async_context(running(self.mta, self.dns))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def send(self, message: bytes, *recipients: str) -> Receipt:
        return await submit(self.mua, message, "alice@example.com", recipients or ("bob@example.org",))

    def inbox(self, server: MtaConfig, address: str) -> list[bytes]:
        user, _, domain = address.partition("@")
        return [read_message(stored) for stored in list_messages(server.mailboxes, domain, user)]


def test_a_submitted_message_arrives(tmp_path: Path, tls: TlsConfig) -> None:
    """Every server on the way tells its step, and the queue ids lead from one to the next."""

    async def main() -> None:
        async with World(tmp_path, tls) as world:
            receipt = await world.send(b"From: alice@example.com\nSubject: hi\n\nHello\n")
            relayed = await world.at_msa.wait("relayed")
            delivered = await world.at_mta.wait("delivered")

            (accepted,) = world.at_msa.of("accepted")
            assert accepted["id"] == relayed["id"] == receipt.queue_id
            assert accepted["protocol"] == "ESMTPSA"
            assert (relayed["next_domain"], relayed["next_host"]) == ("example.org", "mx")
            assert relayed["remote_id"] == delivered["id"] == world.at_mta.of("accepted")[0]["id"]
            assert delivered["mailbox"] == "bob@example.org"

            (message,) = world.inbox(world.mta, "bob@example.org")
            lines = message.decode().split("\r\n")
            assert lines[0] == "Return-Path: <alice@example.com>"
            assert lines[1] == "Received: from msa.example.com ([127.0.0.1])"
            assert lines[4] == "Received: from alice-pc.example.com ([127.0.0.1])"
            assert lines[5] == f"\tby msa.example.com with ESMTPSA id {receipt.queue_id}"
            assert lines[7].startswith("Date: ")
            assert lines[8] == f"Message-ID: <{receipt.queue_id}@msa.example.com>"
            assert lines[9:] == ["From: alice@example.com", "Subject: hi", "", "Hello", ""]

    asyncio.run(main())
    assert tls.keylog
    assert "SERVER_TRAFFIC_SECRET_0" in tls.keylog.read_text()


HEADER = b"Date: Tue, 24 Nov 2026 08:00:00 +0000\r\nMessage-ID: <1@example.com>\r\nSubject: x\r\n"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(HEADER, id="no body, not even the empty line"),
        pytest.param(HEADER + b"\r\n", id="an empty body"),
        pytest.param(HEADER + b"\r\n.\r\n..\r\n.x\r\n\r\n.\r\n", id="dots at the start of lines"),
        pytest.param(HEADER + b"\r\n" + b"x" * 998 + b"\r\n", id="a line of 998 characters"),
        pytest.param(HEADER + b"\r\n" + b"x" * 200_000 + b"\r\n", id="a line longer than any buffer"),
        pytest.param(HEADER + b"\r\n\xff\x80\x00\xe4 8 bits\r\n", id="8-bit octets that are no UTF-8"),
        pytest.param(HEADER + b"\r\n\r\n\r\n\t \r\n", id="white space at the end"),
        pytest.param(HEADER + b"\r\n" + b"." * 65_540 + b"\r\n.\r\n" * 30_000, id="dots across buffers"),
        pytest.param(b"x:  y \r\n\tz\r\n: :\r\n" + HEADER + b"\r\nhi\r\n", id="a header nobody would write"),
    ],
)
def test_bytes_are_kept(tmp_path: Path, tls: TlsConfig, content: bytes) -> None:
    """What lies in the mailbox ends with exactly the bytes that were submitted."""

    async def main() -> None:
        async with World(tmp_path, tls) as world:
            await world.send(content)
            await world.at_mta.wait("delivered")
            (message,) = world.inbox(world.mta, "bob@example.org")
            trace, start, rest = message.partition(content[:20])
            assert start + rest == content
            assert trace.count(b"\r\n") == 7
            assert b"\nDate" not in trace

    asyncio.run(main())


def test_a_last_line_without_an_end_gets_one(tmp_path: Path, tls: TlsConfig) -> None:
    """SMTP cannot carry a message whose last line has no end; that end is all that is added."""

    async def main() -> None:
        async with World(tmp_path, tls) as world:
            await world.send(HEADER + b"\r\nno end")
            await world.at_mta.wait("delivered")
            assert world.inbox(world.mta, "bob@example.org")[0].endswith(HEADER + b"\r\nno end\r\n")

    asyncio.run(main())
