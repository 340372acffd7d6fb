"""Master files, checked against dnspython's reading of them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.zone
import dnslib
import pytest

from services.dns import master, names, zone
from services.errors import ConfigError

ORIGIN = (b"example", b"org")

EVERYTHING = r"""
; a comment
$TTL 1h
@  IN SOA ns1 host\.master (     ; one line, in fact
       2026112400  ; serial (with ) in a comment
       2h 15m
       4w2d1h 300 )
       NS   ns1
       NS   ns2.example.net.
       MX   10 mx1
       MX   20 MX2.Example.ORG.
       TXT  "v=spf1 ip4:198.18.0.0/15 -all" plain "with \"quotes\" and ; inside" "\065\\"
       CAA  0 issue "ca.example.net; policy=ev"
$ORIGIN sub.example.org.
ns1.example.org.  IN 300 A 198.18.0.1
a      300 IN AAAA 2001:db8::1
b      CNAME @
_sip._udp SRV 0 5 5060 a
$ORIGIN deeper
c      PTR   a
t      TYPE65280 \# 4 ( 0102
                  0304 )
       TYPE65281 \# 1 ff
$TTL 60
d\.e   in a 198.18.0.2
*      A  198.18.0.3
"""


def test_reads_what_dnspython_reads() -> None:
    """Every record has the owner, TTL, type and data on the wire that another implementation reads."""
    records = master.parse(EVERYTHING, ORIGIN, source="test")
    ours = {(record.owner, record.ttl, record.rtype, _wire(record)) for record in records}
    theirs = dns.zone.from_text(EVERYTHING, "example.org.", relativize=False)
    assert ours == {
        (
            names.lower(owner.labels[:-1]),
            rdataset.ttl,
            int(rdataset.rdtype),
            rdata.to_wire(),
        )
        for owner, rdataset in theirs.iterate_rdatasets()
        for rdata in rdataset
    }
    assert len(records) == len(ours) == 16


def _wire(record: master.Record) -> bytes:
    """The data without compression, which is dnspython's doing."""
    buffer = dnslib.DNSBuffer()
    record.rdata.pack(buffer)
    rdtype = dns.rdatatype.RdataType.make(record.rtype)
    data = dns.rdata.from_wire(dns.rdataclass.IN, rdtype, bytes(buffer.data), 0, len(buffer.data)).to_wire()
    assert data is not None
    return data


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        pytest.param(
            "@ 60 A 198.18.0.1\nb 60 A 300.1.1.1", 2, "'300.1.1.1' is no IPv4 address", id="address"
        ),
        pytest.param("@ 60 AAAA 1.2.3.4", 1, "'1.2.3.4' is no IPv6 address", id="IPv6"),
        pytest.param("\n\n@ 60 MX mx1", 3, "MX takes 2 fields, not 1", id="too few"),
        pytest.param("@ 60 A 1.1.1.1 2.2.2.2", 1, "A takes 1 field, not 2", id="too many"),
        pytest.param("@ 60 MX 70000 mx1", 1, "'70000' is no number from 0 to 65535", id="range"),
        pytest.param("@ A 198.18.0.1", 1, "the record has no TTL and there is no $TTL above it", id="no TTL"),
        pytest.param("@ 60 FOO bar", 1, "unknown record type 'FOO'", id="type"),
        pytest.param("@ 60 DNSKEY x", 1, "DNSKEY has no text form here; write its data as", id="no form"),
        pytest.param("@ 60", 1, "the record has no type", id="only a TTL"),
        pytest.param(" 60 A 198.18.0.1", 1, "the first record names no owner", id="no owner"),
        pytest.param("a..b 60 A 198.18.0.1", 1, "'a..b' has an empty label", id="empty label"),
        pytest.param(f"{'a' * 64} 60 A 1.1.1.1", 1, f"'{'a' * 64}' has a label above 63 octets", id="label"),
        pytest.param("bücher 60 A 1.1.1.1", 1, "'bücher' is not ASCII", id="not ASCII"),
        pytest.param("@ 60 SOA a b ( 1 2\n3 4\n", 1, "( without )", id="open parenthesis"),
        pytest.param("@ 60 A 1.1.1.1 )", 1, ") without (", id="closed parenthesis"),
        pytest.param('@ 60 TXT "never\nended"', 1, "unbalanced quote or stray backslash", id="quote"),
        pytest.param(f'@ 60 TXT "{"x" * 256}"', 1, "a string is above 255 octets", id="string"),
        pytest.param("@ 60 TXT", 1, "TXT needs at least one string", id="no string"),
        pytest.param("$INCLUDE other", 1, "$INCLUDE is not supported; $ORIGIN and $TTL are", id="directive"),
        pytest.param("$TTL forever", 1, "'forever' is no time", id="time"),
        pytest.param("$TTL 2147483648", 1, "2147483648 seconds is above 2147483647", id="long time"),
        pytest.param("@ 60 CH A 1.1.1.1", 1, "only class IN is served", id="class"),
        pytest.param("@ 60 TYPE65280 \\# 3 0102", 1, "data of an unknown type are", id="length"),
    ],
)
def test_errors_name_file_and_line(text: str, line: int, reason: str) -> None:
    """What is wrong is said with file and line."""
    with pytest.raises(ConfigError) as caught:
        master.parse(text, ORIGIN, source="bad.zone")
    assert str(caught.value).startswith(f"bad.zone:{line}: {reason}")


SOA = "@ 60 SOA ns1 root 1 1 1 1 1\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("@ 60 NS ns1", "x.zone: a zone has exactly one SOA record, not 0", id="no SOA"),
        pytest.param(SOA + "sub 60 SOA a b 1 1 1 1 1", "x.zone:2: a zone has exactly one SOA", id="two"),
        pytest.param(SOA, "x.zone: the apex example.org has no NS record", id="no NS"),
        pytest.param(
            SOA + "@ 60 NS a\na.example.net. 60 A 1.1.1.1", "x.zone:3: a.example.net lies", id="outside"
        ),
        pytest.param(
            SOA + "@ 60 NS a\nb 60 A 1.1.1.1\nb 60 CNAME a",
            "x.zone:4: b.example.org is an alias and has A too",
            id="CNAME",
        ),
        pytest.param(
            SOA + "@ 60 NS a\nb 60 CNAME a\nb 60 CNAME c",
            "x.zone:3: b.example.org is an alias for several",
            id="CNAMEs",
        ),
    ],
)
def test_zones_are_checked(text: str, reason: str) -> None:
    """A zone that cannot be served is refused, with file and line."""
    with pytest.raises(ConfigError) as caught:
        zone.build(master.parse(text, ORIGIN, source="x.zone"), source="x.zone")
    assert str(caught.value).startswith(reason)


def test_a_zone_is_named_by_its_file_or_its_origin(tmp_path: Path) -> None:
    """Relative names are completed with the file's stem or $ORIGIN; the SOA tells the apex."""
    by_stem, by_origin = tmp_path / "Example.ORG.zone", tmp_path / "root.zone"
    by_stem.write_text(SOA + "@ 60 NS ns1\n")
    by_origin.write_text("$ORIGIN .\n" + SOA + "@ 60 NS ns1\n")
    assert zone.load(by_stem).origin == ORIGIN
    assert zone.load(by_origin).origin == ()
    with pytest.raises(ConfigError, match=r"root.zone: holds \., but is configured for example.net"):
        zone.load(by_origin, (b"example", b"net"))
    with pytest.raises(ConfigError, match=r"none.zone: No such file or directory"):
        zone.load(tmp_path / "none.zone")


def test_differing_ttls_become_the_lowest() -> None:
    """All records of an RRset have one TTL (RFC 2181 §5.2), and a record stands there once."""
    text = dedent("""\
        @ 600 MX 10 a
        @ 60  MX 20 b
        @ 900 MX 20 b
        """)
    (rrset,) = zone.rrsets(master.parse(text, ORIGIN, source="test"))
    assert (rrset.ttl, len(rrset.rdatas)) == (60, 2)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a.b.", (b"a", b"b")),
        ("a", (b"a", b"example", b"org")),
        (r"a\.b.c.", (b"a.b", b"c")),
        (r"\065\\.", (b"A\\",)),
    ],
)
def test_names(text: str, name: tuple[bytes, ...]) -> None:
    """Names are read with their escapes, relative ones below the origin."""
    assert names.from_text(text, ORIGIN) == name
    assert names.from_text(names.to_text(name) + ".") == name


def test_the_root() -> None:
    """The root is a single dot, the only name whose text has one."""
    assert names.from_text(".", ORIGIN) == names.ROOT
    assert names.to_text(names.ROOT) == "."
