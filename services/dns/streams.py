"""Random streams for choices that a run must be able to repeat.

Theory of operation. One seed drives every choice of a lab. If all draws came from one generator, a choice
would depend on how many others came before it, that is, on timing. So each subject (a question, a message)
has a stream of its own, keyed by (seed, host, role, purpose, subject): equal keys give equal draws,
whatever else happens.
"""

from __future__ import annotations

import random


def stream(seed: int, host: str, role: str, purpose: str, subject: str) -> random.Random:
    """Return the generator for one subject; it starts anew at each call."""
    # Seeding with a string hashes all of it (SHA-512), alike in every version and process.
    return random.Random("\x1f".join((str(seed), host, role, purpose, subject)))
