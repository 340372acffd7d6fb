"""Names and record data of DNS messages, as text in the form of master files.

Theory of operation. Two tables say for each type how its data are read: by themselves, or, where there are
names in them, in the message that those may point into. A type that is in neither, and any of another class
than IN, is given as octets: `\\# 4 0A000001` (RFC 3597 §5). Data that do not fill their length exactly are
malformed.
"""

from __future__ import annotations

import re
import struct
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import IPv6Address
from typing import Final, TypeAlias

from captures.errors import Malformed

TYPES: Final = {
    1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 13: "HINFO", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV",
    35: "NAPTR", 39: "DNAME", 41: "OPT", 43: "DS", 44: "SSHFP", 46: "RRSIG", 47: "NSEC", 48: "DNSKEY",
    50: "NSEC3", 51: "NSEC3PARAM", 52: "TLSA", 59: "CDS", 60: "CDNSKEY", 64: "SVCB", 65: "HTTPS", 99: "SPF",
    249: "TKEY", 250: "TSIG", 251: "IXFR", 252: "AXFR", 255: "ANY", 257: "CAA",
}  # fmt: skip
"""The types by number; any other is `TYPE` and its number."""

Known: TypeAlias = dict[int, str]
"""Names by the place in the message where they begin."""

_OPT = 41
_IN = 1
_DO = 0x8000
_MAX_LABELS = 127  # of one octet each, with their lengths: 254 octets; bounds what a name costs
_MAX_NAME = 253  # characters, as each octet of a length but the first stands for a dot

_OPTION = struct.Struct("!HH")
_KEY = struct.Struct("!HBB")
_SRV = struct.Struct("!3H")
_SOA = struct.Struct("!5I")
_RRSIG = struct.Struct("!HBBIIIH")

_PLAIN: Final = bytes(octet for octet in range(0x21, 0x7F) if octet not in b'"().;\\@$')
_UNPRINTABLE = re.compile(r"[^ -~]")
_ESCAPE = re.compile(r"\\(?:[0-9]{3}|.)")


def type_text(rtype: int) -> str:
    """Return the type's mnemonic, or `TYPE123` (RFC 3597 §5)."""
    return TYPES.get(rtype) or f"TYPE{rtype}"


def read_name(data: bytes, at: int, known: Known) -> tuple[str, int]:
    """Return the name at `at` in lower case without final dot (`.` for the root), and where it ends.

    Odd octets are escaped (RFC 1035 §5.1). Raises: Malformed; IndexError: the data end within it.
    """
    start = limit = at
    labels: list[bytes] = []
    end = 0
    tail: str | None = None
    jumps = 0
    while length := data[at]:
        if length < 64:
            labels.append(data[at + 1 : at + 1 + length])
            at += length + 1
            if len(labels) > _MAX_LABELS:
                raise Malformed("a name has at most 255 octets")
            continue
        if length < 0xC0:
            raise Malformed("a name has a label of no known kind")
        target = (length & 0x3F) << 8 | data[at + 1]
        end = end or at + 2
        jumps += 1
        if target >= limit or jumps > _MAX_LABELS:
            raise Malformed("a name points to where it cannot have stood before")
        tail = known.get(target)
        if tail is not None:
            break
        limit = at = target
    text = _join(labels, tail)
    known[start] = text
    return text, end or at + 1


def _join(labels: list[bytes], tail: str | None) -> str:
    if not labels:
        return tail or "."
    raw = b".".join(labels)
    # What is left are the dots between the labels, unless an octet needs an escape.
    if len(raw.translate(None, _PLAIN)) == len(labels) - 1:
        text = raw.decode("ascii").lower()
    else:
        text = ".".join(map(_escaped, labels)).lower()
    if tail is not None and tail != ".":
        text = f"{text}.{tail}"
    if len(text) > _MAX_NAME and len(_ESCAPE.sub("x", text)) > _MAX_NAME:
        raise Malformed("a name has at most 255 octets")
    return text


def _escaped(label: bytes) -> str:
    return "".join(
        chr(octet) if octet in _PLAIN else f"\\{octet:c}" if 0x20 < octet < 0x7F else f"\\{octet:03d}"
        for octet in label
    )


def data_text(data: bytes, at: int, end: int, rtype: int, rclass: int, ttl: int, known: Known) -> str:
    """Return the record data between `at` and `end` as text.

    The class of an OPT record is the largest payload, its TTL holds flags.
    Raises: Malformed; IndexError or struct.error: the data end too early.
    """
    if rtype == _OPT:
        return _opt(data[at:end], rclass, ttl)
    if rclass == _IN:
        reader = _READERS.get(rtype)
        if reader is not None:
            return reader(data[at:end])
        in_message = _MESSAGE_READERS.get(rtype)
        if in_message is not None:
            text, after = in_message(data, at, end, known)
            _ends(after, end)
            return text
    return f"\\# {end - at} {data[at:end].hex().upper()}".rstrip()


def _ends(at: int, end: int) -> None:
    """Raise Malformed unless the data, read up to `at`, end there."""
    if at != end:
        raise Malformed("a record's data are not as long as they say")


def _opt(options: bytes, payload: int, ttl: int) -> str:
    """There is no such record in master files: its fields with their names (RFC 6891 §6.1.2)."""
    parts = [f"version {ttl >> 16 & 0xFF}", f"payload {payload}"]
    parts += ["do"] if ttl & _DO else []
    at = 0
    while at < len(options):
        code, length = _OPTION.unpack_from(options, at)
        at += 4 + length
        parts.append(f"option {code} {options[at - length : at].hex().upper()}".rstrip())
    _ends(at, len(options))
    return ", ".join(parts)


def _a(octets: bytes) -> str:
    _ends(len(octets), 4)
    return "{}.{}.{}.{}".format(*octets)


def _aaaa(octets: bytes) -> str:
    _ends(len(octets), 16)
    return str(IPv6Address(octets))


def _strings(octets: bytes) -> str:
    parts = []
    at = 0
    while at < len(octets):
        start, at = at + 1, at + 1 + octets[at]
        parts.append(_quoted(octets[start:at]))
    _ends(at, len(octets))
    return " ".join(parts)


def _quoted(octets: bytes) -> str:
    """A character string (RFC 1035 §5.1); octets that are not printable ASCII have their number."""
    text = octets.decode("latin-1").replace("\\", "\\\\").replace('"', '\\"')
    return '"' + _UNPRINTABLE.sub(lambda match: f"\\{ord(match[0]):03d}", text) + '"'


def _caa(octets: bytes) -> str:
    flags, length = octets[0], octets[1]
    if len(octets) < 2 + length:
        raise Malformed("a record's data are not as long as they say")
    tag, value = octets[2 : 2 + length], octets[2 + length :]
    return f"{flags} {_quoted(tag)[1:-1]} {_quoted(value)}"


def _ds(octets: bytes) -> str:
    tag, algorithm, digest = _KEY.unpack_from(octets)
    return f"{tag} {algorithm} {digest} {octets[4:].hex().upper()}"


def _dnskey(octets: bytes) -> str:
    flags, protocol, algorithm = _KEY.unpack_from(octets)
    return f"{flags} {protocol} {algorithm} {b64encode(octets[4:]).decode()}"


def _tlsa(octets: bytes) -> str:
    return f"{octets[0]} {octets[1]} {octets[2]} {octets[3:].hex().upper()}"


def _host(data: bytes, at: int, _: int, known: Known) -> tuple[str, int]:
    return read_name(data, at, known)


def _absolute(data: bytes, at: int, known: Known) -> tuple[str, int]:
    name, at = read_name(data, at, known)
    return name if name == "." else f"{name}.", at


def _mx(data: bytes, at: int, _: int, known: Known) -> tuple[str, int]:
    host, after = _absolute(data, at + 2, known)
    return f"{data[at] << 8 | data[at + 1]} {host}", after


def _srv(data: bytes, at: int, _: int, known: Known) -> tuple[str, int]:
    priority, weight, port = _SRV.unpack_from(data, at)
    host, at = _absolute(data, at + _SRV.size, known)
    return f"{priority} {weight} {port} {host}", at


def _soa(data: bytes, at: int, _: int, known: Known) -> tuple[str, int]:
    primary, at = _absolute(data, at, known)
    mailbox, at = _absolute(data, at, known)
    return " ".join((primary, mailbox, *map(str, _SOA.unpack_from(data, at)))), at + _SOA.size


def _rrsig(data: bytes, at: int, end: int, known: Known) -> tuple[str, int]:
    covered, algorithm, labels, ttl, expires, since, tag = _RRSIG.unpack_from(data, at)
    signer, at = _absolute(data, at + _RRSIG.size, known)
    signature = b64encode(data[at:end]).decode()
    text = f"{type_text(covered)} {algorithm} {labels} {ttl} {_date(expires)} {_date(since)} {tag}"
    return f"{text} {signer} {signature}", max(at, end)


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%d%H%M%S")


def _nsec(data: bytes, at: int, end: int, known: Known) -> tuple[str, int]:
    following, at = _absolute(data, at, known)
    types = []
    while at < end:
        window, length = data[at], data[at + 1]
        at += 2 + length
        for place, octet in enumerate(data[at - length : at]):
            types += [window << 8 | place << 3 | bit for bit in range(8) if octet & 0x80 >> bit]
    return " ".join((following, *map(type_text, types))), at


_READERS: Final[dict[int, Callable[[bytes], str]]] = {
    1: _a, 13: _strings, 16: _strings, 28: _aaaa, 43: _ds, 48: _dnskey, 52: _tlsa, 59: _ds, 60: _dnskey,
    99: _strings, 257: _caa,
}  # fmt: skip
_MESSAGE_READERS: Final[dict[int, Callable[[bytes, int, int, Known], tuple[str, int]]]] = {
    2: _host, 5: _host, 6: _soa, 12: _host, 15: _mx, 33: _srv, 39: _host, 46: _rrsig, 47: _nsec,
}  # fmt: skip
