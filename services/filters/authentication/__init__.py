"""Who sent a message: SPF, DKIM, DMARC and ARC, checked by pyspf, dkimpy and authheaders.

    Authentication      what was found (results)
    Resolver            what asks DNS (lookups)

RFC 7208 (SPF), RFC 6376 (DKIM), RFC 7489 (DMARC), RFC 8617 (ARC), RFC 8601 (the header field).
"""

from __future__ import annotations

from services.filters.authentication.lookups import LookupFailed, Resolver
from services.filters.authentication.results import Authentication, Dmarc, Result, Signature

__all__ = ["Authentication", "Dmarc", "LookupFailed", "Resolver", "Result", "Signature"]
