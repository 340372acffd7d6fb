"""Random streams that depend on what they are for, not on the order of draws.

Theory of operation. A run can be repeated only if every choice in it comes from the run's seed. One
shared generator would not do: a second message, or two tasks that swap places, would shift every later
draw. So each choice has a stream of its own, keyed by (seed, host, role, purpose, subject): the shuffle
of the exchangers for message X draws the same numbers whatever else happens.
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """The streams of one role on one host."""

    seed: int
    host: str
    role: str

    def digest(self, purpose: str, subject: str) -> bytes:
        """Return 32 bytes that are equal for equal keys and unrelated for different ones."""
        key = f"{_prefix(self.seed, self.host, self.role, purpose)}, {json.dumps(subject)}]"
        return hashlib.sha256(key.encode()).digest()

    def stream(self, purpose: str, subject: str) -> random.Random:
        """Return a fresh generator at the start of the stream for `purpose` and `subject`."""
        return random.Random(int.from_bytes(self.digest(purpose, subject)))


@lru_cache(maxsize=64)
def _prefix(seed: int, host: str, role: str, purpose: str) -> str:
    """The beginning of a key as a JSON list, which is the same for many subjects."""
    return json.dumps([seed, host, role, purpose])[:-1]
