"""What authentication asks of DNS, and the host's own resolver in these words.

A `Resolver` answers with an empty list where the name or the type does not exist, and raises LookupFailed
where nobody answers: then a check comes to `temperror`, which is not the same as `none`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from services.errors import ServiceError


class LookupFailed(ServiceError):
    """DNS gave neither an answer nor a denial: trying later may help."""


class Resolver(Protocol):
    """Names are absolute, a final dot is optional; so are names in answers. Raises: LookupFailed."""

    async def txt(self, name: str) -> Sequence[bytes]:
        """Return the TXT records, each its strings joined."""

    async def a(self, name: str) -> Sequence[str]:
        """Return the IPv4 addresses."""

    async def mx(self, name: str) -> Sequence[tuple[int, str]]:
        """Return the exchangers: preference and host name."""

    async def ptr(self, name: str) -> Sequence[str]:
        """Return the names that `name` (below in-addr.arpa) points to."""
