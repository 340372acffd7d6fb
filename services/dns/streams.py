"""Random streams for choices that a run must be able to repeat.

Theory of operation. One seed drives every choice of a lab. If all draws came from one generator, a choice
would depend on how many others came before it, that is, on timing. So each subject (a question, a message)
has a stream of its own, keyed by (seed, host, role, purpose, subject): equal keys give equal draws,
whatever else happens.
"""

from __future__ import annotations

import random
from hashlib import blake2b
from typing import Protocol


class Bits(Protocol):
    """What gives random bits: `random.Random` does."""

    def getrandbits(self, k: int, /) -> int:
        """Return an integer of `k` random bits."""


class Draws:
    """The random bits of one subject: like a `stream`, but cheap to begin, for subjects that need few.

    `key` is what the draws depend on.
    """

    __slots__ = ("_bits", "_blocks", "_key", "_left")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._blocks = self._bits = self._left = 0

    def getrandbits(self, k: int, /) -> int:
        """Return an integer of `k` random bits."""
        while self._left < k:
            block = blake2b(self._key, salt=self._blocks.to_bytes(blake2b.SALT_SIZE)).digest()
            self._bits |= int.from_bytes(block) << self._left
            self._left += 8 * blake2b.MAX_DIGEST_SIZE
            self._blocks += 1
        drawn = self._bits & (1 << k) - 1
        self._bits >>= k
        self._left -= k
        return drawn


def stream(seed: int, host: str, role: str, purpose: str, subject: str) -> random.Random:
    """Return the generator for one subject; it starts anew at each call."""
    # Seeding with a string hashes all of it (SHA-512), alike in every version and process.
    return random.Random("\x1f".join((str(seed), host, role, purpose, subject)))
