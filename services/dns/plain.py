"""Questions in plain form, and replies cut up so that they fit every form of the same question.

Theory of operation. What a server says to a question does not depend on the query's id or on the case of its
letters, and but little on flags and EDNS. A question's *plain* form has RD set, no other flag, no EDNS, and
its name in lower case: without the id it serves as a key. Of the reply to it two pieces are kept, the
header behind the id and what follows the question; `stitch` makes of them the reply to the query at hand:

    id as it came, header with its flags, question as it came, body, OPT if it has one

`read` takes the queries for which that works: opcode QUERY, one question, and EDNS with any options but
those that have an answer (NSID). All else is left to whoever made the plain reply. So is a reply that may
have to be truncated.
"""

from __future__ import annotations

from typing import NamedTuple

from services.dns import names
from services.dns.message import PAYLOAD, PLAIN_PAYLOAD, STREAM_PAYLOAD

HEAD = b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
"""A plain question's header behind the id."""

NAME = len(HEAD)
"""Where the name begins in a plain question; its type and class are the last four octets."""

TYPES = frozenset(
    rtype.to_bytes(2, "big") + b"\x00\x01"
    for rtype in (1, 2, 5, 6, 12, 13, 15, 16, 28, 33, 257)  # A NS CNAME SOA PTR HINFO MX TXT AAAA SRV CAA
)
"""Types, with class IN, that are about data, and without letters among their octets: as keys they differ."""

_QUESTION = 12
_ONE_QUESTION = b"\x00\x01\x00\x00\x00\x00"
_RD, _AD = 0x01, 0x20
CD = 0x10
_FLAGS = frozenset(bytes([high, low]) for high in (0, _RD) for low in (0, CD, _AD, CD | _AD))
_NSID = 3
_OPT = b"\x00" + names.OPT.to_bytes(2, "big")
_OPT_SIZE = 11
_OWN_OPT = _OPT + PAYLOAD.to_bytes(2, "big") + b"\x00\x00"
_OWN_OPTS = (_OWN_OPT + b"\x00\x00\x00\x00", _OWN_OPT + b"\x80\x00\x00\x00")  # by the DO bit
_QR, _TC, _RCODE = 0x80, 0x02, 0x0F


class Cut(NamedTuple):
    """A reply to a plain question without its id and its question."""

    head: bytes
    body: bytes


class Read(NamedTuple):
    """A query as `stitch` needs it: its plain form, where its question ends, and its payload size.

    Without EDNS `payload` and `do` are 0.
    """

    plain: bytes
    end: int
    payload: int
    do: int


def read(packet: bytes) -> Read | None:
    """Return what a query asks, or None if it cannot be answered with a plain reply."""
    if packet[2:4] not in _FLAGS or packet[4:10] != _ONE_QUESTION:
        return None
    end, payload, do = len(packet), 0, 0
    if packet[10:12] == b"\x00\x01":
        # The name ends at the first zero. If that is inside a label, this is no name that anybody knows.
        end = packet.find(b"\x00", _QUESTION) + 5
        if not _has_opt(packet, end):
            return None
        payload, do = packet[end + 3] << 8 | packet[end + 4], packet[end + 7] >> 7
        payload = max(payload, PLAIN_PAYLOAD)
    elif packet[10:12] != b"\x00\x00":
        return None
    return Read(HEAD + packet[_QUESTION:end].lower(), end, payload, do)


def _has_opt(packet: bytes, at: int) -> bool:
    """Tell whether the rest of the packet is an OPT record of version 0 without anything to be answered."""
    if packet[at : at + 3] != _OPT or packet[at + 5 : at + 7] != b"\x00\x00":
        return False
    at += _OPT_SIZE
    if at > len(packet) or len(packet) - at != packet[at - 2] << 8 | packet[at - 1]:
        return False
    while at + 4 <= len(packet):
        if packet[at] << 8 | packet[at + 1] == _NSID:
            return False
        at += 4 + (packet[at + 2] << 8 | packet[at + 3])
    return at == len(packet)


def is_proper(plain: bytes) -> bool:
    """Tell whether a plain question is one for data, with a name that is one."""
    if plain[-4:] not in TYPES or not NAME + 5 <= len(plain) <= NAME + 255 + 4:
        return False
    at = NAME
    while length := plain[at]:
        at += 1 + length
        if length > 63 or at >= len(plain):
            return False
    return at == len(plain) - 5


def cut(plain: bytes, reply: bytes) -> Cut | None:
    """Return the pieces of the reply to a plain question, or None if others must not be made of them."""
    body = _QUESTION + len(plain) - NAME
    if len(reply) > PLAIN_PAYLOAD or not reply[2] & _QR or reply[2] & _TC:
        return None
    if reply[_QUESTION:body] != plain[NAME:]:
        return None
    if reply[3] & _RCODE not in (names.NOERROR, names.NXDOMAIN):
        # Of an error the OPT record may tell more (RFC 8914).
        return None
    return Cut(reply[2:_QUESTION], reply[body:])


def stitch(packet: bytes, query: Read, found: Cut, *, stream: bool, copied: int = 0) -> bytes | None:
    """Return the reply to the packet, which `query` is what was read of; None if it may not fit.

    `copied` are flags of the header's fourth octet that the reply has if the query has them: a resolver
    copies CD, a server of zones clears it (RFC 4035 §3.1.6, §3.2.2).
    """
    head, body = found
    flags = bytes([head[0] & ~_RD | packet[2] & _RD, head[1] | packet[3] & copied])
    if not query.payload:
        return b"".join((packet[:2], flags, head[2:], packet[_QUESTION : query.end], body))
    size = query.end + len(body) + _OPT_SIZE
    if size > (STREAM_PAYLOAD if stream else min(query.payload, PAYLOAD)):
        return None
    additional = (head[8] << 8 | head[9]) + 1
    counts = head[2:8] + additional.to_bytes(2, "big")
    return b"".join((packet[:2], flags, counts, packet[_QUESTION : query.end], body, _OWN_OPTS[query.do]))
