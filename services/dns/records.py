"""RRsets, and record data as text.

Theory of operation. All records of one name and type form an RRset with one TTL (RFC 2181 §5): zones
hold RRsets, answers are made of RRsets, the cache keeps RRsets. Their data are dnslib's RD objects,
which know how to put themselves on the wire; the few that dnslib would compress wrongly are ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv6Address
from typing import NamedTuple

import dnslib

from services.dns import names
from services.dns.names import Name


class Address(dnslib.A):
    """A data as read off the wire. Raises: ValueError: they are not four octets."""

    data: tuple[int, int, int, int] = (0, 0, 0, 0)  # an attribute like others: dnslib checks each octet

    def __init__(self, octets: bytes) -> None:
        first, second, third, fourth = octets
        self.data = (first, second, third, fourth)


class Service(dnslib.SRV):
    """SRV data, whose target is not compressed (RFC 2782)."""

    def pack(self, buffer: dnslib.DNSBuffer) -> None:
        buffer.pack("!HHH", self.priority, self.weight, self.port)
        buffer.encode_name_nocompress(self.target)


class Preferred(dnslib.MX):
    """Data as an MX record has them, of the types whose host is not compressed (RFC 3597 §4)."""

    def pack(self, buffer: dnslib.DNSBuffer) -> None:
        buffer.pack("!H", self.preference)
        buffer.encode_name_nocompress(self.label)


class Redirection(dnslib.DNAME):
    """DNAME data, whose target is not compressed (RFC 6672 §2.5)."""

    def pack(self, buffer: dnslib.DNSBuffer) -> None:
        buffer.encode_name_nocompress(self.label)


class Uncompressed(dnslib.DNSBuffer):
    """dnslib's buffer with every name in full, whatever octets are in it."""

    def encode_name(self, name: dnslib.DNSLabel | Sequence[bytes]) -> None:
        self.append(names.to_wire(name.label if isinstance(name, dnslib.DNSLabel) else tuple(name)))

    encode_name_nocompress = encode_name

    def decode_name(self, last: int = -1) -> dnslib.DNSLabel:  # noqa: ARG002 -- dnslib's signature
        name = names.from_wire(bytes(self.data), self.offset)
        self.offset += sum(map(len, name)) + len(name) + 1
        return dnslib.DNSLabel(name)


# Whose data others look into, or may compress; all else stays octets.
_KINDS: dict[int, type[dnslib.RD]] = {
    names.A: dnslib.A, names.AAAA: dnslib.AAAA, names.NS: dnslib.NS, names.CNAME: dnslib.CNAME,
    names.PTR: dnslib.PTR, names.MX: dnslib.MX, names.SOA: dnslib.SOA, names.TXT: dnslib.TXT,
    names.SRV: Service, names.DNAME: Redirection, names.TYPES["CAA"]: dnslib.CAA,
    names.TYPES["KX"]: Preferred, names.TYPES["RT"]: Preferred,
}  # fmt: skip


def rdata(rtype: int, octets: bytes) -> dnslib.RD:
    """Return the data that octets hold, names in them in full.

    Raises: ValueError: they are none of this type.
    """
    kind = _KINDS.get(rtype)
    if kind is None:
        return dnslib.RD(octets)
    buffer = Uncompressed(octets)
    try:
        data = kind.parse(buffer, len(octets))
    except UnicodeDecodeError:
        # dnslib keeps CAA as text.
        return dnslib.RD(octets)
    except (dnslib.DNSError, dnslib.DNSLabelError, dnslib.BufferError, LookupError, ValueError):
        raise ValueError(f"these octets are no data of type {names.type_text(rtype)}") from None
    if buffer.offset != len(octets):
        raise ValueError(f"these octets are more than data of type {names.type_text(rtype)}")
    return data


def octets(rdata: dnslib.RD) -> bytes:
    """Return the octets of record data, names in them in full."""
    buffer = Uncompressed()
    rdata.pack(buffer)
    return bytes(buffer.data)


class RRset(NamedTuple):
    """The records of one `owner` (in lower case) and type; the TTL is in seconds."""

    owner: Name
    rtype: int
    ttl: int
    rdatas: tuple[dnslib.RD, ...]

    def with_ttl(self, ttl: int) -> RRset:
        """Return the same records with another TTL."""
        return RRset(self.owner, self.rtype, ttl, self.rdatas)

    def with_owner(self, owner: Name) -> RRset:
        """Return the same records at another name, as a wildcard gives them (RFC 1034 §4.3.3)."""
        return RRset(owner, self.rtype, self.ttl, self.rdatas)


_WITH_HOST = (dnslib.CNAME, dnslib.MX)


def targets(rrset: RRset) -> Iterator[Name]:
    """Yield, in lower case, the host names that NS, MX, SRV, CNAME and similar records point to."""
    for rdata in rrset.rdatas:
        if isinstance(rdata, _WITH_HOST):
            yield names.lower(rdata.label.label)
        elif isinstance(rdata, dnslib.SRV):
            yield names.lower(rdata.target.label)


def addresses(rrset: RRset) -> Iterator[str]:
    """Yield the IPv4 addresses of an A RRset as text."""
    for rdata in rrset.rdatas:
        if isinstance(rdata, dnslib.A):
            first, second, third, fourth = rdata.data
            yield f"{first}.{second}.{third}.{fourth}"


def negative_ttl(soa: RRset) -> int:
    """Return for how many seconds "there is none" holds: the lesser of the SOA's TTL and its minimum.

    Source: RFC 2308 §5.
    """
    rdata = soa.rdatas[0]
    minimum = rdata.times[4] if isinstance(rdata, dnslib.SOA) else 0
    return min(soa.ttl, minimum)


def data_text(rdata: dnslib.RD) -> str:
    """Return the data in the text form of master files, names without a final dot and in lower case.

    Two differences from a master file: the strings of a TXT record are joined and stand without quotes,
    as SPF and DKIM read them (RFC 7208 §3.3), octets outside UTF-8 replaced; any type not known by name has
    the form of RFC 3597.
    """
    match rdata:
        case dnslib.A():
            return ".".join(map(str, rdata.data))
        case dnslib.AAAA():
            return str(IPv6Address(bytes(rdata.data)))
        case dnslib.CNAME():
            return _host(rdata.label)
        case dnslib.MX():
            return f"{rdata.preference} {_host(rdata.label)}"
        case dnslib.TXT():
            return b"".join(rdata.data).decode("utf-8", "replace")
        case dnslib.SRV():
            return f"{rdata.priority} {rdata.weight} {rdata.port} {_host(rdata.target)}"
        case dnslib.SOA():
            return f"{_host(rdata.mname)} {_host(rdata.rname)} {' '.join(map(str, rdata.times))}"
        case dnslib.CAA():
            return f'{rdata.flags} {rdata.tag} "{rdata.value}"'
        case _:
            return _unknown(rdata)


def _host(label: dnslib.DNSLabel) -> str:
    return names.to_text(names.lower(label.label))


def _unknown(rdata: dnslib.RD) -> str:
    data = octets(rdata)
    return f"\\# {len(data)} {data.hex().upper()}".rstrip()
