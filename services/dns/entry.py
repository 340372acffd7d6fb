"""One thing that a resolver remembers, as people read it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """One thing remembered: `ttl` is what is left, in whole seconds.

    `kind` is `answer`, `delegation` (NS from a referral), `glue`, `NXDOMAIN`, `NODATA` or `SERVFAIL`; an
    NXDOMAIN holds for every type and has `rtype` ANY. `data` is one text a record, or the zone and SOA that
    say that there is none.
    """

    name: str
    rtype: str
    ttl: int
    kind: str
    data: tuple[str, ...]
