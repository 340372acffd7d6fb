"""Which server answered (NSID, `id.server`), and why it refused (extended errors)."""

from __future__ import annotations

from pathlib import Path

import dns.edns
import dns.message
import dns.rcode
import pytest

from services.dns import authoritative
from services.dns.authoritative import Authority
from services.dns.zone import Zones
from services.errors import ConfigError
from tests.unit.dns.conversation import EXAMPLE, exchange, make_zone

NSID = dns.edns.GenericOption(dns.edns.OptionType.NSID, b"")


def root(nsid: str = "m-root") -> Authority:
    return Authority(Zones([make_zone(EXAMPLE)]), nsid)


def options(authority: Authority, name: str, *asked: dns.edns.Option, rdclass: str = "IN") -> list[str]:
    """The options of the reply to a question with EDNS, as text; asked twice, as an answer is remembered."""
    message = dns.message.make_query(name, "TXT", rdclass, use_edns=0, options=list(asked))
    exchange(authority, message)
    return [str(option) for option in exchange(authority, message).options]


@pytest.mark.parametrize("name", ["ns1.example.org", "example.org", "nope.example.org"])
def test_nsid(name: str) -> None:
    """Who asks for it is told the server's identifier (RFC 5001); who does not, is not."""
    assert options(root(), name, NSID) == ["NSID m-root"]
    assert options(root(), name, dns.edns.GenericOption("65001", b"x"), NSID, NSID) == ["NSID m-root"]
    assert options(root(), name) == []
    assert options(root(""), name, NSID) == []


def test_nsid_has_room() -> None:
    """The option counts towards the size allowed."""
    zone = make_zone(EXAMPLE + "".join(f"t{n} TXT {'x' * 200} {'x' * n}\n" for n in range(150, 250)))
    authority = Authority(Zones([zone]), "m-root")
    sizes = set()
    for n in range(150, 250):
        asked = dns.message.make_query(f"t{n}.example.org", "TXT", use_edns=0, payload=512, options=[NSID])
        reply = authority.respond(asked.to_wire(), False)
        assert reply is not None
        assert [str(option) for option in dns.message.from_wire(reply).options] == ["NSID m-root"]
        sizes.add(len(reply))
    assert max(sizes) == 512


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("id.server TXT", '"m-root"'),
        ("HOSTNAME.BIND TXT", '"m-root"'),
        ("version.server TXT", '"Mailbed"'),
        ("id.server ANY", '"m-root"'),
        ("id.server A", None),
        ("example.org TXT", None),
    ],
)
def test_chaos(question: str, expected: str | None) -> None:
    """`dig CH TXT id.server` tells it too (RFC 4892); nothing else of that class is served."""
    name, rtype = question.split()
    reply = exchange(root(), dns.message.make_query(name, rtype, "CH"))
    told = [(str(rrset.name).lower(), rrset.ttl, str(rrset[0])) for rrset in reply.answer]
    assert told == ([] if expected is None else [(f"{name.lower()}.", 0, expected)])
    assert reply.rcode() == (dns.rcode.REFUSED if expected is None else dns.rcode.NOERROR)


def test_a_server_without_a_name() -> None:
    """One that has none refuses to tell it."""
    assert exchange(root(""), dns.message.make_query("id.server", "TXT", "CH")).rcode() == dns.rcode.REFUSED


def test_extended_errors() -> None:
    """REFUSED says why: not a zone of ours, or no class of ours (RFC 8914 §4.21, §4.22)."""
    assert options(root(), "example.net") == ["EDE 20 (Not Authoritative)"]
    assert options(root(), "example.net", NSID) == ["NSID m-root", "EDE 20 (Not Authoritative)"]
    assert options(root(), "example.org", rdclass="HS") == ["EDE 21 (Not Supported)"]


def test_nsid_is_configured(tmp_path: Path) -> None:
    """The key `nsid` sets it; one that is too long for a small reply is refused."""
    path = tmp_path / "auth.toml"
    path.write_text('nsid = "m-root"\n[zones]\n')
    assert authoritative.load(path).nsid == "m-root"
    path.write_text(f'nsid = "{"x" * 129}"\n[zones]\n')
    with pytest.raises(ConfigError, match="nsid must be at most 128 octets"):
        authoritative.load(path)
