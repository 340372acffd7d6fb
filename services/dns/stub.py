"""The stub resolver: what the other services ask with.

Theory of operation. It asks the configured recursive resolvers in their order, as resolv.conf(5) has it: the
next one on a time-out, a refusal or a server failure, all of them again for each attempt. That a name or a
type does not exist is an answer, not a failure.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from services.dns import message, names
from services.dns.asking import Ask, Failure, ask
from services.dns.client import exchange
from services.dns.message import Malformed
from services.dns.names import Name
from services.dns.records import data_text
from services.dns.responses import Response, read_response
from services.errors import ServiceError


class ResolutionFailed(ServiceError):
    """No server gave an answer (time-out, SERVFAIL, REFUSED): temporary, worth another try later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record as text: names in lower case without a final dot, `ttl` in seconds.

    `data` of an MX is `10 mx1.example.org`; that of a TXT is its strings joined, without quotes.
    """

    name: str
    ttl: int
    rtype: str
    data: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer section, CNAMEs included and in order; `rcode` is `NOERROR` or `NXDOMAIN`.

    NOERROR with no record of the type asked for is NoData.
    """

    rcode: str
    records: tuple[Record, ...]

    def data(self, rtype: str) -> tuple[str, ...]:
        """Return the data of the records of one type."""
        return tuple(record.data for record in self.records if record.rtype == rtype)


class StubResolver:
    """Asks recursive resolvers, given by IPv4 address. `rng` gives ids and source ports."""

    def __init__(
        self,
        servers: Sequence[str],
        *,
        port: int = 53,
        timeout_s: float = 5.0,
        attempts: int = 2,
        rng: random.Random,
    ) -> None:
        self._servers = tuple(servers)
        self._port = port
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._rng = rng

    async def query(self, name: str, rtype: str) -> Answer:
        """Return the answer for `name` (absolute, a final dot is optional) and `rtype`, such as `MX`.

        A name that cannot exist (an empty label, one above 63 octets) is answered NXDOMAIN without asking.
        Raises: ResolutionFailed: waits at most time-out x servers x attempts; ValueError: no such type.
        """
        number = names.type_number(rtype)
        try:
            labels = names.from_text(name)
        except names.BadName:
            return Answer(rcode="NXDOMAIN", records=())
        failures: list[str] = []
        for server in self._servers * self._attempts:
            result = await self._ask(server, labels, number)
            if isinstance(result, Answer):
                return result
            failures.append(f"{server}: {result}")
        tried = ", ".join(dict.fromkeys(failures)) or "no servers are configured"
        raise ResolutionFailed(f"{name} {rtype}: {tried}")

    async def _ask(self, server: str, name: Name, rtype: int) -> Answer | str:
        """Return the server's answer, or what it gave instead."""
        query = ask(server, name, rtype, rng=self._rng, timeout_s=self._timeout_s, recurse=True)
        result = await self._exchange(query)
        if isinstance(result, Response) and result.flags & message.TC:
            result = await self._exchange(query._replace(stream=True))
        if isinstance(result, Failure):
            return result.value
        if result.rcode not in (names.NOERROR, names.NXDOMAIN):
            return names.rcode_text(result.rcode)
        return _answer(result)

    async def _exchange(self, query: Ask) -> Response | Failure:
        result = await exchange(query, self._port)
        if isinstance(result, Failure):
            return result
        try:
            return read_response(result)
        except Malformed:
            return Failure.MALFORMED


def _answer(response: Response) -> Answer:
    return Answer(
        rcode=names.rcode_text(response.rcode),
        records=tuple(
            Record(
                name=names.to_text(rrset.owner),
                ttl=rrset.ttl,
                rtype=names.type_text(rrset.rtype),
                data=data_text(rdata),
            )
            for rrset in response.answer
            for rdata in rrset.rdatas
        ),
    )
