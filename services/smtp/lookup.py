"""The resolver that the mail service asks: services.dns.stub, in the words of routing."""

from __future__ import annotations

import random
from collections.abc import Sequence

from services.dns.stub import Answer, ResolutionFailed, StubResolver
from services.smtp.errors import LookupFailed
from services.smtp.mx import Exchanger
from services.smtp.routing import NoSuchDomain


class StubLookups:
    """Look-ups through the recursive resolvers of the host, as routing.Resolver has them."""

    def __init__(self, servers: Sequence[str], *, port: int, rng: random.Random) -> None:
        self._stub = StubResolver(servers, port=port, rng=rng) if servers else None

    async def mx(self, domain: str) -> list[Exchanger]:
        """Return the MX records of `domain`. Raises: NoSuchDomain, LookupFailed."""
        answer = await self._query(domain, "MX")
        if answer.rcode == "NXDOMAIN":
            raise NoSuchDomain(f"the domain {domain} does not exist")
        return [_exchanger(record.data) for record in answer.records if record.rtype == "MX"]

    async def addresses(self, host: str) -> list[str]:
        """Return the IPv4 addresses of `host`. Raises: LookupFailed."""
        answer = await self._query(host, "A")
        return [record.data for record in answer.records if record.rtype == "A"]

    async def _query(self, name: str, rtype: str) -> Answer:
        if self._stub is None:
            raise LookupFailed("no name server is configured")
        try:
            return await self._stub.query(name, rtype)
        except ResolutionFailed as error:
            raise LookupFailed(f"{name}/{rtype}: {error}") from error


def _exchanger(data: str) -> Exchanger:
    preference, _, host = data.partition(" ")
    # The root's name, without its final dot, is empty: a null MX (RFC 7505 §3).
    return Exchanger(preference=int(preference), host=host or ".")
