"""What is read of conversations, from packets that each test shows one by one."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures import pcapng, wire
from captures.conversations import Connection, Conversations, Piece, read_conversations
from captures.pcapng import Reader
from tests.unit.captures.wires import (
    ACK,
    CLIENT,
    FIN,
    ISN,
    PSH,
    RST,
    SERVER,
    SERVER_ISN,
    START_NS,
    SYN,
    Seen,
    Wire,
    at_one_interface,
    client,
    datagram,
    ethernet,
    ip,
    opening,
    said,
    segment,
    server,
)

NAMES = {CLIENT: "corp-mta.example.com", SERVER: "mx.example.org"}
LAB = ("corp-mta-eth0", "core1-eth0", "core1-eth1", "mx-eth0")
OUT: Seen = (LAB[0], "out")
IN: Seen = (LAB[1], "in")
ON: Seen = (LAB[2], "out")
THERE: Seen = (LAB[3], "in")
WAY = (OUT, IN, ON, THERE)
BACK: tuple[Seen, ...] = ((LAB[3], "out"), (LAB[2], "in"), (LAB[1], "out"), (LAB[0], "in"))


def only(conversations: Conversations) -> Connection:
    """The one connection that there is."""
    (connection,) = conversations.connections
    return connection


def lab() -> Wire:
    """A capture of two hosts with a router between them, at every interface."""
    return Wire(*LAB, names=NAMES)


def opened(capture: Wire) -> Wire:
    """The same with a connection opened."""
    syn, answer, confirmation = opening()
    return capture.cross(syn, *WAY).cross(answer, *BACK).cross(confirmation, *WAY)


# Connections -----------------------------------------------------------------------------------------------


def test_a_connection_is_read_once_at_its_clients_end() -> None:
    """Of a session seen at four interfaces each byte comes once, with the time at the client's own."""
    capture = opened(lab())
    capture.cross(server(PSH | ACK, data=b"220 mx.example.org\r\n"), *BACK)
    capture.cross(client(PSH | ACK, data=b"QUIT\r\n", ack=SERVER_ISN + 21), *WAY)
    connection = only(capture.read())
    assert connection.received == [Piece(START_NS + 16_000, 16, b"220 mx.example.org\r\n")]
    assert connection.sent == [Piece(START_NS + 17_000, 17, b"QUIT\r\n")]
    assert (connection.frame, connection.opened_ns) == (1, START_NS + 1000)
    assert connection.established_ns == START_NS + 8000
    assert (connection.last_frame, connection.last_ns) == (17, START_NS + 17_000)
    assert connection.interface == "corp-mta-eth0"
    assert (connection.end, connection.gap) == ("open", False)


def test_endpoints_have_hosts_names_and_ports() -> None:
    """The host is the one whose interface the packets left from; the name is the name resolution block's."""
    connection = only(opened(lab()).read())
    assert connection.client == (CLIENT, 40000, "corp-mta", "corp-mta.example.com")
    assert connection.server == (SERVER, 25, "mx", "mx.example.org")


def test_the_path_is_the_syns() -> None:
    """A connection's path names each host that the SYN passed, in order, once."""
    assert only(opened(lab()).read()).path == ("corp-mta", "core1", "mx")


def test_the_path_is_that_of_the_syn_that_got_furthest() -> None:
    """When a SYN is lost on its way and sent again, the path leads on to the server."""
    capture = lab().cross(client(SYN, ISN), OUT, IN).cross(client(SYN, ISN, ident=8), *WAY)
    connection = only(capture.read())
    assert connection.path == ("corp-mta", "core1", "mx")
    assert connection.frame == 1
    assert only(lab().cross(client(SYN, ISN), OUT, IN).read()).path == ("corp-mta", "core1")


def test_the_path_is_that_of_one_syn() -> None:
    """When a SYN is lost and the next one takes another way, the path is the second one's alone."""
    capture = Wire(*LAB, "core2-eth0", "core2-eth1", names=NAMES)
    capture.cross(client(SYN, ISN), OUT, ("core2-eth0", "in"), ("core2-eth1", "out"))
    assert only(capture.cross(client(SYN, ISN), *WAY).read()).path == ("corp-mta", "core1", "mx")


def test_a_host_that_merely_hears_is_not_on_the_path() -> None:
    """A packet that a bridge sends to all is not thought to have passed those whom it does not concern."""
    capture = Wire(*LAB, "corp-dns-eth0", names=NAMES)
    syn, answer, _ = opening()
    capture.cross(syn, OUT, ("corp-dns-eth0", "in"), IN, ON, THERE).cross(answer, *BACK)
    assert only(capture.read()).path == ("corp-mta", "core1", "mx")


@pytest.mark.parametrize(
    ("frames", "end"),
    [
        pytest.param(opening(), "open", id="nothing ends it"),
        pytest.param([*opening(), server(FIN | ACK), client(FIN | ACK)], "closed", id="both are done"),
        pytest.param([*opening(), server(FIN | ACK)], "closed", id="one is done"),
        pytest.param([*opening(), client(FIN | ACK), server(RST)], "closed", id="done, and then a RST"),
        pytest.param([*opening(), server(RST)], "reset", id="reset by the server"),
        pytest.param([*opening(), client(RST)], "reset", id="reset by the client"),
        pytest.param([client(SYN, ISN), server(RST | ACK)], "refused", id="RST answers the SYN"),
        pytest.param([client(SYN, ISN), client(SYN, ISN)], "unanswered", id="nothing answers the SYN"),
        pytest.param(
            [client(SYN, ISN), server(RST | ACK), *opening()], "open", id="refused at first, then taken"
        ),
    ],
)
def test_ends(frames: list[bytes], end: str) -> None:
    """How a connection ended is told from FIN, RST and the want of an answer."""
    assert only(at_one_interface(frames)).end == end


def quoting(frame: bytes, code: int) -> bytes:
    """An ICMP "destination unreachable" of a router about a packet."""
    return ethernet(ip("198.18.0.254", CLIENT, wire.ICMP, bytes([3, code]) + bytes(6) + frame[14:42]))


@pytest.mark.parametrize(
    ("code", "end"),
    [
        pytest.param(1, "refused", id="host unreachable"),
        pytest.param(13, "refused", id="forbidden by a firewall"),
        pytest.param(4, "unanswered", id="too big a packet is no refusal"),
    ],
)
def test_icmp_refuses_too(code: int, end: str) -> None:
    """A SYN that ICMP answers is refused, at the time of that answer."""
    syn = client(SYN, ISN)
    connection = only(at_one_interface([syn, quoting(syn, code)]))
    assert connection.end == end
    assert connection.last_frame == (2 if end == "refused" else 1)


def test_icmp_refuses_whatever_comes_late() -> None:
    """A client that was told "unreachable" answers a late SYN-ACK with RST; an open connection is reset."""
    syn, late, rst = client(SYN, ISN), server(SYN | ACK, SERVER_ISN), client(RST, ISN + 1)
    assert only(at_one_interface([syn, quoting(syn, 1), late, rst])).end == "refused"
    assert only(at_one_interface([*opening(), quoting(syn, 1), rst])).end == "reset"


def test_icmp_about_another_connection_changes_nothing() -> None:
    """Only the SYN itself can be refused: neither an older one of the same ports nor an open connection."""
    assert only(at_one_interface([client(SYN, ISN), quoting(client(SYN, 7), 1)])).end == "unanswered"
    assert only(at_one_interface([*opening(), quoting(client(SYN, ISN), 1)])).end == "open"


def test_a_port_may_be_used_again() -> None:
    """The same addresses and ports twice are two connections, also while copies of the first still arrive."""
    capture = opened(lab())
    capture.cross(client(FIN | PSH | ACK, data=b"first"), OUT)
    again = 900_000
    capture.cross(client(SYN, again), OUT).cross(client(SYN, ISN), THERE).cross(client(SYN, again), *WAY[1:])
    capture.cross(server(SYN | ACK, 77, ack=again + 1), *BACK)
    capture.cross(client(PSH | ACK, again + 1, b"second", ack=78), *WAY)
    first, second = capture.read().connections
    assert (said(first.sent), first.end, first.path) == (b"first", "closed", ("corp-mta", "core1", "mx"))
    assert (said(second.sent), second.end, second.path) == (b"second", "open", ("corp-mta", "core1", "mx"))


def test_a_late_answer_to_an_earlier_syn() -> None:
    """A SYN-ACK that acknowledges another SYN than the newest of these ports establishes nothing."""
    frames = [client(SYN, ISN), client(RST), client(SYN, 77), server(SYN | ACK, SERVER_ISN, ack=ISN + 1)]
    assert [each.end for each in at_one_interface(frames).connections] == ["unanswered", "unanswered"]


def test_data_in_the_syn() -> None:
    """What a SYN carries (TCP Fast Open) is the beginning of the stream."""
    frames = [client(SYN, ISN, b"EHLO "), server(SYN | ACK, SERVER_ISN, ack=ISN + 6)]
    assert said(only(at_one_interface([*frames, client(seq=ISN + 6, data=b"x\r\n")])).sent) == b"EHLO x\r\n"


def test_a_connection_that_was_open_before() -> None:
    """Without a SYN the higher port is the client's; what was said before is missing, and that is told."""
    connection = only(at_one_interface([server(PSH | ACK, data=b"250 Ok\r\n"), client(data=b"DATA\r\n")]))
    assert (connection.client.port, connection.server.port) == (40000, 25)
    assert (said(connection.sent), said(connection.received)) == (b"DATA\r\n", b"250 Ok\r\n")
    assert connection.established_ns is None
    assert (connection.end, connection.gap) == ("open", True)


def test_a_syn_that_was_not_captured() -> None:
    """A SYN-ACK is enough to know who is who and where the streams begin."""
    _, answer, confirmation = opening()
    connection = only(at_one_interface([answer, confirmation, client(data=b"EHLO x\r\n")]))
    assert connection.client.port == 40000
    assert (said(connection.sent), connection.gap, connection.end) == (b"EHLO x\r\n", False, "open")


def test_a_stray_reset_is_no_connection() -> None:
    """A RST that answers nothing that was captured is passed over."""
    assert at_one_interface([server(RST)]).connections == []


def test_only_the_ports_asked_for_keep_their_bytes() -> None:
    """Connections to other ports are told of, without what was said."""
    ports = (40000, 110)
    frames = [segment(ports=ports, flags=SYN, seq=ISN), segment(ports=ports, data=b"USER bob\r\n")]
    connection = only(at_one_interface(frames))
    assert (connection.server.port, connection.sent, connection.gap) == (110, [], False)
    asked = Wire("eth0").cross(frames[0], ("eth0", "")).cross(frames[1], ("eth0", ""))
    assert said(only(asked.read(ports=frozenset({110}))).sent) == b"USER bob\r\n"


# The bytes of a connection ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("segments", "expected", "gap"),
    [
        pytest.param([(0, b"EHLO "), (5, b"x\r\n")], b"EHLO x\r\n", False, id="in order"),
        pytest.param([(5, b"x\r\n"), (0, b"EHLO ")], b"EHLO x\r\n", False, id="out of order"),
        pytest.param([(0, b"EHLO x\r\n"), (0, b"EHLO x\r\n")], b"EHLO x\r\n", False, id="sent again"),
        pytest.param([(0, b"EHLO "), (2, b"LO x\r\n")], b"EHLO x\r\n", False, id="sent again with more"),
        pytest.param([(3, b"O x"), (5, b"x\r\n"), (0, b"EHLO")], b"EHLO x\r\n", False, id="early overlaps"),
        pytest.param([(0, b"EHLO x\r\n"), (-1, b"\0")], b"EHLO x\r\n", False, id="a keep-alive"),
        pytest.param([(0, b"EHLO "), (6, b"\r\n")], b"EHLO ", True, id="a byte missing"),
        pytest.param([(6, b"\r\n")], b"", True, id="the beginning missing"),
        pytest.param([(0, b"EHLO x\r\n"), (2**31 - 9, b"?")], b"EHLO x\r\n", False, id="from somewhere else"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("isn", [ISN, 2**32 - 1, 2**32 - 4])
def test_streams(segments: list[tuple[int, bytes]], expected: bytes, gap: bool, isn: int) -> None:
    """Each byte comes once and in order, also where sequence numbers wrap; nothing follows a gap."""
    frames = [client(SYN, isn), server(SYN | ACK, SERVER_ISN, ack=isn + 1)]
    frames += [client(seq=isn + 1 + place, data=data) for place, data in segments]
    connection = only(at_one_interface(frames))
    assert (said(connection.sent), connection.gap) == (expected, gap)


@given(st.data())
def test_any_order_gives_the_same_bytes(data: st.DataObject) -> None:
    """However a stream is cut, repeated, overlapped and mixed, it is the same, and time never goes back."""
    stream = data.draw(st.binary(min_size=1, max_size=200))
    isn = data.draw(st.sampled_from([ISN, 2**32 - 1, 2**32 - 50]))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=8)) if len(stream) > 1 else [])
    spans = list(zip([0, *cuts], [*cuts, len(stream)], strict=True))
    places = st.integers(0, len(stream))
    spans += data.draw(st.lists(st.tuples(places, places), max_size=8))
    frames = [client(seq=isn + 1 + a, data=stream[a:b]) for a, b in data.draw(st.permutations(spans))]
    connection = only(at_one_interface([client(SYN, isn), *frames]))
    assert said(connection.sent) == stream
    assert not connection.gap
    assert connection.sent == sorted(connection.sent, key=lambda piece: piece.frame)


def test_a_hole_gives_its_time_to_what_came_early() -> None:
    """Bytes that came early have time and frame of the packet that made them readable."""
    frames = [*opening(), client(seq=ISN + 6, data=b"x\r\n"), client(data=b"EHLO ")]
    assert [(piece.frame, piece.data) for piece in only(at_one_interface(frames)).sent] == [
        (5, b"EHLO "),
        (5, b"x\r\n"),
    ]


def test_what_was_acknowledged_and_never_seen_is_missing() -> None:
    """A gap at the end is known from the acknowledgement; a FIN counts as one byte there and is none."""
    frames = [*opening(), client(data=b"EHLO x\r\n")]
    assert not only(at_one_interface([*frames, server(ack=ISN + 1 + 8 + 1)])).gap
    assert only(at_one_interface([*frames, server(ack=ISN + 1 + 8 + 2)])).gap


def test_what_the_recorder_lost_is_looked_up_at_the_servers_end() -> None:
    """Bytes that were lost at the client's end and acknowledged are those that the server's end saw."""
    capture = opened(lab())
    capture.cross(client(data=b"EHLO "), *WAY).cross(client(seq=ISN + 6, data=b"alice"), *WAY[1:])
    capture.cross(client(seq=ISN + 11, data=b"\r\n"), *WAY).cross(server(ack=ISN + 13), *BACK)
    connection = only(capture.read())
    assert [(piece.frame, piece.data) for piece in connection.sent] == [
        (13, b"EHLO "),
        (27, b"alice"),
        (27, b"\r\n"),
    ]
    assert not connection.gap


def test_what_the_client_did_not_get_is_not_looked_up() -> None:
    """What the server sent is received when the client has it: a segment lost on its way is none of it."""
    capture = opened(lab()).cross(server(data=b"220 one\r\n"), *BACK[:2])
    assert only(capture.read()).received == []
    capture.cross(server(seq=SERVER_ISN + 10, data=b"500 two\r\n"), *BACK[:2])
    capture.cross(client(ack=SERVER_ISN + 10), *WAY)
    assert said(only(capture.read()).received) == b"220 one\r\n"


def test_a_close_that_the_recorder_lost() -> None:
    """A FIN that was seen at the server's end alone closes the connection as well."""
    assert only(opened(lab()).cross(server(FIN | ACK), BACK[0]).read()).end == "closed"


@given(lost=st.sets(st.tuples(st.integers(0, 19), st.booleans())))
def test_losses_here_and_there(lost: set[tuple[int, bool]]) -> None:
    """What at least one end has seen is read up to the first byte that neither has, and no byte twice."""
    capture = opened(lab())
    for number in range(20):
        frame = client(seq=ISN + 1 + 3 * number, data=b"%02d\n" % number)
        way = [crossing for crossing, here in ((OUT, True), (THERE, False)) if (number, here) not in lost]
        capture.cross(frame, *way).cross(server(ack=ISN + 4 + 3 * number), BACK[0], BACK[3])
    seen = [b"%02d\n" % number for number in range(20)]
    missing = next((number for number in range(20) if {(number, True), (number, False)} <= lost), None)
    connection = only(capture.read())
    assert said(connection.sent) == b"".join(seen[:missing])
    assert connection.gap == (missing is not None)


def test_padding_is_not_data() -> None:
    """What fills a short packet up to Ethernet's least size is none of its bytes."""
    frames = [*opening(), client() + bytes(6), client(data=b"Q") + bytes(5)]
    assert said(only(at_one_interface(frames)).sent) == b"Q"


def test_a_packet_without_a_length() -> None:
    """A packet that was too large to say its length, being captured before it was divided, is all data."""
    large = client(data=b"x" * 2000)
    frames = [*opening(), large[:16] + b"\0\0" + large[18:]]
    assert said(only(at_one_interface(frames)).sent) == b"x" * 2000


def test_packets_cut_by_the_snap_length() -> None:
    """Of a packet that was not captured whole the first bytes are kept, and the gap is told."""
    frames = [*opening(), client(data=b"EHLO x\r\n"), client(seq=ISN + 9, data=b"QUIT\r\n")]
    connection = only(at_one_interface(frames, snaplen=70))
    assert (said(connection.sent), connection.gap) == (b"EHLO", True)


# Datagrams -------------------------------------------------------------------------------------------------


def test_a_datagram_is_told_once() -> None:
    """A query and its answer, each seen at four interfaces, are two datagrams with their way and its time."""
    capture = lab().cross(datagram(data=b"query"), *WAY)
    capture.cross(datagram(SERVER, CLIENT, ports=(53, 40000), data=b"answer"), *BACK)
    query, answer = capture.read().datagrams
    assert (query.frame, query.time_ns, query.arrived_ns) == (1, START_NS + 1000, START_NS + 4000)
    assert (answer.frame, answer.time_ns, answer.arrived_ns) == (5, START_NS + 5000, START_NS + 8000)
    assert (query.data, answer.data) == (b"query", b"answer")
    assert (query.path, answer.path) == (("corp-mta", "core1", "mx"), ("mx", "core1", "corp-mta"))
    assert query.source == answer.destination == (CLIENT, 40000, "corp-mta", "corp-mta.example.com")
    assert query.destination == answer.source == (SERVER, 53, "mx", "mx.example.org")


def test_a_datagram_that_is_lost_does_not_arrive() -> None:
    """Of the same question asked twice, byte for byte, each has its own fate."""
    capture = lab().cross(datagram(), OUT, IN).cross(datagram(), *WAY)
    lost, arrived = capture.read().datagrams
    assert (lost.frame, lost.path, lost.arrived_ns) == (1, ("corp-mta", "core1"), None)
    assert (arrived.frame, arrived.path, arrived.arrived_ns) == (
        3,
        ("corp-mta", "core1", "mx"),
        START_NS + 6000,
    )


def test_a_datagram_that_a_router_keeps_does_not_arrive() -> None:
    """Coming in at a host that it is not for is no arrival."""
    capture = lab().cross(datagram(SERVER, CLIENT, ports=(53, 40000)), *BACK).cross(datagram(), OUT, IN)
    assert capture.read().datagrams[1].arrived_ns is None


def test_a_datagram_to_nowhere() -> None:
    """A host that never sends is known by its name; leaving the last host captured is no arrival."""
    sent, came = lab().cross(datagram(), OUT, IN).cross(datagram(ident=8), *WAY).read().datagrams
    assert (sent.arrived_ns, came.arrived_ns) == (None, START_NS + 6000)
    outside = Wire("core1-eth0").cross(datagram(), ("core1-eth0", "out"))
    assert outside.read().datagrams[0].arrived_ns is None


def test_a_datagram_that_goes_round_is_still_one() -> None:
    """A packet caught in a routing loop passes interfaces again and again; its path names each host once."""
    (looping,) = lab().cross(datagram(), OUT, IN, ON, IN, ON, IN).read().datagrams
    assert looping.path == ("corp-mta", "core1")


def test_a_forged_source_is_seen_through() -> None:
    """A packet that claims another's address has the host that it left from; the other keeps its own."""
    forged = datagram(SERVER, CLIENT, ports=(53, 40000), data=b"forged")
    genuine = datagram(SERVER, CLIENT, ports=(53, 40000), data=b"genuine")
    capture = Wire(*LAB, "mallory-eth0", names=NAMES)
    capture.cross(forged, ("mallory-eth0", "out"), IN, (LAB[0], "in")).cross(genuine, *BACK)
    capture.cross(datagram(), *WAY).cross(segment(SERVER, CLIENT, flags=SYN), ("mallory-eth0", "out"))
    first, second, query = capture.read().datagrams
    assert only(capture.read()).client.host == "mallory"
    assert (first.source.host, first.source.name) == ("mallory", "mx.example.org")
    assert second.source == query.destination


def test_other_datagrams_are_passed_over() -> None:
    """UDP of another port than 53 is nobody's here."""
    assert at_one_interface([datagram(ports=(123, 123)), datagram(ports=(67, 68))]).datagrams == []


def test_datagrams_at_one_interface() -> None:
    """Without directions each packet is a datagram of its own, which came where it was seen."""
    question, answer = datagram(), datagram(SERVER, CLIENT, ports=(53, 40000)) + bytes(7)
    datagrams = at_one_interface([question, question, answer]).datagrams
    assert [each.frame for each in datagrams] == [1, 2, 3]
    assert [each.path for each in datagrams] == [(), (), ()]
    assert datagrams[2].data == b"\x12\x34\x01\x00question"
    assert datagrams[2].arrived_ns == datagrams[2].time_ns


# Captures of all kinds -------------------------------------------------------------------------------------


def test_hosts_without_interfaces_of_their_own() -> None:
    """Where no interface tells the host, the name's first label does, and else the address."""
    capture = Wire("eth0", names={SERVER: "mx.example.org"})
    connection = only(capture.cross(client(SYN, ISN), ("eth0", "out")).read())
    assert connection.client == (CLIENT, 40000, CLIENT, "")
    assert connection.server == (SERVER, 25, "mx", "mx.example.org")
    assert connection.path == ()


@pytest.mark.parametrize(
    ("linktype", "dressed"),
    [
        pytest.param(wire.ETHERNET, lambda frame: frame[:12] + b"\x81\x00\x00\x05" + frame[12:], id="VLAN"),
        pytest.param(wire.RAW, lambda frame: frame[14:], id="raw IP"),
        pytest.param(wire.COOKED, lambda frame: bytes(14) + frame[12:], id="Linux cooked"),
        pytest.param(wire.COOKED_2, lambda frame: b"\x08\x00" + bytes(18) + frame[14:], id="cooked, second"),
    ],
)
def test_links(linktype: int, dressed: Callable[[bytes], bytes]) -> None:
    """A conversation is the same on whatever link it was captured."""
    frames = [*opening(), client(data=b"QUIT\r\n"), datagram()]
    conversations = at_one_interface(map(dressed, frames), linktype=linktype)
    assert said(only(conversations).sent) == b"QUIT\r\n"
    assert len(conversations.datagrams) == 1


def test_what_cannot_be_read_is_counted_as_a_packet() -> None:
    """An unknown link, ARP, IPv6, runts: packets, and nothing else."""
    assert at_one_interface(opening(), linktype=0).packets == 3
    odd = [b"", bytes(12) + b"\x08\x06" + bytes(28), bytes(12) + b"\x86\xdd" + bytes(60), client()[:50]]
    conversations = at_one_interface(odd)
    assert (conversations.packets, conversations.connections, conversations.datagrams) == (4, [], [])


def test_fragments_are_counted() -> None:
    """Fragments are not put together: their number is told."""
    pieces = [ip(CLIENT, SERVER, wire.UDP, bytes(16), fragment=field) for field in (0x2000, 0x0002)]
    conversations = at_one_interface(map(ethernet, pieces))
    assert (conversations.fragments, conversations.datagrams) == (2, [])


def test_the_captures_own_account() -> None:
    """Names, secrets, the number of packets, when the first and the last came, and how many were lost."""
    capture = opened(lab()).add(pcapng.secrets(b"CLIENT_RANDOM 00 00\n"))
    for number, lost in ((0, 3), (1, 4)):
        capture.add(pcapng.statistics(number, 0, start_ns=0, end_ns=0, received=20, dropped=lost))
    conversations = capture.read()
    assert conversations.names == NAMES
    assert conversations.secrets == b"CLIENT_RANDOM 00 00\n"
    assert (conversations.packets, conversations.dropped, conversations.cut) == (12, 7, False)
    assert (conversations.first_ns, conversations.last_ns) == (START_NS + 1000, START_NS + 12_000)


def test_an_empty_capture() -> None:
    """Nothing captured is nothing said; that nothing was lost is not known."""
    conversations = Wire("eth0").read()
    assert (conversations.connections, conversations.datagrams, conversations.packets) == ([], [], 0)
    assert (conversations.first_ns, conversations.last_ns, conversations.dropped) == (0, 0, None)


def test_a_capture_cut_short() -> None:
    """Of a file that ends within a block everything before that block is read, and it is told."""
    whole = opened(lab()).cross(client(data=b"QUIT\r\n"), OUT).bytes()
    conversations = read_conversations(Reader(io.BytesIO(whole[:-10])))
    assert conversations.cut
    assert (conversations.packets, said(only(conversations).sent)) == (12, b"")


def test_conversations_are_in_the_order_of_time() -> None:
    """Also where a tool has written the interfaces one after the other."""
    early, late = client(SYN, ISN), segment(ports=(40001, 25), flags=SYN, seq=ISN)
    blocks = [pcapng.section_header(), pcapng.interface("a"), pcapng.interface("b")]
    blocks += [pcapng.packet(1, 2000, late, len(late)), pcapng.packet(0, 1000, early, len(early))]
    conversations = read_conversations(Reader(io.BytesIO(b"".join(blocks))))
    assert [connection.client.port for connection in conversations.connections] == [40000, 40001]
    assert (conversations.first_ns, conversations.last_ns) == (1000, 2000)


HEADERS = st.sampled_from(
    [*opening(), client(FIN | ACK), server(RST), datagram(), quoting(client(SYN, ISN), 1)]
)


@given(st.lists(st.tuples(HEADERS, st.integers(0, 90), st.binary(max_size=4), st.integers(0, 90))), st.data())
def test_nothing_raises(damages: list[tuple[bytes, int, bytes, int]], data: st.DataObject) -> None:
    """Packets with any octets changed, and cut anywhere, are read as what they can be taken for."""
    linktype = data.draw(st.sampled_from([0, 1, 101, 113, 276]))
    frames = [frame[:at] + octets + frame[at + len(octets) :] for frame, at, octets, _ in damages]
    capture = Wire("corp-mta-eth0", "eth1", linktype=linktype)
    crossings = st.tuples(st.sampled_from(["corp-mta-eth0", "eth1"]), st.sampled_from(pcapng.DIRECTIONS))
    for frame, (*_, size) in zip(frames, damages, strict=True):
        capture.cross(frame, data.draw(crossings), snaplen=size)
    assert capture.read().packets == len(frames)
