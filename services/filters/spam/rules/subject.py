"""The subject line, and what it does to be read."""

from __future__ import annotations

import re

from services.filters.spam.examined import Examined
from services.filters.spam.message import decoded_base64
from services.filters.spam.rules.rule import Rule, rule, shown

RULES: list[Rule] = []

_REPLY = re.compile(r"\s*(?:re|aw|sv|antw)\s*(?:\[\d+\])?\s*:", re.IGNORECASE)
_TAG = re.compile(r"\[[^\]]{1,40}\]")
_ENCODED = re.compile(r"=\?[^?]+\?[bB]\?([^?]*)\?=")


@rule(RULES, "MISSING_SUBJECT", 1.2, "There is no subject")
def missing_subject(message: Examined) -> str | None:
    return None if message.subject else "no Subject field" if not message.values("Subject") else "empty"


@rule(RULES, "SUBJECT_CAPITALS", 1.4, "The subject is in capitals")
def subject_capitals(message: Examined) -> str | None:
    letters = [
        char for char in _TAG.sub("", message.subject) if char.isalpha() and char.upper() != char.lower()
    ]
    capitals = sum(char.isupper() for char in letters)
    return shown(message.subject) if len(letters) >= 10 and capitals > 0.8 * len(letters) else None


@rule(RULES, "SUBJECT_SHOUTS", 0.8, "The subject has many exclamation or question marks")
def subject_shouts(message: Examined) -> str | None:
    return shown(message.subject) if re.search(r"[!?\uff01]{2}|!.*!", message.subject[:1000]) else None


@rule(RULES, "SUBJECT_MONEY", 0.9, "The subject speaks of money to be had")
def subject_money(message: Examined) -> str | None:
    found = re.search(
        r"[$€£]\s?\d|\b\d+\s?%\s?(?:off|discount|rabatt)\b|\b(?:free|win|won|winner|prize|cash|bonus|loan|million|lottery)\b",
        message.subject[:1000],
        re.IGNORECASE,
    )
    return shown(found[0]) if found else None


@rule(RULES, "SUBJECT_GAPS", 1.6, "The subject has a word with gaps between its letters")
def subject_gaps(message: Examined) -> str | None:
    found = re.search(r"\b(?:[A-Za-z0-9@$][ .*_-]){4,40}[A-Za-z0-9@$]\b", message.subject[:1000])
    return shown(found[0]) if found and sum(char.isalpha() for char in found[0]) >= 4 else None


@rule(RULES, "SUBJECT_NEEDLESS_BASE64", 0.9, "The subject is encoded though it is plain ASCII")
def subject_needless_base64(message: Examined) -> str | None:
    for raw in message.values("Subject")[:1]:
        words = _ENCODED.findall(raw[:4000])
        if words and decoded_base64("".join(words).encode()).isascii() and raw.isascii():
            return shown(message.subject)
    return None


@rule(RULES, "SUBJECT_NO_REPLY", 0.9, "The subject says that it is a reply, but nothing else does")
def subject_no_reply(message: Examined) -> str | None:
    if not _REPLY.match(_TAG.sub("", message.subject)):
        return None
    return None if message.values("In-Reply-To") or message.values("References") else shown(message.subject)


@rule(RULES, "SUBJECT_NOT_ENCODED", 0.6, "The subject has octets that are neither ASCII nor UTF-8")
def subject_not_encoded(message: Examined) -> str | None:
    raw = "".join(message.values("Subject")[:1])
    return shown(message.subject) if re.search(r"[\udc80-\udcff]", raw) else None


@rule(RULES, "SUBJECT_TAIL", 0.7, "The subject ends with letters that mean nothing, behind a gap")
def subject_tail(message: Examined) -> str | None:
    found = re.search(r"\S\s{5,}(\S{2,30})$", message.value("Subject")[-200:])
    return shown(found[1]) if found else None


@rule(RULES, "SUBJECT_URGENT", 0.7, "The subject presses for haste")
def subject_urgent(message: Examined) -> str | None:
    found = re.search(
        r"\b(?:urgent|act now|last chance|final notice|immediate(?:ly)? (?:action|response)|suspended|hurry|"
        r"expires? (?:today|soon)|limited time|within 24 hours)\b",
        message.subject[:1000],
        re.IGNORECASE,
    )
    return shown(found[0]) if found else None
