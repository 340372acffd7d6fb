"""Master files, checked against dnspython's reading of them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.zone
import pytest

from services.dns import master, names, zone
from services.dns.records import octets
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
   Class1 type1 \# 4 c6120004
0      MX  \# ( 9 000a 03 6D6178 016100 )
x      DNAME elsewhere.example.net.
x2     HINFO "a b" PC
x3     RP   who.is txt.@
x4     AFSDB 1 Host
x4     RT   2 Host
x4     KX   3 Host
x5     PX   1 a b
x6     X25  311061700956
x6     ISDN 150862028003217 004
x6     ISDN 150862028003217
x6     GPOS -32.6882 116.8652 10.0
x6     NSAP 0x47.0005.80.005a00.0000.0001.e133.ffffff000161.00
x7     LOC  52 22 23.000 N 4 53 32 W -2.5m 0.00m 10000m 10m
x7     LOC  1 S 180 E 0
x7     LOC  1 2 N 3 4 5.678 E 100000 90000m 1m
x8     NAPTR 1 2 "S" "x" "!^.*$!a!" .
x9     CERT PGP 0 0 AAAA
x9     CERT 1 2 RSASHA1 AA==
xa     APL  1:192.0.2.0/24 !2:2001:db8::/32 1:0.0.0.0/0
xb     DS   12345 RSASHA256 2 0123456789abcdef 0123456789abcdef 0123456789abcdef (
            0123456789ABCDEF )
xb     DS   12345 8 1 0123456789012345678901234567890123456789
xb     CDS  0 0 0 00
xc     SSHFP 1 1 0123456789012345678901234567890123456789
xd     IPSECKEY 10 1 2 192.0.2.1 AAAA
xd     IPSECKEY 10 0 2 . AAAA
xd     IPSECKEY 10 2 2 2001:db8::1 AAAA
xd     IPSECKEY 10 3 2 gw AAAA
xe     RRSIG A 8 2 60 20300101000000 20200101000000 1 example.org. AAAA
xf     DNSKEY 257 3 8 AwEA (
            AQ== )
xg     NSEC \000.a A MX RRSIG TYPE1234 CAA
xh     NSEC3 1 1 12 aabb 2t7b4g4vsa5smi47k61mv5bv1a22bojr NS A
xi     NSEC3PARAM 1 0 10 -
xj     TLSA 3 1 0 0a 0b
xj     SMIMEA 3 1 0 0a0b
xk     OPENPGPKEY AAAA BBBB
xl     CSYNC 66 3 A NS AAAA
xm     ZONEMD 1 1 1 ( 000102030405060708090a0b0c0d0e0f 000102030405060708090a0b0c0d0e0f
            000102030405060708090a0b0c0d0e0f )
xn     SVCB 1 a port=53 alpn="h2,h3" ipv4hint=192.0.2.1,192.0.2.2 key65000=a\;b
xn     SVCB 0 a
xn     HTTPS 1 . mandatory=alpn,port no-default-alpn port="443" alpn=h2 ipv6hint=2001:db8::1 ech=AAT+DQAA
xo     SPF  "v=spf1 -all"
xp     NID  10 0014:4fff:ff20:ee64
xp     L32  10 192.0.2.1
xp     L64  10 2001:0db8:1140:1000
xp     LP   10 a
xq     EUI48 00-00-5e-00-53-2a
xq     EUI64 00-00-5e-ef-10-00-00-2a
xr     URI  1 2 "ftp://example.org/a b"
xs     AVC  "a:b" c
xt     DHCID AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA=
empty  TYPE65282 \# 0
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
    assert len(records) == len(ours) == 69


def _wire(record: master.Record) -> bytes:
    """The data as dnspython writes them, having read ours."""
    data = octets(record.rdata)
    rdtype = dns.rdatatype.RdataType.make(record.rtype)
    return dns.rdata.from_wire(dns.rdataclass.IN, rdtype, data, 0, len(data)).to_wire() or b""


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        pytest.param(
            "@ 60 A 198.18.0.1\nb 60 A 300.1.1.1", 2, "A: '300.1.1.1' is no IPv4 address", id="address"
        ),
        pytest.param("@ 60 AAAA 1.2.3.4", 1, "AAAA: '1.2.3.4' is no IPv6 address", id="IPv6"),
        pytest.param("\n\n@ 60 MX 10", 3, "MX: the data end too early", id="too few"),
        pytest.param("@ 60 A 1.1.1.1 2.2.2.2", 1, "A: '2.2.2.2' is more than its data", id="too many"),
        pytest.param("@ 60 MX 70000 mx1", 1, "MX: '70000' is no number from 0 to 65535", id="range"),
        pytest.param("@ A 198.18.0.1", 1, "the record has no TTL and there is no $TTL above it", id="no TTL"),
        pytest.param("@ 60 FOO bar", 1, "unknown record type 'FOO'", id="type"),
        pytest.param("@ 60 HIP x", 1, "HIP has no text form here; write its data as", id="no form"),
        pytest.param("@ 60 ANY x", 1, "only class IN is served", id="ANY"),
        pytest.param("@ 60 AXFR x", 1, "AXFR is no type of data", id="a type of questions"),
        pytest.param(
            "@ 60 A \\# 3 010203", 1, "these octets are no data of type A", id="octets of another type"
        ),
        pytest.param(
            "@ 60 MX \\# 6 000A01610000", 1, "these octets are more than data of type MX", id="too long"
        ),
        pytest.param("@ 60 DS 1 8 2 xx", 1, "DS: 'xx' is not hexadecimal", id="digits"),
        pytest.param("@ 60 DNSKEY 256 3 8 !", 1, "DNSKEY: the key or signature is not base64", id="base64"),
        pytest.param("@ 60 CAA 0 is-sue x", 1, "CAA: 'is-sue' is no tag", id="tag"),
        pytest.param("@ 60 NSEC a FOO", 1, "NSEC: unknown record type 'FOO'", id="type in a set"),
        pytest.param("@ 60 LOC 91 N 0 E 0", 1, "LOC: '91' is no angle up to 90 degrees", id="latitude"),
        pytest.param("@ 60 APL 1:2001:db8::/32", 1, "APL: '1:2001:db8::/32': the family", id="family"),
        pytest.param("@ 60 SVCB 1 . foo=1", 1, "SVCB: unknown service parameter 'foo'", id="parameter"),
        pytest.param("@ 60 HTTPS 1 . port=1 port=2", 1, "HTTPS: port stands twice", id="parameter twice"),
        pytest.param("@ 60", 1, "the record has no type", id="only a TTL"),
        pytest.param(" 60 A 198.18.0.1", 1, "the first record names no owner", id="no owner"),
        pytest.param("a..b 60 A 198.18.0.1", 1, "'a..b' has an empty label", id="empty label"),
        pytest.param(f"{'a' * 64} 60 A 1.1.1.1", 1, f"'{'a' * 64}' has a label above 63 octets", id="label"),
        pytest.param("bücher 60 A 1.1.1.1", 1, "'bücher' is not ASCII", id="not ASCII"),
        pytest.param("@ 60 SOA a b ( 1 2\n3 4\n", 1, "( without )", id="open parenthesis"),
        pytest.param("@ 60 A 1.1.1.1 )", 1, ") without (", id="closed parenthesis"),
        pytest.param('@ 60 TXT "never\nended"', 1, "unbalanced quote or stray backslash", id="quote"),
        pytest.param(f'@ 60 TXT "{"x" * 256}"', 1, "TXT: a string is above 255 octets", id="string"),
        pytest.param("@ 60 TXT", 1, "TXT: the data end too early", id="no string"),
        pytest.param("$GENERATE 1-2 a A 1.1.1.1", 1, "$GENERATE is not supported; $ORIGIN,", id="directive"),
        pytest.param("$INCLUDE none", 1, "$INCLUDE: none: No such file", id="included file"),
        pytest.param("$ORIGIN a b", 1, "$ORIGIN takes one argument", id="arguments"),
        pytest.param("$TTL forever", 1, "'forever' is no time", id="time"),
        pytest.param("$TTL 2147483648", 1, "2147483648 seconds is above 2147483647", id="long time"),
        pytest.param("@ 60 CH A 1.1.1.1", 1, "only class IN is served", id="class"),
        pytest.param("@ 60 TYPE65280 \\# 3 0102", 1, "data of any type are", id="length"),
    ],
)
def test_errors_name_file_and_line(text: str, line: int, reason: str) -> None:
    """What is wrong is said with file and line."""
    with pytest.raises(ConfigError) as caught:
        master.parse(text, ORIGIN, source="bad.zone")
    assert str(caught.value).startswith(f"bad.zone:{line}: {reason}")


def test_included_files(tmp_path: Path) -> None:
    """$INCLUDE reads another file; afterwards origin and owner are as before, and a default TTL goes on."""
    main, more, most = tmp_path / "main.zone", tmp_path / "more", tmp_path / "below" / "most"
    most.parent.mkdir()
    main.write_text("$TTL 60\na A 1.1.1.1\n$INCLUDE more sub\n  A 1.1.1.2\n$INCLUDE more\nz A 1.1.1.3\n")
    more.write_text("b A 1.1.1.4\n$ORIGIN deeper\n$TTL 90\n$INCLUDE below/most\n")
    most.write_text("c A 1.1.1.5\n")
    found = [
        (names.to_text(record.owner).removesuffix(".example.org"), record.ttl, Path(record.source).name)
        for record in master.read(main, ORIGIN)
    ]
    assert found == [
        ("a", 60, "main.zone"),
        ("b.sub", 60, "more"),
        ("c.deeper.sub", 90, "most"),
        ("a", 90, "main.zone"),
        ("b", 90, "more"),
        ("c.deeper", 90, "most"),
        ("z", 90, "main.zone"),
    ]
    most.write_text("\nc A x\n")
    with pytest.raises(ConfigError, match=r"below/most:2: A: 'x' is no IPv4 address"):
        master.read(main, ORIGIN)
    most.write_text("$INCLUDE most\n")
    with pytest.raises(ConfigError, match=r"most:1: files include each other more than 10 deep"):
        master.read(main, ORIGIN)


def test_octets_beyond_ascii(tmp_path: Path) -> None:
    """Comments and strings may be in any encoding: their octets stay as they are."""
    path = tmp_path / "latin"
    path.write_bytes(b'; gr\xfc\xdfe\na 60 TXT \xfc "\xc3\xbc"\n')
    (record,) = master.read(path, ORIGIN)
    assert octets(record.rdata) == b"\x01\xfc\x02\xc3\xbc"


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
