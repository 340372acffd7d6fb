"""The order in which a sender tries a domain's mail exchangers.

Theory of operation. A domain answers with MX records, with a null MX, or with none at all:

    MX records      try them by preference, lowest first; equal ones in random order, by weight
    null MX         the domain takes no mail: a permanent failure (RFC 7505)
    no MX           the domain itself is the only candidate, if it has an address (RFC 5321 §5.1)

A host that finds *itself* in the list must not send to anyone at its own preference or above, or two
backup servers would pass a message back and forth (RFC 5321 §5.1). If that leaves nobody, the message
loops: also permanent.

DNS gives MX records no weight (unlike SRV, RFC 2782): weights are the sender's own, of its route. A host of
weight 3 comes before one of weight 1 three times out of four.

Nothing here asks DNS or keeps time: the records come in, the order goes out.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from services.smtp.errors import SmtpError


class RoutingError(SmtpError):
    """No host may be tried. The tree: RoutingError > NullMx, MailLoop (and those of routing)."""

    enhanced_code = "5.4.4"


class NullMx(RoutingError):
    """The domain publishes that it takes no mail (RFC 7505 §4.1)."""

    enhanced_code = "5.1.10"


class MailLoop(RoutingError):
    """Every remaining exchanger is this host or less preferred than it (RFC 5321 §5.1)."""

    enhanced_code = "5.4.6"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchanger:
    """One MX record: `host` takes mail; lower `preference` (0 to 65535) is tried earlier."""

    preference: int
    host: str


def delivery_order(
    domain: str,
    records: Sequence[Exchanger],
    *,
    own_names: Collection[str],
    rng: random.Random,
    weights: Mapping[str, int] | None = None,
) -> list[str]:
    """Return the hosts to try for `domain`, best first; never empty.

    `weights` are those of hosts, by name in lower case; others have 1. Names compare without case.
    An empty `records` means that the domain has no MX at all.
    Raises: NullMx, MailLoop.
    Source: RFC 5321 §5.1; RFC 7505 §3.
    """
    if not records:
        return [domain]
    if [record.host for record in records] == ["."]:
        raise NullMx(domain)

    allowed = _below_own_preference(records, {name.lower() for name in own_names})
    if not allowed:
        raise MailLoop(domain)
    return [record.host for record in _by_preference(allowed, rng, weights or {})]


def _below_own_preference(records: Sequence[Exchanger], own: Collection[str]) -> list[Exchanger]:
    ours = [record.preference for record in records if record.host.lower() in own]
    limit = min(ours, default=None)
    return [record for record in records if limit is None or record.preference < limit]


def _by_preference(
    records: Sequence[Exchanger], rng: random.Random, weights: Mapping[str, int]
) -> list[Exchanger]:
    ordered: list[Exchanger] = []
    preference = attrgetter("preference")
    for _, equals in groupby(sorted(records, key=preference), key=preference):
        # Sorted by name first, so that the order depends on the seed alone and not on the answer's.
        left = sorted(equals, key=attrgetter("host"))
        if not weights:
            rng.shuffle(left)
        while weights and left:
            shares = [weights.get(record.host.lower(), 1) for record in left]
            (chosen,) = rng.choices(range(len(left)), shares)
            ordered.append(left.pop(chosen))
        ordered += left
    return ordered
