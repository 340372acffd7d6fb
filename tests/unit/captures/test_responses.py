"""What a reply means, and how it is put into words; each case is a reply as dig shows it."""

from __future__ import annotations

import pytest

from captures.dns import read_message
from captures.responses import Meaning, interpret
from tests.unit.captures.dnswire import reply


def meaning(
    question: str,
    *,
    answer: str = "",
    authority: str = "",
    additional: str = "",
    rcode: str = "NOERROR",
    flags: str = "",
) -> Meaning:
    """What a reply with these sections means."""
    packet = reply(
        question, answer=answer, authority=authority, additional=additional, rcode=rcode, flags=flags
    )
    name, rtype = question.split()
    return interpret(name, rtype, read_message(packet))


SOA = "SOA ns.example.org. admin.example.org. 1 2 3 4 5"
MX = "example.org. MX 20 mx2.example.org.\nexample.org. MX 10 mx1.example.org."
ALIAS = "www.example.org. CNAME web.example.net."
BACK = "web.example.net. CNAME www.example.org."
ROOTS = "\n".join(f". NS {letter}.root-servers.net." for letter in "abcdefghijklm")
FIRST_ROOTS = "a.root-servers.net, b.root-servers.net, and 11 more"
COM = "com. NS com-ns1.nic.net.\ncom. NS com-ns2.nic.net."
COM_GLUE = "com-ns1.nic.net. A 198.18.1.1"
MANY = "\n".join(f"example.org. A 198.18.2.{n}" for n in range(1, 14))
TARGET = "alias of web.example.net"

ANSWERS = {
    "address": ("example.org A", "example.org. A 198.18.2.3", "198.18.2.3"),
    "MX as they are tried": ("example.org MX", MX, "10 mx1.example.org, 20 mx2.example.org"),
    "null MX": ("example.org MX", "example.org. MX 0 .", "0 . (null MX: takes no mail)"),
    "a long list": ("example.org A", MANY, "198.18.2.1, 198.18.2.2, and 11 more"),
    "PTR": ("4.3.2.1.in-addr.arpa PTR", "4.3.2.1.in-addr.arpa. PTR mx1.example.org.", "mx1.example.org"),
    "SRV": ("example.org SRV", "example.org. SRV 0 1 587 msa.example.org.", "0 1 587 msa.example.org"),
    "TXT": ("example.org TXT", 'example.org. TXT "v=spf1 mx -all"', '"v=spf1 mx -all"'),
    "a long TXT": ("example.org TXT", f'example.org. TXT "{"x" * 99}"', f'"{"x" * 58}…'),
    "an alias and where it leads": (
        "www.example.org A", f"{ALIAS}\nweb.example.net. A 198.18.2.9", f"{TARGET}: 198.18.2.9",
    ),
    "the alias itself": ("www.example.org CNAME", ALIAS, "web.example.net"),
    "whatever there is": ("example.org ANY", MX, "20 mx2.example.org, 10 mx1.example.org"),
    "a zone": ("example.org AXFR", f"example.org. {SOA}\n{MX}\nexample.org. {SOA}", "4 records"),
    "priming": (". NS", ROOTS, FIRST_ROOTS),
}  # fmt: skip


@pytest.mark.parametrize(("question", "answer", "said"), ANSWERS.values(), ids=ANSWERS)
def test_answers(question: str, answer: str, said: str) -> None:
    """Records of the type asked for are an answer, told in the text of master files."""
    assert meaning(question, answer=answer) == ("answer", "", said)


REFERRALS = {
    "with glue": (COM, COM_GLUE, "com", "referral to com: com-ns1.nic.net, com-ns2.nic.net"),
    "without glue": (COM, "", "com", "referral to com: com-ns1.nic.net, com-ns2.nic.net (no glue)"),
    "upwards, from a lame server": (ROOTS, "", ".", f"referral to the root: {FIRST_ROOTS} (no glue)"),
}


@pytest.mark.parametrize(("authority", "additional", "zone", "said"), REFERRALS.values(), ids=REFERRALS)
def test_referrals(authority: str, additional: str, zone: str, said: str) -> None:
    """NS without SOA refer to a zone's servers; without glue these have to be looked up."""
    found = meaning("mx.example.com A", authority=authority, additional=additional)
    assert found == ("referral", zone, said)


NEGATIVE = {
    "no name": ("NXDOMAIN", "", f"org. {SOA}", "nxdomain", "org", "no such name (SOA of org)"),
    "no TLD": ("NXDOMAIN", "", f". {SOA}", "nxdomain", ".", "no such name (SOA of the root)"),
    "no name, no SOA": ("NXDOMAIN", "", "", "nxdomain", "", "no such name"),
    "an alias of nothing": (
        "NXDOMAIN", ALIAS, f"net. {SOA}", "nxdomain", "net", f"{TARGET}: no such name (SOA of net)",
    ),
    "no data": ("NOERROR", "", f"org. {SOA}", "nodata", "org", "no MX records (SOA of org)"),
    "no data, with NS": (
        "NOERROR", "", f"org. {SOA}\norg. NS ns.example.org.", "nodata", "org", "no MX records (SOA of org)",
    ),
    "an alias of no data": (
        "NOERROR", ALIAS, f"net. {SOA}", "nodata", "net", f"{TARGET}: no MX records (SOA of net)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("rcode", "answer", "authority", "outcome", "zone", "said"), NEGATIVE.values(), ids=NEGATIVE
)
def test_negative_answers(
    rcode: str, answer: str, authority: str, outcome: str, zone: str, said: str
) -> None:
    """A negative answer names the zone whose SOA vouches for it (RFC 2308 §2)."""
    found = meaning("www.example.org MX", rcode=rcode, answer=answer, authority=authority)
    assert found == (outcome, zone, said)


ALL_ELSE = {
    "an alias alone": ("AA", "NOERROR", ALIAS, "alias", TARGET),
    "aliases in a circle": (
        "AA", "NOERROR", f"{ALIAS}\n{BACK}", "alias", "alias of www.example.org",
    ),
    "truncated": ("TC", "NOERROR", "", "truncated", "truncated"),
    "truncated, with an alias": ("AA TC", "NOERROR", ALIAS, "truncated", "truncated"),
    "lame: refused": ("", "REFUSED", "", "error", "REFUSED"),
    "the server failed": ("RA", "SERVFAIL", "", "error", "SERVFAIL"),
    "lame: nothing": ("", "NOERROR", "", "error", "neither an answer nor a referral"),
    "lame: something else": (
        "", "NOERROR", "ftp.example.org. A 198.18.2.3", "error", "neither an answer nor a referral",
    ),
    "nothing, with authority": ("AA", "NOERROR", "", "nodata", "no A records"),
    "nothing, from a resolver": ("RA", "NOERROR", "", "nodata", "no A records"),
}  # fmt: skip


@pytest.mark.parametrize(("flags", "rcode", "answer", "outcome", "said"), ALL_ELSE.values(), ids=ALL_ELSE)
def test_all_else(flags: str, rcode: str, answer: str, outcome: str, said: str) -> None:
    """Aliases, truncation, errors, and what a server says that should not have been asked."""
    assert meaning("www.example.org A", flags=flags, rcode=rcode, answer=answer) == (outcome, "", said)


def test_records_of_another_class_are_no_trouble() -> None:
    """An MX of class CH has no preference that could be read, but is told like any other answer."""
    packet = bytearray(reply("example.org MX", answer="example.org. MX 10 mx1.example.org."))
    packet[packet.index(b"\x00\x0f\x00\x01\x00\x00\x0e\x10") + 3] = 3
    assert interpret("example.org", "MX", read_message(bytes(packet))).said == r"\# 8 000A036D7831C00C"
