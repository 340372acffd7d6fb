"""DNS messages, read from their octets.

Theory of operation. A message is a header, a question and three sections of records; a name may end in a
pointer to where the rest of it stood before (RFC 1035 §4.1.4):

    12  7 example 3 org 0        example.org
    40  3 mx1 → 12               mx1.example.org

A pointer may only lead further back than where the name, or the part that the pointer stands in, begins: so
every name ends. Names that were read are known by their place, as most records point to the same few.

Whoever reads a capture wants text: names come in lower case, as DNS compares them (RFC 4343), which also
undoes the random spelling of queries; `captures.rdata` puts records into the form of a master file.

Octets come in, a `Message` or `Malformed` goes out.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from captures.errors import Malformed
from captures.rdata import data_text, read_name, type_text

_HEADER = struct.Struct("!6H")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_QR, _AA, _TC, _RD, _RA = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080

_OPCODES: Final = {0: "QUERY", 1: "IQUERY", 2: "STATUS", 4: "NOTIFY", 5: "UPDATE", 6: "DSO"}
_RCODES: Final = {
    0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 6: "YXDOMAIN",
    7: "YXRRSET", 8: "NXRRSET", 9: "NOTAUTH", 10: "NOTZONE", 16: "BADVERS", 23: "BADCOOKIE",
}  # fmt: skip


class Record(NamedTuple):
    """One record: `name` in lower case without final dot (`.` for the root), `type` as `MX` or `TYPE123`.

    `ttl` is in seconds (an OPT record has its flags there). `text` is the data as in a master file, names in
    lower case: among other fields they are absolute (`10 mx.example.org.`), alone they have no final dot.
    """

    name: str
    type: str
    ttl: int
    text: str

    @property
    def target(self) -> str:
        """The host that an NS, CNAME, DNAME, PTR, MX or SRV record names, without final dot; else ""."""
        if self.type in ("MX", "SRV"):
            return self.text.rpartition(" ")[2][:-1] or "."
        return self.text if self.type in ("NS", "CNAME", "DNAME", "PTR") else ""


class Message(NamedTuple):
    """A query or, if `response`, what a server said.

    `rcode` includes the high bits that EDNS adds (RFC 6891 §6.1.3).
    `name` and `type` are those of the first question, "" if there is none.
    """

    id: int
    response: bool
    opcode: str
    authoritative: bool
    truncated: bool
    recursion_desired: bool
    recursion_available: bool
    rcode: str
    name: str
    type: str
    answers: tuple[Record, ...]
    authority: tuple[Record, ...]
    additional: tuple[Record, ...]


def read_message(data: bytes) -> Message:
    """Return the message that the octets hold; what stands behind it is not looked at.

    Raises: Malformed.
    Source: RFC 1035 §4; RFC 6891.
    """
    try:
        ident, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(data)
        known: dict[int, str] = {}
        name, rtype, at = _read_questions(data, questions, known)
        answer, at = _read_records(data, at, answers, known) if answers else ((), at)
        authority, at = _read_records(data, at, authorities, known) if authorities else ((), at)
        additional = _read_records(data, at, additionals, known)[0] if additionals else ()
    except (IndexError, struct.error):
        raise Malformed("the message ends too early") from None
    rcode = flags & 0xF | _extended(additional)
    return Message(
        ident,
        flags & _QR != 0,
        _OPCODES.get(flags >> 11 & 0xF) or f"OPCODE{flags >> 11 & 0xF}",
        flags & _AA != 0,
        flags & _TC != 0,
        flags & _RD != 0,
        flags & _RA != 0,
        _RCODES.get(rcode) or f"RCODE{rcode}",
        name,
        rtype,
        answer,
        authority,
        additional,
    )


def _read_questions(data: bytes, count: int, known: dict[int, str]) -> tuple[str, str, int]:
    """Return name and type of the first question, and where the records begin."""
    first, at = ("", ""), 12
    for number in range(count):
        name, at = read_name(data, at, known)
        rtype, _ = _QUESTION.unpack_from(data, at)
        at += 4
        if not number:
            first = name, type_text(rtype)
    return *first, at


def _read_records(data: bytes, at: int, count: int, known: dict[int, str]) -> tuple[tuple[Record, ...], int]:
    records = []
    for _ in range(count):
        name, at = read_name(data, at, known)
        rtype, rclass, ttl, length = _RECORD.unpack_from(data, at)
        at += 10
        end = at + length
        if end > len(data):
            raise Malformed("the message ends too early")
        text = data_text(data, at, end, rtype, rclass, ttl, known)
        records.append(Record(name, type_text(rtype), ttl, text))
        at = end
    return tuple(records), at


def _extended(additional: tuple[Record, ...]) -> int:
    """Return the high bits of the response code, which an OPT record holds."""
    for record in additional:
        if record.type == "OPT":
            return record.ttl >> 24 << 4
    return 0
