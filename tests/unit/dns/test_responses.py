"""What a resolver reads in responses, held against dnspython's reading of them."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.dns import names, records
from services.dns.message import Malformed
from services.dns.records import RRset
from services.dns.responses import read_response
from tests.unit.dns.conversation import EXAMPLE, query, server

HOSTS = (
    "example.org.",
    "NS1.example.org.",
    "a.b.example.org.",
    "ns.example.com.",
    "com.",
    "*.Example.ORG.",
    ".",
)
DATA = {
    "A": ("198.18.0.1", "0.0.0.0", "255.255.255.255"),
    "AAAA": ("2001:db8::1",),
    "NS": HOSTS,
    "CNAME": HOSTS,
    "PTR": HOSTS,
    "DNAME": HOSTS,
    "MX": tuple(f"{preference} {host}" for preference in (0, 10, 65535) for host in HOSTS),
    "SOA": tuple(f"{host} {host} 1 2 3 4 4294967295" for host in HOSTS),
    "SRV": tuple(f"1 2 65535 {host}" for host in HOSTS),
    "TXT": ('"v=spf1 -all"', '"" "two"', '"' + "x" * 255 + '"'),
    "CAA": ('0 issue "ca.example.org"',),
    "DS": ("1 13 2 " + "ab" * 32,),
    "TYPE65280": ("\\# 3 010203", "\\# 0"),
}

a_record = st.sampled_from(sorted(DATA)).flatmap(
    lambda rtype: st.tuples(
        st.sampled_from(HOSTS), st.integers(0, 2**32 - 1), st.just(rtype), st.sampled_from(DATA[rtype])
    )
)
sections = st.lists(a_record, max_size=6)


def read(rrsets: tuple[RRset, ...]) -> dict[tuple[str, str], tuple[int, set[bytes]]]:
    """By name and type: the TTL, and the data in octets without compression, in lower case."""
    return {
        (names.to_text(rrset.owner), names.type_text(rrset.rtype)): (
            rrset.ttl,
            {records.octets(rdata).lower() for rdata in rrset.rdatas},
        )
        for rrset in rrsets
    }


def expected(section: list[dns.rrset.RRset]) -> dict[tuple[str, str], tuple[int, set[bytes]]]:
    found: dict[tuple[str, str], tuple[int, set[bytes]]] = {}
    for rrset in section:
        owner = rrset.name.to_text(omit_final_dot=True).lower() or "."
        key = (owner, names.type_text(rrset.rdtype))
        ttl, data = found.get(key, (2**31 - 1, set()))
        read_ttl = rrset.ttl if rrset.ttl < 2**31 else 0
        found[key] = (min(ttl, read_ttl), data | {rdata.to_wire().lower() for rdata in rrset})
    return found


@settings(deadline=None)
@given(answer=sections, authority=sections, additional=sections, edns=st.booleans(), rcode=st.integers(0, 15))
def test_every_section_is_read(
    answer: list[tuple[str, int, str, str]],
    authority: list[tuple[str, int, str, str]],
    additional: list[tuple[str, int, str, str]],
    edns: bool,
    rcode: int,
) -> None:
    """Names and data are those that dnspython wrote, compressed; an RRset has its lowest TTL."""
    message = dns.message.make_response(
        dns.message.make_query("a.B.example.org", "MX", use_edns=0 if edns else -1)
    )
    message.set_rcode(dns.rcode.Rcode.make(rcode + 16 if edns else rcode))
    for lines, section in (
        (answer, message.answer),
        (authority, message.authority),
        (additional, message.additional),
    ):
        section += [dns.rrset.from_text(owner, ttl, "IN", rtype, data) for owner, ttl, rtype, data in lines]
    response = read_response(message.to_wire())
    assert response.rcode == message.rcode()
    assert read(response.answer) == expected(message.answer)
    assert read(response.authority) == expected(message.authority)
    assert read(response.additional) == expected(message.additional)


def test_names_keep_their_spelling_in_data_alone() -> None:
    """An owner is a key, in lower case; a host in data is as the server wrote it."""
    message = dns.message.make_response(dns.message.make_query("EXAMPLE.org", "NS"))
    message.answer = [dns.rrset.from_text("EXAMPLE.org.", 60, "IN", "NS", "Ns1.Example.net.")]
    (rrset,) = read_response(message.to_wire()).answer
    assert rrset.owner == (b"example", b"org")
    assert records.octets(rrset.rdatas[0]) == b"\3Ns1\7Example\3net\0"


AUTHORITY = server(EXAMPLE)
VALID = [
    query(question, edns=edns).to_wire()
    for question in ("ns1.example.org A", "x.far.example.org MX", "nope.example.org TXT")
    for edns in (False, True)
]
REPLIES = [reply for packet in VALID if (reply := AUTHORITY.respond(packet, False)) is not None]


@settings(deadline=None)
@given(
    packet=st.one_of(st.binary(max_size=80), st.sampled_from(REPLIES)),
    changes=st.lists(st.tuples(st.integers(2, 500), st.integers(0, 255)), max_size=6),
)
def test_changed_responses(packet: bytes, changes: list[tuple[int, int]]) -> None:
    """A resolver reads a response or finds it malformed; no other error comes of it."""
    changed = bytearray(packet)
    for at, octet in changes:
        if changed:
            changed[at % len(changed)] = octet
    try:
        response = read_response(bytes(changed))
        sections = response.answer, response.authority, response.additional
    except Malformed:
        return
    assert all(0 <= rrset.ttl < 2**31 for section in sections for rrset in section)


def test_what_is_wrong_behind_an_answer_is_found_when_it_is_read() -> None:
    """Data behind an answer are read when asked for; where a record ends is checked at once."""
    message = dns.message.make_response(dns.message.make_query("example.org", "NS"))
    message.answer = [dns.rrset.from_text("example.org.", 60, "IN", "NS", "ns1.example.org.")]
    message.additional = [dns.rrset.from_text("ns1.example.org.", 60, "IN", "A", "198.18.2.1")]
    packet = message.to_wire()
    assert len(read_response(packet).additional) == 1
    response = read_response(packet[:-6] + b"\0\3" + packet[-3:])
    assert len(response.answer) == 1
    for _ in range(2):
        with pytest.raises(Malformed):
            _ = response.additional
    with pytest.raises(Malformed):
        read_response(packet[:-1])


HEADER = b"\0\0\x80\0\0\0\0\1\0\0\0\0"
END = b"\0\1\0\1\0\0\0\0\0\4\1\2\3\4"


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(b"\xc0\x0c" + END, id="a pointer at itself"),
        pytest.param(b"\xc0\x0e" + END, id="a pointer forwards"),
        pytest.param(b"\1a\xc0\x0c" + END, id="a pointer at the name it ends"),
        pytest.param(b"\x41a\0" + END, id="a label of an unknown kind"),
        pytest.param((b"\x3f" + b"a" * 63) * 4 + b"\0" + END, id="a name above 255 octets"),
        pytest.param(b"\0\0\1\0\1\0\0\0\0\0\5\1\2\3\4\5", id="an address of five octets"),
        pytest.param(b"\0\0\1\0\1\0\0\0\0\0\4\1\2\3", id="data that end early"),
        pytest.param(b"\0\0\2\0\1\0\0\0\0\0\4\1a\0\0", id="data that go on"),
        pytest.param(b"\0\0\x0f\0\1\0\0\0\0\0\2\0\1", id="an MX without a host"),
        pytest.param(b"\0\0\1", id="half a record"),
    ],
)
def test_malformed_responses(record: bytes) -> None:
    """What cannot be read is malformed."""
    with pytest.raises(Malformed):
        read_response(HEADER + record)


def test_a_long_chain_of_pointers_is_malformed() -> None:
    """Thousands of compression pointers, each at the one before, cost no more than an error."""
    start = 12 + 11
    chain = b"\0" + (0xC000 | start).to_bytes(2, "big")
    while len(chain) < 8001:
        chain += (0xC000 | start + len(chain) - 2).to_bytes(2, "big")
    first = b"\0\xff\0\0\1\0\0\0\0" + len(chain).to_bytes(2, "big") + chain
    last = (0xC000 | start + len(chain) - 2).to_bytes(2, "big") + b"\0\1\0\1\0\0\0\0\0\4\1\2\3\4"
    header = b"\0\0\x80\0\0\0\0\2\0\0\0\0"
    with pytest.raises(Malformed):
        read_response(header + first + last)
