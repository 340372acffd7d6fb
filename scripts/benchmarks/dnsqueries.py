"""Zones and query mixes for `scripts/bench dns`; pure.

Theory of operation. A zone is made of blocks of twenty records: ten hosts, of which some have AAAA, MX or TXT
records too, an alias, and a delegation with its glue. Of a thousand queries

    600  are for names and types that exist
    200  for random names that do not
    100  for random names below a delegation
    100  for names that exist, with EDNS: DO, several payload sizes, cookies, options nobody knows

in random order and in letters of random case. Names that exist are asked in turn, each time for the next of
their types, so none comes more than twice in a thousand queries; a random one does not come again. (A
resolver's cache can only be warm for names from a list: there all are asked in turn.) dnsperf's own format
knows no EDNS by the query, so queries are packets in its binary format (`-B`), with their length in front.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

BLOCK = 20  # records
CHILD_SERVERS = ("127.0.4.1", "127.0.4.2")
_KINDS = ("exists",) * 60 + ("random",) * 20 + ("below",) * 10 + ("edns",) * 10
_TYPES = {"A": 1, "CNAME": 5, "MX": 15, "TXT": 16, "AAAA": 28}
_PAYLOADS = (512, 1232, 1400, 4096)
_COOKIE, _PADDING, _UNKNOWN = 10, 12, 65001
_DO = 0x8000


class Asked(NamedTuple):
    """A name, on the wire in lower case, and the types to ask it for in turn."""

    wire: bytes
    types: tuple[int, ...]


class Pool(NamedTuple):
    """What a mix asks in turn: names that exist, that do not, and that lie below a delegation.

    A name of the last two gets a random label in front if `fresh`.
    """

    existing: tuple[Asked, ...]
    missing: tuple[Asked, ...]
    below: tuple[Asked, ...]
    fresh: bool


def zone_text(origin: str, records: int) -> str:
    """Return a zone of `records` records and its SOA and NS."""
    lines = [_head(origin, ("127.0.3.1",))]
    for block in range(records // BLOCK):
        lines += _block(block)
    return "\n".join(lines) + "\n"


def child_zone_text(origin: str) -> str:
    """Return a delegated zone, in which `www` and `mail` exist."""
    return _head(origin, CHILD_SERVERS) + "\n@ MX 10 mail\nmail A 198.18.0.1\nwww A 198.18.0.2\n"


def referring_zone_text(origin: str, delegations: Sequence[str], servers: Sequence[str], own: str) -> str:
    """Return a zone, served at `own`, that delegates each of these names to servers at these addresses."""
    lines = [_head(origin, (own,))]
    for name in delegations:
        for number, address in enumerate(servers, 1):
            lines += [f"{name} NS ns{number}.{name}", f"ns{number}.{name} A {address}"]
    return "\n".join(lines) + "\n"


def _head(origin: str, servers: Sequence[str]) -> str:
    lines = [f"$ORIGIN {origin.rstrip('.')}.", "$TTL 86400", "@ SOA ns1 hostmaster 1 7200 900 1209600 86400"]
    for number, address in enumerate(servers, 1):
        lines += [f"@ NS ns{number}", f"ns{number} A {address}"]
    return "\n".join(lines)


def _block(block: int) -> Iterator[str]:
    for host in range(10):
        yield f"h{block}-{host} A 198.18.{block % 256}.{host + 1}"
    for host in range(2):
        yield f"h{block}-{host} AAAA 2001:db8::{block:x}:{host}"
        yield f"h{block}-{host} MX 10 h{block}-{host + 2}"
    yield f'h{block}-4 TXT "v=spf1 mx -all"'
    yield f"www{block} CNAME h{block}-5"
    yield from (f"d{block} NS ns{number}.d{block}" for number in (1, 2))
    yield from (f"ns{number}.d{block} A {address}" for number, address in enumerate(CHILD_SERVERS, 1))


def authoritative_pool(origin: str, records: int) -> Pool:
    """Return what is asked of a server of `zone_text(origin, records)`."""
    cuts = tuple(Asked(to_wire(name), (_TYPES["A"],)) for name in cut_names(origin, records))
    return Pool(_existing(origin, records), (Asked(to_wire(origin), (_TYPES["A"],)),), cuts, fresh=True)


def resolver_pool(origin: str, records: int) -> Pool:
    """Return what is asked of a resolver that finds that zone, and `child_zone_text` below its cuts."""
    cuts = cut_names(origin, records)
    below = [Asked(to_wire(f"{host}.{cut}"), (_TYPES["A"],)) for host in ("www", "mail") for cut in cuts]
    missing = [Asked(to_wire(f"no{number}.{origin}"), (_TYPES["A"],)) for number in range(records // 3)]
    return Pool(_existing(origin, records), tuple(missing), tuple(below), fresh=False)


def cut_names(origin: str, records: int) -> list[str]:
    """Return the names that `zone_text` delegates."""
    return [f"d{block}.{origin}" for block in range(records // BLOCK)]


def _existing(origin: str, records: int) -> tuple[Asked, ...]:
    types: dict[str, list[str]] = {}
    for block in range(records // BLOCK):
        types |= {f"h{block}-{host}": ["A"] for host in range(10)} | {f"www{block}": ["A"]}
        for host in range(2):
            types[f"h{block}-{host}"] += ["AAAA", "MX"]
        types[f"h{block}-4"].append("TXT")
    asked = [
        Asked(to_wire(f"{name}.{origin}"), tuple(_TYPES[t] for t in kinds)) for name, kinds in types.items()
    ]
    random.Random(origin).shuffle(asked)
    return tuple(asked)


def to_wire(name: str) -> bytes:
    """Return a name's octets on the wire."""
    labels = [label.encode("ascii") for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def everything(pool: Pool) -> Iterator[bytes]:
    """Yield a query for each name and type of the pool."""
    for part in (pool.existing, pool.missing, pool.below):
        for asked in part:
            for rtype in asked.types:
                yield query(asked.wire, rtype)


def mix(pool: Pool, count: int, rng: random.Random) -> Iterator[bytes]:
    """Yield `count` queries, in hundreds of the proportions above."""
    turns = {
        "exists": (existing := _in_turn(pool.existing)),
        "random": _in_turn(pool.missing, rng if pool.fresh else None),
        "below": _in_turn(pool.below, rng if pool.fresh else None),
        "edns": existing,
    }
    kinds = list(_KINDS)
    for _ in range(count // len(kinds)):
        rng.shuffle(kinds)
        for kind in kinds:
            wire, rtype = next(turns[kind])
            yield query(_any_case(wire, rng), rtype, _edns(rng) if kind == "edns" else b"")


def _in_turn(part: Sequence[Asked], rng: random.Random | None = None) -> Iterator[tuple[bytes, int]]:
    """Yield names in turn for ever, each time for the next type; with `rng` below a random label."""
    turn = 0
    while True:
        for wire, types in part:
            label = b"" if rng is None else b"\x0a" + b"%010x" % rng.getrandbits(40)
            yield label + wire, types[turn % len(types)]
        turn += 1


def _any_case(wire: bytes, rng: random.Random) -> bytes:
    # A length octet is at most 63, below every letter; the root's is 0.
    chance = rng.getrandbits(len(wire))
    return bytes([c ^ 0x20 if chance >> i & 1 and 97 <= c <= 122 else c for i, c in enumerate(wire)])


def _edns(rng: random.Random) -> bytes:
    options = rng.choice(
        (
            b"",
            _option(_COOKIE, rng.randbytes(8)),
            _option(_PADDING, bytes(rng.randrange(32))),
            _option(_UNKNOWN, rng.randbytes(4)),
            _option(_COOKIE, rng.randbytes(8)) + _option(_UNKNOWN, b""),
        )
    )
    return (
        b"\0" + struct.pack("!HHIH", 41, rng.choice(_PAYLOADS), rng.choice((0, _DO)), len(options)) + options
    )


def _option(code: int, data: bytes) -> bytes:
    return struct.pack("!HH", code, len(data)) + data


def query(wire: bytes, rtype: int, opt: bytes = b"") -> bytes:
    """Return a query of class IN with RD set; its id is for the sender to fill in."""
    return struct.pack("!6H", 0, 0x0100, 1, 0, 0, bool(opt)) + wire + struct.pack("!HH", rtype, 1) + opt
