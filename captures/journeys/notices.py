r"""Which notice reports on which message (RFC 3464).

Theory of operation. A notice goes out from the null reverse-path. For each recipient it says what it reports,
and it returns the message or its header: so the Message-ID names the journey that it belongs to.

    Action: failed       that journey has ended, at the notice's author     `end.notice`, `notices`
    Action: delayed, delivered, relayed, expanded       news of it          `notices`

Addresses beyond ASCII may be written `b\x{F8}b@example.org` (RFC 6533 §3).
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from captures.journeys.linking import Transfer
from captures.journeys.model import Journey, Notice
from captures.paths import same

_MESSAGE_ID = re.compile(rb"^Message-ID:[ \t]*(?:\r\n[ \t]+)?(<[^>\r\n]+>)", re.IGNORECASE | re.MULTILINE)
_NAMED_RECIPIENT = re.compile(
    rb"^(?:Final|Original)-Recipient:[^;\r\n]*;[ \t]*([^\r\n]+)", re.IGNORECASE | re.MULTILINE
)
_ACTION = re.compile(rb"^Action:[ \t]*([a-z]+)", re.IGNORECASE | re.MULTILINE)
_EMPTY_LINE = re.compile(rb"\r\n[ \t]*\r\n")
_RETURNED = re.compile(
    rb"^Content-Type:[ \t]*(?:message/(?:rfc822|global|global-headers)|text/rfc822-headers)[ \t]*[;\r]",
    re.IGNORECASE | re.MULTILINE,
)
_EMBEDDED = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a notice says: of which messages, and of whom, by action; no names: it does not say of whom."""

    message_ids: tuple[str, ...]
    names: Mapping[str, frozenset[str]]


def with_notices(journeys: Sequence[Journey], roots: Sequence[Transfer]) -> list[Journey]:
    """Return the same, with each notice and the journeys that it reports on pointing at each other."""
    by_message: dict[str, list[int]] = defaultdict(list)
    for journey in journeys:
        if journey.message_id:
            by_message[journey.message_id].append(journey.number)
    result = list(journeys)
    for notice, root in zip(journeys, roots, strict=True):
        report = reports_on(root)
        numbers = [number for message_id in report.message_ids for number in by_message[message_id]]
        for action, names in report.names.items():
            candidates = [result[number - 1] for number in numbers if number != notice.number]
            named = [journey for journey in candidates if not names or same(journey.recipient) in names]
            for subject in _subjects(named, root.client.host, action):
                result[subject.number - 1] = _told(subject, Notice(journey=notice.number, action=action))
                about = result[notice.number - 1]
                result[notice.number - 1] = dataclasses.replace(about, about=subject.number, action=action)
    return result


def _told(subject: Journey, notice: Notice) -> Journey:
    end = subject.end
    if notice.action == "failed":
        end = dataclasses.replace(end, state="bounced", notice=notice.journey)
    return dataclasses.replace(subject, end=end, notices=(*subject.notices, notice))


def _subjects(candidates: Sequence[Journey], author: str, action: str) -> list[Journey]:
    """The journeys that a notice by the host `author` reports on: one for each recipient.

    Of several messages with one Message-ID it is the first that was at the author and was not reported yet.
    """
    found: dict[str, Journey] = {}
    for here in (True, False):
        for journey in candidates:
            fits = _may_have_failed if action == "failed" else _may_be_news
            if fits(journey, author, here=here) and action not in [told.action for told in journey.notices]:
                found.setdefault(same(journey.recipient), journey)
    return list(found.values())


def _may_have_failed(journey: Journey, author: str, *, here: bool) -> bool:
    """What was delivered can have failed only where it ended."""
    if here:
        return journey.end.host == author
    return journey.end.host != author and journey.end.state not in ("delivered", "bounced")


def _may_be_news(journey: Journey, author: str, *, here: bool) -> bool:
    return (author in journey.path) is here


def reports_on(root: Transfer) -> Report:
    """Return what a message reports as a notice; of no message if it is none (RFC 3464 §2)."""
    content = root.transaction.content if root.transaction and not root.transaction.sender else None
    if not content:
        return Report(message_ids=(), names={})
    returned = _RETURNED.search(content)
    names = _names(_EMPTY_LINE.split(content[: returned.start()] if returned else content))
    if not names:
        return Report(message_ids=(), names={})
    # What was returned may hold further messages: only the outermost is meant.
    found = _MESSAGE_ID.findall(content, returned.start())[:1] if returned else _MESSAGE_ID.findall(content)
    ids = {message_id.decode(errors="replace") for message_id in found} - {root.message_id}
    return Report(message_ids=tuple(sorted(ids)), names=names)


def _names(blocks: Iterable[bytes]) -> dict[str, frozenset[str]]:
    """Return the recipients that blocks of fields name, by their action."""
    found: dict[str, frozenset[str]] = {}
    for block in blocks:
        if action := _ACTION.search(block):
            word = action[1].decode().lower()
            found[word] = found.get(word, frozenset()) | set(map(_address, _NAMED_RECIPIENT.findall(block)))
    return found


def _address(written: bytes) -> str:
    text = written.decode(errors="replace").strip("<> ")
    return same(_EMBEDDED.sub(lambda found: _letter(int(found[1], 16)), text))


def _letter(point: int) -> str:
    return chr(point) if point <= 0x10FFFF else "\ufffd"
