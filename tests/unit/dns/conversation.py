"""A server of zones written as text, asked and read with dnspython, the independent checker."""

from __future__ import annotations

from textwrap import dedent

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from services.dns import master, zone
from services.dns.authoritative import Authority
from services.dns.names import ROOT
from services.dns.zone import Zone, Zones

EXAMPLE = """\
$ORIGIN example.org.
$TTL 3600
@       SOA  ns1 hostmaster 1 7200 900 1209600 300
@       NS   ns1
@       NS   ns.elsewhere.net.
ns1     A    198.18.0.1
"""


def make_zone(text: str) -> Zone:
    """Return the zone of a master file given as text, which says its $ORIGIN."""
    return zone.build(master.parse(dedent(text), ROOT, source="test"), source="test")


def server(*texts: str) -> Authority:
    """Return a server of one or several zones."""
    return Authority(Zones(make_zone(text) for text in texts))


def query(question: str, *, edns: bool = False, payload: int = 1232) -> dns.message.QueryMessage:
    """Return the query for a question such as `www.example.org A`."""
    name, rtype = question.split()
    return dns.message.make_query(name, rtype, use_edns=0 if edns else -1, payload=payload)


def exchange(
    authority: Authority, asked: dns.message.Message, *, stream: bool = False
) -> dns.message.Message:
    """Return the server's reply, having checked that it is one to this query."""
    reply = authority.respond(asked.to_wire(), stream)
    assert reply is not None
    response = dns.message.from_wire(reply)
    assert asked.is_response(response)
    return response


def told(authority: Authority, question: str) -> str:
    """Return the reply as text: a line with rcode and flags, then one line a record, with its section.

    Records are sorted within a section; the class is left out. So are the zone's NS records that go with
    every answer, and their addresses: `whole` has them.
    """
    response = exchange(authority, query(question))
    if response.answer and response.flags & dns.flags.AA:
        servers = {str(rdata) for rrset in _servers(response) for rdata in rrset}
        response.authority = [rrset for rrset in response.authority if rrset not in _servers(response)]
        response.additional = [rrset for rrset in response.additional if str(rrset.name) not in servers]
    return text(response)


def whole(authority: Authority, question: str, *, payload: int = 0) -> str:
    """Return the reply as text with all that is in it; with a `payload` the query has EDNS."""
    return text(exchange(authority, query(question, edns=payload > 0, payload=payload)))


def _servers(response: dns.message.Message) -> list[dns.rrset.RRset]:
    """The NS records that are no referral: one by way of an alias is about others than the answer's names."""
    last = response.answer[-1]
    asked = response.question[0].rdtype
    if last.rdtype == dns.rdatatype.CNAME != asked:
        return []
    return [rrset for rrset in response.authority if rrset.rdtype == dns.rdatatype.NS]


def text(response: dns.message.Message) -> str:
    """Return a response in the form that `told` describes."""
    flags = [name for bit, name in ((dns.flags.AA, "aa"), (dns.flags.TC, "tc")) if response.flags & bit]
    lines = [" ".join([dns.rcode.to_text(response.rcode()), *flags])]
    for section, rrsets in (
        ("answer", response.answer),
        ("authority", response.authority),
        ("additional", response.additional),
    ):
        records = [
            f"{section} {rrset.name} {rrset.ttl} {dns.rdatatype.to_text(rrset.rdtype)} {rdata}"
            for rrset in rrsets
            for rdata in rrset
        ]
        lines += records if section == "answer" else sorted(records)
    return "\n".join(lines) + "\n"
