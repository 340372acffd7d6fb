"""The header fields that tell a judgement, before a message whose own octets stay as they are."""

from __future__ import annotations

from services.filters.spam import report
from services.filters.spam.score import DESCRIPTIONS, Judgement


def added_fields(judgement: Judgement, hostname: str) -> bytes:
    """Return the fields X-Spam-Status, X-Spam-Flag (of spam only) and X-Spam-Report."""
    lines = [f"X-Spam-Checker-Version: Mailbed {report.VERSION} on {hostname}"]
    if judgement.is_spam:
        lines.append("X-Spam-Flag: YES")
    lines.append(f"X-Spam-Status: {report.status(judgement)}")
    if judgement.fired:
        lines.append("X-Spam-Report:")
    for each in judgement.fired:
        lines.append(f"\t* {each.weight:4.1f} {each.name} {DESCRIPTIONS.get(each.name, '')}".rstrip())
        if each.evidence:
            lines.append(f"\t*      [{each.evidence}]")
    return "\r\n".join(lines).encode("utf-8", "replace") + b"\r\n"
