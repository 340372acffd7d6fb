"""Marks of lists and bulk mail (RFC 2369, RFC 2919, RFC 8058), and of a test."""

from __future__ import annotations

import re

from services.filters.spam.examined import Examined
from services.filters.spam.rules.rule import Rule, rule, shown

RULES: list[Rule] = []

# In two pieces, so that this file is no spam itself.
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*" + "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
_MAILERS = re.compile(
    r"\b(?:mass\s?mail|bulk\s?mail|advanced mass|dark ?mailer|send-safe|group ?mail|emailer pro|leafmailer|"
    r"turbo ?mail)",
    re.IGNORECASE,
)


@rule(RULES, "GTUBE", 1000.0, "The generic test for unsolicited bulk email")
def gtube(message: Examined) -> str | None:
    return "GTUBE" if GTUBE in message.message.plain or GTUBE in message.markup.text else None


@rule(RULES, "LIST_MARKS", -0.8, "A mailing list's marks: its name, and how to leave it")
def list_marks(message: Examined) -> str | None:
    leaves = message.values("List-Unsubscribe") or message.values("List-Help")
    return shown(message.value("List-Id")) if message.is_list_mail and leaves else None


@rule(RULES, "REPLY_MARKS", -0.3, "It is a reply, by all its marks")
def reply_marks(message: Examined) -> str | None:
    reply = message.values("In-Reply-To") and message.values("References")
    return (
        shown(message.value("In-Reply-To"))
        if reply and re.match(r"(?i)\s*(?:\[.{1,40}\]\s*)?re:", message.subject)
        else None
    )


@rule(RULES, "BULK_MARK", 0.3, "It says that it is bulk mail")
def bulk_mark(message: Examined) -> str | None:
    value = message.value("Precedence").strip().lower()
    return value if value in ("bulk", "junk") and not message.is_list_mail else None


@rule(RULES, "UNSUBSCRIBE_WITHOUT_LIST", 0.3, "It can be unsubscribed from, but does not say what it is")
def unsubscribe_without_list(message: Examined) -> str | None:
    value = message.value("List-Unsubscribe")
    return shown(value) if value and not message.is_list_mail else None


@rule(RULES, "NO_WAY_OUT", 0.6, "It speaks of unsubscribing, but has no mark that would let a program do so")
def no_way_out(message: Examined) -> str | None:
    if message.values("List-Unsubscribe"):
        return None
    found = re.search(
        r"\b(?:unsubscribe|opt[ -]?out|remove(?:d)? from (?:our|this|the) (?:mailing )?list)\b", message.words
    )
    return shown(found[0]) if found else None


@rule(RULES, "BULK_MAILER", 1.2, "It was written by a program for bulk mail")
def bulk_mailer(message: Examined) -> str | None:
    for name in ("X-Mailer", "User-Agent"):
        if _MAILERS.search(message.value(name)[:500]):
            return shown(f"{name}: {message.value(name)}")
    return None
