"""Domain names as tuples of labels, and the types, classes and codes by number.

Theory of operation. A `Name` is a tuple of labels without the root's empty one, so that the parent of
a name is `name[1:]` and the root is `()`. Names that serve as keys are in lower case, since DNS compares
without case (RFC 4343); only what is echoed or lies in record data keeps its spelling.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

Name: TypeAlias = tuple[bytes, ...]

ROOT: Final[Name] = ()

TYPES: Final = {
    "A": 1, "NS": 2, "MD": 3, "MF": 4, "CNAME": 5, "SOA": 6, "MB": 7, "MG": 8, "MR": 9, "NULL": 10, "WKS": 11,
    "PTR": 12, "HINFO": 13, "MINFO": 14, "MX": 15, "TXT": 16, "RP": 17, "AFSDB": 18, "X25": 19, "ISDN": 20,
    "RT": 21, "NSAP": 22, "NSAP-PTR": 23, "SIG": 24, "KEY": 25, "PX": 26, "GPOS": 27, "AAAA": 28, "LOC": 29,
    "NXT": 30, "SRV": 33, "NAPTR": 35, "KX": 36, "CERT": 37, "DNAME": 39, "OPT": 41, "APL": 42, "DS": 43,
    "SSHFP": 44, "IPSECKEY": 45, "RRSIG": 46, "NSEC": 47, "DNSKEY": 48, "DHCID": 49, "NSEC3": 50,
    "NSEC3PARAM": 51, "TLSA": 52, "SMIMEA": 53, "HIP": 55, "CDS": 59, "CDNSKEY": 60, "OPENPGPKEY": 61,
    "CSYNC": 62, "ZONEMD": 63, "SVCB": 64, "HTTPS": 65, "SPF": 99, "NID": 104, "L32": 105, "L64": 106,
    "LP": 107, "EUI48": 108, "EUI64": 109, "TKEY": 249, "TSIG": 250, "IXFR": 251, "AXFR": 252, "MAILB": 253,
    "MAILA": 254, "ANY": 255, "URI": 256, "CAA": 257, "AVC": 258, "DLV": 32769,
}  # fmt: skip
A: Final = TYPES["A"]
NS: Final = TYPES["NS"]
CNAME: Final = TYPES["CNAME"]
SOA: Final = TYPES["SOA"]
PTR: Final = TYPES["PTR"]
MX: Final = TYPES["MX"]
TXT: Final = TYPES["TXT"]
AAAA: Final = TYPES["AAAA"]
SRV: Final = TYPES["SRV"]
DNAME: Final = TYPES["DNAME"]
OPT: Final = TYPES["OPT"]
DS: Final = TYPES["DS"]
ANY: Final = TYPES["ANY"]

IN: Final = 1
CH: Final = 3
ANY_CLASS: Final = 255

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, YXDOMAIN, NOTAUTH, BADVERS = 0, 1, 2, 3, 4, 5, 6, 9, 16
RCODES: Final = {
    NOERROR: "NOERROR", FORMERR: "FORMERR", SERVFAIL: "SERVFAIL", NXDOMAIN: "NXDOMAIN", NOTIMP: "NOTIMP",
    REFUSED: "REFUSED", YXDOMAIN: "YXDOMAIN", NOTAUTH: "NOTAUTH", BADVERS: "BADVERS",
}  # fmt: skip

_TYPE_NAMES: Final = {number: name for name, number in TYPES.items()}
_ESCAPED = re.compile(rb"\\([0-9]{3}|.)", re.DOTALL)
_SEPARATOR = re.compile(rb"((?:\\.|[^\\.])*)(\.|$)", re.DOTALL)
_PLAIN = re.compile(rb"[!#-'*+,\-/0-9:<-?A-\[\]-~]*")

_OCTETS = [bytes([octet]) for octet in range(256)]


class BadName(ValueError):
    """The text or the octets are no domain name; the message says why."""


def from_text(text: str, origin: Name = ROOT) -> Name:
    """Return the name that `text` spells, in its own case; without a final dot it is relative to `origin`.

    Escapes are those of master files: `\\.` and `\\DDD`.
    Raises: BadName: an empty label, one above 63 octets, or a name above 255.
    Source: RFC 1035 §2.3.4, §5.1.
    """
    if text == ".":
        return ROOT
    try:
        raw = text.encode("ascii")
    except UnicodeEncodeError:
        raise BadName(f"{text!r} is not ASCII; write international names in their xn-- form") from None
    if b"\\" in raw:
        parts = _SEPARATOR.findall(raw)
        # The pattern also matches the nothing at the end: after a final dot that match means "absolute".
        labels = tuple(unescape(label) for label, _ in parts[:-1])
        absolute = len(parts) > 1 and parts[-2][1] == b"."
    else:
        absolute = raw.endswith(b".")
        labels = tuple(raw.removesuffix(b".").split(b".")) if raw else ()
    name = labels if absolute else labels + origin
    check(name, text)
    return name


def to_wire(name: Name) -> bytes:
    """Return the name as it stands in a message, uncompressed."""
    return b"".join([_OCTETS[len(label)] + label for label in name]) + b"\0"


def from_wire(wire: bytes, at: int = 0) -> Name:
    """Return the uncompressed name that stands at an offset."""
    labels = []
    while length := wire[at]:
        labels.append(wire[at + 1 : at + 1 + length])
        at += 1 + length
    return tuple(labels)


def check(name: Name, text: str) -> None:
    """Raise BadName unless every label has 1 to 63 octets and the name at most 255 on the wire."""
    if not all(name):
        raise BadName(f"{text!r} has an empty label")
    if name and max(map(len, name)) > 63:
        raise BadName(f"{text!r} has a label above 63 octets")
    if sum(map(len, name)) + len(name) + 1 > 255:
        raise BadName(f"{text!r} is above 255 octets")


def unescape(raw: bytes) -> bytes:
    r"""Return `raw` with `\X` and `\DDD` replaced by the octets they stand for (RFC 1035 §5.1)."""
    if b"\\" not in raw:
        return raw
    return _ESCAPED.sub(_unescape_one, raw)


def _unescape_one(match: re.Match[bytes]) -> bytes:
    inner = match[1]
    if len(inner) < 3:
        return inner
    if int(inner) > 255:
        raise BadName(f"\\{inner.decode()} is above \\255")
    return bytes([int(inner)])


def to_text(name: Name) -> str:
    """Return the name as people write it, without the final dot; the root is `.`."""
    return ".".join(map(_label_text, name)) or "."


def _label_text(label: bytes) -> str:
    if _PLAIN.fullmatch(label):
        return label.decode("ascii")
    return "".join(chr(octet) if _PLAIN.fullmatch(bytes([octet])) else f"\\{octet:03d}" for octet in label)


def lower(name: Name) -> Name:
    """Return the name as a key: its ASCII letters in lower case (RFC 4343 §3)."""
    return tuple(map(bytes.lower, name))


def is_below(name: Name, ancestor: Name) -> bool:
    """Tell whether `name` is `ancestor` or lies below it; both are keys."""
    return not ancestor or name[-len(ancestor) :] == ancestor


def type_text(rtype: int) -> str:
    """Return the type's mnemonic, or `TYPE123` (RFC 3597 §5)."""
    return _TYPE_NAMES.get(rtype) or f"TYPE{rtype}"


def type_number(text: str) -> int:
    """Return the number of a type given as a mnemonic or as `TYPE123`; without case.

    Raises: ValueError.
    """
    upper = text.upper()
    if upper in TYPES:
        return TYPES[upper]
    if upper.startswith("TYPE") and upper[4:].isdecimal() and int(upper[4:]) <= 65535:
        return int(upper[4:])
    raise ValueError(f"unknown record type {text!r}")


def rcode_text(rcode: int) -> str:
    """Return the response code's mnemonic, or `RCODE11`."""
    return RCODES.get(rcode) or f"RCODE{rcode}"
