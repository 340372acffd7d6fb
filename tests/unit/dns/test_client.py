"""One query and its reply on real sockets: what is taken for the reply, and what is dropped."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.dns import names
from services.dns.asking import Ask, Failure, ask
from services.dns.client import Exchange, Sockets, exchange

Forge = Callable[[bytes], bytes]
NAME = (b"www", b"example", b"org")


def query(**options: bool) -> Ask:
    return ask(
        "127.0.0.1", NAME, names.A, rng=random.Random(1), timeout_s=0.2, recurse=False, spell=True, **options
    )


def right(packet: bytes) -> bytes:
    """The reply: QR and AA, the question as it came, no records."""
    return packet[:2] + b"\x84\x00" + packet[4:10] + b"\0\0" + packet[12 : len(packet) - 11]


def changed(at: int, octet: int) -> Forge:
    """The reply with one octet replaced by its XOR with `octet`."""

    def forge(packet: bytes) -> bytes:
        reply = bytearray(right(packet))
        reply[at] ^= octet
        return bytes(reply)

    return forge


FORGED = [
    pytest.param(changed(0, 1), id="another id"),
    pytest.param(changed(2, 0x80), id="a query"),
    pytest.param(changed(2, 0x28), id="an update's response"),
    pytest.param(changed(5, 3), id="two questions"),
    pytest.param(changed(13, 0x20), id="the letters in another case"),
    pytest.param(changed(14, 1), id="another name"),
    pytest.param(changed(-3, 1), id="another type"),
    pytest.param(changed(-1, 1), id="another class"),
    pytest.param(lambda packet: right(packet)[:11], id="no header"),
    pytest.param(lambda packet: right(packet)[:4] + bytes(8), id="no question"),
    pytest.param(lambda _: b"", id="nothing"),
]


@pytest.mark.parametrize("forge", FORGED)
def test_what_is_not_the_reply_is_dropped(forge: Forge) -> None:
    """Whatever does not match the query is passed over, and the reply that follows it is taken."""

    async def run() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.setblocking(False)
            server.bind(("127.0.0.1", 0))
            asking = asyncio.ensure_future(exchange(query(), server.getsockname()[1]))
            loop = asyncio.get_running_loop()
            packet, client = await loop.sock_recvfrom(server, 512)
            server.sendto(forge(packet), client)
            server.sendto(right(packet), client)
            assert await asking == right(packet)

    asyncio.run(run())


@pytest.mark.parametrize("source", [("127.0.0.1", 0), ("127.0.0.2", None)], ids=["port", "address"])
def test_a_reply_from_elsewhere_is_dropped(source: tuple[str, int | None]) -> None:
    """A reply from another port or another address does not even reach the resolver."""

    async def run() -> None:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
        ):
            server.setblocking(False)
            server.bind(("127.0.0.1", 0))
            port = server.getsockname()[1]
            stranger.bind((source[0], port if source[1] is None else source[1]))
            asking = asyncio.ensure_future(exchange(query(), port))
            packet, client = await asyncio.get_running_loop().sock_recvfrom(server, 512)
            stranger.sendto(right(packet), client)
            assert await asking is Failure.TIMEOUT

    asyncio.run(run())


@pytest.mark.parametrize(
    ("forge", "failure"),
    [(changed(13, 0x20), Failure.SPELLING), (changed(0, 1), Failure.TIMEOUT)],
    ids=["in other letters", "with another id"],
)
def test_when_nothing_else_comes(forge: Forge, failure: Failure) -> None:
    """When the time is over it is told whether the reply was wrong in its letters alone."""

    async def run() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.setblocking(False)
            server.bind(("127.0.0.1", 0))
            asking = asyncio.ensure_future(exchange(query(), server.getsockname()[1]))
            packet, client = await asyncio.get_running_loop().sock_recvfrom(server, 512)
            server.sendto(forge(packet), client)
            assert await asking is failure

    asyncio.run(run())


def test_a_refusal_may_leave_out_the_question() -> None:
    """Servers that do not read a query answer with a header alone; an answer must have its question."""
    asked = query()
    header = asked.packet[:2] + b"\x80\x00" + bytes(8)
    verdicts = {code: asked.judge(header[:3] + bytes([code]) + header[4:]) for code in range(6)}
    assert [code for code, verdict in verdicts.items() if verdict is True] == [
        names.FORMERR, names.SERVFAIL, names.NOTIMP, names.REFUSED,
    ]  # fmt: skip


def test_over_tcp_the_letters_do_not_matter() -> None:
    """Where nobody can guess, a server that keeps no case is understood; another question is no reply."""
    asked = query(stream=True)
    reply = right(asked.packet)
    assert asked.judge(reply[:12] + reply[12:].lower()) is True
    assert asked.judge(changed(14, 1)(asked.packet)) is False
    assert query().judge(reply[:12] + reply[12:].upper()) is not True


def test_a_closed_port_is_known_at_once() -> None:
    """Where nobody listens the kernel says so; that is not a time-out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    for stream in (False, True):
        assert asyncio.run(exchange(query(stream=stream), port)) is Failure.UNREACHABLE


def test_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the port drawn for a query belongs to somebody, the query leaves from another one."""

    async def run() -> None:
        asked = query()
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as owner,
        ):
            server.setblocking(False)
            server.bind(("127.0.0.1", 0))
            owner.bind(("0.0.0.0", 0))
            taken = owner.getsockname()[1]
            monkeypatch.setattr("services.dns.client._PORTS", range(taken, taken + 1))
            asking = asyncio.ensure_future(exchange(asked, server.getsockname()[1]))
            packet, client = await asyncio.get_running_loop().sock_recvfrom(server, 512)
            assert client[1] != taken
            server.sendto(right(packet), client)
            assert await asking == right(packet)

    asyncio.run(run())


class Conversation:
    """Queries sent one after the other from the same sockets to a server that answers each of them."""

    def __init__(self) -> None:
        self.sockets = Sockets(spare=2)
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.server.setblocking(False)
        self.server.bind(("127.0.0.1", 0))
        self.clients: list[tuple[str, int]] = []

    def send(self, asked: Ask) -> asyncio.Future[bytes | Failure]:
        """Send the query; return what it will be told."""
        told: asyncio.Future[bytes | Failure] = asyncio.get_running_loop().create_future()
        Exchange(asked, self.server.getsockname()[1], self.sockets, told.set_result)
        return told

    async def answer(self) -> bytes:
        """Answer the next query, and return the answer."""
        packet, client = await asyncio.get_running_loop().sock_recvfrom(self.server, 512)
        self.clients.append(client)
        self.server.sendto(right(packet), client)
        return right(packet)

    def close(self) -> None:
        self.sockets.close()
        self.server.close()


@contextlib.contextmanager
def conversation() -> Iterator[Conversation]:
    """A conversation, which leaves no socket open."""
    found = Conversation()
    before = open_sockets()
    try:
        yield found
        assert open_sockets() <= before + 2  # the spare ones
    finally:
        found.close()


def open_sockets() -> int:
    links = (os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink())
    return sum(link.startswith("socket:") for link in links)


def test_each_query_has_a_port_of_its_own() -> None:
    """Whether its socket was opened in advance or not, no query leaves from another one's port."""

    async def run() -> None:
        with conversation() as talk:
            for _ in range(20):
                told = [talk.send(query()) for _ in range(3)]
                right = {await talk.answer() for _ in range(3)}
                assert {await each for each in told} == right
            ports = {port for _, port in talk.clients}
            assert len(ports) > 57  # of 60
            assert min(ports) >= 1024
            assert max(ports) - min(ports) > 10_000

    asyncio.run(run())


def test_what_came_before_the_query_is_dropped() -> None:
    """A stranger's datagram that lay in a socket before it was connected is no reply, however right it is."""

    async def run() -> None:
        with conversation() as talk, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            first = talk.send(query())
            assert await talk.answer() == await first
            asked = query()
            forged = bytearray(right(asked.packet))
            forged[3] ^= 5  # REFUSED
            for port in spare_ports():
                stranger.sendto(forged, ("127.0.0.1", port))
            told = talk.send(asked)
            assert await talk.answer() == await told

    asyncio.run(run())


def test_a_socket_that_a_stranger_has_found_is_not_used() -> None:
    """A socket to which something came before anybody asked from it is closed, and another one taken."""

    async def run() -> None:
        with conversation() as talk, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            told = talk.send(query())
            assert await talk.answer() == await told
            found = spare_ports()
            assert len(found) == 2
            for port in found:
                stranger.sendto(b"?", ("127.0.0.1", port))
            await asyncio.sleep(0.05)
            assert not found & spare_ports()
            told = talk.send(query())
            assert await talk.answer() == await told
            assert talk.clients[-1][1] not in found

    asyncio.run(run())


def test_without_files_left_there_are_no_sockets_in_advance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no more files may be open a reply is taken all the same; the query after it fails at once."""

    def full(_: Sockets) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    async def run() -> None:
        wrong: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))
        with conversation() as talk:
            told = talk.send(query())
            monkeypatch.setattr(Sockets, "_open", full)
            assert await talk.answer() == await told
            assert await talk.send(query()) is Failure.UNREACHABLE
        assert not wrong

    asyncio.run(run())


def spare_ports() -> set[int]:
    """The ports of this process's UDP sockets that are bound to every address and connected to nobody."""
    inodes = {os.readlink(path)[8:-1] for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}
    found = set()
    for line in Path("/proc/self/net/udp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        address, _, port = fields[1].partition(":")
        if fields[9] in inodes and address == "00000000" and fields[2] == "00000000:0000":
            found.add(int(port, 16))
    return found
