"""Real DNS on loopback: our authoritative server, and our resolver in front of it."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from services.dns import authoritative, recursive
from services.dns.authoritative import AuthoritativeConfig
from services.dns.recursive import RecursiveConfig
from services.filters.authentication import HostResolver
from tests.unit.dns.test_server_edge import running

_SERVER, _DEAD = "127.0.0.1", "127.0.0.9"
_ROOT = f"""
. 60 SOA ns.test. hostmaster.test. 1 1800 900 604800 0
. 60 NS ns.test.
ns.test. 60 A {_SERVER}
dead. 60 NS ns.dead.
ns.dead. 60 A {_DEAD}
"""

DEAD = "CNAME dead."
"""As a record: a name for which no server answers."""


@contextlib.asynccontextmanager
async def resolver(directory: Path, lines: Iterable[str]) -> AsyncIterator[HostResolver]:
    """Within it, a resolver that finds these master-file lines, whose names are absolute, from the root."""
    zone, hints = directory / "root.zone", directory / "named.root"
    zone.write_text(_ROOT + "\n".join(lines) + "\n", encoding="utf-8")
    hints.write_text(f". 3600000 NS ns.test.\nns.test. 3600000 A {_SERVER}\n")
    serving = AuthoritativeConfig(listen=(_SERVER,), port=0, zones={".": zone})
    async with running(authoritative.serve, serving) as server:
        resolving = RecursiveConfig(
            listen=(_SERVER,), port=0, hints=hints, upstream_port=server.port, timeout_s=0.2, total_s=2.0
        )
        async with running(recursive.serve, resolving) as told:
            yield HostResolver([_SERVER], port=told.port, rng=random.Random(1))


def owner(name: str) -> str:
    """A name as it stands in a master file, absolute."""
    labels = name.rstrip(".").split(".")
    return ".".join("".join(map(_escaped, label)) for label in labels) + "."


def quoted(text: str) -> str:
    """A string as it stands in a master file."""
    octets = text.encode("utf-8")
    return '"' + "".join(chr(o) if 32 <= o < 127 and o not in b'"\\' else f"\\{o:03}" for o in octets) + '"'


def _escaped(char: str) -> str:
    return char if char.isalnum() or char in "-_" else f"\\{ord(char):03}"
