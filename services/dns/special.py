"""Names that a resolver answers itself, asking nobody (RFC 6761).

`localhost` and what lies below it are this host, and its address is called `localhost`. Everything else that
other resolvers treat specially (private networks' reverse zones, `.test`, `.invalid`) goes to the roots
here: a lab may use it, and what the roots say of it is worth seeing.
"""

from __future__ import annotations

import dnslib

from services.dns import names
from services.dns.names import Name
from services.dns.records import RRset
from services.dns.replies import Finding

_TTL = 10800
_LOCALHOST: Name = (b"localhost",)
_REVERSE: Name = (b"127", b"in-addr", b"arpa")
_ONE: Name = (b"1", b"0", b"0", *_REVERSE)
_DATA: dict[tuple[Name, int], dnslib.RD] = {
    (_LOCALHOST, names.A): dnslib.A("127.0.0.1"),
    (_LOCALHOST, names.AAAA): dnslib.AAAA("::1"),
    (_ONE, names.TYPES["PTR"]): dnslib.PTR(dnslib.DNSLabel("localhost")),
}


def finding(name: Name, rtype: int) -> Finding | None:
    """Return the answer to a question about this host itself, None to any other."""
    if name[-1:] == _LOCALHOST:
        rdata, apex, exists = _DATA.get((_LOCALHOST, rtype)), _LOCALHOST, True
    elif name[-3:] == _REVERSE:
        rdata, apex = _DATA.get((name, rtype)), _REVERSE
        exists = _ONE[-len(name) :] == name
    else:
        return None
    if rdata is not None:
        return Finding(answer=(RRset(owner=name, rtype=rtype, ttl=_TTL, rdatas=(rdata,)),), name=name)
    return Finding(rcode=names.NOERROR if exists else names.NXDOMAIN, soa=_soa(apex), name=name)


def _soa(apex: Name) -> RRset:
    primary, mailbox = dnslib.DNSLabel("localhost"), dnslib.DNSLabel("nobody.invalid")
    rdata = dnslib.SOA(primary, mailbox, (1, 3600, 1200, 604800, _TTL))
    return RRset(owner=apex, rtype=names.SOA, ttl=_TTL, rdatas=(rdata,))
