"""What is left of a reply that does not fit, and when that is called truncated."""

from __future__ import annotations

import dns.flags
import dns.message
import pytest

from tests.unit.dns.conversation import EXAMPLE, exchange, query, server

ZONE = EXAMPLE
ZONE += "".join(f"a{n} A 198.18.{n}.{i}\n" for n in (27, 31) for i in range(n))
ZONE += "alias CNAME a31\n"
ZONE += "".join(f"mail{n} MX {i} mx{i}\n" for n in (9, 19) for i in range(n))
ZONE += "".join(f"mx{i} A 198.18.100.{i}\nmx{i} AAAA 2001:db8::{i:x}\n" for i in range(21))
ZONE += "uneven MX 1 one\nuneven MX 2 many\nuneven MX 3 two\none A 198.18.101.1\ntwo A 198.18.101.2\n"
ZONE += "".join(f"many A 198.18.102.{i}\n" for i in range(30)) + "one AAAA 2001:db8::1\n"
ZONE += "".join(f"in{n} NS ns{i}.in{n}\nns{i}.in{n} A 198.18.103.{i}\n" for n in (9, 16) for i in range(n))
ZONE += "".join(f"beside NS ns{i}.in16\n" for i in range(16))
ZONE += "".join(f"six NS ns{i}.six\nns{i}.six AAAA 2001:db8:6::{i:x}\n" for i in range(12))


def sections(question: str, payload: int = 0, *, stream: bool = False) -> tuple[bool, int, int, int]:
    """Whether the reply is truncated, and how many records it has in each section."""
    reply = exchange(server(ZONE), query(question, edns=payload > 0, payload=payload), stream=stream)
    counts = [sum(map(len, section)) for section in (reply.answer, reply.authority, reply.additional)]
    return bool(reply.flags & dns.flags.TC), counts[0], counts[1], counts[2]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        pytest.param("a27.example.org A", (False, 27, 0, 0), id="NS records have no room: they are optional"),
        pytest.param("a31.example.org A", (True, 0, 0, 0), id="an RRset goes as a whole"),
        pytest.param(
            "alias.example.org A", (True, 1, 0, 0), id="an alias stays, what it leads to does not fit"
        ),
        pytest.param("mail9.example.org MX", (False, 9, 2, 13), id="an address after the other, IPv4 first"),
        pytest.param("mail19.example.org MX", (False, 19, 2, 2), id="few fit: not truncated"),
        pytest.param("x.in9.example.org A", (False, 0, 9, 9), id="all the glue fits"),
        pytest.param(
            "x.in16.example.org A", (True, 0, 16, 11), id="glue that is missing is told (RFC 9471 §3.1)"
        ),
        pytest.param("x.six.example.org A", (True, 0, 12, 9), id="IPv6 glue too"),
        pytest.param("x.beside.example.org A", (False, 0, 16, 10), id="sibling glue may be missing (§3.2)"),
    ],
)
def test_512_octets(question: str, expected: tuple[bool, int, int, int]) -> None:
    """RRsets are left out as a whole (RFC 2181 §9), the least important first; TC tells if one is needed."""
    assert sections(question) == expected


def test_what_does_not_fit_by_udp_comes_by_tcp() -> None:
    """By TCP, and with a larger size, all is there."""
    assert sections("a31.example.org A", stream=True) == (False, 31, 2, 1)
    assert sections("a31.example.org A", 1232) == (False, 31, 2, 1)
    assert sections("x.in16.example.org A", stream=True) == (False, 0, 16, 16)


def test_a_large_host_is_left_out_alone() -> None:
    """Of the addresses those that fit stay; IPv6 addresses are not begun when an IPv4 one is missing."""
    reply = exchange(server(ZONE), query("uneven.example.org MX"))
    assert [str(rrset.name).split(".")[0] for rrset in reply.additional] == ["one", "two", "ns1"]
    assert {rrset.rdtype for rrset in reply.additional} == {1}
    assert not reply.flags & dns.flags.TC


@pytest.mark.parametrize("size", range(512, 1232, 7))
def test_any_size(size: int) -> None:
    """Whatever the size allowed: the reply keeps to it, is well formed, and has no record twice or wrong."""
    authority = server(ZONE)
    for question in ("mail19.example.org MX", "x.in16.example.org A", "uneven.example.org MX"):
        asked = query(question, edns=True, payload=size)
        reply = authority.respond(asked.to_wire(), False)
        complete = authority.respond(asked.to_wire(), True)
        assert reply is not None
        assert complete is not None
        assert len(reply) <= size
        records, all_records = (
            [
                (rrset.name, rrset.rdtype, rdata)
                for section in (message.answer, message.authority, message.additional)
                for rrset in section
                for rdata in rrset
            ]
            for message in map(dns.message.from_wire, (reply, complete))
        )
        assert len(set(records)) == len(records)
        assert set(records) <= set(all_records)
