"""A primary and a secondary on real sockets, on the loopback interface: copies, NOTIFY, transfers, expiry."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path

import dns.flags
import dns.message
import dns.opcode
import dns.query
import dns.rcode
import dns.rdatatype
import dns.zone
import pytest

from services.dns import authoritative, names
from services.dns.authoritative import AuthoritativeConfig, Authority
from services.dns.replication import ReplicationConfig
from services.dns.transfer import Peer
from services.dns.zone import Zones, withheld
from services.errors import ConfigError
from tests.unit.dns.conversation import exchange, make_zone, query
from tests.unit.dns.test_server_edge import Told, by_udp, framed, next_by_tcp, running

ORIGIN = names.from_text("example.org")
ZONE = """\
$ORIGIN example.org.
$TTL 3600
@       SOA  ns1 hostmaster {serial} {refresh} 1 {expire} 300
@       NS   ns1
ns1     A    198.18.0.{serial}
"""


def text(serial: int, *, refresh: int = 7200, expire: int = 1209600) -> str:
    """A zone in which the address of ns1 ends with the serial."""
    return ZONE.format(serial=serial, refresh=refresh, expire=expire)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
        tcp.bind(("127.0.0.1", 0))
        return int(tcp.getsockname()[1])


@dataclass(kw_only=True)
class Pair:
    """A primary and a secondary that know each other; neither runs yet."""

    directory: Path
    known: dict[names.Name, int] = field(default_factory=dict)
    ports: tuple[int, int] = field(default_factory=lambda: (free_port(), free_port()))

    def __post_init__(self) -> None:
        for name in ("primary", "secondary"):
            (self.directory / name).mkdir()

    @property
    def file(self) -> Path:
        return self.directory / "primary" / "example.org.zone"

    @property
    def copy(self) -> Path:
        return self.directory / "secondary" / "example.org.zone"

    @property
    def checked(self) -> Path:
        return self.directory / "secondary" / "example.org.zone.checked"

    @contextlib.asynccontextmanager
    async def primary(self) -> AsyncIterator[Told]:
        peers = (Peer(address="127.0.0.1", port=self.ports[1]),)
        async with self._running(
            0, self.file, ReplicationConfig(secondaries={ORIGIN: peers}, known=self.known)
        ) as told:
            yield told

    @contextlib.asynccontextmanager
    async def secondary(self) -> AsyncIterator[Told]:
        peers = (Peer(address="127.0.0.1", port=self.ports[0]),)
        async with self._running(1, self.copy, ReplicationConfig(primaries={ORIGIN: peers})) as told:
            yield told

    @contextlib.asynccontextmanager
    async def _running(self, which: int, path: Path, replication: ReplicationConfig) -> AsyncIterator[Told]:
        config = AuthoritativeConfig(
            listen=("127.0.0.1",),
            port=self.ports[which],
            zones={"example.org": path},
            replication=replication,
        )
        async with running(authoritative.serve, config) as told:
            yield told


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(directory=tmp_path)


async def answer(told: Told) -> str:
    """What the server says to the question for the address of ns1: the last octet, or the code."""
    reply = await by_udp(query("ns1.example.org A"), told.port)
    return str(reply.answer[0][0]).rpartition(".")[2] if reply.answer else dns.rcode.to_text(reply.rcode())


async def until(told: Told, expected: str) -> None:
    """Return when the server answers so."""
    async with asyncio.timeout(10):
        while await answer(told) != expected:  # noqa: ASYNC110 -- a server tells nobody
            await asyncio.sleep(0.005)


def test_a_secondary_without_a_copy_fetches_one(pair: Pair) -> None:
    """It fetches the zone, serves it, keeps it in its file, and tells."""

    async def run() -> None:
        pair.file.write_text(text(1))
        async with pair.primary(), pair.secondary() as told:
            await until(told, "1")
            assert "ns1.example.org. 3600 A 198.18.0.1" in pair.copy.read_text()
            assert pair.checked.exists()
            event = {"zone": "example.org", "serial": 1, "primary": "127.0.0.1", "records": 3, "messages": 1}
            assert {"kind": "zone-transferred", **event} in told.events

    asyncio.run(run())


def test_before_there_is_a_copy_the_answer_is_servfail(pair: Pair) -> None:
    """A secondary whose primary is down and that has no copy serves other zones and fails for this one."""

    async def run() -> None:
        async with pair.secondary() as told:
            assert await answer(told) == "SERVFAIL"

    asyncio.run(run())


def test_all_of_an_expired_zone_fails() -> None:
    """Every name in it gets SERVFAIL, whatever another zone of the server has there."""
    root = make_zone(
        "$TTL 60\n. SOA a. h. 1 1 1 1 1\n. NS a.\na. A 198.18.0.1\norg. NS a.\nexample.org. NS a.\n"
    )
    authority = Authority(Zones([root, withheld(ORIGIN)]))
    for name in ("x.nowhere A", "y.nowhere A", "x.org A", "example.com A"):
        assert exchange(authority, query(name)).rcode() != dns.rcode.SERVFAIL
    for name in (
        "example.org SOA",
        "example.org NS",
        "x.example.org A",
        "y.example.org A",
        "a.b.example.org MX",
    ):
        response = exchange(authority, query(name))
        assert response.rcode() == dns.rcode.SERVFAIL
        assert (response.answer, response.authority) == ([], [])
        assert not response.flags & dns.flags.AA


def test_a_change_goes_through_by_notify(pair: Pair) -> None:
    """SIGHUP at the primary, NOTIFY, a question, a transfer: the secondary has it long before its refresh."""

    async def run() -> None:
        pair.file.write_text(text(1))
        async with pair.secondary() as told:
            async with pair.primary() as primary:
                await until(told, "1")
                pair.file.write_text(text(2))
                os.kill(os.getpid(), signal.SIGHUP)
                await until(primary, "2")
                await until(told, "2")
                loaded = await primary.heard("zone-loaded")
                assert loaded == {"kind": "zone-loaded", "zone": "example.org", "serial": 2}
            # The primary is gone; the secondary serves on.
            assert await answer(told) == "2"
        async with pair.secondary() as told:
            assert await answer(told) == "2"

    asyncio.run(run())


def test_a_mistake_at_the_primary_changes_nothing(pair: Pair) -> None:
    """The old zone stays, the event names file and line, and nobody is told."""

    async def run() -> None:
        pair.file.write_text(text(1))
        async with pair.primary() as primary:
            pair.file.write_text(text(2) + "x A 1\n")
            os.kill(os.getpid(), signal.SIGHUP)
            event = await primary.heard("zone-refused")
            assert await answer(primary) == "1"
            assert event["reason"] == f"{pair.file}:6: A: '1' is no IPv4 address"

    asyncio.run(run())


def test_the_primary_tells_what_is_not_known_when_it_starts(pair: Pair) -> None:
    """A primary that starts with another serial than its secondaries are known to have sends NOTIFY."""

    async def run(known: int) -> list[int]:
        pair.known = {ORIGIN: known}
        pair.file.write_text(text(2))
        heard: list[int] = []
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.setblocking(False)
            udp.bind(("127.0.0.1", pair.ports[1]))
            async with pair.primary():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        packet = dns.message.from_wire(await loop.sock_recv(udp, 65535))
                        assert packet.opcode() == dns.opcode.NOTIFY
                        heard.append(packet.answer[0][0].serial)
        return heard

    assert asyncio.run(run(known=1)) == [2]
    assert asyncio.run(run(known=2)) == []


def asked_at_start(pair: Pair) -> list[str]:
    """What a secondary asks a primary in the tenth of a second after its start, and what it served then."""

    async def run() -> list[str]:
        heard: list[str] = []
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.setblocking(False)
            udp.bind(("127.0.0.1", pair.ports[0]))
            async with pair.secondary() as told:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        packet = dns.message.from_wire(await loop.sock_recv(udp, 65535))
                        heard.append(dns.rdatatype.to_text(packet.question[0].rdtype))
                heard.append(await answer(told))
        return heard

    return asyncio.run(run())


def test_a_copy_is_trusted_once(pair: Pair) -> None:
    """Started with a copy that was put there, nobody is asked; started again, the primary is, at once."""
    pair.copy.write_text(text(1))
    assert asked_at_start(pair) == ["1"]
    assert pair.checked.exists()
    assert asked_at_start(pair) == ["SOA", "1"]


@pytest.mark.parametrize(
    ("age_s", "served"), [pytest.param(50, "1", id="young"), pytest.param(150, "SERVFAIL", id="too old")]
)
def test_a_copy_that_expired_while_the_server_was_off(pair: Pair, age_s: int, served: str) -> None:
    """The age of a copy is that of the last confirmation, whether the server ran or not."""
    pair.copy.write_text(text(1, expire=100))
    pair.checked.touch()
    then = time.time() - age_s
    for path in (pair.copy, pair.checked):
        os.utime(path, (then, then))
    assert asked_at_start(pair) == ["SOA", served]


def test_a_zone_expires_and_comes_back(pair: Pair) -> None:
    """Without its primary for longer than the SOA allows, the zone is served no more; then it is again."""

    async def run() -> None:
        pair.file.write_text(text(1, refresh=1, expire=1))
        async with pair.secondary() as told:
            async with pair.primary():
                await until(told, "1")
            await until(told, "SERVFAIL")
            assert {"kind": "zone-expired", "zone": "example.org", "serial": 1} in told.events
            async with pair.primary():
                await until(told, "1")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("zone", "source", "rcode"),
    [
        pytest.param("example.org", "127.0.0.1", dns.rcode.NOERROR, id="the primary"),
        pytest.param("example.org", "127.0.0.9", dns.rcode.REFUSED, id="a stranger"),
        pytest.param("example.net", "127.0.0.1", dns.rcode.NOTAUTH, id="another zone"),
    ],
)
def test_notify_is_taken_from_primaries(pair: Pair, zone: str, source: str, rcode: dns.rcode.Rcode) -> None:
    """Who may send NOTIFY is known by its address."""
    pair.copy.write_text(text(1))

    async def run() -> None:
        async with pair.secondary() as told:
            asked = query(f"{zone} SOA")
            asked.set_opcode(dns.opcode.NOTIFY)
            loop = asyncio.get_running_loop()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.setblocking(False)
                udp.bind((source, 0))
                udp.connect(("127.0.0.1", told.port))
                udp.send(asked.to_wire())
                async with asyncio.timeout(5):
                    reply = dns.message.from_wire(await loop.sock_recv(udp, 65535))
            assert asked.is_response(reply)
            assert (reply.opcode(), reply.rcode()) == (dns.opcode.NOTIFY, rcode)

    asyncio.run(run())


def test_a_primary_takes_no_notify(pair: Pair) -> None:
    """It knows best what its zones are."""
    pair.file.write_text(text(1))

    async def run() -> None:
        async with pair.primary() as told:
            asked = query("example.org SOA")
            asked.set_opcode(dns.opcode.NOTIFY)
            assert (await by_udp(asked, told.port)).rcode() == dns.rcode.REFUSED
            asked.set_opcode(dns.opcode.UPDATE)
            assert (await by_udp(asked, told.port)).rcode() == dns.rcode.NOTIMP

    asyncio.run(run())


def test_what_is_no_zone_is_not_taken(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """A transfer that makes no zone, here one without NS, leaves the copy as it was."""
    pair.copy.write_text(text(1))
    pair.checked.touch()
    given = asyncio.Event()

    async def give(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await next_by_tcp(reader)
        reply = dns.message.make_response(asked)
        for serial in (2, 2):
            soa = f"ns1.example.org. h.example.org. {serial} 7200 1 1209600 300"
            reply.answer.append(dns.rrset.from_text("example.org.", 60, "IN", "SOA", soa))
        writer.write(framed(reply))
        writer.close()
        given.set()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.setblocking(False)
            udp.bind(("127.0.0.1", pair.ports[0]))
            async with await asyncio.start_server(give, "127.0.0.1", pair.ports[0]), pair.secondary() as told:
                packet, client = await loop.sock_recvfrom(udp, 65535)
                reply = dns.message.make_response(dns.message.from_wire(packet))
                reply.flags |= dns.flags.AA
                soa = "ns1.example.org. h.example.org. 2 7200 1 1209600 300"
                reply.answer.append(dns.rrset.from_text("example.org.", 60, "IN", "SOA", soa))
                await loop.sock_sendto(udp, reply.to_wire(), client)
                await given.wait()
                await asyncio.sleep(0.05)
                assert await answer(told) == "1"
                assert pair.copy.read_text() == text(1)
                assert "the apex example.org has no NS record" in caplog.text

    asyncio.run(run())


def test_dnspython_transfers_a_zone(tmp_path: Path) -> None:
    """Its client takes a large zone from us over TCP, while others ask the same server."""
    many = text(1) + "".join(f"h{number} TXT {'x' * 200}\n" for number in range(3000))
    path = tmp_path / "example.org.zone"
    path.write_text(many)
    anyone = ReplicationConfig(transfer=(IPv4Network("127.0.0.0/8"),))
    config = AuthoritativeConfig(
        listen=("127.0.0.1",), port=0, zones={"example.org": path}, replication=anyone
    )

    async def run() -> None:
        async with running(authoritative.serve, config) as told:
            taken = dns.zone.Zone("example.org", relativize=False)
            transfer = asyncio.to_thread(
                dns.query.inbound_xfr, "127.0.0.1", taken, port=told.port, timeout=20
            )
            task = asyncio.ensure_future(transfer)
            answered = 0
            while not task.done():
                assert await answer(told) == "1"
                answered += 1
            await task
            assert answered > 3
            assert taken == dns.zone.from_text(many, relativize=False)

    asyncio.run(run())


def test_several_transfers_on_one_connection(pair: Pair) -> None:
    """Requests that come together are answered one after the other, and a question in between as well."""
    pair.file.write_text(text(1))

    async def run() -> None:
        async with pair.primary() as told:
            reader, writer = await asyncio.open_connection("127.0.0.1", told.port)
            asked = [query("example.org AXFR"), query("ns1.example.org A"), query("example.org AXFR")]
            writer.write(b"".join(map(framed, asked)))
            replies = [await next_by_tcp(reader) for _ in asked]
            assert sorted(reply.id for reply in replies) == sorted(one.id for one in asked)
            writer.close()
            await writer.wait_closed()

    asyncio.run(run())


def test_a_client_that_reads_nothing_holds_no_zone(tmp_path: Path) -> None:
    """A transfer stands still while its client does not read, and ends with the connection."""
    path = tmp_path / "example.org.zone"
    path.write_text(text(1) + "".join(f"h{number} TXT {'x' * 200}\n" for number in range(20_000)))
    config = AuthoritativeConfig(listen=("127.0.0.1",), port=0, zones={"example.org": path})

    async def run() -> None:
        async with running(authoritative.serve, config) as told:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
                tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                tcp.connect(("127.0.0.1", told.port))
                tcp.sendall(framed(query("example.org AXFR")))
                for _ in range(20):
                    assert await answer(told) == "1"
            assert await answer(told) == "1"

    asyncio.run(run())


def test_the_configuration(tmp_path: Path) -> None:
    """Peers, known serials and who may transfer are read from the same file as everything else."""
    path = tmp_path / "name-server.toml"
    path.write_text(
        'seed = 3\nhost = "b-root"\ntime_scale = 2.0\ntransfer = ["198.18.0.0/15"]\n'
        '[zones]\n"." = "root.zone"\n'
        '[primaries]\n"." = ["198.41.0.4", "198.41.0.5:5300"]\n'
        '[secondaries]\n"Example.ORG" = ["198.18.0.2"]\n'
        '[known]\n"example.org" = 7\n'
    )
    assert authoritative.load(path).replication == ReplicationConfig(
        primaries={(): (Peer(address="198.41.0.4"), Peer(address="198.41.0.5", port=5300))},
        secondaries={ORIGIN: (Peer(address="198.18.0.2"),)},
        known={ORIGIN: 7},
        transfer=(IPv4Network("198.18.0.0/15"),),
        seed=3,
        host="b-root",
        time_scale=2.0,
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            'primaries = {"." = ["a-root"]}',
            "primaries must be lists of addresses by zone, such as 198.41.0.4",
        ),
        ('secondaries = {"." = "198.41.0.4"}', "secondaries must be a table of lists of texts"),
        ('known = {"." = "7"}', "known must be a table of whole numbers"),
        ('transfer = ["everybody"]', "transfer must be a list of IPv4 networks, such as 198.18.0.0/15"),
        ('known = {"a..b" = 7}', "known: 'a..b' has an empty label"),
        ("time_scale = 0", "time_scale must be a number of seconds above 0"),
    ],
)
def test_mistakes_in_the_configuration(tmp_path: Path, line: str, message: str) -> None:
    """The error names the file, the key and what would be right."""
    path = tmp_path / "name-server.toml"
    path.write_text(f'{line}\n[zones]\n"." = "root.zone"\n')
    with pytest.raises(ConfigError) as caught:
        authoritative.load(path)
    assert str(caught.value) == f"{path}: {message}"
