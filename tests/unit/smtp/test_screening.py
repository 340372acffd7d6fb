"""A mail server with a content filter: what goes on, what is kept, and what a crash leaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from services.filters.quarantine import Kept, Quarantine
from services.mailbox.maildir import list_messages, read_message
from services.notices import Handler
from services.smtp import reports
from services.smtp.config import ContentFilter, MtaConfig
from services.smtp.mta import serve
from services.smtp.peek import peek, peek_content
from tests.unit.filters.enginesat import EICAR, GTUBE, spam_engine, virus_engine
from tests.unit.smtp.running import Events, TableResolver, config, free_port, play

# Where nobody listens: what goes to alice waits.
DNS = """
    example.com MX 10 mx1
    mx1 A 127.0.0.2
"""


class Asked(Events):
    """Notices whose handlers can be asked."""

    def __init__(self) -> None:
        super().__init__()
        self.handlers: dict[str, Handler] = {}

    def handle(self, method: str, handler: Handler) -> None:
        self.handlers[method] = handler

    async def ask(self, method: str, **params: Any) -> list[dict[str, Any]]:
        answer: Any = self.handlers[method](params)
        if isinstance(answer, Awaitable):
            answer = await answer
        assert isinstance(answer, Mapping)
        return list(answer["messages"])


@dataclass
class Filter:
    """A server for bob with a filter, told what comes from outside: everything."""

    configuration: MtaConfig
    events: Asked = field(default_factory=Asked)

    async def send(self, text: bytes, *, sender: str = "alice@example.com") -> None:
        lines = "".join(f"C: {line}\n" for line in text.decode("latin-1").replace("\\", "\\\\").splitlines())
        await play(
            self.configuration.smtp_port,
            "S: 220 *\nC: EHLO client.example\nS: 250*\n"
            + "S: 250*\n" * 7
            + f"C: MAIL FROM:<{sender}>\nS: 250 *\nC: RCPT TO:<bob@example.org>\nS: 250 *\n"
            + f"C: DATA\nS: 354 *\nC: Subject: x\nC:\n{lines}C: .\nS: 250 *queued as *",
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Asked]:
        """Run the server; it is gone, as by a crash of its process, after the block."""
        self.events = Asked()
        task = asyncio.create_task(serve(self.configuration, self.events, resolver=TableResolver(DNS)))
        try:
            await self.events.wait("ready")
            yield self.events
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def inbox(self) -> list[bytes]:
        mailboxes = self.configuration.mailboxes
        return [read_message(stored) for stored in list_messages(mailboxes, "example.org", "bob")]

    @property
    def quarantine(self) -> Quarantine:
        assert self.configuration.content_filter
        return Quarantine(self.configuration.content_filter.quarantine)


def filtered(directory: Path, *, inside: bool = False, **values: Any) -> Filter:
    """A server whose engines are to listen on two ports of the loopback."""
    return Filter(
        config(
            directory,
            nameservers=("127.0.0.1",),
            nameserver_port=free_port(),
            remote_port=free_port(),
            content_filter=ContentFilter(
                authserv_id="mx.example.org",
                quarantine=directory / "quarantine",
                reports=directory / "dmarc",
                inside=(ip_network("127.0.0.0/8"),) if inside else (),
                virus_port=free_port(),
                spam_port=0 if inside else free_port(),
                **values,
            ),
        )
    )


@pytest.fixture(autouse=True)
def _from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients on the loopback count as strangers where the configuration does not say otherwise."""
    from services.filters import origin

    def is_inside(client: str, inside: Any) -> bool:
        return bool(inside)

    monkeypatch.setattr(origin, "_is_inside", is_inside)


@asynccontextmanager
async def engines(one: Filter) -> AsyncIterator[None]:
    assert one.configuration.content_filter
    ports = one.configuration.content_filter
    async with virus_engine(ports.virus_port), spam_engine(ports.spam_port or 0):
        yield


def run(steps: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await steps()

    asyncio.run(main())


def test_what_passes(tmp_path: Path) -> None:
    """A message that is no spam and holds nothing bad is filed with the verdicts on top."""
    one = filtered(tmp_path)

    async def steps() -> None:
        async with engines(one), one.running() as events:
            await one.send(b"hello")
            await events.wait("delivered")
            seen = await events.wait("filtered")
            assert (seen["action"], seen["score"], seen["virus"]) == ("pass", 0.4, "")
            assert seen["rules"][0] == {
                "name": "DKIM_VALID",
                "weight": -0.1,
                "evidence": "Message has a signature",
            }
            # Nobody answers its questions about the sender here: that is a result, too.
            assert seen["authentication"]["spf"]["result"] == "temperror"
        (stored,) = one.inbox()
        assert message_from_bytes(stored)["X-Spam-Status"].startswith("No, score=0.4")
        assert stored.endswith(b"Subject: x\r\n\r\nhello\r\n")

    run(steps)


def test_spam(tmp_path: Path) -> None:
    """Spam is deleted, and its sender is not told."""
    one = filtered(tmp_path)

    async def steps() -> None:
        async with engines(one), one.running() as events:
            await one.send(GTUBE)
            deleted = await events.wait("deleted")
            assert deleted["recipient"] == "bob@example.org"
            assert deleted["reason"] == "spam score 1000.4, 5 required"
            assert events.of("filtered")[0]["rules"][-1]["name"] == "GTUBE"
        assert not one.inbox()
        assert not peek(one.configuration.spool)

    run(steps)


def test_malware(tmp_path: Path) -> None:
    """Malware is quarantined with a record of why, and its sender is told, with the header alone."""
    one = filtered(tmp_path, inside=True)

    async def steps() -> None:
        async with engines(one), one.running() as events:
            await one.send(EICAR)
            kept = await events.wait("quarantined")
            assert (kept["quarantine_id"], kept["reason"]) == (kept["id"], "it holds Eicar-Test")
            (record,) = await events.ask("quarantine.list")
            assert record["id"] == kept["id"]
            assert (record["virus"], record["told"]) == ("Eicar-Test", True)
            assert (record["sender"], record["recipients"]) == ("alice@example.com", ("bob@example.org",))
            (shown,) = await events.ask("quarantine.show", id=kept["id"])
            assert EICAR.decode() in shown["content"]
            report_id = (await events.wait("reported"))["report_id"]
        assert one.quarantine.content(kept["id"]).endswith(EICAR + b"\r\n")
        (waiting,) = peek(one.configuration.spool)
        assert (waiting.id, waiting.sender) == (report_id, "")
        notice = peek_content(one.configuration.spool, report_id) or b""
        assert b"Auto-Submitted: auto-replied" in notice
        assert b"kept in quarantine: it holds Eicar-Test" in notice
        assert EICAR not in notice

    run(steps)


def test_release_and_delete(tmp_path: Path) -> None:
    """A released message is delivered, marked and not judged again; a deleted one is gone."""
    one = filtered(tmp_path)

    async def steps() -> None:
        async with engines(one), one.running() as events:
            await one.send(EICAR)
            await one.send(EICAR)
            await events.wait("quarantined", 2)
            first, second = [record["id"] for record in await events.ask("quarantine.list")]
            (released,) = await events.ask("quarantine.release", ids=[first, "NONE", "../x"])
            assert (await events.wait("delivered"))["id"] == released["queue_id"]
            assert not await events.ask("quarantine.release", ids=[first])
            (gone,) = await events.ask("quarantine.delete", ids=[second])
            assert gone["id"] == second
            assert not await events.ask("quarantine.list")
            judged = [seen["id"] for seen in events.of("filtered")]
            assert released["queue_id"] not in judged
        (stored,) = one.inbox()
        message = message_from_bytes(stored)
        mark = message["X-Quarantine-Released"]
        assert mark.startswith(f"by mx.example.org id {one.events.of('delivered')[0]['id']}; ")
        assert mark.endswith("kept since it holds Eicar-Test")
        assert stored.endswith(EICAR + b"\r\n")
        assert not list((tmp_path / "quarantine").iterdir())

    run(steps)


@pytest.mark.parametrize("lacks", ["virus", "spam"])
def test_an_engine_that_is_down(tmp_path: Path, lacks: str) -> None:
    """Mail waits as long as an engine is down, is told with its name, and goes on once it is back."""
    one = filtered(tmp_path)
    told = one.configuration.content_filter
    assert told

    async def steps() -> None:
        other = spam_engine(told.spam_port) if lacks == "virus" else virus_engine(told.virus_port)
        async with other, one.running() as events:
            await one.send(b"hello")
            deferred = await events.wait("deferred", 2)
            assert deferred["reply"].startswith(f"451 4.7.1 not judged: the {lacks} engine cannot be asked")
            assert not events.of("filtered")
            back = virus_engine(told.virus_port) if lacks == "virus" else spam_engine(told.spam_port)
            async with back:
                await events.wait("delivered")
        assert len(one.inbox()) == 1

    run(steps)


def test_a_crash_after_the_verdict(tmp_path: Path) -> None:
    """Whoever is killed between a verdict and the next hop goes on with the marked message, judged once."""
    one = filtered(tmp_path)
    told = one.configuration.content_filter
    assert told

    async def steps() -> None:
        (tmp_path / "mail").write_text("no directory: nothing can be filed")
        async with engines(one), one.running() as events:
            await one.send(b"hello")
            await events.wait("deferred")
        (waiting,) = peek(one.configuration.spool)
        assert waiting.filtered
        (tmp_path / "mail").unlink()
        # No engine is there now, and none is asked.
        async with one.running() as events:
            await events.wait("delivered")
            assert not events.of("filtered")
        (stored,) = one.inbox()
        assert stored.count(b"X-Spam-Status:") == 1
        assert len(stored) - len(stored.partition(b"\r\n")[0]) - 2 == waiting.size

    run(steps)


def test_a_crash_in_quarantine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is killed between quarantine and notice keeps the message once, and tells the sender."""
    one = filtered(tmp_path, inside=True)

    async def steps() -> None:
        reached = asyncio.Event()

        async def never(*_: object) -> str:
            reached.set()
            await asyncio.Event().wait()
            return ""

        with monkeypatch.context() as patch:
            patch.setattr(reports.Reports, "send", never)
            async with engines(one), one.running():
                await one.send(EICAR)
                await asyncio.wait_for(reached.wait(), 20)
        (waiting,) = peek(one.configuration.spool)
        async with engines(one), one.running() as events:
            assert (await events.wait("quarantined"))["id"] == waiting.id
        assert [kept.id for kept in one.quarantine.all()] == [waiting.id]
        assert [message.sender for message in peek(one.configuration.spool)] == [""]

    run(steps)


def test_a_record_that_does_not_read(tmp_path: Path) -> None:
    """What is half written or damaged in the quarantine is no record, and hides no other."""
    quarantine = Quarantine(tmp_path)
    kept = Kept(id="A1", time=1.0, sender="", recipients=("b@x",), subject="", size=1, reason="because")
    quarantine.keep(kept, b"x")
    (tmp_path / "B2.json").write_text("{")
    (tmp_path / "C3.json").write_text(json.dumps({"id": "C3"}))
    assert quarantine.all() == [kept]
    assert quarantine.find("B2") is None
    assert quarantine.find("../A1") is None
