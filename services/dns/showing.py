"""What a resolver tells of its cache to whoever asks the lab: the methods `cache.show` and `cache.flush`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from services.dns import names
from services.dns.cache import Cache
from services.dns.names import Name


class Showing:
    """A cache's two methods; `name` limits them to that name and what lies below (default: all)."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def show(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return `entries` (services.dns.entry), by name. Raises: ValueError."""
        return {"entries": [asdict(entry) for entry in self._cache.entries(_below(params))]}

    def flush(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Forget what `show` would show; return how much it was as `flushed`. Raises: ValueError."""
        return {"flushed": self._cache.flush(_below(params))}


def _below(params: Mapping[str, Any]) -> Name:
    # A misspelt parameter must not flush everything.
    unknown = set(params) - {"name"}
    if unknown:
        raise ValueError(f"unknown parameter {min(unknown)!r}")
    return names.lower(names.from_text(str(params.get("name", "."))))
