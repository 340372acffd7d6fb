"""Addresses and paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.smtp.address import Address, _canonical, canonical_domain, parse_address, parse_path
from services.smtp.errors import BadAddress
from services.smtp.policy import Directory
from tests.unit.smtp.running import config


@pytest.mark.parametrize(
    ("text", "canonical", "without_detail"),
    [
        ("Bob@Example.ORG", "bob@example.org", "bob@example.org"),
        ("bob+a+b@example.org", "bob+a+b@example.org", "bob@example.org"),
        ("+bob@example.org", "+bob@example.org", "+bob@example.org"),
        ('"bob"@example.org', "bob@example.org", "bob@example.org"),
        ('"b\\ob"@example.org', "bob@example.org", "bob@example.org"),
        ('"bob smith"@example.org', '"bob smith"@example.org', '"bob smith"@example.org'),
        ("bøb@exämple.org", "bøb@xn--exmple-cua.org", "bøb@xn--exmple-cua.org"),
        ("Jo\u0308rg@example.org", "j\u00f6rg@example.org", "j\u00f6rg@example.org"),
        ("ЮЛИЯ+x@example.org", "юлия+x@example.org", "юлия@example.org"),
        ("bob@[198.18.0.1]", "bob@[198.18.0.1]", "bob@[198.18.0.1]"),
        ("!#$%&'*+/=?^_`{|}~-@a-b.c_d", "!#$%&'*+/=?^_`{|}~-@a-b.c_d", "!#$%&'*@a-b.c_d"),
    ],
)
def test_mailboxes(text: str, canonical: str, without_detail: str) -> None:
    """An address keeps its spelling, and knows which mailbox of this host it means."""
    address = parse_address(text)
    assert str(address) == text
    assert str(address.canonical) == canonical
    assert str(address.without_detail) == without_detail
    assert parse_address(canonical).canonical == address.canonical


@pytest.mark.parametrize(
    "text",
    ["", "bob", "@example.org", "bob@", "b ob@example.org", "bob@exa mple.org", ".bob@a.b", "bob.@a.b",
     "b..b@a.b", "bob@-a.b", "bob@a-.b", "bob@a..b", "bob@.a", "bob@a.", 'b"b@a.b', '"bob@a.b', "bob@[1 2]",
     "bob@a.b\r\nDATA", "bob@a.b\0", "b\udc80b@a.b", "b\u2028b@a.b", "bob@" + "a" * 256,
     "b" * 256 + "@a.b"],
)  # fmt: skip
def test_what_is_no_mailbox(text: str) -> None:
    """Anything that could end a line or a path, or that no server could route, is refused."""
    with pytest.raises(BadAddress) as caught:
        parse_address(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "mailbox", "rest"),
    [
        ("<>", None, ""),
        ("<> SIZE=1", None, "SIZE=1"),
        ("<bob@a.b>", "bob@a.b", ""),
        ("<bob@a.b>  A=1 B", "bob@a.b", "A=1 B"),
        ("<@x.y:bob@a.b>", "@x.y:bob@a.b", ""),
        ("<@x.y,@z.z:bob@a.b> A", "@x.y,@z.z:bob@a.b", "A"),
        ('<"a>b:@c"@a.b>', '"a>b:@c"@a.b', ""),
        ("<PostMaster>", "PostMaster@here.example", ""),
    ],
)
def test_paths(text: str, mailbox: str | None, rest: str) -> None:
    """A path stands in angle brackets, after an optional source route, before the parameters."""
    address, parameters = parse_path(text, postmaster_at="here.example")
    assert (str(address) if address else None, parameters) == (mailbox, rest)


@pytest.mark.parametrize("text", ["", "bob@a.b", "<bob@a.b", "<bob@a.b>x", "<bob>", "<<bob@a.b>>"])
def test_what_is_no_path(text: str) -> None:
    """A path that does not read is refused, never guessed at."""
    with pytest.raises(BadAddress):
        parse_path(text, postmaster_at="here.example")


def test_address_literals() -> None:
    """An address literal is told from a domain, and a domain has none."""
    assert parse_address("bob@[198.18.2.3]").literal == "198.18.2.3"
    assert parse_address("bob@198.18.2.3").literal == ""
    assert Address(local="a", domain="b").literal == ""


def test_domains_as_dns_spells_them() -> None:
    """A domain loses its case and final dot and becomes ASCII; what cannot stays for DNS to deny."""
    assert canonical_domain("Exämple.ORG.") == "xn--exmple-cua.org"
    assert canonical_domain("ä" * 64) == "ä" * 64


@pytest.mark.parametrize("text", ["@a.example:bob@example.org", "@a.example,@[198.18.0.1]:bob@example.org"])
def test_a_source_route(text: str) -> None:
    """A stored address may have a route before it, and is written as it was read."""
    address = parse_address(text)
    assert (address.route[0], address.local, str(address)) == ("a.example", "bob", text)


@pytest.mark.parametrize(
    "text", ["@a.example bob@example.org", "@:bob@example.org", "@a,b:c@d", "@a b:c@d", "@a:"]
)
def test_what_is_no_source_route(text: str) -> None:
    """A route is hosts, each behind its own sign, and a colon."""
    with pytest.raises(BadAddress):
        parse_address(text)


def test_what_is_remembered_is_short() -> None:
    """Strangers cannot fill the memory with addresses, nor is anything kept that was typed as a name."""
    directory = Directory(config(Path("nowhere")))
    before = _canonical.cache_info().currsize
    for number in range(50):
        long = Address(local=f"{number:02}" * 200, domain="example.org")
        assert long.canonical == long
    assert directory.authenticate("my secret@by mistake", "x") is None
    assert _canonical.cache_info().currsize == before
