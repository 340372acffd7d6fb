"""What dnspython writes, the reader reads; anything else is a message too, or malformed."""

from __future__ import annotations

import struct
from base64 import b64decode
from ipaddress import IPv6Address

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from captures.dns import Message, Record, read_message
from captures.errors import Malformed

LABELS = st.binary(min_size=1, max_size=63) | st.from_regex(rb"[a-zA-Z0-9_-]{1,20}", fullmatch=True)


@st.composite
def wire_names(draw: st.DrawFn) -> dns.name.Name:
    """Absolute names of any octets, the root among them."""
    labels: list[bytes] = []
    for label in draw(st.lists(LABELS, max_size=8)):
        if sum(map(len, labels)) + len(labels) + len(label) + 2 <= 255:
            labels.append(label)
    return dns.name.Name((*labels, b""))


NAMES = wire_names()
PLAIN = st.from_regex(r"[a-z0-9-]{1,12}(\.[a-z0-9-]{1,12}){0,3}\.", fullmatch=True)
SHORT = st.integers(0, 65535)
LONG = st.integers(0, 2**32 - 1)
OCTET = st.integers(0, 255)
TYPES = st.sampled_from([1, 15, 65280])
STRINGS = st.lists(st.binary(max_size=255), min_size=1, max_size=3)


def wire(rtype: str, *fields: bytes | dns.name.Name) -> dns.rdata.Rdata:
    """Record data made of octets and of names."""
    data = b"".join(field if isinstance(field, bytes) else field.to_wire() or b"" for field in fields)
    return dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.from_text(rtype), data, 0, len(data))


def packed(layout: str, *values: st.SearchStrategy[int]) -> st.SearchStrategy[bytes]:
    """Numbers as octets in network order."""
    return st.tuples(*values).map(lambda numbers: struct.pack(f"!{layout}", *numbers))


def rdata(rtype: str, *fields: st.SearchStrategy[bytes] | st.SearchStrategy[dns.name.Name]) -> Rdatas:
    """Record data of one type."""
    return st.tuples(*fields).map(lambda parts: wire(rtype, *parts))


Rdatas = st.SearchStrategy[dns.rdata.Rdata]
COUNTED = STRINGS.map(lambda strings: b"".join(bytes([len(s)]) + s for s in strings))
HEX = st.binary(min_size=1, max_size=64)
RDATAS: Rdatas = st.one_of(
    rdata("A", st.binary(min_size=4, max_size=4)),
    rdata("AAAA", st.binary(min_size=16, max_size=16)),
    *(rdata(rtype, NAMES) for rtype in ("NS", "CNAME", "PTR", "DNAME")),
    rdata("MX", packed("H", SHORT), NAMES),
    rdata("SRV", packed("HHH", SHORT, SHORT, SHORT), NAMES),
    rdata("SOA", NAMES, NAMES, packed("5I", LONG, LONG, LONG, LONG, LONG)),
    rdata("TXT", COUNTED),
    rdata("SPF", COUNTED),
    rdata("CAA", packed("B", OCTET), st.just(b"\x05issue"), st.binary(max_size=40)),
    rdata("DS", packed("HB", SHORT, OCTET), st.just(b"\x02"), st.binary(min_size=32, max_size=32)),
    rdata("DNSKEY", packed("HBB", SHORT, OCTET, OCTET), HEX),
    rdata("RRSIG", packed("H", TYPES), packed("BBIIIH", OCTET, OCTET, LONG, LONG, LONG, SHORT), NAMES, HEX),
    rdata("NSEC", NAMES, st.just(b"\x00\x07\x62\x01\x80\x08\x00\x03\x80\x01\x01\x40")),
    rdata("TLSA", packed("BB", OCTET, OCTET), st.just(b"\0"), HEX),
    rdata("TYPE65280", st.binary(max_size=40)),
)  # fmt: skip
RRSETS = st.builds(
    lambda name, ttl, data: dns.rrset.from_rdata(name, ttl, data), NAMES, st.integers(0, 2**31 - 1), RDATAS
)
SECTIONS = st.lists(RRSETS, max_size=4)


def lowered(name: dns.name.Name) -> str:
    """A name as the reader gives it."""
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else "."


def expected(rrset: dns.rrset.RRset) -> Record:
    """The record that the reader should make of a set of one."""
    data = rrset[0]
    rtype = dns.rdatatype.to_text(rrset.rdtype)
    text = data.to_text()
    if rtype in ("NS", "CNAME", "PTR", "DNAME") and text != ".":
        text = text.removesuffix(".")
    return Record(lowered(rrset.name), rtype, rrset.ttl, comparable(rtype, text))


def comparable(rtype: str, text: str) -> str:
    """The same text without what may differ: spaces in base64 and hex, case of names and hex."""
    match rtype:
        case "AAAA":
            return str(IPv6Address(text))
        case "NS" | "CNAME" | "PTR" | "DNAME" | "MX" | "SRV" | "SOA" | "NSEC":
            return text.lower()
        case "DS" | "TLSA" | "DNSKEY":
            *numbers, rest = text.split(" ", 3)
            return " ".join([*numbers, rest.replace(" ", "").lower()])
        case "RRSIG":
            fields = text.split(" ", 8)
            return " ".join([*fields[:7], fields[7].lower(), fields[8].replace(" ", "")])
        case "TYPE65280":
            return text.lower().replace(" ", "")
    return text


def again(records: tuple[Record, ...]) -> list[Record]:
    """What was read, in the form that compares."""
    return [record._replace(text=comparable(record.type, record.text)) for record in records]


@given(
    name=NAMES,
    rtype=st.sampled_from(["A", "MX", "NS", "ANY", "TYPE4711"]),
    ident=SHORT,
    flags=st.sets(st.sampled_from([dns.flags.AA, dns.flags.TC, dns.flags.RD, dns.flags.RA])),
    rcode=st.sampled_from([dns.rcode.NOERROR, dns.rcode.NXDOMAIN, dns.rcode.REFUSED, dns.rcode.BADVERS]),
    answer=SECTIONS,
    authority=SECTIONS,
    additional=SECTIONS,
)
def test_what_dnspython_writes_is_read(
    name: dns.name.Name,
    rtype: str,
    ident: int,
    flags: set[dns.flags.Flag],
    rcode: dns.rcode.Rcode,
    answer: list[dns.rrset.RRset],
    authority: list[dns.rrset.RRset],
    additional: list[dns.rrset.RRset],
) -> None:
    """Header, question and every record come back, compressed names and extended codes included."""
    message = dns.message.make_response(
        dns.message.make_query(name, rtype, use_edns=0, id=ident), our_payload=1232
    )
    message.flags = dns.flags.QR
    for flag in flags:
        message.flags |= flag
    message.set_rcode(rcode)
    message.answer, message.authority, message.additional = answer, authority, additional
    read = read_message(message.to_wire(max_size=65535))
    assert (read.id, read.response, read.opcode) == (ident, True, "QUERY")
    assert (read.name, read.type, read.rcode) == (lowered(name), rtype, dns.rcode.to_text(rcode))
    assert read.authoritative == (dns.flags.AA in flags)
    assert read.truncated == (dns.flags.TC in flags)
    assert read.recursion_desired == (dns.flags.RD in flags)
    assert read.recursion_available == (dns.flags.RA in flags)
    assert again(read.answers) == list(map(expected, answer))
    assert again(read.authority) == list(map(expected, authority))
    assert again(read.additional[:-1]) == list(map(expected, additional))
    assert read.additional[-1].type == "OPT"
    assert read.additional[-1].text == "version 0, payload 1232"


def read_or_reason(data: bytes) -> Message | str:
    """The message, or why it is none."""
    try:
        return read_message(data)
    except Malformed as error:
        return str(error)


@given(
    st.binary(max_size=300)
    | st.binary(max_size=200).map(lambda data: bytes(2) + b"\x84\0\0\1\0\3\0\1\0\1" + data)
)
@example(b"")
def test_any_octets_are_a_message_or_malformed(data: bytes) -> None:
    """Whatever comes, the reader says what it is or that it is malformed."""
    assert read_or_reason(data)


@given(data=st.data(), answer=SECTIONS, additional=SECTIONS)
def test_damaged_messages_are_messages_or_malformed(
    data: st.DataObject, answer: list[dns.rrset.RRset], additional: list[dns.rrset.RRset]
) -> None:
    """Neither octets changed on the way nor an early end bring the reader down."""
    message = dns.message.make_response(dns.message.make_query("www.example.org", "A", use_edns=0))
    message.answer, message.additional = answer, additional
    octets = bytearray(message.to_wire(max_size=65535))
    for at in data.draw(st.lists(st.integers(12, len(octets) - 1), max_size=3)):
        octets[at] = data.draw(OCTET)
    whole = bytes(octets)
    for packet in (whole, whole[: data.draw(st.integers(0, len(whole)))]):
        assert read_or_reason(packet)


def question(name: bytes, rest: bytes = b"", *, answers: int = 0) -> bytes:
    """A message with this name in its question, and what stands behind it."""
    return struct.pack("!6H", 1, 0, 1, answers, 0, 0) + name + b"\0\1\0\1" + rest


def record(data: bytes, *, rtype: int = 2, rclass: int = 1, length: int | None = None) -> bytes:
    """A record of the root."""
    return b"\0" + struct.pack("!HHIH", rtype, rclass, 0, len(data) if length is None else length) + data


EMPTY = record(b"", rtype=9)[1:]
"""A record without data, behind its name."""


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(question(b"\xc0\x0c"), id="a name that points to itself"),
        pytest.param(question(b"\1a\xc0\x0c"), id="a name that points to its own beginning"),
        pytest.param(question(b"\xc0\x12", b"\1a\0"), id="a pointer forward"),
        pytest.param(question(b"\x40abc\0"), id="a label of another kind"),
        pytest.param(question(b"\1a" * 128 + b"\0"), id="a name of 257 octets"),
        pytest.param(question(b"\1a" * 99 + b"\0", b"\1b" * 29 + b"\xc0\x0c" + EMPTY, answers=1),
                     id="a compressed name of 257 octets"),
        pytest.param(question(b"\0", record(b"\0", length=2), answers=1), id="data beyond the end"),
        pytest.param(question(b"\0", record(b"\1a\0\0"), answers=1), id="data longer than the name in them"),
        pytest.param(question(b"\0", record(b"\1a\0", length=2), answers=1), id="a name beyond its data"),
        pytest.param(question(b"\0", record(b"abc", rtype=1), answers=1), id="an address of three octets"),
        pytest.param(question(b"\0", record(b"\4abc", rtype=16), answers=1), id="a string beyond its record"),
        pytest.param(question(b"\0", record(b"", rtype=15), answers=1), id="MX without data"),
        pytest.param(question(b"\0", answers=1), id="a record less than the header says"),
        pytest.param(b"\0" * 11, id="less than a header"),
    ],
)  # fmt: skip
def test_malformed(packet: bytes) -> None:
    """What cannot be a message is refused, with a reason."""
    with pytest.raises(Malformed, match=r"\w+ \w+"):
        read_message(packet)


def chained(pointers: int) -> bytes:
    """A message in which a name is so many pointers away from its text."""
    first = 12 + 7 + 11  # behind the header, the question and the head of a record
    chain = [12, *range(first, first + 2 * (pointers - 2), 2)]
    data = b"".join(struct.pack("!H", 0xC000 | at) for at in chain)
    last = struct.pack("!H", 0xC000 | first + len(data) - 2) + record(b"", rtype=65280)[1:]
    return question(b"\1a\0", record(data, rtype=65280) + last, answers=2)


def test_a_long_chain_of_pointers_costs_little() -> None:
    """However many pointers a message strings together, a name is looked for at 127 places at most."""
    assert read_message(chained(127)).answers[1].name == "a"
    with pytest.raises(Malformed, match="cannot have stood before"):
        read_message(chained(128))


LONGEST = (b"\x3f" + bytes(63)) * 3 + b"\x3d" + bytes(61) + b"\0"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param(b"\3WwW\7eXample\3ORG\0", "www.example.org", id="lower case"),
        pytest.param(b"\0", ".", id="the root"),
        pytest.param(b"\3a.b\1c\0", r"a\.b.c", id="a dot within a label"),
        pytest.param(b'\4a\\"(\1$\0', r"a\\\"\(.\$", id="what means something in master files"),
        pytest.param(b"\3 \xffA\0", r"\032\255a", id="what does not print"),
        pytest.param(
            LONGEST, ".".join([r"\000" * 63] * 3 + [r"\000" * 61]), id="255 octets of four characters"
        ),
        pytest.param(b"\x0a_25._tcp-x\0", r"_25\._tcp-x", id="underscore and hyphen are plain"),
    ],
)
def test_names(name: bytes, text: str) -> None:
    """Names are in lower case without final dot, odd octets escaped (RFC 1035 §5.1)."""
    assert read_message(question(name)).name == text


@pytest.mark.parametrize(
    ("rtype", "rclass", "data", "text"),
    [
        pytest.param(15, 1, b"\0\x0a\3Mx1\xc0\x0c", "10 mx1.example.org.", id="MX: absolute"),
        pytest.param(15, 1, b"\0\0\0", "0 .", id="null MX"),
        pytest.param(2, 1, b"\3ns1\xc0\x0c", "ns1.example.org", id="NS: no final dot"),
        pytest.param(2, 1, b"\0", ".", id="the root, alone"),
        pytest.param(16, 1, b"\3a\"b\2\\\xe4\0", r'"a\"b" "\\\228" ""', id="TXT: each string in quotes"),
        pytest.param(1, 1, b"\xc6\x12\2\3", "198.18.2.3", id="A"),
        pytest.param(28, 1, b"\x20\1" + bytes(13) + b"\1", "2001::1", id="AAAA"),
        pytest.param(65280, 1, b"\1\xab", r"\# 2 01AB", id="a type that has no form of its own"),
        pytest.param(1, 3, b"\xc6\x12\2\3", r"\# 4 C6120203", id="another class"),
        pytest.param(1, 255, b"", r"\# 0", id="an update deletes an RRset"),
        pytest.param(41, 512, b"\0\x0a\0\1\xab\0\3\0\0", "version 0, payload 512, option 10 AB, option 3",
                     id="OPT"),
    ],
)  # fmt: skip
def test_record_data(rtype: int, rclass: int, data: bytes, text: str) -> None:
    """Data stand as in a master file, names in lower case; what has no such form as in RFC 3597."""
    packet = question(b"\7eXample\3org\0", record(data, rtype=rtype, rclass=rclass), answers=1)
    assert [answer.text for answer in read_message(packet).answers] == [text]


@pytest.mark.parametrize(
    ("rtype", "text", "target"),
    [
        ("MX", "10 mx.example.org.", "mx.example.org"),
        ("MX", "0 .", "."),
        ("SRV", "0 5 587 msa.example.org.", "msa.example.org"),
        ("CNAME", "www.example.net", "www.example.net"),
        ("A", "198.18.2.3", ""),
    ],
)
def test_target(rtype: str, text: str, target: str) -> None:
    """A record that names a host tells which."""
    assert Record("example.org", rtype, 60, text).target == target


def test_a_message_without_a_question() -> None:
    """A server that could not read a question may leave it out."""
    read = read_message(struct.pack("!6H", 7, 0x8001, 0, 0, 0, 0))
    assert (read.name, read.type, read.rcode) == ("", "", "FORMERR")


def test_codes_without_a_name() -> None:
    """Numbers that nobody has given a name are shown as such."""
    read: Message = read_message(struct.pack("!6H", 7, 0x980C, 1, 0, 0, 0) + b"\0\x12\x67\0\1")
    assert (read.opcode, read.rcode, read.type) == ("OPCODE3", "RCODE12", "TYPE4711")


def test_every_type_has_the_name_that_others_use() -> None:
    """Each of the 65,536 types is called what dnspython calls it, or by its number."""
    for number in range(1, 65536):
        read = read_message(struct.pack("!6H", 7, 0, 1, 0, 0, 0) + b"\0" + struct.pack("!HH", number, 1))
        assert read.type in (dns.rdatatype.to_text(dns.rdatatype.RdataType.make(number)), f"TYPE{number}")


def test_keys_are_base64() -> None:
    """DNSSEC keys can be copied into other tools."""
    key = bytes(range(40))
    packet = question(b"\0", record(b"\1\1\3\x0d" + key, rtype=48), answers=1)
    assert b64decode(read_message(packet).answers[0].text.split()[-1]) == key
