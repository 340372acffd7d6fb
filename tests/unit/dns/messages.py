"""The corpus of odd messages (corpus/README.md), and queries to make others of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True, slots=True, kw_only=True)
class Odd:
    """One message of the corpus: how ours answers, and how NSD differs, if it does."""

    name: str
    expect: str
    nsd: str
    packet: bytes


def corpus() -> list[Odd]:
    """Return the messages of the corpus by name."""
    return [_read(path) for path in sorted(CORPUS.glob("*.hex"))]


def _read(path: Path) -> Odd:
    told = {"expect": "", "nsd": ""}
    octets = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        key, _, text = line.partition(" ")
        if key in told:
            told[key] = text
        elif key != "#":
            octets += line
    return Odd(name=path.stem, expect=told["expect"], nsd=told["nsd"], packet=bytes.fromhex(octets))
