"""Which notice of failure reports on which message (RFC 3464).

A notice goes out from the null reverse-path, says `Action: failed` and for whom, and returns the header of
the message: so its Message-ID names the journey that it reports on.
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Sequence

from captures.journeys.linking import Transfer, canonical
from captures.journeys.model import Journey

_MESSAGE_ID = re.compile(rb"^Message-ID:[ \t]*(?:\r\n[ \t]+)?(<[^>\r\n]+>)", re.IGNORECASE | re.MULTILINE)
_NAMED_RECIPIENT = re.compile(
    rb"^(?:Final|Original)-Recipient:[^;\r\n]*;[ \t]*([^\r\n]+)", re.IGNORECASE | re.MULTILINE
)
_FAILED = re.compile(rb"^Action:[ \t]*failed", re.IGNORECASE | re.MULTILINE)


def with_notices(journeys: Sequence[Journey], roots: Sequence[Transfer]) -> list[Journey]:
    """Return the same, with each failure notice and the journey that it reports on pointing at each other."""
    by_message: dict[str, list[int]] = defaultdict(list)
    for journey in journeys:
        if journey.message_id:
            by_message[journey.message_id].append(journey.number)
    result = list(journeys)
    for notice, root in zip(journeys, roots, strict=True):
        reported, names = reports_on(root)
        numbers = [number for message_id in reported for number in by_message[message_id]]
        candidates = [result[number - 1] for number in numbers if number != notice.number]
        for subject in _subjects(candidates, root.client.host, names):
            end = dataclasses.replace(subject.end, state="bounced", notice=notice.number)
            result[subject.number - 1] = dataclasses.replace(subject, end=end)
            about = dataclasses.replace(result[notice.number - 1], about=subject.number)
            result[notice.number - 1] = about
    return result


def _subjects(candidates: Sequence[Journey], author: str, names: frozenset[str]) -> list[Journey]:
    """The journeys that a notice by the host `author` reports on: one for each recipient.

    What was delivered can have failed only where it ended. Of several messages with one Message-ID it is the
    first that ended at the author and was not reported yet.
    """
    found: dict[str, Journey] = {}
    for here in (True, False):
        for journey in candidates:
            if (journey.end.host == author) is not here or journey.end.notice is not None:
                continue
            if not here and journey.end.state in ("delivered", "bounced"):
                continue
            if _named(journey.recipient, names):
                found.setdefault(canonical(journey.recipient), journey)
    return list(found.values())


def reports_on(root: Transfer) -> tuple[list[str], frozenset[str]]:
    """Return the Message-IDs that a notice of failure returns, and for whom it failed (RFC 3464 §2).

    No ids: it is no such notice. No recipients: it does not say for whom.
    """
    content = root.transaction.content if root.transaction and not root.transaction.sender else None
    if not content or not _FAILED.search(content):
        return [], frozenset()
    returned = {found.decode(errors="replace") for found in _MESSAGE_ID.findall(content)} - {root.message_id}
    named = (found.decode(errors="replace").strip("<> ") for found in _NAMED_RECIPIENT.findall(content))
    return sorted(returned), frozenset(map(canonical, named))


def _named(recipient: str, names: frozenset[str]) -> bool:
    return not names or canonical(recipient) in names
