"""Replies kept ready are the replies that the zones give: any zones, any queries, malformed ones too."""

from __future__ import annotations

import contextlib
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from services.dns.authoritative import Authority
from services.dns.zone import Zone, Zones
from services.errors import ConfigError
from tests.unit.dns.conversation import make_zone

# Few labels, so that names meet: in the zones, in the data, and in the questions.
NAMES = st.sampled_from(("a", "b", "*", "ns", "sub", "a.a", "b.sub", "*.a", "ns.sub", "a.b.a", "\\000x"))
HOSTS = st.sampled_from(("@", "a", "b", "c", "ns", "b.a", "ns.sub", "b.other.test.", "ns.elsewhere.net."))
DATA = st.one_of(
    st.just("A 198.18.0.1"),
    st.builds("MX 10 {}".format, HOSTS),
    st.builds("SRV 1 1 25 {}".format, HOSTS),
    st.builds("NS {}".format, HOSTS),
    st.builds("CNAME {}".format, HOSTS),
    st.builds("DNAME {}".format, HOSTS),
    st.integers(1, 250).map(lambda length: f"TXT {'x' * length}"),
)
RECORDS = st.lists(st.builds("{} {} {}".format, NAMES, st.sampled_from((60, 3600)), DATA), max_size=8)
APEX = "@ 300 SOA {0} hostmaster 1 7200 900 1209600 60\n@ NS {0}\n"
SERVED = st.lists(
    st.tuples(st.sampled_from(("example.org.", "example.org.", "sub.example.org.", ".")), HOSTS, RECORDS),
    min_size=1,
    max_size=2,
)

LABELS = st.sampled_from((b"a", b"A", b"b", b"c", b"d", b"ns", b"sub", b"Sub"))
ODD_LABELS = st.sampled_from((b"*", b"\0x", b"\0", b"A" * 63, b"q" * 40, b"other"))
ORIGINS = st.sampled_from(([b"example", b"org"], [b"eXAMPLE", b"oRg"], [b"other", b"test"], []))
TYPES = st.sampled_from((1, 15))
ODD_TYPES = st.sampled_from((0, 2, 5, 6, 16, 33, 39, 43, 65, 97, 252, 255, 257, 65280))
FLAGS = st.sampled_from((0x0100, 0, 0x0110, 0x0130, 0x0020))
ODD_FLAGS = st.sampled_from((0x0200, 0x8100, 0x2800, 0x0141, 0x0400))
CLASSES = st.sampled_from((3, 255, 0x6161))
OPTIONS = st.sampled_from((b"", bytes.fromhex("000a00086162636465666768"), bytes.fromhex("fde9000155")))
ODD_OPTIONS = st.sampled_from((bytes.fromhex("00030000"), bytes.fromhex("000a0008"), b"\0", b"\0\3\0"))
ODD_VERSIONS = st.sampled_from((0x4000, 0x00010000, 0x01000000))  # flags, version, code


ODDITIES = ("labels", "origin", "type", "class", "flags", "options", "version", "octet", "end")


@st.composite
def packets(draw: st.DrawFn) -> bytes:
    """A query. Most are common ones; in the others one thing is rare, or is wrong."""
    odd = draw(st.sampled_from(ODDITIES)) if draw(st.booleans()) else ""
    labels = draw(st.lists(LABELS | ODD_LABELS if odd == "labels" else LABELS, max_size=3))
    labels += draw(ORIGINS) if odd == "origin" else [b"example", b"org"]
    question = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    rtype = draw(ODD_TYPES if odd == "type" else TYPES)
    question += struct.pack("!HH", rtype, draw(CLASSES) if odd == "class" else 1)
    flags = draw(ODD_FLAGS if odd == "flags" else FLAGS)
    opt = b""
    if draw(st.booleans()):
        options = draw(ODD_OPTIONS if odd == "options" else OPTIONS)
        payload = draw(st.sampled_from((0, 100, 512, 600, 1232, 4096)))
        ttl = draw(ODD_VERSIONS if odd == "version" else st.sampled_from((0, 0x8000)))
        opt = b"\0" + struct.pack("!HHIH", 41, payload, ttl, len(options)) + options
    packet = struct.pack("!6H", draw(st.integers(0, 65535)), flags, 1, 0, 0, bool(opt)) + question + opt
    if odd == "octet":
        at = draw(st.integers(0, len(packet) - 1))
        packet = packet[:at] + draw(st.binary(min_size=1, max_size=1)) + packet[at + 1 :]
    if odd == "end":
        packet = packet[: draw(st.integers(0, len(packet)))] + draw(st.binary(max_size=4))
    return packet


def zones(drawn: list[tuple[str, str, list[str]]]) -> Zones:
    """The zones that were drawn, without the records that contradict those before them."""
    return Zones(_zone(*parts) for parts in drawn)


def _zone(origin: str, host: str, records: list[str]) -> Zone:
    text = f"$ORIGIN {origin}\n$TTL 3600\n" + APEX.format(host)
    built = make_zone(text)
    for record in records:
        with contextlib.suppress(ConfigError):
            built = make_zone(f"{text}{record}\n")
            text = f"{text}{record}\n"
    return built


@settings(deadline=None, max_examples=400)
@given(
    drawn=SERVED,
    asked=st.lists(st.tuples(packets(), st.booleans()), min_size=1, max_size=20),
    nsid=st.sampled_from(("", "ns1")),
)
def test_as_the_zones_say(
    drawn: list[tuple[str, str, list[str]]], asked: list[tuple[bytes, bool]], nsid: str
) -> None:
    """Whatever was asked before, the reply is what it is without anything kept; also when asked again."""
    authority = Authority(zones(drawn), nsid)
    for packet, stream in [*asked, *asked]:
        assert authority.respond(packet, stream) == authority.answer(packet, stream)
