"""Delivery: which host gets a message, and what becomes of it when none does."""

from __future__ import annotations

import asyncio
import email
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from email.message import Message
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from services.mailbox.maildir import list_messages, read_message
from services.smtp.client import ClientSession
from services.smtp.config import Domain, MtaConfig, Route
from services.smtp.mx import Exchanger
from services.smtp.peek import peek
from tests.unit.smtp.running import ALICE, Events, ScriptedServer, TableResolver, config, play, running

Steps = Callable[[Events, MtaConfig, ScriptedServer], Awaitable[None]]

DNS = """
    example.com MX 10 here
    example.org MX 10 mx1
    example.org MX 20 mx2
    mx1 A 127.0.0.2
    mx2 A 127.0.0.1
"""


def deliver(
    directory: Path,
    steps: Steps,
    *,
    server: ScriptedServer | None = None,
    dns: str = DNS,
    clock: Callable[[], float] | None = None,
    **values: Any,
) -> None:
    """Run `steps` with an MTA that has alice's mailbox, and a scripted server that mx2 leads to."""

    async def main() -> None:
        async with server or ScriptedServer() as other:
            configuration = config(
                directory,
                **{
                    "hostname": "mx.example.com",
                    "host": "mx",
                    "remote_port": other.port,
                    "domains": (Domain(name="example.com", kind="local"),),
                    "users": (ALICE,),
                    "relay_from": (ip_network("127.0.0.0/8"),),
                    **values,
                },
            )
            async with running(configuration, dns, clock) as events:
                await steps(events, configuration, other)

    asyncio.run(main())


async def send(
    configuration: MtaConfig, *recipients: str, sender: str = "alice@example.com", text: str = "hi"
) -> None:
    """Hand a message to the server on port 25."""
    utf8 = "" if all(map(str.isascii, (sender, *recipients))) else " SMTPUTF8"
    lines = [f"MAIL FROM:<{sender}>{utf8}", *(f"RCPT TO:<{recipient}>" for recipient in recipients)]
    commands = "".join(f"C: {escaped(line)}\nS: 250 *\n" for line in lines)
    await play(
        configuration.smtp_port,
        "S: 220 *\nC: EHLO client.example\nS: 250*\n"
        + "S: 250*\n" * 7
        + commands
        + f"C: DATA\nS: 354 *\nC: Subject: x\nC:\nC: {escaped(text)}\nC: .\nS: 250 *queued as *",
    )


def escaped(text: str) -> str:
    """Return the text with what is beyond ASCII as escapes of its UTF-8, which transcripts read."""
    return "".join(
        char if char.isascii() else "".join(f"\\x{octet:02x}" for octet in char.encode()) for char in text
    )


async def answered(found: object) -> object:
    """Return what a handler answers, at once or later."""
    return await found if isinstance(found, Awaitable) else found


def inbox(configuration: MtaConfig) -> list[Message]:
    found = list_messages(configuration.mailboxes, "example.com", "alice")
    return [email.message_from_bytes(read_message(stored)) for stored in found]


def parts(message: Message) -> list[Message]:
    payload = message.get_payload()
    assert isinstance(payload, list)
    return [part for part in payload if isinstance(part, Message)]


def test_the_next_exchanger(tmp_path: Path) -> None:
    """A host that refuses connections is passed over for the next one in order."""

    async def steps(events: Events, mta: MtaConfig, other: ScriptedServer) -> None:
        await send(mta, "bob@example.org")
        relayed = await events.wait("relayed")
        assert (relayed["next_domain"], relayed["next_host"]) == ("example.org", "mx2")
        assert (relayed["next_address"], relayed["remote_id"]) == ("127.0.0.1", "SCRIPTED")
        assert relayed["reply"] == "250 2.0.0 Ok: queued as SCRIPTED"
        assert other.commands[0] == "EHLO mx.example.com"
        assert not events.of("deferred")

    deliver(tmp_path, steps)


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(ScriptedServer(greeting="421 4.3.2 closing"), id="421 as greeting"),
        pytest.param(ScriptedServer(greeting="554 5.3.2 no mail here"), id="554 as greeting"),
        pytest.param(ScriptedServer(greeting="HTTP/1.0 400 what?"), id="no SMTP at all"),
        pytest.param(ScriptedServer(replies={"EHLO": "421 busy", "HELO": "421 busy"}), id="421 to EHLO"),
        pytest.param(ScriptedServer(replies={"EHLO": ""}), id="hangs up after EHLO"),
    ],
)
def test_an_exchanger_that_does_not_greet(tmp_path: Path, first: ScriptedServer) -> None:
    """A host that answers the connection but takes no mail is passed over as well."""

    async def steps(events: Events, mta: MtaConfig, other: ScriptedServer) -> None:
        first.address, first.port = "127.0.0.2", other.port
        async with first:
            await send(mta, "bob@example.org")
            assert (await events.wait("relayed"))["next_host"] == "mx2"
        assert not first.messages

    deliver(tmp_path, steps)


@pytest.mark.parametrize(
    ("stage", "reply", "taken_by"),
    [
        pytest.param("MAIL", "451 4.7.1 later", "mx2", id="4xx to MAIL"),
        pytest.param("MAIL", "421 4.3.2 closing", "mx2", id="421 to MAIL"),
        pytest.param("RCPT", "450 4.2.1 later", "mx2", id="4xx to all recipients"),
        pytest.param("DATA", "451 4.3.0 later", "mx2", id="4xx to DATA"),
        pytest.param("message", "452 4.3.1 full", "mx2", id="4xx to the message"),
        pytest.param("RCPT", "", "mx2", id="hangs up before the message"),
        pytest.param("MAIL", "550 5.7.1 no", "", id="5xx to MAIL"),
        pytest.param("RCPT", "550 5.1.1 who", "", id="5xx to the recipient"),
        pytest.param("message", "554 5.6.0 no", "", id="5xx to the message"),
    ],
)
@pytest.mark.parametrize("pipelining", [(), ("PIPELINING",)], ids=["lock-step", "pipelining"])
def test_an_exchanger_that_says_later(
    tmp_path: Path, stage: str, reply: str, taken_by: str, pipelining: tuple[str, ...]
) -> None:
    """What one exchanger cannot take now another one is asked to; what one refuses for good bounces."""

    async def steps(events: Events, mta: MtaConfig, other: ScriptedServer) -> None:
        first = ScriptedServer(
            replies={stage: reply}, address="127.0.0.2", port=other.port, extensions=pipelining
        )
        async with first:
            await send(mta, "bob@example.org")
            if taken_by:
                assert (await events.wait("relayed"))["next_host"] == taken_by
            else:
                assert (await events.wait("bounced"))["reply"] == reply
                assert not other.commands
            assert not events.of("deferred")

    deliver(tmp_path, steps)


def test_a_message_whose_reply_is_lost(tmp_path: Path) -> None:
    """It may have arrived: no other exchanger gets it as well, and it waits."""

    async def steps(events: Events, mta: MtaConfig, other: ScriptedServer) -> None:
        async with ScriptedServer(replies={"message": ""}, address="127.0.0.2", port=other.port) as first:
            await send(mta, "bob@example.org")
            assert (await events.wait("deferred"))["reply"].startswith("451 4.4.2 the session broke")
            assert (len(first.messages), len(other.messages)) == (1, 0)

    deliver(tmp_path, steps, time_scale=1.0)


def test_one_recipient_here_another_there(tmp_path: Path) -> None:
    """Each exchanger is asked for those alone that the one before did not decide over."""

    async def steps(events: Events, mta: MtaConfig, other: ScriptedServer) -> None:
        first = ScriptedServer(
            replies={"RCPT TO:<dave@": "450 4.2.1 later", "RCPT TO:<eve@": "550 5.1.1 who"},
            address="127.0.0.2",
            port=other.port,
        )
        async with first:
            await send(mta, "bob@example.org", "dave@example.org", "eve@example.org")
            await events.wait("relayed", 2)
            await events.wait("bounced")
        hosts = {event["recipient"]: event["next_host"] for event in events.of("relayed")}
        assert hosts == {"bob@example.org": "mx1", "dave@example.org": "mx2"}
        assert [line for line in other.commands if line.startswith("RCPT")] == ["RCPT TO:<dave@example.org>"]

    deliver(tmp_path, steps)


@pytest.mark.parametrize(
    ("dns", "event", "reply"),
    [
        pytest.param(
            "example.org MX 10 alias\nalias A 127.0.0.1", "bounced", "550 5.4.6 alias, an", id="alone"
        ),
        pytest.param(
            "example.org MX 5 mx1\nmx1 A 127.0.0.2\nexample.org MX 10 alias\nalias A 127.0.0.1",
            "deferred",
            "451 4.4.1 127.0.0.2",
            id="as the backup of one that is down",
        ),
    ],
)
def test_an_exchanger_that_is_this_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dns: str, event: str, reply: str
) -> None:
    """Under another name too a host does not send to itself, nor to anybody after that (RFC 5321 §5.1)."""
    monkeypatch.setattr(ClientSession, "to_itself", property(lambda _: True))

    async def steps(events: Events, mta: MtaConfig, other: ScriptedServer) -> None:
        await send(mta, "bob@example.org")
        assert (await events.wait(event))["reply"].startswith(reply)
        assert not other.messages

    deliver(tmp_path, steps, dns=dns)


def test_a_dead_host_is_left_alone(tmp_path: Path) -> None:
    """Not every message tries it first; when its time has come it is tried, and used again."""
    late = 0.0

    async def steps(events: Events, mta: MtaConfig, other: ScriptedServer) -> None:
        nonlocal late
        await send(mta, "bob@example.org")
        assert (await events.wait("relayed", 1))["next_host"] == "mx2"
        async with ScriptedServer(address="127.0.0.2", port=other.port) as first:
            await send(mta, "bob@example.org")
            assert (await events.wait("relayed", 2))["next_host"] == "mx2"
            assert not first.commands
            late = 31.0
            await send(mta, "bob@example.org")
            assert (await events.wait("relayed", 3))["next_host"] == "mx1"
            assert len(first.messages) == 1

    deliver(tmp_path, steps, clock=lambda: time.time() + late, time_scale=1.0)


def test_a_hop_that_is_back(tmp_path: Path) -> None:
    """What waited for it arrives long before its own time, in order, once each, over one session."""
    dns = "example.org MX 10 mx1\nmx1 A 127.0.0.2"
    names = [f"user{number}@example.org" for number in range(30)]

    async def steps(events: Events, mta: MtaConfig, other: ScriptedServer) -> None:
        for name in names:
            await send(mta, name)
        await events.wait("deferred", len(names))
        async with ScriptedServer(address="127.0.0.2", port=other.port) as first:
            await events.wait("relayed", len(names))
            recipients = [line for line in first.commands if line.startswith("RCPT")]
            assert recipients == [f"RCPT TO:<{name}>" for name in names]
            assert len(first.messages) == len(names)
            assert [line.partition(" ")[0] for line in first.commands].count("EHLO") == 1
        assert len(events.of("deferred")) == len(names), "no message has tried in vain twice"

    # A call each half second; a message of its own accord after five.
    deliver(tmp_path, steps, dns=dns, time_scale=60.0)


@pytest.mark.parametrize("places", [1, 3, 20])
def test_a_hop_that_is_back_when_all_are_due(tmp_path: Path, places: int) -> None:
    """Their own times come in any order, and all try at once: they go in order of arrival all the same."""
    dns = "example.org MX 10 mx1\nmx1 A 127.0.0.2"
    names = [f"user{number}@example.org" for number in range(12)]
    late = 0.0

    async def steps(events: Events, mta: MtaConfig, other: ScriptedServer) -> None:
        nonlocal late
        for name in names[:-1]:
            await send(mta, name)
        await events.wait("deferred", len(names) - 1)
        async with ScriptedServer(address="127.0.0.2", port=other.port) as first:
            late = 1000.0
            await send(mta, names[-1])
            await events.wait("relayed", len(names))
            recipients = [line for line in first.commands if line.startswith("RCPT")]
            assert recipients == [f"RCPT TO:<{name}>" for name in names]

    deliver(
        tmp_path,
        steps,
        dns=dns,
        clock=lambda: time.time() + late,
        time_scale=1.0,
        destination_concurrency=places,
    )


def test_a_hop_that_is_back_when_only_some_are_due(tmp_path: Path) -> None:
    """One whose own time comes first finds the hop, and lets those pass that came before it."""
    dns = "example.org MX 10 mx1\nmx1 A 127.0.0.2"
    names = [f"user{number}@example.org" for number in range(6)]
    late = 0.0

    async def steps(events: Events, mta: MtaConfig, other: ScriptedServer) -> None:
        nonlocal late
        for name in names[:-1]:
            await send(mta, name)
        await events.wait("deferred", len(names) - 1)
        # The host may be tried again, and nobody's own time has come: the newest message is the one to try.
        late = 31.0
        async with ScriptedServer(address="127.0.0.2", port=other.port) as first:
            await send(mta, names[-1])
            await events.wait("relayed", len(names))
            recipients = [line for line in first.commands if line.startswith("RCPT")]
            assert recipients == [f"RCPT TO:<{name}>" for name in names]

    deliver(tmp_path, steps, dns=dns, clock=lambda: time.time() + late, time_scale=1.0)


def test_a_hop_that_is_gone_again(tmp_path: Path) -> None:
    """The rest goes on waiting, and comes in order when the hop is back for good; nothing is lost."""
    dns = "example.org MX 10 mx1\nmx1 A 127.0.0.2"
    names = [f"user{number}@example.org" for number in range(20)]

    async def steps(events: Events, mta: MtaConfig, other: ScriptedServer) -> None:
        for name in names:
            await send(mta, name)
        await events.wait("deferred", len(names))
        taken: list[str] = []
        for enough in (5, 12, 20):
            async with ScriptedServer(address="127.0.0.2", port=other.port) as server:
                await events.wait("relayed", enough)
            recipients = [line for line in server.commands if line.startswith("RCPT")]
            taken += recipients[: len(server.messages)]
        assert list(dict.fromkeys(taken)) == [f"RCPT TO:<{name}>" for name in names]
        # One message at most was under way each time that the hop went.
        assert len(taken) <= len(names) + 2

    deliver(tmp_path, steps, dns=dns, time_scale=60.0)


def test_a_hop_that_is_back_after_a_restart(tmp_path: Path) -> None:
    """The queue says what was not reached, and so that moves on as well."""
    dns = "example.org MX 10 mx1\nmx1 A 127.0.0.2"

    async def before(events: Events, mta: MtaConfig, _: ScriptedServer) -> None:
        await send(mta, "bob@example.org")
        await events.wait("deferred")

    async def after(events: Events, mta: MtaConfig, other: ScriptedServer) -> None:
        async with ScriptedServer(address="127.0.0.2", port=other.port):
            await events.wait("relayed")
        assert not events.of("deferred")

    deliver(tmp_path, before, dns=dns, time_scale=60.0)
    deliver(tmp_path, after, dns=dns, time_scale=60.0)


def test_a_host_without_extensions(tmp_path: Path) -> None:
    """A server that does not know EHLO is asked with HELO and gets no parameters."""

    async def steps(events: Events, mta: MtaConfig, other: ScriptedServer) -> None:
        await send(mta, "bob@example.org")
        await events.wait("relayed")
        assert other.commands[:3] == [
            "EHLO mx.example.com",
            "HELO mx.example.com",
            "MAIL FROM:<alice@example.com>",
        ]

    deliver(tmp_path, steps, server=ScriptedServer(replies={"EHLO": "500 what?"}))


@pytest.mark.parametrize(
    ("routes", "recipient", "expected"),
    [
        pytest.param((), "bob@example.org", "example.org", id="the recipient's own domain"),
        pytest.param(
            (("*", "isp.example"),), "bob@example.org", "isp.example", id="the route of every domain"
        ),
        pytest.param(
            (("*", "isp.example"), ("example.org", "org.example")),
            "bob@Example.ORG",
            "org.example",
            id="its own route",
        ),
        pytest.param(
            (("*", "isp.example"),), "bob@[127.0.0.1]", "127.0.0.1", id="an address literal, past every route"
        ),
    ],
)
def test_routes(tmp_path: Path, routes: tuple[tuple[str, str], ...], recipient: str, expected: str) -> None:
    """The most specific route names the domain whose exchangers are tried."""
    dns = "example.org MX 10 mx2\nmx2 A 127.0.0.1\nisp.example A 127.0.0.1\norg.example MX 5 mx2"

    async def steps(events: Events, mta: MtaConfig, _: ScriptedServer) -> None:
        await send(mta, recipient)
        assert (await events.wait("relayed"))["next_domain"] == expected

    table = tuple(Route(domain=domain, via=(via,)) for domain, via in routes)
    deliver(tmp_path, steps, dns=dns, routes=table)


@pytest.mark.parametrize(
    ("mx", "expected"),
    [
        pytest.param("10 better\nexample.org MX 20 mx.example.com", "better", id="the backup"),
        pytest.param("10 mx.example.com\nexample.org MX 20 worse", "inside", id="the primary"),
        pytest.param("10 mx.example.com\nexample.org MX 10 equal", "inside", id="one of two equal ones"),
    ],
)
def test_a_route_for_the_primary(tmp_path: Path, mx: str, expected: str) -> None:
    """DNS says whether a host holds mail for a better one or takes it on; never to an equal or worse one."""
    hosts = "\n".join(f"{host} A 127.0.0.1" for host in ("better", "worse", "equal", "inside"))
    dns = f"example.org MX {mx}\ninside.example MX 10 inside\n{hosts}"

    async def steps(events: Events, mta: MtaConfig, _: ScriptedServer) -> None:
        await send(mta, "bob@example.org")
        assert (await events.wait("relayed"))["next_host"] == expected

    route = Route(domain="example.org", via=("example.org",), as_primary="inside.example")
    deliver(tmp_path, steps, dns=dns, routes=(route,))


def test_one_of_several_domains(tmp_path: Path) -> None:
    """Of a route's domains one is chosen by seed, and the other serves when that cannot be reached."""
    dns = "b.example A 127.0.0.1\nc.example A 127.0.0.2"

    async def steps(events: Events, mta: MtaConfig, _: ScriptedServer) -> None:
        for number in range(1, 9):
            await send(mta, "bob@example.org")
            assert (await events.wait("relayed", number))["next_domain"] == "b.example"

    deliver(tmp_path, steps, dns=dns, routes=(Route(domain="*", via=("b.example", "c.example")),))


@pytest.mark.parametrize(
    ("dns", "reply"),
    [
        pytest.param(
            "example.net A 127.0.0.1", "550 5.1.2 the domain example.org does not exist", id="NXDOMAIN"
        ),
        pytest.param("example.org MX 0 .", "550 5.1.10 example.org", id="null MX"),
        pytest.param("example.org MX 10 mx.example.com", "550 5.4.6 example.org", id="a loop"),
        pytest.param("example.org MX 10 gone", "550 5.4.4 *", id="no exchanger has an address"),
        pytest.param("example.org TXT x", "550 5.4.4 *", id="neither MX nor address"),
    ],
)
def test_what_dns_denies_is_permanent(tmp_path: Path, dns: str, reply: str) -> None:
    """A domain that DNS says cannot take mail is given up at once, and the sender is told."""

    async def steps(events: Events, mta: MtaConfig, _: ScriptedServer) -> None:
        await send(mta, "bob@example.org")
        bounced = await events.wait("bounced")
        assert bounced["reply"].startswith(reply.rstrip("*"))
        assert (await events.wait("delivered"))["id"] == bounced["bounce_id"]

    deliver(tmp_path, steps, dns=dns)


@pytest.mark.parametrize(
    ("dns", "reply"),
    [
        pytest.param("example.org SERVFAIL", "451 4.4.3 ", id="no answer about the domain"),
        pytest.param("example.org MX 10 mx1\nmx1 SERVFAIL", "451 4.4.3 ", id="no answer about the exchanger"),
        pytest.param("example.org MX 10 mx1\nmx1 A 127.0.0.3", "451 4.4.1 127.0.0.3: ", id="no connection"),
    ],
)
def test_what_may_change_is_deferred(tmp_path: Path, dns: str, reply: str) -> None:
    """Without an answer or a connection the message waits, each time longer than before."""

    async def steps(events: Events, mta: MtaConfig, _: ScriptedServer) -> None:
        await send(mta, "bob@example.org")
        first, second = await events.wait("deferred", 1), await events.wait("deferred", 2)
        assert first["reply"].startswith(reply)
        assert 0.1 < first["next_attempt_s"] < 0.34
        assert 0.34 < second["next_attempt_s"] < 0.67

    deliver(tmp_path, steps, dns=dns)


def test_recipients_are_decided_one_by_one(tmp_path: Path) -> None:
    """One is taken, one refused for good, one for now; only the last is tried again."""
    server = ScriptedServer(
        replies={
            "RCPT TO:<eve@": "550 5.1.1 who is that?",
            "RCPT TO:<dave@": "450 4.2.1 later",
        }
    )

    async def steps(events: Events, mta: MtaConfig, other: ScriptedServer) -> None:
        await send(mta, "bob@example.org", "eve@example.org", "dave@example.org")
        assert (await events.wait("relayed"))["recipient"] == "bob@example.org"
        assert (await events.wait("bounced"))["recipient"] == "eve@example.org"
        assert (await events.wait("deferred"))["reply"] == "450 4.2.1 later"
        del other.replies["RCPT TO:<dave@"]
        assert (await events.wait("relayed", 2))["recipient"] == "dave@example.org"
        recipients = [line for line in other.commands if line.startswith("RCPT")]
        assert sorted(set(recipients)) == [f"RCPT TO:<{name}@example.org>" for name in ("bob", "dave", "eve")]
        assert (
            recipients.count("RCPT TO:<bob@example.org>")
            == recipients.count("RCPT TO:<eve@example.org>")
            == 1
        )
        assert len(other.messages) == 2

    deliver(tmp_path, steps, server=server)


def test_a_notification(tmp_path: Path) -> None:
    """The sender gets one report (RFC 3464) for all that failed, with the header of the message."""
    server = ScriptedServer(replies={"RCPT": "550-5.1.1 who is\r\n550 5.1.1 that?"})
    long = f"{'mallory' * 12}@example.org"

    async def steps(events: Events, mta: MtaConfig, _: ScriptedServer) -> None:
        await send(mta, "eve@example.org", long)
        await events.wait("delivered")
        (report,) = inbox(mta)
        assert report["Return-Path"] == "<>"
        assert report["Auto-Submitted"] == "auto-replied"
        assert report.get_content_type() == "multipart/report"
        assert report.get_param("report-type") == "delivery-status"
        text, status, header = parts(report)
        assert "<eve@example.org>: host mx2 said: 550 5.1.1 who is that?" in str(text.get_payload())
        whole, *each = parts(status)
        assert whole["Reporting-MTA"] == "dns; mx.example.com"
        assert [block["Final-Recipient"] for block in each] == [
            "rfc822; eve@example.org",
            f"rfc822; {long}",
        ]
        assert {(block["Action"], block["Status"]) for block in each} == {("failed", "5.1.1")}
        assert each[0]["Remote-MTA"] == "dns; mx2"
        assert each[0]["Diagnostic-Code"] == "smtp; 550 5.1.1 who is that?"
        assert header.get_content_type() == "text/rfc822-headers"
        assert str(header.get_payload()).rstrip().endswith("Subject: x")

    deliver(tmp_path, steps, server=server)


def test_nobody_is_told_of_a_failed_notification(tmp_path: Path) -> None:
    """A message from the null reverse-path that fails is dropped, and the event says so."""

    async def steps(events: Events, mta: MtaConfig, _: ScriptedServer) -> None:
        await send(mta, "eve@example.org", sender="")
        assert (await events.wait("bounced"))["bounce_id"] is None
        assert peek(mta.spool) == []

    deliver(tmp_path, steps, server=ScriptedServer(replies={"MAIL": "550 5.7.1 no"}))


def test_a_message_that_is_too_old(tmp_path: Path) -> None:
    """A deferral after the message's time counts as permanent, and names the last reply."""

    async def steps(events: Events, mta: MtaConfig, _: ScriptedServer) -> None:
        await send(mta, "bob@example.org")
        bounced = await events.wait("bounced")
        assert bounced["reply"] == "550 5.4.7 delivery time expired; the last attempt got: 450 4.2.1 later"
        assert events.of("deferred")

    server = ScriptedServer(replies={"RCPT": "450 4.2.1 later"})
    # Five days in 0.43 s, and the first wait in 0.3 ms.
    deliver(tmp_path, steps, server=server, time_scale=1_000_000.0)


@pytest.mark.parametrize("back", [True, False], ids=["back", "still gone"])
def test_what_is_held_does_not_expire(tmp_path: Path, back: bool) -> None:
    """However old it gets; released, it is attempted, and fails for good if in vain, as in Postfix."""
    dns = "example.org MX 10 mx1\nmx1 A 127.0.0.2"
    late = 0.0

    async def steps(events: Events, mta: MtaConfig, other: ScriptedServer) -> None:
        nonlocal late
        await send(mta, "bob@example.org")
        await events.wait("deferred")
        await answered(events.handlers["queue.hold"]({"all": True}))
        late = 30 * 86400.0
        # What is not held is given up by then: the queue has been looked through.
        await send(mta, "carol@example.org")
        await events.wait("deferred", 2)
        assert not events.of("bounced")
        async with AsyncExitStack() as stack:
            if back:
                await stack.enter_async_context(ScriptedServer(address="127.0.0.2", port=other.port))
            await answered(events.handlers["queue.release"]({"all": True}))
            if back:
                assert (await events.wait("relayed"))["recipient"] == "bob@example.org"
            else:
                assert "5.4.7" in (await events.wait("bounced"))["reply"]

    deliver(tmp_path, steps, dns=dns, clock=lambda: time.time() + late, time_scale=1.0)


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "message"])
def test_a_session_that_breaks(tmp_path: Path, stage: str) -> None:
    """Wherever the connection is lost, the message waits and is sent again."""

    async def steps(events: Events, mta: MtaConfig, other: ScriptedServer) -> None:
        await send(mta, "bob@example.org")
        assert (await events.wait("deferred"))["reply"].startswith("451 4.4.2 the session broke")
        del other.replies[stage]
        await events.wait("relayed")

    deliver(tmp_path, steps, server=ScriptedServer(replies={stage: ""}))


@pytest.mark.parametrize(
    ("extensions", "sender", "recipient", "text", "expected"),
    [
        pytest.param(
            ("HELP",), "alice@example.com", "bob@example.org", "ä", "554 5.6.3", id="8 bits, no 8BITMIME"
        ),
        pytest.param(
            ("8BITMIME",), "alice@example.com", "bøb@example.org", "a", "550 5.6.7", id="UTF-8 recipient"
        ),
        pytest.param(
            ("8BITMIME",), "alïce@example.com", "bob@example.org", "a", "550 5.6.7", id="UTF-8 sender"
        ),
        pytest.param(("SIZE 10",), "alice@example.com", "bob@example.org", "a", "552 5.3.4", id="too large"),
        pytest.param(("HELP",), "alice@example.com", "bob@example.org", "a", "", id="nothing is needed"),
    ],
)
def test_extensions_that_lack(
    tmp_path: Path, extensions: tuple[str, ...], sender: str, recipient: str, text: str, expected: str
) -> None:
    """A message that needs what the server does not offer fails; one that needs nothing passes."""

    async def steps(events: Events, mta: MtaConfig, other: ScriptedServer) -> None:
        await send(mta, recipient, sender=sender, text=text)
        if expected:
            # The notice to a sender whom nobody knows fails too, and may be told of first.
            number = 1
            while (bounced := await events.wait("bounced", number))["recipient"] != recipient:
                number += 1
            assert bounced["reply"].startswith(expected)
            # The bounce itself may be on its way to the same server, from the null reverse-path.
            assert not any(line.startswith("MAIL FROM:<al") for line in other.commands)
        else:
            await events.wait("relayed")

    deliver(tmp_path, steps, server=ScriptedServer(extensions=extensions))


def test_extensions_that_are_offered(tmp_path: Path) -> None:
    """8BITMIME and SMTPUTF8 are asked for when the message needs them, and only then."""

    async def steps(events: Events, mta: MtaConfig, other: ScriptedServer) -> None:
        await send(mta, "bob@example.org")
        await events.wait("relayed", 1)
        await send(mta, "bøb@example.org", text="ä")
        await events.wait("relayed", 2)
        mail = [line.partition("> ")[2].split() for line in other.commands if line.startswith("MAIL")]
        assert [[word.partition("=")[0] for word in words] for words in mail] == [
            ["SIZE"],
            ["SIZE", "BODY", "SMTPUTF8"],
        ]
        assert "RCPT TO:<bøb@example.org>" in other.commands

    deliver(tmp_path, steps)


def test_many_recipients(tmp_path: Path) -> None:
    """More than a hundred recipients of one hop are sent to in several transactions (RFC 5321 §4.5.3.1.8)."""

    async def steps(events: Events, mta: MtaConfig, other: ScriptedServer) -> None:
        await send(mta, *(f"user{number}@example.org" for number in range(150)))
        await events.wait("relayed", 150)
        assert len(other.messages) == 2

    deliver(tmp_path, steps)


def test_local_recipients(tmp_path: Path) -> None:
    """Each local recipient gets a copy of its own, also two that lead to one mailbox."""

    async def steps(events: Events, mta: MtaConfig, _: ScriptedServer) -> None:
        await send(mta, "alice@example.com", "alice+x@example.com", "postmaster@mx.example.com")
        await events.wait("delivered", 3)
        assert len(inbox(mta)) == 2
        assert {event["mailbox"] for event in events.of("delivered")} == {
            "alice@example.com",
            "postmaster@mx.example.com",
        }
        assert all((mta.mailboxes / event["file"]).exists() for event in events.of("delivered"))

    deliver(tmp_path, steps)


def test_a_mailbox_that_cannot_be_written(tmp_path: Path) -> None:
    """The message waits, and is filed when the mailbox can be written again."""
    (tmp_path / "mail").write_text("in the way")

    async def steps(events: Events, mta: MtaConfig, _: ScriptedServer) -> None:
        await send(mta, "alice@example.com")
        assert (await events.wait("deferred"))["reply"].startswith("451 4.3.1 the mailbox cannot be written")
        mta.mailboxes.unlink()
        await events.wait("delivered")

    deliver(tmp_path, steps)


def test_the_queue_survives_a_restart(tmp_path: Path) -> None:
    """A message that waits is there after a restart, with its attempts counted on."""

    async def steps(events: Events, mta: MtaConfig, _: ScriptedServer) -> None:
        await send(mta, "bob@example.org")
        await events.wait("deferred", 2)

    async def after(events: Events, mta: MtaConfig, _: ScriptedServer) -> None:
        assert (await events.wait("deferred"))["next_attempt_s"] > 0.67
        assert not events.of("accepted")

    server = ScriptedServer(replies={"RCPT": "450 4.2.1 later"})
    deliver(tmp_path, steps, server=server)
    deliver(tmp_path, after, server=ScriptedServer(replies={"RCPT": "450 4.2.1 later"}))


def test_equal_seeds_choose_alike(tmp_path: Path) -> None:
    """Among equal exchangers the seed decides, for each message anew, and the ids are equal too."""
    dns = "example.org MX 10 a\nexample.org MX 10 b\na A 127.0.0.1\nb A 127.0.0.1"

    def choices(directory: Path, seed: int) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []

        async def steps(events: Events, mta: MtaConfig, _: ScriptedServer) -> None:
            for number in range(1, 11):
                await send(mta, "bob@example.org")
                event = await events.wait("relayed", number)
                found.append((event["id"], event["next_host"]))

        deliver(directory, steps, dns=dns, seed=seed)
        return found

    one, same, other = choices(tmp_path / "1", 1), choices(tmp_path / "2", 1), choices(tmp_path / "3", 2)
    assert one == same != other
    assert {host for _, host in one} == {"a", "b"}


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(ScriptedServer(greeting="250 hello"), id="greeting"),
        pytest.param(ScriptedServer(replies={"EHLO": "252 hm", "HELO": "252 hm"}), id="EHLO"),
        pytest.param(ScriptedServer(replies={"DATA": "250 ok"}), id="DATA"),
    ],
)
def test_a_positive_reply_in_the_wrong_place(tmp_path: Path, server: ScriptedServer) -> None:
    """A 250 where the message was not yet sent is no acknowledgement: the message stays in the queue."""

    async def steps(events: Events, mta: MtaConfig, _: ScriptedServer) -> None:
        await send(mta, "bob@example.org")
        assert (await events.wait("deferred"))["reply"].startswith("451 4.5.0 unexpected reply: 25")
        assert not events.of("relayed")

    deliver(tmp_path, steps, server=server, dns="example.org MX 10 mx\nmx A 127.0.0.1")


def test_an_address_literal_that_is_none(tmp_path: Path) -> None:
    """What stands in brackets and is no IPv4 address is not looked up as a host name; it is refused."""

    async def steps(events: Events, mta: MtaConfig, other: ScriptedServer) -> None:
        await send(mta, "bob@[localhost]")
        assert (await events.wait("bounced"))["reply"].startswith("550 5.1.2 <bob@[localhost]>: not the")
        assert not other.commands

    deliver(tmp_path, steps)


def test_a_mistake_of_ours_and_a_message_that_is_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an error of this host stopped is tried again after a wait, however old, and not without end."""
    late = 0.0
    asked = []

    async def fails(_: TableResolver, domain: str) -> list[Exchanger]:
        asked.append(domain)
        raise ZeroDivisionError

    async def steps(events: Events, mta: MtaConfig, _: ScriptedServer) -> None:
        nonlocal late
        await send(mta, "bob@example.org")
        await events.wait("deferred")
        late = 1000.0  # More than five days, at this scale.
        assert (await events.wait("deferred", 2))["next_attempt_s"] > 0.5
        assert len(asked) == 2

    monkeypatch.setattr(TableResolver, "mx", fails)
    deliver(tmp_path, steps, clock=lambda: time.time() + late)


def test_a_reply_that_is_no_text(tmp_path: Path) -> None:
    """Bytes in a refusal that are no UTF-8 do not keep the sender from being told of it."""

    async def steps(events: Events, mta: MtaConfig, _: ScriptedServer) -> None:
        await send(mta, "bob@example.org")
        assert (await events.wait("bounced"))["reply"] == "550 5.1.1 na\\udcefve"
        await events.wait("delivered")
        assert "na\\udcefve" in str(inbox(mta)[0])

    deliver(tmp_path, steps, server=ScriptedServer(replies={"RCPT": "550 5.1.1 na\udcefve"}))
