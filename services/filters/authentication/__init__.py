"""Who sent a message: SPF, DKIM, DMARC and ARC, checked by pyspf, dkimpy and authheaders.

    authenticate        find all of it (checking)
    Authentication      what was found, and the header field that says so (results)
    HostResolver        the host's own resolver (lookups); Resolver is what any must do
    reports, collector, due  what a recipient tells a domain about mail in its name
    seal                vouch for a message that one has changed (chain)
    without_results_of  take out forged header fields (services.filters.header)

RFC 7208 (SPF), RFC 6376 (DKIM), RFC 7489 (DMARC), RFC 8617 (ARC), RFC 8601 (the header field). To import this
takes a tenth of a second: only a process that checks mail does so.
"""

from __future__ import annotations

from services.filters.authentication.chain import SealingFailed, seal
from services.filters.authentication.checking import authenticate
from services.filters.authentication.lookups import HostResolver, LookupFailed, Resolver
from services.filters.authentication.results import Authentication, Dmarc, Result, Signature
from services.filters.header import without_results_of

__all__ = [
    "authenticate",
    "Authentication",
    "Result",
    "Signature",
    "Dmarc",
    "Resolver",
    "HostResolver",
    "LookupFailed",
    "seal",
    "SealingFailed",
    "without_results_of",
]
