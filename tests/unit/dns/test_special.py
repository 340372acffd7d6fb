"""What a resolver answers by itself."""

from __future__ import annotations

import pytest

from services.dns import names, special
from services.dns.records import data_text


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("localhost A", "NOERROR 127.0.0.1"),
        ("localhost AAAA", "NOERROR ::1"),
        ("printer.localhost A", "NOERROR 127.0.0.1"),
        ("localhost MX", "NOERROR SOA"),
        ("1.0.0.127.in-addr.arpa PTR", "NOERROR localhost"),
        ("0.0.127.in-addr.arpa PTR", "NOERROR SOA"),
        ("127.in-addr.arpa NS", "NOERROR SOA"),
        ("2.0.0.127.in-addr.arpa PTR", "NXDOMAIN SOA"),
        ("1.1.0.0.127.in-addr.arpa PTR", "NXDOMAIN SOA"),
    ],
)
def test_this_host_itself(question: str, found: str) -> None:
    """The names of the loopback addresses are answered without asking anybody (RFC 6761 §6.3)."""
    name, rtype = question.split()
    finding = special.finding(names.from_text(name), names.type_number(rtype))
    assert finding is not None
    data = [data_text(rdata) for rrset in finding.answer for rdata in rrset.rdatas]
    assert f"{names.rcode_text(finding.rcode)} {data[0] if data else 'SOA'}" == found
    assert (finding.soa is None) == bool(data)


@pytest.mark.parametrize(
    "name", ["example.org", "localhost.example.org", "notlocalhost", "1.0.0.10.in-addr.arpa", "x.test", "."]
)
def test_everything_else(name: str) -> None:
    """Nothing else is special: private addresses and reserved domains are the roots' to answer."""
    assert special.finding(names.from_text(name), names.A) is None
