"""The servers on real sockets, on the loopback interface and ports of the kernel's choice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import pytest

from services.dns import authoritative, recursive, zone
from services.dns.authoritative import AuthoritativeConfig
from services.dns.names import Name
from services.dns.recursive import RecursiveConfig, Recursor
from services.dns.server import Coming, Listener
from services.dns.stub import Record, ResolutionFailed, StubResolver
from services.dns.zone import Zone
from services.errors import ConfigError, ServiceError
from services.notices import Handler
from tests.unit.dns.conversation import EXAMPLE, query

MANY = EXAMPLE + "".join(f"many A 198.18.1.{i}\n" for i in range(100))

Serve = Callable[..., Awaitable[None]]


class Told:
    """Notices that a test can wait for and look at."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.handlers: dict[str, Handler] = {}
        self.is_ready = asyncio.Event()
        self._news = asyncio.Event()

    def ready(self) -> None:
        self.is_ready.set()

    def event(self, kind: str, **fields: object) -> None:
        self.events.append({"kind": kind, **fields})
        self._news.set()

    def handle(self, method: str, handler: Handler) -> None:
        self.handlers[method] = handler

    async def heard(self, kind: str) -> dict[str, Any]:
        """The first event of the kind, once it is there."""
        async with asyncio.timeout(20):
            while not (found := [event for event in self.events if event["kind"] == kind]):
                self._news.clear()
                await self._news.wait()
        return found[0]

    @property
    def port(self) -> int:
        return int(next(event["port"] for event in self.events if event["kind"] == "listening"))


@contextlib.asynccontextmanager
async def running(serve: Serve, config: object) -> AsyncIterator[Told]:
    """Within it, the service is ready; afterwards it has ended."""
    told = Told()
    task = asyncio.ensure_future(serve(config, told))
    ready = asyncio.ensure_future(told.is_ready.wait())
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if task.done():
            await task
        yield told
    finally:
        ready.cancel()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def config(tmp_path: Path, *, listen: tuple[str, ...] = ("127.0.0.1",)) -> AuthoritativeConfig:
    path = tmp_path / "example.org.zone"
    path.write_text(MANY)
    return AuthoritativeConfig(listen=listen, port=0, zones={"example.org": path})


async def by_udp(asked: dns.message.Message, port: int, address: str = "127.0.0.1") -> dns.message.Message:
    """Ask from a connected socket, which hears of no other source than the address asked."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setblocking(False)
        udp.connect((address, port))
        udp.send(asked.to_wire())
        async with asyncio.timeout(5):
            return dns.message.from_wire(await loop.sock_recv(udp, 65535))


async def next_by_tcp(reader: asyncio.StreamReader) -> dns.message.Message:
    async with asyncio.timeout(5):
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        return dns.message.from_wire(await reader.readexactly(length))


def framed(asked: dns.message.Message) -> bytes:
    return struct.pack("!H", len(asked.to_wire())) + asked.to_wire()


def test_authoritative_over_udp(tmp_path: Path) -> None:
    """A question by UDP is answered, in its own spelling, and many at once are too."""

    async def run() -> None:
        async with running(authoritative.serve, config(tmp_path)) as told:
            asked = query("Ns1.eXample.oRG A")
            reply = await by_udp(asked, told.port)
            assert asked.is_response(reply)
            assert str(reply.question[0].name) == "Ns1.eXample.oRG."
            assert [str(rdata) for rdata in reply.answer[0]] == ["198.18.0.1"]
            many = [query(f"x{i}.example.org A") for i in range(200)]
            replies = await asyncio.gather(*(by_udp(asked, told.port) for asked in many))
            assert all(asked.is_response(reply) for asked, reply in zip(many, replies, strict=True))

    asyncio.run(run())


@pytest.mark.parametrize("listen", [("0.0.0.0",), ("127.0.0.2", "127.0.0.3")])
def test_replies_come_from_the_address_asked(tmp_path: Path, listen: tuple[str, ...]) -> None:
    """A host with several addresses answers from the one that was asked."""

    async def run() -> None:
        async with running(authoritative.serve, config(tmp_path, listen=listen)) as told:
            for address in ("127.0.0.2", "127.0.0.3"):
                reply = await by_udp(query("ns1.example.org A"), told.port, address)
                assert reply.rcode() == dns.rcode.NOERROR

    asyncio.run(run())


def test_authoritative_over_tcp(tmp_path: Path) -> None:
    """Several questions on a connection are answered, however they arrive; what UDP truncates is whole."""

    async def run() -> None:
        async with running(authoritative.serve, config(tmp_path)) as told:
            asked = query("many.example.org A")
            assert (await by_udp(asked, told.port)).flags & dns.flags.TC
            reader, writer = await asyncio.open_connection("127.0.0.1", told.port)
            other = query("nope.example.org A")
            writer.write(framed(asked) + framed(other))
            first, second = await next_by_tcp(reader), await next_by_tcp(reader)
            assert len(first.answer[0]) == 100
            assert other.is_response(second)
            for octet in framed(other):
                writer.write(bytes([octet]))
                await writer.drain()
            assert other.is_response(await next_by_tcp(reader))
            writer.close()
            await writer.wait_closed()

    asyncio.run(run())


def test_replies_by_tcp_go_out_as_they_get_ready() -> None:
    """Of the queries on one connection a slow one does not hold up the others (RFC 7766 §6.2.1.1)."""

    async def check() -> None:
        waiting: list[tuple[bytes, Coming]] = []

        def respond(packet: bytes, stream: bool) -> bytes | Coming:
            if packet.startswith(b"fast"):
                return packet
            waiting.append((packet, Coming()))
            return waiting[-1][1]

        async with Listener(("127.0.0.1",), 0, respond) as listener:
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            asked = [b"slow 1", b"fast 2", b"slow 3", b"fast 4"]
            # In one segment, the last message in two.
            octets = b"".join(len(packet).to_bytes(2, "big") + packet for packet in asked)
            writer.write(octets[:-3])
            heard = [await reader.readexactly(8)]
            writer.write(octets[-3:])
            heard.append(await reader.readexactly(8))
            for packet, coming in reversed(waiting):
                coming.give(packet)
                heard.append(await reader.readexactly(8))
            assert [reply[2:] for reply in heard] == [b"fast 2", b"fast 4", b"slow 3", b"slow 1"]
            writer.close()
            await writer.wait_closed()

    asyncio.run(check())


def test_idle_connections_are_closed() -> None:
    """A client that says nothing for too long loses its connection."""

    async def run() -> None:
        async with Listener(("127.0.0.1",), 0, lambda packet, _: packet, idle_s=0.05) as listener:
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            writer.write(b"\0\2ab")
            assert await reader.readexactly(4) == b"\0\2ab"
            async with asyncio.timeout(5):
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
            writer.close()
            with contextlib.suppress(ConnectionResetError):
                await writer.wait_closed()

    asyncio.run(run())


def test_a_taken_port_is_an_error_in_one_line(tmp_path: Path) -> None:
    """A port that somebody has is a ServiceError, and nothing is left open."""

    async def run(port: int) -> None:
        taken = AuthoritativeConfig(listen=("127.0.0.1",), port=port, zones=config(tmp_path).zones)
        with pytest.raises(
            ServiceError, match=rf"^cannot listen on 127\.0\.0\.1 port {port}: Address already"
        ):
            async with running(authoritative.serve, taken):
                pass

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        asyncio.run(run(other.getsockname()[1]))


def test_zones_are_read_again_on_sighup(tmp_path: Path) -> None:
    """SIGHUP brings a changed zone into service; one with a mistake changes nothing."""

    async def run() -> None:
        configured = config(tmp_path)
        async with running(authoritative.serve, configured) as told:

            async def address() -> str:
                return str((await by_udp(query("ns1.example.org A"), told.port)).answer[0][0])

            assert await address() == "198.18.0.1"
            path = configured.zones["example.org"]
            path.write_text(EXAMPLE.replace("198.18.0.1", "198.18.0.2"))
            os.kill(os.getpid(), signal.SIGHUP)
            await told.heard("zone-loaded")
            assert await address() == "198.18.0.2"
            path.write_text("no zone")
            os.kill(os.getpid(), signal.SIGHUP)
            await told.heard("zone-refused")
            assert await address() == "198.18.0.2"

    asyncio.run(run())


def test_a_server_answers_while_it_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a zone takes to load, the old one is served until the new one is there."""
    is_loading, may_end = threading.Event(), threading.Event()
    load = zone.load

    def load_slowly(path: Path, origin: Name) -> Zone:
        is_loading.set()
        assert may_end.wait(20), "nobody was answered meanwhile"
        return load(path, origin)

    async def run() -> None:
        configured = config(tmp_path)
        async with running(authoritative.serve, configured) as told:
            monkeypatch.setattr(zone, "load", load_slowly)
            configured.zones["example.org"].write_text(EXAMPLE.replace("198.18.0.1", "198.18.0.2"))
            os.kill(os.getpid(), signal.SIGHUP)
            assert await asyncio.to_thread(is_loading.wait, 20)
            asked = query("ns1.example.org A")
            assert str((await by_udp(asked, told.port)).answer[0][0]) == "198.18.0.1"
            may_end.set()
            await told.heard("zone-loaded")
            assert str((await by_udp(asked, told.port)).answer[0][0]) == "198.18.0.2"

    asyncio.run(run())


ROOT_AND_ALL = """\
$ORIGIN .
$TTL 86400
@        SOA  a.root-servers.net. nstld. 1 1800 900 604800 3600
@        NS   a.root-servers.net.
a.root-servers.net.  A 127.0.0.1
org.     NS   ns.org.
ns.org.  A    127.0.0.2
"""
ORG = """\
$ORIGIN org.
$TTL 3600
@        SOA  ns root 1 1800 900 604800 900
@        NS   ns
ns       A    127.0.0.2
example  NS   ns1.example
ns1.example   A 127.0.0.3
dead     NS   ns.dead
ns.dead  A    127.0.0.99
"""
EXAMPLE_ORG = MANY.replace("198.18.0.1", "127.0.0.3") + "@ MX 10 MX1\nmx1 A 198.18.0.10\n@ TXT one two\n"


@contextlib.asynccontextmanager
async def hierarchy(tmp_path: Path, *, allow: str = "") -> AsyncIterator[Told]:
    """Root, org and example.org on loopback addresses of their own, and a resolver that starts at the top."""
    port = 0
    async with contextlib.AsyncExitStack() as stack:
        for address, origin, text in (
            ("127.0.0.1", ".", ROOT_AND_ALL),
            ("127.0.0.2", "org", ORG),
            ("127.0.0.3", "example.org", EXAMPLE_ORG),
        ):
            path = tmp_path / f"{origin}.zone"
            path.write_text(text)
            configured = AuthoritativeConfig(listen=(address,), port=port, zones={origin: path})
            port = (await stack.enter_async_context(running(authoritative.serve, configured))).port
        hints = tmp_path / "named.root"
        hints.write_text(". 3600000 NS A.ROOT-SERVERS.NET.\nA.ROOT-SERVERS.NET. 3600000 A 127.0.0.1\n")
        resolving = RecursiveConfig(
            listen=("127.0.0.1",),
            port=0,
            hints=hints,
            seed=1,
            host="test",
            upstream_port=port,
            allow=(IPv4Network(allow),) if allow else (),
        )
        yield await stack.enter_async_context(running(recursive.serve, resolving))


def test_recursive_and_stub(tmp_path: Path) -> None:
    """The stub gets answers and denials from the resolver, which asks the servers; events tell the cost."""

    async def run() -> None:
        async with hierarchy(tmp_path) as told:
            stub = StubResolver(["127.0.0.1"], port=told.port, rng=random.Random(1))
            answer = await stub.query("Example.org.", "MX")
            assert answer.records == (
                Record(name="example.org", ttl=3600, rtype="MX", data="10 mx1.example.org"),
            )
            assert (await stub.query("example.org", "txt")).data("TXT") == ("onetwo",)
            again = await stub.query("example.org", "MX")
            assert again.data("MX") == ("10 mx1.example.org",)
            missing = await stub.query("nope.example.org", "A")
            assert (missing.rcode, missing.records) == ("NXDOMAIN", ())
            empty = await stub.query("mx1.example.org", "MX")
            assert (empty.rcode, empty.records) == ("NOERROR", ())
            many = await stub.query("many.example.org", "A")
            assert len(many.records) == 100
            assert (await stub.query("no..name", "A")).rcode == "NXDOMAIN"
            with pytest.raises(ResolutionFailed, match=r"^www.dead.org A: 127.0.0.1: SERVFAIL$"):
                await stub.query("www.dead.org", "A")
            lookups = [event for event in told.events if event["kind"] == "lookup"]
            assert [(e["name"], e["rcode"], e["cached"], e["queries"]) for e in lookups][:4] == [
                ("example.org", "NOERROR", False, 4),
                ("example.org", "NOERROR", False, 1),
                ("example.org", "NOERROR", True, 0),
                ("nope.example.org", "NXDOMAIN", False, 1),
            ]

    asyncio.run(run())


def test_the_same_question_is_asked_once(tmp_path: Path) -> None:
    """Clients who ask the same while it is being resolved share one resolution, and each gets a reply."""

    async def run() -> None:
        async with hierarchy(tmp_path) as told:
            asked = [query("ExAmple.org MX") for _ in range(20)]
            replies = await asyncio.gather(*(by_udp(each, told.port) for each in asked))
            assert all(each.is_response(reply) for each, reply in zip(asked, replies, strict=True))
            assert {str(reply.answer[0]) for reply in replies} == {
                "ExAmple.org. 3600 IN MX 10 MX1.ExAmple.org."
            }
            assert all(reply.flags & dns.flags.RA and not reply.flags & dns.flags.AA for reply in replies)
            asked_upstream = [e["queries"] for e in told.events if e["kind"] == "lookup" and not e["cached"]]
            assert asked_upstream == [4]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("question", "rcode"), [("example.org ANY", "NOERROR"), ("example.org AXFR", "NOTIMP")]
)
def test_what_a_resolver_does_not_look_for(tmp_path: Path, question: str, rcode: str) -> None:
    """ANY gets a synthesised HINFO (RFC 8482), transfers are not a resolver's business."""

    async def run() -> None:
        async with hierarchy(tmp_path) as told:
            name, rtype = question.split()
            asked = dns.message.make_query(name, "A")
            asked.question[0].rdtype = dns.rdatatype.from_text(rtype)
            reply = await by_udp(asked, told.port)
            assert dns.rcode.to_text(reply.rcode()) == rcode
            assert [str(rrset) for rrset in reply.answer] == (
                ['example.org. 3600 IN HINFO "RFC8482" ""'] if rtype == "ANY" else []
            )

    asyncio.run(run())


def test_a_resolver_that_ends_leaves_nothing_behind(tmp_path: Path) -> None:
    """Cancelled in the middle of a resolution, the resolver closes everything (warnings would be errors)."""

    async def run() -> None:
        hints = tmp_path / "hints"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            hints.write_text(". 60 NS a.\na. 60 A 127.0.0.1\n")
            resolving = RecursiveConfig(
                listen=("127.0.0.1",), port=0, hints=hints, upstream_port=silent.getsockname()[1]
            )
            async with running(recursive.serve, resolving) as told:
                asking = asyncio.ensure_future(by_udp(query("example.org A"), told.port))
                await asyncio.get_running_loop().run_in_executor(None, silent.recv, 512)
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking

    asyncio.run(run())


def test_the_stub_turns_to_the_next_server(tmp_path: Path) -> None:
    """A server that is not there, is silent or refuses is passed over; without any left it is a failure."""

    async def run() -> None:
        async with running(authoritative.serve, config(tmp_path, listen=("127.0.0.3",))) as told:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
                silent.bind(("127.0.0.2", told.port))
                servers = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
                stub = StubResolver(servers, port=told.port, timeout_s=0.05, rng=random.Random(1))
                assert (await stub.query("ns1.example.org", "A")).data("A") == ("198.18.0.1",)
                with pytest.raises(ResolutionFailed) as caught:
                    await stub.query("example.net", "A")
                assert str(caught.value) == (
                    "example.net A: 127.0.0.1: unreachable, 127.0.0.2: timeout, 127.0.0.3: REFUSED"
                )

    asyncio.run(run())


def test_the_stub_ignores_what_is_not_its_reply() -> None:
    """Datagrams with another id or another question are not taken for the reply."""

    async def run() -> None:
        forged: list[bytes] = []

        def respond(packet: bytes, _: bool) -> bytes | None:
            forged.append(packet)
            other = bytes([packet[0] ^ 1]) + packet[1:2] + b"\x81\x80" + packet[4:]
            return other if len(forged) == 1 else packet[:2] + b"\x81\x83" + packet[4:]

        async with Listener(("127.0.0.1",), 0, respond) as listener:
            stub = StubResolver(["127.0.0.1"], port=listener.port, timeout_s=0.1, rng=random.Random(1))
            assert (await stub.query("example.org", "A")).rcode == "NXDOMAIN"
            assert len(forged) == 2

    asyncio.run(run())


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_configurations_are_loaded(tmp_path: Path) -> None:
    """Configurations are TOML; relative paths start at the file's directory."""
    path = write(tmp_path / "auth.toml", 'listen = ["127.0.0.1"]\nport = 5300\n[zones]\n"." = "root.zone"\n')
    assert authoritative.load(path) == AuthoritativeConfig(
        listen=("127.0.0.1",), port=5300, zones={".": tmp_path / "root.zone"}
    )
    path = write(tmp_path / "rec.toml", 'hints = "named.root"\nseed = 7\nhost = "corp-dns"\ntimeout_s = 1\n')
    assert recursive.load(path) == RecursiveConfig(
        hints=tmp_path / "named.root", seed=7, host="corp-dns", timeout_s=1.0
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "hints is missing: a string"),
        ('hints = "x"\nhint = "x"', "unknown key 'hint'"),
        ("hints = 3", "hints must be a string"),
        ('hints = "x"\nport = 70000', "port must be a port from 0 to 65535"),
        ('hints = "x"\nlisten = ["localhost"]', "listen: 'localhost' is no IPv4 address"),
        ('hints = "x"\nlisten = []', "listen: at least one address is needed"),
        ('hints = "x"\ntimeout_s = 0', "timeout_s must be a number of seconds above 0"),
        ("hints", "Expected '=' after a key"),
    ],
)
def test_configuration_errors(tmp_path: Path, text: str, reason: str) -> None:
    """A mistake in a configuration is told with the file and the key."""
    path = write(tmp_path / "rec.toml", text)
    with pytest.raises(ConfigError) as caught:
        recursive.load(path)
    assert str(caught.value).startswith(f"{path}: {reason}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("org. 60 NS a.org.", "there is no NS record of the root"),
        (". 60 NS a.", "no root server has an A record"),
    ],
)
def test_hints_are_checked(tmp_path: Path, text: str, reason: str) -> None:
    """Hints without a usable root server are refused."""
    path = write(tmp_path / "hints", text)
    with pytest.raises(ConfigError, match=reason):
        recursive.load_hints(path)


def test_a_recursor_survives_any_octets(tmp_path: Path) -> None:
    """Octets that are no query get no reply from the resolver, or an error; never anything else."""
    hints = recursive.load_hints(write(tmp_path / "h", ". 60 NS a.\na. 60 A 127.0.0.1\n"))
    recursor = Recursor(RecursiveConfig(hints=tmp_path / "h"), hints, Silent())
    rng = random.Random(1)
    for _ in range(2000):
        packet = rng.randbytes(rng.randrange(40))
        reply = recursor.respond(packet, False)
        assert reply is None or (isinstance(reply, bytes) and reply[3] & 0xF)


class Silent:
    """Notices that nobody hears."""

    def ready(self) -> None:
        pass

    def event(self, kind: str, **fields: object) -> None:
        pass

    def handle(self, method: str, handler: Handler) -> None:
        pass
