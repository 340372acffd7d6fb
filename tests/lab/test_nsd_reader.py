"""Master files as NSD reads them (nsd-checkzone) and as ours does: the same records, the same mistakes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.zone
import pytest

from services.dns import zone
from services.dns.records import octets
from services.errors import ConfigError

ZONES = Path(__file__).parent / "zones"
HEAD = "$ORIGIN example.org.\n$TTL 60\n@ SOA a b 1 2 3 4 5\n@ NS a\n"

ODD = r"""$ORIGIN example.org.
$TTL 1h
@ IN SOA ns1 (hostmaster ; a comment (
    2026 1h 15M 2W1D
    300 ) ; and another
  NS ns1
	IN NS ns2
ns1 300 IN A 198.18.0.1
ns1 IN 300 A 198.18.0.1
ns2 CLASS1 TYPE1 198.18.0.2
ns2 A \# 4 C6120003
x   TYPE16 \# 4 0361 6263
y   TXT ( "a b"
   c "d;e" )
"quoted" A 198.18.0.4
"q z"   A 198.18.0.4
q.\@    A 198.18.0.5
a\.b\032c\000d A 198.18.0.6
t0      TXT ""
t1      TXT a"b"c
t2      TXT "a""b"
t3      TXT \"x\" \100\200 a\;b a\25
t4      txt a="b c" d
1h      A   198.18.0.7
in      A   198.18.0.8
a       A   198.18.0.9
"a"     "A" "198.18.0.10"
mx      MX  010 mail
        MX  20 mail.other.
mx      MX  10 MAIL
$TTL 7
seven   A   198.18.0.11
$ORIGIN sub.example.org.
s       A   198.18.0.12
@       A   198.18.0.13
$ORIGIN .
example.org 7 A 198.18.0.14
$ORIGIN example.org.
w1      1w  A 198.18.0.15
w2      1w2d3h4m5s A 198.18.0.16
w3      1h30 A 198.18.0.17
UPPER   a   198.18.0.18
lines   A   ( 198.18.0.19 ; in parentheses )
 )
svc     TYPE65280 \# 3 01 02 03
*       A   198.18.0.20
a.*.b   A   198.18.0.21
$INCLUDE included.zone
after   A   198.18.0.22
"""
INCLUDED = "i A 198.18.0.23\n"


def checkzone(origin: str, path: Path) -> tuple[bool, str]:
    """Whether NSD takes the zone, and how it prints it."""
    program = shutil.which("nsd-checkzone", path="/usr/sbin:/usr/bin")
    assert program, "NSD is not installed: scripts/setup --test"
    command = [program, "-p", origin, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=path.parent)
    return done.returncode == 0, done.stdout


def as_nsd_reads(origin: str, path: Path) -> set[tuple[str, int, str, str]]:
    """Each record's owner, TTL, type and data as NSD prints them."""
    taken, text = checkzone(origin, path)
    assert taken
    read = dns.zone.from_text(text, f"{origin}.", relativize=False)
    return {
        (owner.to_text().lower(), rdataset.ttl, dns.rdatatype.to_text(rdataset.rdtype), _text(rdata))
        for owner, rdataset in read.iterate_rdatasets()
        for rdata in rdataset
    }


def as_ours_reads(path: Path) -> set[tuple[str, int, str, str]]:
    """The same, as our reader has it."""
    return {
        (
            dns.name.Name((*owner, b"")).to_text().lower(),
            rrset.ttl,
            dns.rdatatype.to_text(dns.rdatatype.RdataType.make(rrset.rtype)),
            _text(_rdata(rrset.rtype, octets(rdata))),
        )
        for owner, node in zone.load(path).nodes.items()
        for rrset in node.values()
        for rdata in rrset.rdatas
    }


def _rdata(rtype: int, data: bytes) -> dns.rdata.Rdata:
    kind = dns.rdatatype.RdataType.make(rtype)
    return dns.rdata.from_wire(dns.rdataclass.IN, kind, data, 0, len(data))


def _text(rdata: dns.rdata.Rdata) -> str:
    return rdata.to_digestable().hex()


def test_odd_spellings(tmp_path: Path) -> None:
    """Parentheses, quotes, escapes, units, classes, directives: all that a master file can hold."""
    path = tmp_path / "example.org.zone"
    path.write_text(ODD)
    (tmp_path / "included.zone").write_text(INCLUDED)
    assert as_ours_reads(path) == as_nsd_reads("example.org", path)


@pytest.mark.parametrize("name", ["nasty.test", "sister.test", "child.nasty.test"])
def test_difficult_zones(name: str) -> None:
    """The zones of the other tests, with records of most types."""
    path = ZONES / f"{name}.zone"
    assert as_ours_reads(path) == as_nsd_reads(name, path)


@pytest.mark.parametrize(
    "record",
    [
        "x A 1.2.3",
        "x A 1.2.3.4 5",
        "x A 01.02.03.04",
        "x AAAA 1:2:3:4:5:6:7:8:9",
        "x -1 A 1.2.3.4",
        "x IN IN A 1.2.3.4",
        "x 1 2 A 1.2.3.4",
        "x CH A 1.2.3.4",
        'x TXT "unclosed',
        "x TXT a)",
        "x TXT",
        "x MX a",
        "x MX 10",
        "x MX 10 a b",
        "x.. A 1.2.3.4",
        ".x A 1.2.3.4",
        f"{'a' * 64} A 1.2.3.4",
        f"{'.'.join(['a' * 60] * 4)} A 1.2.3.4\n{'.'.join(['a' * 60] * 5)} A 1.2.3.4",
        "x.other. A 1.2.3.4",
        "x TYPE65536 \\# 0",
        "x TYPE99 \\# 3 010",
        "x TYPE99 \\# 2 0102 03",
        "x TYPE99 \\#",
        "x A \\# 3 010203",
        "x A 1.2.3.4\nx CNAME a",
        "x CNAME a\nx CNAME b",
        "x DNAME a\ny.x A 1.2.3.4",
        "x DNAME a\nx DNAME b",
        "@ SOA a b 2 3 4 5 6",
        "$INCLUDE missing",
        "$GENERATE 1-3 h$ A 1.2.3.$",
        "$TTL",
        "$TTL 1h 2",
        "$TTL abc",
        "$ORIGIN",
        "$ORIGIN x y",
        "( x A 1.2.3.4 )\n)",
        "x CAA 0 is-sue ca",
        "x HINFO a",
        "x DS 1 8 2 xx",
        "x MX \\# 6 000A01610000",
        "x A \\# 5 0102030405",
        "x NSEC a FOO",
        "x SVCB 1 . foo=1",
    ],
)
def test_mistakes(tmp_path: Path, record: str) -> None:
    """What NSD does not take, ours does not either."""
    path = tmp_path / "example.org.zone"
    path.write_text(f"{HEAD}{record}\n")
    assert not checkzone("example.org", path)[0]
    with pytest.raises(ConfigError, match=str(path)):
        zone.load(path)


@pytest.mark.parametrize(
    ("record", "why"),
    [
        pytest.param("x 2147483648 A 1.2.3.4", "above 2147483647", id="NSD takes its default TTL"),
        pytest.param("x MX 65536 a", "no number from 0 to 65535", id="NSD counts modulo 65536"),
        pytest.param("x TXT a\\256", "above \\\\255", id="NSD takes \\255 and warns"),
        pytest.param("x TXT (a b", "\\( without \\)", id="NSD closes it at the end"),
        pytest.param('x TXT "two\nlines"', "unbalanced quote", id="NSD takes it, BIND does not"),
        pytest.param("x LOC 91 N 0 E 0", "no angle up to 90 degrees", id="NSD goes beyond the poles"),
    ],
)
def test_mistakes_that_nsd_takes(tmp_path: Path, record: str, why: str) -> None:
    """Ours refuses what NSD understands as something that was hardly meant."""
    path = tmp_path / "example.org.zone"
    path.write_text(f"{HEAD}{record}\n")
    assert checkzone("example.org", path)[0]
    with pytest.raises(ConfigError, match=why):
        zone.load(path)


@pytest.mark.parametrize(
    "record",
    [
        pytest.param("$ORIGIN sub\nx A 1.2.3.4", id="a relative origin, as BIND takes it"),
        pytest.param("x A (( 1.2.3.4 ))", id="parentheses within parentheses"),
        pytest.param("x GPOS -32.6882 116.8652 10.0", id="GPOS"),
        pytest.param("( x A 1.2.3.4 )", id="an owner in parentheses"),
    ],
)
def test_what_ours_takes_beyond_nsd(tmp_path: Path, record: str) -> None:
    """What is allowed though NSD does not take it."""
    path = tmp_path / "example.org.zone"
    path.write_text(f"{HEAD}{record}\n")
    assert not checkzone("example.org", path)[0]
    assert zone.load(path)
