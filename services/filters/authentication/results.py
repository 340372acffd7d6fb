"""What is known about a message's sender, and how it is written down (RFC 8601).

Theory of operation. Each method gives a result in the words of RFC 8601 §2.7 (`pass`, `fail`, `none`, …),
and what it speaks of: the domain, the selector. The header field names them all. What came from the message
(domains, selectors, reasons) is written as a token where it is one, else quoted, so that nobody can write
another result, or another field, into ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Disposition = Literal["none", "quarantine", "reject"]

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~/-]+")
_MAX_VALUE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """SPF's result for `domain`: the reverse-path's or, if that is null, HELO's; `reason` is one line."""

    result: str
    domain: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What one DKIM-Signature field came to; `domain` is d=, `selector` s=, empty if it has none."""

    result: str
    domain: str = ""
    selector: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dmarc:
    """DMARC's result for `domain`, the author's (From).

    `policy` is the one published (empty if there is none), `disposition` what it asks for with this message:
    weaker than the policy where that is for a percentage only (RFC 7489 §6.6.4). The rest is for reports:
    `record` is the text published at the domain `published_at`; SPF or DKIM passed, aligned, or did not.
    """

    result: str
    domain: str = ""
    policy: str = ""
    disposition: Disposition = "none"
    reason: str = ""
    published_at: str = ""
    record: str = ""
    spf_aligned: bool = False
    dkim_aligned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Authentication:
    """All that was found about a message's sender; `sender` is the reverse-path, `arc` the chain's result."""

    authserv_id: str
    sender: str
    helo: str
    spf: Result
    dkim: tuple[Signature, ...] = ()
    dmarc: Dmarc
    arc: str = "none"

    def header(self) -> str:
        """Return the Authentication-Results field, folded, without its final line end (RFC 8601 §2.2)."""
        results = [self._spf(), *(map(_dkim, self.dkim) if self.dkim else ["dkim=none"])]
        results += [_dmarc(self.dmarc), f"arc={self.arc}"]
        return f"Authentication-Results: {self.authserv_id};\r\n\t" + ";\r\n\t".join(results)

    def _spf(self) -> str:
        about = f"smtp.mailfrom={_value(self.sender)}" if self.sender else f"smtp.helo={_value(self.helo)}"
        return f"spf={self.spf.result}{_reason(self.spf.reason)} {about}"


def _dkim(signature: Signature) -> str:
    about = f" header.d={_value(signature.domain)}" if signature.domain else ""
    about += f" header.s={_value(signature.selector)}" if signature.selector else ""
    return f"dkim={signature.result}{_reason(signature.reason)}{about}"


def _dmarc(dmarc: Dmarc) -> str:
    if not dmarc.domain:
        return f"dmarc={dmarc.result}{_reason(dmarc.reason)}"
    policy = f" policy.published-domain-policy={dmarc.policy}" if dmarc.policy else ""
    return f"dmarc={dmarc.result}{_reason(dmarc.reason)}{policy} header.from={_value(dmarc.domain)}"


def _reason(text: str) -> str:
    return f" reason={_quoted(text)}" if text else ""


def _value(text: str) -> str:
    """A value as a token or an address whose parts are tokens (RFC 8601 §2.2: pvalue); else quoted."""
    local, at, domain = text.rpartition("@")
    parts = [local, domain] if at and local else [domain]
    if len(text) <= _MAX_VALUE and all(_TOKEN.fullmatch(part) for part in parts):
        return text
    return _quoted(text)


def _quoted(text: str) -> str:
    kept = "".join(char if char.isprintable() else " " for char in text[:_MAX_VALUE])
    return '"' + kept.replace("\\", r"\\").replace('"', r"\"") + '"'
