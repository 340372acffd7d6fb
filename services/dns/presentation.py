"""Records from the wire as lines of a master file.

Theory of operation. A zone that was transferred is kept as a master file: it is loaded like any other, and
people can read it. Names are written out and absolute; in the data of the types that RFC 1035 defines they
may be compressed on the wire, in others they may not (RFC 3597 §4). What has no text form here is written
under its number, `TYPE99 \\# 2 ABCD` (RFC 3597 §5), so that nothing is lost.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from services.dns import names
from services.dns.message import Malformed
from services.dns.names import Name

_MAX_JUMPS = 128
_PLAIN = frozenset(range(0x20, 0x7F)) - {ord('"'), ord("\\")}


def absolute(name: Name) -> str:
    """Return the name as it stands in a master file, whatever its $ORIGIN: with a final dot."""
    text = names.to_text(name)
    if text == ".":
        return text
    # At the beginning of a line it would be a directive.
    return ("\\036" + text[1:] if text.startswith("$") else text) + "."


def read_name(packet: bytes, at: int) -> tuple[Name, int]:
    """Return the name at an offset, in its own case, and where what follows it begins.

    Raises: Malformed.
    """
    labels: list[bytes] = []
    end, jumps = None, 0
    try:
        while length := packet[at]:
            if length >= 0xC0:
                end = end if end is not None else at + 2
                at = (length & 0x3F) << 8 | packet[at + 1]
                jumps += 1
            elif length > 63:
                raise Malformed("unknown kind of label")
            else:
                labels.append(packet[at + 1 : at + 1 + length])
                at += 1 + length
            if jumps > _MAX_JUMPS or len(labels) > _MAX_JUMPS:
                raise Malformed("a name that does not end")
    except IndexError:
        raise Malformed("the message ends within a name") from None
    name = tuple(labels)
    if sum(map(len, name)) + len(name) + 1 > 255:
        raise Malformed("a name has at most 255 octets")
    return name, end if end is not None else at + 1


def master_data(packet: bytes, at: int, length: int, rtype: int) -> str:
    """Return type and data of a record, whose data begin at an offset, as they stand in a master file.

    Raises: Malformed.
    """
    end = at + length
    if end > len(packet):
        raise Malformed("the message ends within a record")
    fields = _FIELDS.get(rtype)
    if fields is None:
        data = packet[at:end].hex().upper()
        return f"TYPE{rtype} \\# {length} {data}".rstrip()
    texts: list[str] = []
    try:
        for field in fields:
            text, at = field(packet, at, end)
            texts.append(text)
    except (IndexError, struct.error, ValueError) as error:
        raise Malformed(f"the data of a record are wrong: {error}") from error
    if at != end:
        raise Malformed("the data of a record have another length than it says")
    return f"{names.type_text(rtype)} {' '.join(texts)}"


_Field = Callable[[bytes, int, int], tuple[str, int]]


def _number(form: str) -> _Field:
    layout = struct.Struct(form)

    def number(packet: bytes, at: int, end: int) -> tuple[str, int]:  # noqa: ARG001 -- as every field
        return str(layout.unpack_from(packet, at)[0]), at + layout.size

    return number


def _host(packet: bytes, at: int, end: int) -> tuple[str, int]:  # noqa: ARG001 -- as every field
    name, following = read_name(packet, at)
    return absolute(name), following


def _ipv4(packet: bytes, at: int, end: int) -> tuple[str, int]:
    return str(IPv4Address(packet[at:end])), end


def _ipv6(packet: bytes, at: int, end: int) -> tuple[str, int]:
    return str(IPv6Address(packet[at:end])), end


def _string(packet: bytes, at: int, end: int) -> tuple[str, int]:
    following = at + 1 + packet[at]
    if following > end:
        raise ValueError("a string ends too late")
    return quoted(packet[at + 1 : following]), following


def _strings(packet: bytes, at: int, end: int) -> tuple[str, int]:
    texts: list[str] = []
    while at < end or not texts:
        text, at = _string(packet, at, end)
        texts.append(text)
    return " ".join(texts), at


def _tag(packet: bytes, at: int, end: int) -> tuple[str, int]:  # noqa: ARG001 -- as every field
    following = at + 1 + packet[at]
    text = packet[at + 1 : following].decode("ascii")
    if not text.isalnum():
        raise ValueError("a tag is letters and digits")
    return text, following


def _rest(packet: bytes, at: int, end: int) -> tuple[str, int]:
    return quoted(packet[at:end]), end


def quoted(string: bytes) -> str:
    """Return octets as a quoted string of a master file."""
    text = "".join(chr(octet) if octet in _PLAIN else f"\\{octet:03d}" for octet in string)
    return f'"{text}"'


_U8, _U16, _U32 = _number("!B"), _number("!H"), _number("!I")
_FIELDS: dict[int, tuple[_Field, ...]] = {
    names.A: (_ipv4,),
    names.NS: (_host,),
    names.CNAME: (_host,),
    names.DNAME: (_host,),
    names.SOA: (_host, _host, _U32, _U32, _U32, _U32, _U32),
    names.TYPES["PTR"]: (_host,),
    names.MX: (_U16, _host),
    names.TXT: (_strings,),
    names.AAAA: (_ipv6,),
    names.SRV: (_U16, _U16, _U16, _host),
    names.TYPES["CAA"]: (_U8, _tag, _rest),
}
