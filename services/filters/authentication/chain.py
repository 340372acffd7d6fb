"""Who vouches for a message that was changed on its way: ARC (RFC 8617), by dkimpy.

Theory of operation. Who changes a message (a mailing list) seals it: the seal holds what was found when it
came in (`Authentication-Results`), signed, and the chain of earlier seals. A recipient for whom DMARC fails
may trust a sealer, and what this one found.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from dataclasses import dataclass

import dkim

from services.errors import ServiceError
from services.filters.authentication.lookups import Blocking, LookupFailed
from services.filters.authentication.results import Authentication
from services.filters.authentication.signatures import Heard, key_source
from services.filters.header import values, without_results_of

# What a list keeps, or sets, and a later hop does not change.
_SIGNED = (
    b"from", b"to", b"cc", b"subject", b"date", b"message-id", b"reply-to", b"in-reply-to", b"references",
    b"mime-version", b"content-type", b"content-transfer-encoding", b"list-id", b"list-post",
    b"list-unsubscribe",
)  # fmt: skip

_FIELDS = ("ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results")

MAX_SETS = 50
"""Seals that a chain may have (RFC 8617 §4.2.1)."""

log = logging.getLogger(__name__)


class SealingFailed(ServiceError):
    """The message cannot be sealed; it can be sent without a seal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """One set of a chain that is valid as a whole: who sealed, and what they found when the message came."""

    instance: int
    domain: str
    results: str

    def found(self, method: str) -> str:
        """Return the result of a method (`dmarc`) as the sealer wrote it; empty if it did not."""
        result = re.search(rf"(?:^|;)\s*{re.escape(method)}\s*=\s*([a-z]+)", self.results, re.IGNORECASE)
        return result[1].lower() if result else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """The chain's result (none, pass, fail, temperror) and, if it passes, its seals, latest first."""

    result: str
    seals: tuple[Seal, ...] = ()
    reason: str = ""

    def vouched_by(self, trusted: Collection[str]) -> str:
        """Return the first sealer, if all are trusted and that one had seen DMARC pass; else nothing."""
        if self.result != "pass" or not all(seal.domain in trusted for seal in self.seals):
            return ""
        first = self.seals[-1]
        return first.domain if first.found("dmarc") == "pass" else ""


def verify(message: bytes, resolver: Blocking) -> Chain:
    """Return the chain's status when the message came in (RFC 8617 §5.2); too long a chain is broken."""
    if sum(len(values(message, name)) for name in _FIELDS) > len(_FIELDS) * MAX_SETS:
        return Chain(result="fail", reason=f"more than {MAX_SETS} seals")
    try:
        status, sets, comment = dkim.ARC(message, logger=Heard()).verify(dnsfunc=key_source(resolver))
    except LookupFailed as error:
        return Chain(result="temperror", reason=str(error))
    except Exception as error:
        # A stranger's chain that dkimpy stumbles over must not stop the mail.
        log.info("ARC: %s: %s", type(error).__name__, error)
        present = re.search(rb"^arc-seal[ \t]*:", message, re.IGNORECASE | re.MULTILINE)
        return Chain(result="fail" if present else "none", reason=str(error))
    if status is None:
        # An earlier server found it broken and said so: it stays broken (§5.1.2).
        return Chain(result="fail", reason=comment)
    result = status.decode("ascii")
    if result != "pass":
        return Chain(result=result, reason=comment if result == "fail" else "")
    return Chain(result=result, seals=tuple(map(_seal, sets)))


def _seal(found: dict[str, object]) -> Seal:
    domain, results = found.get("as-domain", b""), found.get("aar-value", b"")
    return Seal(
        instance=int(str(found["instance"])),
        domain=domain.decode("ascii", "replace").lower() if isinstance(domain, bytes) else "",
        results=results.decode("utf-8", "replace") if isinstance(results, bytes) else "",
    )


def seal(
    message: bytes, found: Authentication, *, domain: str, selector: str, key: bytes, now: float
) -> bytes:
    """Return the ARC set that vouches for `message`, to be put before it: three fields, lines in CRLF.

    `message` is as it will be sent, `found` what was known when it came in; `key` is an RSA private key
    (PEM). Raises: SealingFailed.
    Source: RFC 8617 §5.1.
    """
    results = found.header().encode() + b"\r\n"
    # Of the results only ours count, and only these: dkimpy takes them, and the chain's status, from there.
    text = results + without_results_of(message, found.authserv_id)
    try:
        fields = dkim.arc_sign(
            text,
            selector.encode(),
            domain.encode(),
            key,
            found.authserv_id.encode(),
            include_headers=_SIGNED,
            timestamp=int(now),
            logger=Heard(),
        )
    except Exception as error:
        # dkimpy raises whatever a message that it cannot read makes it raise.
        raise SealingFailed(f"the message cannot be sealed: {error}") from error
    if not fields:
        raise SealingFailed("the message cannot be sealed: its chain has ended")
    return b"".join(re.sub(rb"\r?\n", b"\r\n", field.rstrip()) + b"\r\n" for field in fields)
