"""Malformed messages get FORMERR or silence and never stop a server: a corpus, and what Hypothesis adds."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

import dns.message
import dns.rcode
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.dns import authoritative
from services.dns.authoritative import AuthoritativeConfig, Authority
from services.dns.zone import Zones
from tests.unit.dns.conversation import EXAMPLE, make_zone, query
from tests.unit.dns.messages import Odd, corpus
from tests.unit.dns.test_server_edge import running

ODD = corpus()
BY_ID = pytest.mark.parametrize("odd", ODD, ids=[odd.name for odd in ODD])
ZONE = (
    EXAMPLE + "".join(f"many A 198.18.1.{i}\n" for i in range(100)) + "sub NS ns.sub\nns.sub A 198.18.0.2\n"
)


def _authority() -> Authority:
    return Authority(Zones([make_zone(ZONE)]), "ns1")


def _code(reply: bytes | None) -> str:
    """The response code of a reply that dnspython can read, and which is one."""
    if reply is None:
        return "silence"
    message = dns.message.from_wire(reply)
    assert reply[2] & 0x80
    return dns.rcode.to_text(message.rcode())


@BY_ID
@pytest.mark.parametrize("stream", [False, True])
def test_corpus(odd: Odd, stream: bool) -> None:
    """Each message gets what its file says, and then the server answers as before."""
    authority = _authority()
    asked = query("ns1.example.org A").to_wire()
    before = authority.respond(asked, stream)
    for _ in range(2):
        reply = authority.respond(odd.packet, stream)
        assert odd.expect in ("*", _code(reply))
        assert reply is None or reply[:2] == odd.packet[:2]
    assert authority.respond(asked, stream) == before


def test_a_running_server_survives_the_corpus(tmp_path: Path) -> None:
    """On its sockets too: by UDP, and by TCP one after the other on one connection."""
    path = tmp_path / "example.org.zone"
    path.write_text(ZONE)
    config = AuthoritativeConfig(listen=("127.0.0.1",), port=0, zones={"example.org": path})
    asyncio.run(_send_all(config))


async def _send_all(config: AuthoritativeConfig) -> None:
    async with running(authoritative.serve, config) as told:
        last = query("ns1.example.org A").to_wire()
        for stream in (False, True):
            packets = [odd.packet for odd in ODD if odd.packet or stream]
            replies = await asyncio.wait_for(_exchange(told.port, [*packets, last], stream), 20)
            assert _code(replies[-1]) == "NOERROR"
            expected = sum(odd.expect not in ("silence", "*") for odd in ODD) + 1
            assert len(replies) >= expected


async def _exchange(port: int, packets: list[bytes], stream: bool) -> list[bytes]:
    """Send the packets and return all replies up to the one to the last packet."""
    if not stream:
        return await _by_udp(port, packets)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for packet in packets:
            writer.write(struct.pack("!H", len(packet)) + packet)
        replies: list[bytes] = []
        while not replies or replies[-1][:2] != packets[-1][:2]:
            replies.append(await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big")))
        return replies
    finally:
        writer.close()
        await writer.wait_closed()


async def _by_udp(port: int, packets: list[bytes]) -> list[bytes]:
    replies: list[bytes] = []
    done = asyncio.Event()

    class Client(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 -- asyncio's signature
            replies.append(data)
            if data[:2] == packets[-1][:2]:
                done.set()

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        Client, remote_addr=("127.0.0.1", port)
    )
    try:
        for packet in packets:
            transport.sendto(packet)
            await asyncio.sleep(0)
        await done.wait()
    finally:
        transport.close()
    return replies


AUTHORITY = _authority()
QUESTIONS = ("ns1.example.org A", "x.sub.example.org MX", "nope.example.org TXT", "many.example.org A")
PACKETS = [odd.packet for odd in ODD if odd.packet]
PACKETS += [query(question, edns=edns).to_wire() for question in QUESTIONS for edns in (False, True)]


@settings(deadline=None, max_examples=300)
@given(packet=st.binary(max_size=100), stream=st.booleans())
def test_any_octets(packet: bytes, stream: bool) -> None:
    """No octets make the server raise an error, and what it says is a DNS message."""
    _is_sane(packet, AUTHORITY.respond(packet, stream))


@settings(deadline=None, max_examples=500)
@given(
    packet=st.sampled_from(PACKETS),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
    pieces=st.tuples(st.integers(0, 400), st.integers(0, 400)),
    other=st.sampled_from(PACKETS),
    stream=st.booleans(),
)
def test_changed_messages(
    packet: bytes, changes: list[tuple[int, int]], pieces: tuple[int, int], other: bytes, stream: bool
) -> None:
    """Nor do messages with octets changed, cut off, or with the end of another one."""
    changed = bytearray(packet)
    for at, octet in changes:
        changed[at % len(changed)] = octet
    made = bytes(changed)[: pieces[0] or None] + (other[-pieces[1] :] if pieces[1] % 3 == 1 else b"")
    _is_sane(made, AUTHORITY.respond(made, stream))


def _is_sane(packet: bytes, reply: bytes | None) -> None:
    if reply is None:
        assert len(packet) < 12 or packet[2] & 0x80
        return
    assert _code(reply)
    assert reply[:2] == packet[:2]
