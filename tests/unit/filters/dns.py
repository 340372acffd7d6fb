"""DNS as a table: what authentication asks, answered without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.filters.authentication import LookupFailed

Table = Mapping[tuple[str, str], Sequence[object]]

FAILS = "fails"
"""As the only data of a name and type: nobody answers."""


class TableResolver:
    """Answers from a table of (name, type): TXT data are strings or bytes, MX `10 host`."""

    def __init__(self, table: Table) -> None:
        self._table = {(name.lower(), rtype): data for (name, rtype), data in table.items()}
        self.asked: list[tuple[str, str]] = []

    async def txt(self, name: str) -> list[bytes]:
        return [one if isinstance(one, bytes) else str(one).encode() for one in self._data(name, "TXT")]

    async def a(self, name: str) -> list[str]:
        return [str(one) for one in self._data(name, "A")]

    async def aaaa(self, name: str) -> list[str]:
        return [str(one) for one in self._data(name, "AAAA")]

    async def mx(self, name: str) -> list[tuple[int, str]]:
        pairs = [str(one).split() for one in self._data(name, "MX")]
        return [(int(preference), host) for preference, host in pairs]

    async def ptr(self, name: str) -> list[str]:
        return [str(one) for one in self._data(name, "PTR")]

    def _data(self, name: str, rtype: str) -> Sequence[object]:
        key = name.rstrip(".").lower(), rtype
        self.asked.append(key)
        data = self._table.get(key, ())
        if list(data) == [FAILS]:
            raise LookupFailed(f"{name} {rtype}: time-out")
        return data
