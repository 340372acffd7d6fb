"""Reports on their whole way: from what the sender asked for, past the next server, into their mailbox."""

from __future__ import annotations

import asyncio
import time
from ipaddress import ip_network
from pathlib import Path

import pytest

from services.smtp.address import parse_address
from services.smtp.config import MtaConfig
from services.smtp.envelope import Envelope, Wishes
from services.smtp.queue import Queue
from services.smtp.spool import Spool
from services.smtp.streams import Streams
from tests.unit.smtp.running import Events, ScriptedServer, config, free_port, running
from tests.unit.smtp.test_delivery import deliver, inbox, parts

ORCPT = "rfc822;info+2Bx@example.org"


def leave(spool: Path, recipient: str, *, notify: tuple[str, ...]) -> None:
    """Leave a message in the spool, as a server that took it and was killed does."""

    async def main() -> None:
        streams = Streams(seed=1, host="mx", role="mta")
        queue = Queue(Spool(spool), streams=streams, clock=time.time)
        await queue.open()
        bob = parse_address(recipient)
        envelope = Envelope(
            sender=parse_address("alice@example.com"),
            recipients=(bob,),
            ret="FULL",
            envid="QQ+2B1",
            wishes={bob: Wishes(notify=notify, orcpt=ORCPT)},
        )
        await queue.commit(envelope, lambda *_: b"Subject: x\r\n\r\nhi\r\n")
        await queue.close()

    asyncio.run(main())


def test_a_next_server_that_knows_dsn(tmp_path: Path) -> None:
    """It is told what the sender wishes to know, and so nothing is reported here."""
    leave(tmp_path / "spool", "bob@example.org", notify=("SUCCESS", "FAILURE"))

    async def steps(events: Events, mta: MtaConfig, other: ScriptedServer) -> None:
        await events.wait("relayed")
        mail, rcpt = (line for line in other.commands if line[:4] in ("MAIL", "RCPT"))
        assert {"RET=FULL", "ENVID=QQ+2B1"} < set(mail.split())
        assert {"NOTIFY=SUCCESS,FAILURE", f"ORCPT={ORCPT}"} < set(rcpt.split())
        assert not events.of("reported")

    deliver(tmp_path, steps, server=ScriptedServer(extensions=("DSN",)))


def test_a_next_server_that_does_not(tmp_path: Path) -> None:
    """It gets none of that, and the sender is told how far the message came."""
    leave(tmp_path / "spool", "bob@example.org", notify=("SUCCESS", "FAILURE"))

    async def steps(events: Events, mta: MtaConfig, other: ScriptedServer) -> None:
        report_id = (await events.wait("reported"))["report_id"]
        assert (await events.wait("delivered"))["id"] == report_id
        assert not any("RET=" in line or "NOTIFY=" in line for line in other.commands)
        (report,) = inbox(mta)
        _, status, _ = parts(report)
        whole, each = parts(status)
        assert whole["Original-Envelope-Id"] == "QQ+1"
        assert (each["Action"], each["Remote-MTA"]) == ("relayed", "dns; mx2")
        assert each["Original-Recipient"] == "rfc822; info+x@example.org"

    deliver(tmp_path, steps, server=ScriptedServer(extensions=("8BITMIME",)))


@pytest.mark.parametrize("notify", [("SUCCESS",), ("NEVER",)])
def test_a_mailbox_here(tmp_path: Path, notify: tuple[str, ...]) -> None:
    """Who asked for it hears that the message lies in the mailbox; nothing is told of that report."""
    leave(tmp_path / "spool", "alice@example.com", notify=notify)

    async def steps(events: Events, mta: MtaConfig, _: ScriptedServer) -> None:
        await events.wait("delivered", 2 if notify == ("SUCCESS",) else 1)
        actions = [parts(parts(message)[1])[1]["Action"] for message in inbox(mta) if message.is_multipart()]
        assert actions == (["delivered"] if notify == ("SUCCESS",) else [])
        assert len(events.of("reported")) == len(actions)

    deliver(tmp_path, steps)


@pytest.mark.parametrize(
    ("recipient", "action", "status"),
    [("bob@example.org", "delivered", "2.1.5"), ("eve@example.org", "failed", "5.1.1")],
)
def test_two_servers_of_ours(tmp_path: Path, recipient: str, action: str, status: str) -> None:
    """The last server reports delivery, as the first one passed it on; a refusal is reported by the first."""
    port = free_port()
    dns = "example.com MX 10 near\nexample.org MX 10 far\nnear A 127.0.0.1\nfar A 127.0.0.2"
    neighbours = (ip_network("127.0.0.0/8"),)
    far = config(
        tmp_path / "far",
        listen=("127.0.0.2",),
        smtp_port=port,
        remote_port=port,
        relay_from=neighbours,
    )

    async def steps(events: Events, mta: MtaConfig, _: ScriptedServer) -> None:
        async with running(far, dns) as there:
            await events.wait("delivered")
            (report,) = inbox(mta)
            whole, each = parts(parts(report)[1])
            assert (whole["Original-Envelope-Id"], each["Original-Recipient"]) == (
                "QQ+1",
                "rfc822; info+x@example.org",
            )
            assert (each["Action"], each["Status"]) == (action, status)
            author = "mx.example.org" if action == "delivered" else "mx.example.com"
            assert whole["Reporting-MTA"] == f"dns; {author}"
            assert len(events.of("reported") + there.of("reported")) == 1

    leave(tmp_path / "spool", recipient, notify=("SUCCESS", "FAILURE"))
    deliver(tmp_path, steps, dns=dns, smtp_port=port, remote_port=port)
