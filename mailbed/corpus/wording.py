"""How a template becomes a text.

Theory of operation. Braces hold alternatives, `{Hi|Hello|Good morning}`, which may hold further ones;
`{$name}` is a slot, filled with the value that the message has for it, or with one drawn from the slot's
stock and kept for the rest of the message. An alternative may be empty. All follows from the generator.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

from mailbed.corpus.stock import STOCK

_INNERMOST = re.compile(r"\{([^{}]*)\}")


class Wording:
    """The texts of one message: a slot has the same value in all of them."""

    def __init__(self, rng: random.Random, values: Mapping[str, str]) -> None:
        self._rng = rng
        self._values = dict(values)

    def filled(self, template: str) -> str:
        """Return a text that the template stands for. Raises: KeyError for a slot that has no stock."""
        while found := _INNERMOST.search(template):
            template = template[: found.start()] + self._chosen(found[1]) + template[found.end() :]
        return template

    def _chosen(self, inside: str) -> str:
        if not inside.startswith("$"):
            return self._rng.choice(inside.split("|"))
        name = inside[1:]
        if name not in self._values:
            # Its own slots are filled by the loop above, and then they are kept.
            self._values[name] = self.filled(self._rng.choice(STOCK[name]))
        return self._values[name]
