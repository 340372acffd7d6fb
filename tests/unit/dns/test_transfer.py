"""Zones given away as a whole, read with dnspython; and taken, from messages made with it."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network

import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.xfr
import dns.zone
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.dns import message, names, transfer
from services.dns.transfer import Access, Incoming, Peer, TransferFailed
from services.dns.zone import Zone, Zones, withheld
from tests.unit.dns.conversation import make_zone

ORIGIN = names.from_text("example.org")
CLIENT = "198.18.0.2"
EVERYBODY = Access(networks=(IPv4Network("0.0.0.0/0"),))
ZONE = """\
$ORIGIN example.org.
$TTL 3600
@       SOA  ns1 hostmaster 7 7200 900 1209600 300
@       NS   ns1
@       NS   ns.sub
@       MX   10 Mx1
ns1     A    198.18.0.1
ns1     AAAA 2001:db8::1
sub     NS   ns.sub
ns.sub  60 A 198.18.0.9
a.b.c   TXT  "one \\"two\\"" "\\255\\; three"
*.wild  CNAME ns1
_x._tcp SRV  1 2 3 ns1
caa     CAA  0 issue "ca.example"
other   TYPE65280 \\# 3 ABCDEF
empty   TYPE65281 \\# 1 00
we\\.ird\\032\\$ A 198.18.0.3
"""
LARGE = ZONE + "".join(f"h{number} A 198.18.1.1\nh{number} TXT {'x' * 200}\n" for number in range(600))


def ask(
    zone: Zone,
    rtype: str = "AXFR",
    *,
    access: Access = EVERYBODY,
    client: str = CLIENT,
    name: str = "example.org",
    stream: bool = True,
    serial: int | None = None,
) -> list[dns.message.Message]:
    """Return the messages of the reply to a request for a zone."""
    query = dns.message.make_query(name, rtype)
    reply = transfer.answer(
        Zones([zone]), message.read_query(query.to_wire()), client, access, stream=stream, serial=serial
    )
    wires = [reply] if isinstance(reply, bytes) else list(reply)
    messages = [dns.message.from_wire(wire, xfr=len(wires) > 1, origin=None) for wire in wires]
    assert all(reply.id == query.id and reply.flags & dns.flags.QR for reply in messages)
    return messages


def records(zone: Zone) -> set[str]:
    """All records of a zone as dnspython reads them from its transfer."""
    return {
        f"{rrset.name} {rrset.ttl} {dns.rdatatype.to_text(rrset.rdtype)} {rdata}"
        for message in ask(zone)
        for rrset in message.answer
        for rdata in rrset
    }


def inbound(zone: Zone) -> tuple[dns.zone.Zone, int]:
    """The zone as dnspython's own transfer client takes it, and how many messages that took."""
    query = dns.message.make_query("example.org", "AXFR")
    request = message.read_query(query.to_wire())
    taken = dns.zone.Zone("example.org", relativize=False)
    count = 0
    with dns.xfr.Inbound(taken, dns.rdatatype.AXFR) as incoming:
        done = False
        for wire in transfer.messages(zone, request):
            assert not done, "messages after the end"
            count += 1
            done = incoming.process_message(dns.message.from_wire(wire, xfr=True, one_rr_per_rrset=True))
    assert done
    return taken, count


@pytest.mark.parametrize(
    ("text", "several"),
    [pytest.param(ZONE, False, id="one message"), pytest.param(LARGE, True, id="several")],
)
def test_dnspython_takes_our_transfer(text: str, several: bool) -> None:
    """What arrives is the zone of the master file, glue and unknown types included, SOA first and last."""
    taken, count = inbound(make_zone(text))
    assert (count > 1) is several
    assert taken == dns.zone.from_text(text, relativize=False)


def test_messages_are_of_a_size_that_compresses() -> None:
    """No message of many records is larger than what a compression pointer reaches."""
    query = message.read_query(dns.message.make_query("example.org", "AXFR").to_wire())
    sizes = [len(wire) for wire in transfer.messages(make_zone(LARGE), query)]
    assert max(sizes) < 16_384
    assert len(sizes) > 10


def test_a_large_record_gets_a_message_of_its_own() -> None:
    """A record near the limit of a message is transferred all the same."""
    text = ZONE + "big TXT " + " ".join(["x" * 250] * 200) + "\n"
    taken, _ = inbound(make_zone(text))
    assert len(taken.find_rdataset("big.example.org.", "TXT")[0].strings) == 200


@pytest.mark.parametrize(
    ("name", "access", "rcode"),
    [
        pytest.param("example.net", EVERYBODY, dns.rcode.NOTAUTH, id="a zone that is not here"),
        pytest.param("sub.example.org", EVERYBODY, dns.rcode.NOTAUTH, id="a name in a zone"),
        pytest.param("example.org", Access(), dns.rcode.REFUSED, id="a stranger"),
    ],
)
def test_refusals(name: str, access: Access, rcode: dns.rcode.Rcode) -> None:
    """Only whole zones are given, and only to those who may have them."""
    (reply,) = ask(make_zone(ZONE), name=name, access=access)
    assert (reply.rcode(), reply.answer) == (rcode, [])


def test_an_expired_zone_is_not_given() -> None:
    """A secondary without a copy that may be served says so."""
    (reply,) = ask(withheld(ORIGIN))
    assert reply.rcode() == dns.rcode.SERVFAIL


@pytest.mark.parametrize(
    ("client", "allowed"),
    [
        ("198.18.0.2", True),
        ("198.18.0.3", False),
        ("127.0.0.1", True),
        ("10.1.0.7", True),
        ("10.2.0.7", False),
    ],
)
def test_who_may_have_a_zone(client: str, allowed: bool) -> None:
    """The zone's secondaries, and the networks that may have every zone."""
    access = Access(
        networks=(transfer.LOOPBACK, IPv4Network("10.1.0.0/16")),
        secondaries={ORIGIN: frozenset({"198.18.0.2"})},
    )
    assert access.allows(ORIGIN, client) is allowed
    assert access.allows(names.from_text("example.net"), "198.18.0.2") is False


def test_not_by_udp() -> None:
    """A zone is given by TCP alone."""
    (reply,) = ask(make_zone(ZONE), stream=False)
    assert (reply.rcode(), reply.answer) == (dns.rcode.NOTIMP, [])


@pytest.mark.parametrize(
    ("serial", "stream", "count"),
    [
        pytest.param(6, True, None, id="behind: the whole zone"),
        pytest.param(None, True, None, id="says nothing: the whole zone"),
        pytest.param(7, True, 1, id="has it: the SOA alone"),
        pytest.param(8, True, 1, id="is ahead: the SOA alone"),
        pytest.param(6, False, 1, id="by UDP: the SOA alone, come by TCP"),
    ],
)
def test_ixfr(serial: int | None, stream: bool, count: int | None) -> None:
    """There are no differences: the answer is that nothing is new, or the whole zone (RFC 1995 §2, §4)."""
    replies = ask(make_zone(ZONE), "IXFR", serial=serial, stream=stream)
    found = [str(rdata) for reply in replies for rrset in reply.answer for rdata in rrset]
    assert replies[0].answer[0].rdtype == dns.rdatatype.SOA
    assert len(found) == count if count else len(found) > 10


def test_reading_an_ixfr_query() -> None:
    """The client's serial stands in the authority section; EDNS may come behind it."""
    for edns in (-1, 0):
        query = dns.message.make_query("Example.org", "IXFR", use_edns=edns)
        soa = "ns1.example.org. h.example.org. 99 1 2 3 4"
        query.authority.append(dns.rrset.from_text("example.org.", 0, "IN", "SOA", soa))
        found = transfer.read_ixfr(query.to_wire())
        assert found is not None
        asked, serial = found
        assert (asked.name, asked.rtype, serial) == (ORIGIN, transfer.IXFR, 99)
        assert (asked.edns is not None) is (edns == 0)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(dns.message.make_query("example.org", "IXFR").to_wire(), id="no serial"),
        pytest.param(dns.message.make_query("example.org", "A").to_wire(), id="another question"),
    ],
)
def test_no_ixfr_query(packet: bytes) -> None:
    """Anything else is no IXFR query."""
    assert transfer.read_ixfr(packet) is None


def wires(text: str) -> Iterator[bytes]:
    """The messages of a transfer of the zone, with id 4711."""
    query = dns.message.make_query("example.org", "AXFR", id=4711)
    return transfer.messages(make_zone(text), message.read_query(query.to_wire()))


def take(packets: Iterator[bytes]) -> Incoming:
    """Feed messages to an incoming transfer."""
    incoming = Incoming(4711, ORIGIN)
    for packet in packets:
        assert not incoming.complete
        incoming.feed(packet)
    return incoming


@pytest.mark.parametrize("text", [ZONE, LARGE], ids=["small", "large"])
def test_what_was_taken_is_a_master_file(text: str) -> None:
    """A zone that went over the wire and into a file is the zone that it was, record for record."""
    incoming = take(wires(text))
    assert (incoming.complete, incoming.serial) == (True, 7)
    assert records(make_zone(incoming.text)) == records(make_zone(text))


def test_dnspython_reads_what_was_taken() -> None:
    """The file is one that others read as well."""
    found = dns.zone.from_text(take(wires(ZONE)).text, origin="example.org", relativize=False)
    assert found == dns.zone.from_text(ZONE, relativize=False)


def test_names_may_be_compressed_and_questions_left_out() -> None:
    """A message of another server's: compressed names in the data, no question after the first message."""
    first = dns.message.make_response(dns.message.make_query("example.org", "AXFR", id=4711))
    soa = dns.rrset.from_text("example.org.", 60, "IN", "SOA", "ns1.example.org. h.example.org. 5 1 2 3 4")
    first.answer += [soa, dns.rrset.from_text("example.org.", 60, "IN", "NS", "ns1.example.org.")]
    second = dns.message.Message(4711)
    second.flags |= dns.flags.QR
    second.answer += [dns.rrset.from_text("Ns1.example.org.", 60, "IN", "A", "198.18.0.1"), soa]
    incoming = Incoming(4711, ORIGIN)
    assert incoming.feed(first.to_wire()) is False
    assert incoming.feed(second.to_wire()) is True
    assert incoming.text.splitlines() == [
        "example.org. 60 SOA ns1.example.org. h.example.org. 5 1 2 3 4",
        "example.org. 60 NS ns1.example.org.",
        "ns1.example.org. 60 A 198.18.0.1",
    ]


def reply(*lines: str, ident: int = 4711, rcode: int = 0, flags: int = dns.flags.QR) -> bytes:
    """A message with these records."""
    made = dns.message.Message(ident)
    made.flags |= flags
    made.set_rcode(dns.rcode.Rcode(rcode))
    for line in lines:
        name, rtype, data = line.split(maxsplit=2)
        made.answer.append(dns.rrset.from_text(name, 60, "IN", rtype, data))
    return made.to_wire()


SOA = "example.org. SOA ns1.example.org. h.example.org. 5 1 2 3 4"
NEWER = SOA.replace(" 5 ", " 6 ")
A = "ns1.example.org. A 198.18.0.1"


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        pytest.param(reply(SOA, A, ident=1), "no reply to the request", id="another id"),
        pytest.param(reply(SOA, A, flags=0), "no reply to the request", id="a query"),
        pytest.param(reply(rcode=5), "REFUSED", id="refused"),
        pytest.param(reply(rcode=9), "NOTAUTH", id="not its zone"),
        pytest.param(reply(), "without records", id="empty"),
        pytest.param(reply(A, SOA), "does not begin with the zone's SOA", id="no SOA first"),
        pytest.param(reply(SOA, A, NEWER), "another SOA", id="changed on the way"),
        pytest.param(reply(SOA, "a.example.net. A 198.18.0.1"), "outside the zone", id="outside"),
        pytest.param(reply(SOA, A, flags=dns.flags.QR | dns.flags.TC), "truncated", id="truncated"),
        pytest.param(reply(SOA, A)[:-3], "malformed", id="cut short"),
        pytest.param(b"\x12\x67\x80", "malformed", id="no header"),
    ],
)
def test_transfers_that_are_none(packet: bytes, why: str) -> None:
    """What is not a transfer of this zone is refused, and the reason is told."""
    with pytest.raises(TransferFailed, match=why):
        Incoming(4711, ORIGIN).feed(packet)


def test_records_after_the_end() -> None:
    """Nothing may follow the closing SOA."""
    packet = bytearray(reply(SOA, A, SOA))
    # dnspython puts equal records together, so the counted fourth one is added by hand.
    packet[6:8] = (int.from_bytes(packet[6:8], "big") + 2).to_bytes(2, "big")
    tail = b"\x00\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\x01\x02\x03\x04"
    with pytest.raises(TransferFailed):
        Incoming(4711, ORIGIN).feed(bytes(packet) + tail + tail)


@given(st.data())
def test_garbage_ends_a_transfer_and_nothing_else(data: st.DataObject) -> None:
    """Whatever comes, it is a part of the transfer or the transfer has failed."""
    packet = bytearray(reply(SOA, A, "x.example.org. TXT hello", "m.example.org. MX 1 a.example.org."))
    for _ in range(data.draw(st.integers(1, 4))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    incoming = Incoming(4711, ORIGIN)
    try:
        incoming.feed(bytes(packet[: data.draw(st.integers(0, len(packet)))]))
    except TransferFailed:
        return
    assert incoming.records


def soa_reply(*, aa: bool = True, rcode: int = 0, name: str = "example.org") -> bytes:
    query = dns.message.make_query(name, "SOA", id=4711)
    response = dns.message.make_response(query)
    response.flags |= dns.flags.AA if aa else 0
    response.set_rcode(dns.rcode.Rcode(rcode))
    if not rcode:
        response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "SOA", "n. h. 4294967295 1 2 3 4"))
    return response.to_wire()


def test_reading_a_serial() -> None:
    """The serial is taken from a server that has authority."""
    assert transfer.read_serial(soa_reply(), 4711, ORIGIN) == 2**32 - 1


@pytest.mark.parametrize(
    "packet", [soa_reply(name="example.net"), b"", b"\x12\x67" + b"\0" * 10, b"\x99\x99" + soa_reply()[2:]]
)
def test_a_serial_from_somebody_else(packet: bytes) -> None:
    """What is no reply to the question is passed over."""
    assert transfer.read_serial(packet, 4711, ORIGIN) is None


@pytest.mark.parametrize(
    ("packet", "why"), [(soa_reply(aa=False), "authority"), (soa_reply(rcode=2), "SERVFAIL")]
)
def test_a_serial_that_does_not_count(packet: bytes, why: str) -> None:
    """A server without authority, or with an error, tells no serial."""
    with pytest.raises(TransferFailed, match=why):
        transfer.read_serial(packet, 4711, ORIGIN)


@pytest.mark.parametrize(
    ("text", "peer"),
    [
        ("198.41.0.4", Peer(address="198.41.0.4")),
        ("127.0.0.1:5300", Peer(address="127.0.0.1", port=5300)),
    ],
)
def test_peers(text: str, peer: Peer) -> None:
    """A peer is an address, and a port if it is not 53."""
    assert Peer.read(text) == peer


@pytest.mark.parametrize("text", ["", "ns1.example.org", "198.41.0.4:", "198.41.0.4:x"])
def test_no_peers(text: str) -> None:
    """Names are for DNS to find: a peer has an address."""
    with pytest.raises(ValueError):
        Peer.read(text)
