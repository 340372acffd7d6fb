"""What a server makes of messages: echoes, EDNS, sizes, and what is not a proper question."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import pytest

from tests.unit.dns.conversation import EXAMPLE, exchange, query, server

# Room for 20 addresses in 512 octets, for 60 in 1232.
MANY = EXAMPLE + "".join(f"many A 198.18.1.{i}\n" for i in range(100))
MANY += "".join(f"some A 198.18.2.{i}\n" for i in range(40))
MANY += "".join(f"big TXT {'x' * 200}{i}\n" for i in range(200))
MANY += "".join(f"mail MX {i} mx{i}\nmx{i} A 198.18.3.{i}\n" for i in range(20))
MANY += "".join(f"far NS ns{i}.far\nns{i}.far A 198.18.4.{i}\n" for i in range(15))


@pytest.mark.parametrize(
    ("question", "edns", "payload", "truncated", "answers"),
    [
        pytest.param("some.example.org A", False, 0, True, 0, id="above 512 without EDNS"),
        pytest.param("some.example.org A", True, 512, True, 0, id="above what the client takes"),
        pytest.param("some.example.org A", True, 1232, False, 40, id="within it"),
        pytest.param("mail.example.org MX", True, 100, False, 20, id="a client takes 512 whatever it says"),
        pytest.param("many.example.org A", True, 4096, True, 0, id="above 1232, whatever the client takes"),
        pytest.param("mail.example.org MX", False, 0, False, 20, id="optional addresses are left out first"),
        pytest.param("x.far.example.org A", False, 0, True, 0, id="glue is not optional (RFC 9471)"),
    ],
)
def test_size(question: str, edns: bool, payload: int, truncated: bool, answers: int) -> None:
    """By UDP a reply keeps to the client's size, to 512 octets without EDNS and 1232 with, or has TC set."""
    reply = exchange(server(MANY), query(question, edns=edns, payload=payload))
    assert bool(reply.flags & dns.flags.TC) is truncated
    assert sum(map(len, reply.answer)) == answers
    assert reply.rcode() == dns.rcode.NOERROR
    assert len(reply.to_wire()) <= (max(min(payload, 1232), 512) if edns else 512)


@pytest.mark.parametrize("edns", [False, True])
def test_size_to_the_octet(edns: bool) -> None:
    """A reply of exactly the size allowed is whole, one octet more is not."""
    limit = 600 if edns else 512
    sizes = range(limit - 60, limit)
    authority = server(
        EXAMPLE + "".join(f"t{n} TXT {'x' * 250} {'x' * 180} {'x' * (n - 430)}\n" for n in sizes)
    )
    truncated = {}
    for n in sizes:
        asked = query(f"t{n}.example.org TXT", edns=edns, payload=limit)
        whole = authority.respond(asked.to_wire(), True)
        assert whole is not None
        response = dns.message.from_wire(whole)
        # The rest may be left out.
        response.authority, response.additional = [], []
        truncated[len(response.to_wire())] = bool(exchange(authority, asked).flags & dns.flags.TC)
    assert {size for size, is_cut in truncated.items() if not is_cut} == {n for n in truncated if n <= limit}
    assert {limit, limit + 1} <= truncated.keys()


def test_tcp_carries_everything() -> None:
    """By TCP nothing is truncated; names beyond what a compression pointer reaches are right."""
    reply = exchange(server(MANY), query("big.example.org TXT"), stream=True)
    assert not reply.flags & dns.flags.TC
    assert sum(map(len, reply.answer)) == 200
    hosts = [f"{i}.{'y' * 60}{i // 2}.{'z' * 60}" for i in range(400)]
    wide = MANY + "".join(f"wide MX {i} {host}\n" for i, host in enumerate(hosts))
    reply = exchange(server(wide), query("wide.example.org MX"), stream=True)
    expected = {f"{i} {host}.example.org." for i, host in enumerate(hosts)}
    assert {str(rdata) for rdata in reply.answer[0]} == expected


@pytest.mark.parametrize("question", ["NS1.exAMPle.oRg A", "nOpe.EXAMPLE.org A", "Host.faR.example.org A"])
def test_spelling_is_echoed(question: str) -> None:
    """The question comes back in its own letters, also where names are compressed against it."""
    authority = server(MANY)
    first, second = query(question), query(question.swapcase())
    for asked in (first, second, first):
        reply = authority.respond(asked.to_wire(), False)
        assert reply is not None
        end = 12 + sum(len(label) + 1 for label in asked.question[0].name.labels) + 4
        assert reply[12:end] == asked.to_wire()[12:end]
        assert asked.is_response(dns.message.from_wire(reply))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("RD", "QR AA RD"), ("CD", "QR AA"), ("RD AD", "QR AA RD"), ("", "QR AA")],
)
def test_flags(flags: str, expected: str) -> None:
    """RD is copied; CD is cleared (RFC 4035 §3.1.6), AD and RA are not ours to set."""
    asked = query("ns1.example.org A")
    asked.flags = dns.flags.Flag(dns.flags.from_text(flags))
    assert exchange(server(EXAMPLE), asked).flags == dns.flags.from_text(expected)


def test_edns() -> None:
    """A query with EDNS gets EDNS back: our size, version 0, the DO bit, and none of the options."""
    asked = dns.message.make_query(
        "ns1.example.org",
        "A",
        use_edns=0,
        want_dnssec=True,
        options=[dns.edns.GenericOption("65001", b"hello")],
    )
    reply = exchange(server(EXAMPLE), asked)
    assert (reply.edns, reply.payload, reply.options) == (0, 1232, ())
    assert reply.ednsflags & dns.flags.DO
    assert exchange(server(EXAMPLE), query("ns1.example.org A")).edns == -1


def test_unknown_edns_version() -> None:
    """A version that we do not know is BADVERS, with ours in the reply (RFC 6891 §6.1.3)."""
    reply = exchange(server(EXAMPLE), dns.message.make_query("ns1.example.org", "A", use_edns=1))
    assert (reply.rcode(), reply.edns, reply.answer) == (dns.rcode.BADVERS, 0, [])


@pytest.mark.parametrize(
    ("question", "rcode"),
    [
        ("example.org AXFR", "REFUSED"),
        ("example.org IXFR", "REFUSED"),
        ("example.org MAILB", "NOTIMP"),
        ("example.org OPT", "FORMERR"),
    ],
)
def test_types_that_are_no_data(question: str, rcode: str) -> None:
    """Transfers are refused; types that ask for something else than records are not served."""
    name, rtype = question.split()
    asked = dns.message.make_query(name, "A")
    asked.question[0].rdtype = dns.rdatatype.from_text(rtype)
    reply = server(EXAMPLE).respond(asked.to_wire(), True)
    assert reply is not None
    assert dns.message.from_wire(reply).rcode() == dns.rcode.from_text(rcode)


def test_any_class() -> None:
    """To class ANY nobody has the whole answer: no authority, and nothing that would speak of it."""
    authority = server(EXAMPLE)
    exchange(authority, query("ns1.example.org A"))
    asked = dns.message.make_query("ns1.example.org", "A", rdclass=dns.rdataclass.ANY)
    reply = authority.respond(asked.to_wire(), False)
    assert reply is not None
    response = dns.message.from_wire(reply)
    assert (response.flags, response.authority) == (dns.flags.QR | dns.flags.RD, [])
    assert [str(rdata) for rdata in response.answer[0]] == ["198.18.0.1"]


def test_other_classes_are_refused() -> None:
    """Class CH is nothing of ours, also after the same name was answered in class IN."""
    authority = server(EXAMPLE)
    assert exchange(authority, query("example.org NS")).rcode() == dns.rcode.NOERROR
    asked = dns.message.make_query("example.org", "NS", rdclass=dns.rdataclass.CH)
    assert exchange(authority, asked).rcode() == dns.rcode.REFUSED


@pytest.mark.parametrize("opcode", [dns.opcode.STATUS, dns.opcode.NOTIFY, dns.opcode.UPDATE])
def test_other_opcodes(opcode: dns.opcode.Opcode) -> None:
    """Whatever is not a query is NOTIMP, with its opcode in the reply."""
    asked = query("example.org SOA")
    asked.set_opcode(opcode)
    reply = server(EXAMPLE).respond(asked.to_wire(), False)
    assert reply is not None
    response = dns.message.from_wire(reply)
    assert (response.id, response.opcode(), response.rcode()) == (asked.id, opcode, dns.rcode.NOTIMP)


@pytest.mark.parametrize(
    "packet",
    [b"", b"\0" * 11, query("example.org A").to_wire()[:2] + b"\x80" + query("example.org A").to_wire()[3:]],
    ids=["nothing", "less than a header", "a response"],
)
def test_silence(packet: bytes) -> None:
    """What is no query gets no reply, so that two servers cannot keep each other busy."""
    assert server(EXAMPLE).respond(packet, False) is None


def _header(questions: int = 1, answers: int = 0, additionals: int = 0) -> bytes:
    return b"\x12\x34\x01\x00" + b"".join(n.to_bytes(2, "big") for n in (questions, answers, 0, additionals))


QUESTION = b"\x03ns1\x07example\x03org\0\0\x01\0\x01"
OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(_header(), id="no question"),
        pytest.param(_header(0), id="none promised"),
        pytest.param(_header(2) + QUESTION + QUESTION, id="two questions"),
        pytest.param(_header(1, 1) + QUESTION + QUESTION, id="an answer in a query"),
        pytest.param(_header() + QUESTION[:-1], id="cut short"),
        pytest.param(_header() + QUESTION + b"x", id="something behind it"),
        pytest.param(_header() + b"\xc0\x0c\0\x01\0\x01", id="a pointer at itself"),
        pytest.param(_header() + b"\x40" + b"x" * 64 + QUESTION, id="a label above 63 octets"),
        pytest.param(_header() + (b"\x3f" + b"x" * 63) * 4 + QUESTION, id="a name above 255 octets"),
        pytest.param(_header(1, 0, 2) + QUESTION + OPT + OPT, id="two OPT records"),
        pytest.param(_header(1, 0, 1) + QUESTION + b"\x01x" + OPT, id="an OPT record not at the root"),
        pytest.param(_header(1, 0, 1) + QUESTION + OPT[:-1], id="half an OPT record"),
        pytest.param(_header(1, 0, 1) + QUESTION + OPT[:-1] + b"\x05", id="an option that is not there"),
        pytest.param(_header(1, 0, 1) + QUESTION + OPT[:-1] + b"\x03\0\x03\0", id="half an option"),
        pytest.param(_header(1, 0, 1) + QUESTION + OPT[:-1] + b"\x05\0\x03\0\x05a", id="an option too long"),
    ],
)
def test_format_errors(packet: bytes) -> None:
    """A query that cannot be read is FORMERR, with its id."""
    assert server(EXAMPLE).respond(packet, False) == b"\x12\x34\x81\x01" + b"\0" * 8


def test_records_behind_the_question_are_stepped_over() -> None:
    """A record that we do not know in the additional section, a signature say, does not matter."""
    record = b"\x03key\0" + b"\0\xfa\0\xff\0\0\0\0\0\x03abc"
    reply = server(EXAMPLE).respond(_header(1, 0, 2) + QUESTION + record + OPT, False)
    assert reply is not None
    assert dns.message.from_wire(reply).rcode() == dns.rcode.NOERROR
