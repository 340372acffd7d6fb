"""What the author's domain wants done with mail that cannot prove to be its own: DMARC (RFC 7489).

Theory of operation. The policy is published at `_dmarc.DOMAIN`, or at that of the organisational domain
(§6.6.3), and is met when SPF or a DKIM signature passes for a domain that is *aligned* with the author's: the
same one if it asks for strict alignment, else one of the same organisation (§3.1).

    record        p= for the domain itself, sp= for those below it, pct= of the messages
    disposition   what it comes to for this message: none, quarantine, reject

authheaders reads records. What follows from one is decided here, since authheaders 0.16 applies sp= to the
domain itself, compares SPF's domain up to its first hyphen only, and knows no pct=.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from authheaders.dmarc_lookup import DMARCException, answer_to_dict

from services.filters.authentication.results import Disposition, Dmarc, Result, Signature

Organisation = Callable[[str], str]

_VERSION = "v=DMARC1"
_WEAKER: dict[Disposition, Disposition] = {"reject": "quarantine", "quarantine": "none", "none": "none"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A published policy: `name` is the domain it stands at, `pct` lies between 0 and 100."""

    name: str
    text: str
    p: Disposition
    sp: Disposition
    pct: int = 100
    strict_dkim: bool = False
    strict_spf: bool = False

    def policy(self, domain: str) -> Disposition:
        """Return what it says of `domain`, the one it stands at or one below that."""
        return self.p if domain == self.name else self.sp


def read(name: str, texts: Sequence[bytes]) -> Record | None:
    """Return the policy in the TXT records at `_dmarc.NAME`; None if there is none, or more than one.

    A record without a valid p= counts as p=none if it says where reports go, else as none at all
    (RFC 7489 §6.6.3). Raises: ValueError for one that cannot be read.
    """
    found = [text for text in (raw.decode("utf-8", "replace").strip() for raw in texts) if _is_record(text)]
    if len(found) != 1:
        return None
    try:
        tags = answer_to_dict(found[0])
    except DMARCException as error:
        raise ValueError(str(error)) from error
    p = _disposition(tags.get("p", ""))
    if p is None and "rua" not in tags:
        return None
    p = p or "none"
    pct = tags.get("pct", "100")
    return Record(
        name=name,
        text=found[0],
        p=p,
        sp=_disposition(tags.get("sp", "")) or p,
        pct=min(int(pct), 100) if pct.isascii() and pct.isdigit() else 100,
        strict_dkim=tags.get("adkim") == "s",
        strict_spf=tags.get("aspf") == "s",
    )


def evaluate(
    domain: str,
    record: Record | None,
    spf: Result,
    signatures: Collection[Signature],
    *,
    organisation: Organisation,
    sample: int,
) -> Dmarc:
    """Return DMARC's result for the author's domain.

    `sample` is a number below 100, drawn for this message: below pct= the policy applies as it is, above it
    the next weaker one (§6.6.4). Where DNS failed for an aligned domain nothing is known yet: `temperror`.
    """
    if record is None:
        return Dmarc(result="none", domain=domain)

    def aligned(other: str, *, strict: bool) -> bool:
        return other == domain or (not strict and organisation(other) == organisation(domain))

    by_spf = aligned(spf.domain, strict=record.strict_spf) and spf.result
    by_dkim = {
        signature.result
        for signature in signatures
        if signature.domain and aligned(signature.domain, strict=record.strict_dkim)
    }
    policy = record.policy(domain)
    if by_spf == "pass" or "pass" in by_dkim:
        result, disposition = "pass", "none"
    elif by_spf == "temperror" or "temperror" in by_dkim:
        result, disposition = "temperror", "none"
    else:
        result, disposition = "fail", policy if sample < record.pct else _WEAKER[policy]
    return Dmarc(
        result=result,
        domain=domain,
        policy=policy,
        disposition=_disposition(disposition) or "none",
        reason="" if result != "fail" or disposition == policy else f"pct={record.pct}",
        published_at=record.name,
        record=record.text,
        spf_aligned=by_spf == "pass",
        dkim_aligned="pass" in by_dkim,
    )


def strictest(found: Sequence[Dmarc]) -> Dmarc:
    """Return the result that asks for the most, of those for several authors (§6.6.1)."""
    order = ("reject", "quarantine", "none")
    return min(found, key=lambda one: (order.index(one.disposition), one.result == "pass"))


def _is_record(text: str) -> bool:
    version, _, _ = text.partition(";")
    return "".join(version.split()) == _VERSION


def _disposition(text: str) -> Disposition | None:
    match text:
        case "none" | "quarantine" | "reject":
            return text
    return None
