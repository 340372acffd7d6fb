"""All that can be known about a message's sender, found in one go.

Theory of operation. SPF, DKIM and ARC are checked one after the other in a thread, since the libraries block;
their look-ups go to the host's own resolver through the event loop (`lookups`). DMARC is decided from what
they found. All look-ups together have DEADLINE_S (RFC 7208 §4.6.4); what then lacks is a `temperror`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection
from dataclasses import replace
from functools import cache
from importlib.resources import files

from publicsuffix2 import PublicSuffixList

from services.filters.authentication import chain, policy, signatures, spf
from services.filters.authentication.lookups import Blocking, LookupFailed, Resolver
from services.filters.authentication.results import Authentication, Dmarc, Result, Signature
from services.filters.header import author_domains, header_length

DEADLINE_S = 20.0

MAX_HEADER = 1 << 18
"""Octets of header above which a message is not checked: the libraries would take minutes."""

_MAX_AUTHORS = 5


async def authenticate(
    message: bytes,
    *,
    client: str,
    helo: str,
    sender: str,
    resolver: Resolver,
    authserv_id: str,
    now: float,
    trusted_sealers: Collection[str] = (),
) -> Authentication:
    """Return what is known about who sent a message, when a client at the address `client` brought it.

    `helo` and `sender` (the reverse-path, empty if null) are the envelope's, `now` in seconds since 1970.
    A failing DMARC policy is not applied where one of `trusted_sealers` (domains) vouches that it passed.
    Never raises for what a message holds or DNS does not answer.
    """
    loop = asyncio.get_running_loop()
    blocking = Blocking(resolver, loop, deadline=loop.time() + DEADLINE_S)

    def check() -> Authentication:
        by_spf = spf.check(blocking, client=client, helo=helo, sender=sender, receiver=authserv_id)
        found = Authentication(
            authserv_id=authserv_id, sender=sender, helo=helo, spf=by_spf, dmarc=Dmarc(result="none")
        )
        if header_length(message) > MAX_HEADER:
            reason = f"a header above {MAX_HEADER} octets is not read"
            return replace(found, dmarc=Dmarc(result="permerror", reason=reason))
        signed = signatures.check(message, blocking, now=now)
        sealed = chain.verify(message, blocking)
        dmarc = _dmarc(message, by_spf, signed, blocking)
        return replace(found, dkim=signed, arc=sealed.result, dmarc=_heeded(dmarc, sealed, trusted_sealers))

    return await asyncio.to_thread(check)


def _dmarc(message: bytes, by_spf: Result, signed: tuple[Signature, ...], resolver: Blocking) -> Dmarc:
    domains = author_domains(message)
    if not domains:
        return Dmarc(result="none", reason="there is no author's domain")
    sample = sample_of(message)
    found = []
    for domain in domains[:_MAX_AUTHORS]:
        try:
            record = _discover(domain, resolver)
        except LookupFailed as error:
            found.append(Dmarc(result="temperror", domain=domain, reason=str(error)))
        except ValueError as error:
            found.append(Dmarc(result="permerror", domain=domain, reason=str(error)))
        else:
            found.append(
                policy.evaluate(domain, record, by_spf, signed, organisation=organisation, sample=sample)
            )
    return policy.strictest(found)


def _discover(domain: str, resolver: Blocking) -> policy.Record | None:
    """Return the policy for a domain (RFC 7489 §6.6.3). Raises: LookupFailed, ValueError."""
    for name in dict.fromkeys((domain, organisation(domain))):
        record = policy.read(name, resolver.txt(f"_dmarc.{name}"))
        if record is not None:
            return record
    return None


def _heeded(dmarc: Dmarc, sealed: chain.Chain, trusted: Collection[str]) -> Dmarc:
    """The policy is not applied if a trusted sealer vouches for the message (RFC 8617 §7.2.1)."""
    voucher = sealed.vouched_by(trusted)
    if dmarc.result != "fail" or not voucher:
        return dmarc
    return replace(dmarc, disposition="none", reason=f"arc: it passed when {voucher} sealed it")


def sample_of(message: bytes) -> int:
    """Return a number below 100 that depends on the message alone: judged again, it is judged alike."""
    return int.from_bytes(hashlib.sha256(message).digest()[:8], "big") % 100


def organisation(domain: str) -> str:
    """Return the organisational domain: one label below the public suffix (RFC 7489 §3.2)."""
    return str(_suffixes().get_sld(domain) or domain) if domain else ""


@cache
def _suffixes() -> PublicSuffixList:
    """The list that comes with authheaders: nothing is fetched."""
    text = (files("authheaders") / "public_suffix_list.txt").read_text(encoding="utf-8")
    return PublicSuffixList(text.splitlines())
