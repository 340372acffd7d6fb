"""Record data with a structure of their own, from text to octets: LOC, APL, IPSECKEY, SVCB and HTTPS."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_network

from services.dns import fields
from services.dns.fields import Field, Word, Words

_EQUATOR = 2**31
_ABOVE = 10_000_000  # cm: altitudes count from 100 km below the ellipsoid
_METRES = re.compile(r"(-?\d+)(?:\.(\d{1,2}))?m?")
_KEYS = {
    "mandatory": 0, "alpn": 1, "no-default-alpn": 2, "port": 3, "ipv4hint": 4, "ech": 5, "ipv6hint": 6,
    "dohpath": 7, "ohttp": 8,
}  # fmt: skip


def _location(words: Words) -> bytes:
    """Source: RFC 1876 §3: degrees, minutes and seconds may end early, and so may the sizes."""
    latitude = _angle(words, "N", "S", 90)
    longitude = _angle(words, "E", "W", 180)
    altitude = _ABOVE + _centimetres(words.take())
    sizes = [_size(_centimetres(text)) for text in _sizes(words)]
    return bytes([0, *sizes]) + b"".join(n.to_bytes(4, "big") for n in (latitude, longitude, altitude))


def _sizes(words: Words) -> list[str]:
    given = words.rest()
    if len(given) > 3:
        raise ValueError("LOC has a size and two precisions at most")
    return given + ["1m", "10000m", "10m"][len(given) :]


def _angle(words: Words, positive: str, negative: str, limit: int) -> int:
    """Return thousandths of a second of arc, counted from 2^31."""
    parts: list[str] = []
    while (text := words.take()).upper() not in (positive, negative):
        parts.append(text)
    try:
        degrees, minutes = (int(part) for part in [*parts, "0", "0"][:2])
        thousandths = round(float(parts[2]) * 1000) if len(parts) > 2 else 0
    except ValueError:
        raise ValueError(f"{' '.join(parts)!r} is no angle") from None
    total = (degrees * 60 + minutes) * 60_000 + thousandths
    fits = 0 <= minutes < 60 and 0 <= thousandths < 60_000 and 0 <= total <= limit * 3_600_000
    if not parts or len(parts) > 3 or not fits:
        raise ValueError(f"{' '.join(parts)!r} is no angle up to {limit} degrees")
    return _EQUATOR + (total if text.upper() == positive else -total)


def _centimetres(text: str) -> int:
    match = _METRES.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no length in metres")
    fraction = int((match[2] or "").ljust(2, "0"))
    return int(match[1]) * 100 + (-fraction if text.startswith("-") else fraction)


def _size(centimetres: int) -> int:
    """Return a size as one digit and a power of ten (RFC 1876 §2)."""
    exponent = max(0, len(str(max(centimetres, 0))) - 1)
    if centimetres < 0 or exponent > 9:
        raise ValueError("a size is from 0 to 90000000m")
    return centimetres // int(10**exponent) << 4 | exponent


def _prefixes(words: Words) -> bytes:
    """Source: RFC 3123 §4: `1:192.0.2.0/24 !2:2001:db8::/32`."""
    found = b""
    for text in words.rest():
        negated, plain = text.startswith("!"), text.removeprefix("!")
        family, _, prefix = plain.partition(":")
        try:
            network = ip_network(prefix)
        except ValueError:
            raise ValueError(f"{text!r} is no address prefix") from None
        if family != {4: "1", 6: "2"}[network.version]:
            raise ValueError(f"{text!r}: the family of IPv4 is 1, of IPv6 2")
        octets = network.network_address.packed.rstrip(b"\0")
        found += bytes([0, int(family), network.prefixlen, negated << 7 | len(octets)]) + octets
    return found


def _gateway(words: Words) -> bytes:
    """Precedence, kind of gateway, algorithm, gateway (RFC 4025 §3.1)."""
    head = fields.U8(words) + fields.U8(words) + fields.U8(words)
    kinds: dict[int, Field] = {0: _none, 1: fields.ipv4, 2: fields.ipv6, 3: fields.name}
    if head[1] not in kinds:
        raise ValueError("the kind of gateway is 0 to 3")
    return head + kinds[head[1]](words)


def _none(words: Words) -> bytes:
    if words.take() != ".":
        raise ValueError("without a gateway stands a dot")
    return b""


def _parameters(words: Words) -> bytes:
    """Source: RFC 9460 §2.1, §2.2: on the wire they are sorted by key."""
    found: dict[int, bytes] = {}
    for text in _pairs(words.rest()):
        word, equals, value = text.partition("=")
        key = _key(word)
        if key in found:
            raise ValueError(f"{word} stands twice")
        read = _VALUES.get(key, fields.octets_of)
        if key == _KEYS["no-default-alpn"]:
            if equals and value:
                raise ValueError(f"{word} has no value")
        elif not equals and key in _VALUES:
            raise ValueError(f"{word} has a value")
        found[key] = read(value) if equals and value else b""
    return b"".join(
        key.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value for key, value in sorted(found.items())
    )


def _pairs(words: list[Word]) -> list[str]:
    """Return the words with a quoted value joined to the key in front of it."""
    pairs: list[str] = []
    for word in words:
        if pairs and word.is_joined and pairs[-1].endswith("="):
            pairs[-1] += word
        else:
            pairs.append(word)
    return pairs


def _key(word: str) -> int:
    lower = word.lower()
    if lower in _KEYS:
        return _KEYS[lower]
    if lower.startswith("key") and lower[3:].isdecimal() and int(lower[3:]) < 65536:
        return int(lower[3:])
    raise ValueError(f"unknown service parameter {word!r}")


def _keys(text: str) -> bytes:
    return b"".join(sorted(_key(word).to_bytes(2, "big") for word in text.split(",")))


def _protocols(text: str) -> bytes:
    """A list with escapes of its own, behind those of master files (RFC 9460 §A.1)."""
    octets = fields.octets_of(text)
    found = b""
    for item in re.findall(rb"(?:\\.|[^\\,])+", octets):
        plain = re.sub(rb"\\(.)", rb"\1", item)
        if len(plain) > 255:
            raise ValueError("a protocol's name has at most 255 octets")
        found += bytes([len(plain)]) + plain
    return found


def _addresses(kind: type[IPv4Address] | type[IPv6Address]) -> Callable[[str], bytes]:
    def read(text: str) -> bytes:
        return b"".join(kind(address).packed for address in text.split(","))

    return read


def _port(text: str) -> bytes:
    return fields.number_of(text, 2)


_VALUES: dict[int, Callable[[str], bytes]] = {
    _KEYS["mandatory"]: _keys,
    _KEYS["alpn"]: _protocols,
    _KEYS["port"]: _port,
    _KEYS["ipv4hint"]: _addresses(IPv4Address),
    _KEYS["ech"]: fields.base64_of,
    _KEYS["ipv6hint"]: _addresses(IPv6Address),
}

FORMATS: dict[str, tuple[Field, ...]] = {
    "LOC": (_location,),
    "APL": (_prefixes,),
    "IPSECKEY": (_gateway, fields.base64_rest),
    "SVCB": (fields.U16, fields.name, _parameters),
    "HTTPS": (fields.U16, fields.name, _parameters),
}
