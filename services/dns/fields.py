"""The data of records from text to octets, type by type.

Theory of operation. A type is a row of fields; each field takes one word of the text, or all that are left,
and gives octets (`FORMATS`). Names in them are in full: whether one may be compressed on the wire is for
`records.rdata` to know. Types whose data have an inner structure are in `structured`.

What is not understood is a ValueError, which the reader of master files completes with file and line.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import re
from collections.abc import Callable, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from services.dns import names
from services.dns.names import Name

UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_TIME = re.compile(r"(?:\d+[wdhms])+\d*", re.IGNORECASE)
_DATE = re.compile(r"\d{14}")
_MAX_TTL = 2**31 - 1  # RFC 2181 §8
_ALGORITHMS = {
    "RSAMD5": 1, "DH": 2, "DSA": 3, "RSASHA1": 5, "DSA-NSEC3-SHA1": 6, "RSASHA1-NSEC3-SHA1": 7,
    "RSASHA256": 8, "RSASHA512": 10, "ECC-GOST": 12, "ECDSAP256SHA256": 13, "ECDSAP384SHA384": 14,
    "ED25519": 15, "ED448": 16, "INDIRECT": 252, "PRIVATEDNS": 253, "PRIVATEOID": 254,
}  # fmt: skip
_CERTIFICATES = {
    "PKIX": 1, "SPKI": 2, "PGP": 3, "IPKIX": 4, "ISPKI": 5, "IPGP": 6, "ACPKIX": 7, "IACPKIX": 8,
    "URI": 253, "OID": 254,
}  # fmt: skip
_SORTING = bytes.maketrans(b"0123456789ABCDEFGHIJKLMNOPQRSTUV", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")


class Word(str):
    """A word of a master file, its escapes as they stand there; `is_joined` if no blank was before it."""

    is_quoted: bool
    is_joined: bool

    def __new__(cls, text: str, *, is_quoted: bool = False, is_joined: bool = False) -> Word:
        word = super().__new__(cls, text)
        word.is_quoted = is_quoted
        word.is_joined = is_joined
        return word


class Words:
    """What is left of a record's text; relative names in it are completed with `origin`."""

    def __init__(self, words: Sequence[Word], origin: Name) -> None:
        self._left = list(reversed(words))
        self.origin = origin

    def __len__(self) -> int:
        return len(self._left)

    def take(self) -> Word:
        """Take the next word. Raises: ValueError: there is none."""
        if not self._left:
            raise ValueError("the data end too early")
        return self._left.pop()

    def rest(self) -> list[Word]:
        """Take all words that are left."""
        left = self._left[::-1]
        self._left.clear()
        return left


Field = Callable[[Words], bytes]


def octets_of(text: str) -> bytes:
    """Return the octets that a word stands for, its escapes undone."""
    return names.unescape(text.encode(errors="surrogateescape"))


def time(text: str) -> int:
    """Return seconds for `3600`, `1h` or `1h30m` (units as in BIND's master files)."""
    if not is_time(text):
        raise ValueError(f"{text!r} is no time; write seconds or 1w2d3h4m5s")
    seconds = sum(int(n) * UNITS[unit or "s"] for n, unit in re.findall(r"(\d+)(\D?)", text.lower()))
    if seconds > _MAX_TTL:
        raise ValueError(f"{text} seconds is above {_MAX_TTL}")
    return seconds


def is_time(text: str) -> bool:
    """Tell whether a word is a number of seconds, with or without units."""
    return (text.isascii() and text.isdecimal()) or _TIME.fullmatch(text) is not None


def number(size: int) -> Field:
    """Return the field of a whole number of so many octets."""
    return _mnemonic({}, size)


def number_of(text: str, size: int) -> bytes:
    """Return a whole number in so many octets."""
    limit = 256**size - 1
    if not (text.isascii() and text.isdecimal()) or int(text) > limit:
        raise ValueError(f"{text!r} is no number from 0 to {limit}")
    return int(text).to_bytes(size, "big")


def _mnemonic(known: dict[str, int], size: int) -> Field:
    def read(words: Words) -> bytes:
        text = words.take()
        return number_of(str(known.get(text.upper(), text)), size)

    return read


def _seconds(words: Words) -> bytes:
    return time(words.take()).to_bytes(4, "big")


def _date(words: Words) -> bytes:
    """A moment as YYYYMMDDHHmmSS or as seconds since 1970 (RFC 4034 §3.2)."""
    text = words.take()
    if _DATE.fullmatch(text):
        moment = dt.datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=dt.UTC)
        return (int(moment.timestamp()) % 2**32).to_bytes(4, "big")
    return number_of(text, 4)


def name(words: Words) -> bytes:
    """A domain name, in its own case."""
    text = words.take()
    is_origin = text == "@" and not text.is_quoted
    return names.to_wire(words.origin if is_origin else names.from_text(text, words.origin))


def ipv4(words: Words) -> bytes:
    text = words.take()
    try:
        return IPv4Address(text).packed
    except AddressValueError:
        raise ValueError(f"{text!r} is no IPv4 address") from None


def ipv6(words: Words) -> bytes:
    text = words.take()
    try:
        return IPv6Address(text).packed
    except AddressValueError:
        raise ValueError(f"{text!r} is no IPv6 address") from None


def string(words: Words) -> bytes:
    """A string of at most 255 octets, its length in front."""
    return _counted(octets_of(words.take()))


def _counted(octets: bytes) -> bytes:
    if len(octets) > 255:
        raise ValueError("a string is above 255 octets; write it as several")
    return bytes([len(octets)]) + octets


def strings(words: Words) -> bytes:
    """One string or several, to the end."""
    parts = [string(words)]
    while len(words):
        parts.append(string(words))
    return b"".join(parts)


def _tag(words: Words) -> bytes:
    """The name of a property, letters and digits (RFC 8659 §4.1)."""
    text = words.take()
    if not (text.isascii() and text.isalnum()):
        raise ValueError(f"{text!r} is no tag: letters and digits")
    return _counted(text.encode())


def _text(words: Words) -> bytes:
    """A string without a length, which ends where the data end."""
    return octets_of(words.take())


def hexadecimal(text: str) -> bytes:
    """Return the octets that hexadecimal digits stand for."""
    try:
        return binascii.unhexlify(text)
    except ValueError:
        raise ValueError(f"{text!r} is not hexadecimal, two digits an octet") from None


def _hex(words: Words) -> bytes:
    return hexadecimal("".join(words.rest()))


def base64_of(text: str) -> bytes:
    """Return the octets that base64 stands for."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError("the key or signature is not base64") from None


def base64_rest(words: Words) -> bytes:
    return base64_of("".join(words.rest()))


def _salt(words: Words) -> bytes:
    text = words.take()
    return _counted(b"" if text == "-" else hexadecimal(text))


def _hash(words: Words) -> bytes:
    """The next hashed owner name, in base32 of the kind that sorts (RFC 5155 §3.3)."""
    text = words.take().upper()
    padded = text.encode(errors="replace").translate(_SORTING) + b"=" * (-len(text) % 8)
    return _counted(base64.b32decode(padded))


def _type(words: Words) -> bytes:
    return names.type_number(words.take()).to_bytes(2, "big")


def _types(words: Words) -> bytes:
    """A set of types as bits, in blocks of 256 (RFC 4034 §4.1.2)."""
    blocks: dict[int, bytearray] = {}
    for text in words.rest():
        block, bit = divmod(names.type_number(text), 256)
        blocks.setdefault(block, bytearray(32))[bit // 8] |= 0x80 >> bit % 8
    found = b""
    for block, bits in sorted(blocks.items()):
        used = bytes(bits).rstrip(b"\0")
        found += bytes([block, len(used)]) + used
    return found


def _eui(size: int) -> Field:
    def read(words: Words) -> bytes:
        text = words.take()
        octets = hexadecimal(text.replace("-", ""))
        if len(octets) != size or text.count("-") != size - 1:
            raise ValueError(f"{text!r} is not {size} octets with - between them")
        return octets

    return read


def _half_address(words: Words) -> bytes:
    """64 bits as IPv6 addresses are written: four groups of up to four digits (RFC 6742 §2.1)."""
    text = words.take()
    groups = text.split(":")
    if len(groups) != 4 or not all(0 < len(group) <= 4 for group in groups):
        raise ValueError(f"{text!r} is not four groups of hexadecimal digits")
    return hexadecimal("".join(group.zfill(4) for group in groups))


def _nsap(words: Words) -> bytes:
    text = words.take()
    if not text.lower().startswith("0x"):
        raise ValueError("an NSAP address begins with 0x")
    return hexadecimal(text[2:].replace(".", ""))


def _optional_string(words: Words) -> bytes:
    return string(words) if len(words) else b""


U8, U16, U32 = number(1), number(2), number(4)
_ALGORITHM = _mnemonic(_ALGORITHMS, 1)
_KEY = (U16, U8, _ALGORITHM, base64_rest)
_DIGEST = (U16, _ALGORITHM, U8, _hex)
_SIGNATURE = (_type, _ALGORITHM, U8, U32, _date, _date, U16, name, base64_rest)

FORMATS: dict[str, tuple[Field, ...]] = {
    "A": (ipv4,), "AAAA": (ipv6,),
    "NS": (name,), "CNAME": (name,), "PTR": (name,), "DNAME": (name,),
    "MD": (name,), "MF": (name,), "MB": (name,), "MG": (name,), "MR": (name,), "NSAP-PTR": (name,),
    "SOA": (name, name, U32, _seconds, _seconds, _seconds, _seconds),
    "MX": (U16, name), "AFSDB": (U16, name), "RT": (U16, name), "KX": (U16, name), "LP": (U16, name),
    "MINFO": (name, name), "RP": (name, name), "PX": (U16, name, name),
    "TXT": (strings,), "SPF": (strings,), "AVC": (strings,),
    "HINFO": (string, string), "X25": (string,), "ISDN": (string, _optional_string),
    "GPOS": (string, string, string),
    "SRV": (U16, U16, U16, name), "NAPTR": (U16, U16, string, string, string, name),
    "URI": (U16, U16, _text), "CAA": (U8, _tag, _text),
    "CERT": (_mnemonic(_CERTIFICATES, 2), U16, _ALGORITHM, base64_rest),
    "DNSKEY": _KEY, "CDNSKEY": _KEY, "KEY": _KEY, "OPENPGPKEY": (base64_rest,), "DHCID": (base64_rest,),
    "DS": _DIGEST, "CDS": _DIGEST, "DLV": _DIGEST, "SSHFP": (U8, U8, _hex),
    "TLSA": (U8, U8, U8, _hex), "SMIMEA": (U8, U8, U8, _hex), "ZONEMD": (U32, U8, U8, _hex),
    "RRSIG": _SIGNATURE, "SIG": _SIGNATURE, "NSEC": (name, _types), "CSYNC": (U32, U16, _types),
    "NSEC3": (U8, U8, U16, _salt, _hash, _types), "NSEC3PARAM": (U8, U8, U16, _salt),
    "EUI48": (_eui(6),), "EUI64": (_eui(8),), "NSAP": (_nsap,),
    "L32": (U16, ipv4), "L64": (U16, _half_address), "NID": (U16, _half_address),
}  # fmt: skip
