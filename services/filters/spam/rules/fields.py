"""The header: fields that lack, that are there twice, or that say odd things (RFC 5322 §3.6)."""

from __future__ import annotations

import re

from services.filters.spam.examined import Examined, domain
from services.filters.spam.rules.rule import Rule, rule, shown
from services.filters.spam.trace import seconds
from services.filters.spam.urls import registered

RULES: list[Rule] = []

_HOUR = 3600.0
_ONCE = ("From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID")
_MESSAGE_ID = re.compile(r"<[^<>@\s]{1,200}@[^<>@\s]{1,200}>")
_MANY = 20


@rule(RULES, "MISSING_DATE", 1.4, "There is no Date")
def missing_date(message: Examined) -> str | None:
    return None if message.values("Date") else "no Date field"


@rule(RULES, "INVALID_DATE", 1.1, "The Date is none")
def invalid_date(message: Examined) -> str | None:
    value = message.value("Date")
    return shown(value) or "empty" if message.values("Date") and seconds(value) is None else None


def _hours_early(message: Examined) -> float:
    """How long before it arrived it was written, by its Date."""
    written = seconds(message.value("Date"))
    arrived = message.trace.arrival
    return 0.0 if written is None else ((message.now if arrived is None else arrived) - written) / _HOUR


@rule(RULES, "DATE_IN_PAST", 1.2, "By its Date it was written more than four days before it arrived")
def date_in_past(message: Examined) -> str | None:
    hours = _hours_early(message)
    return f"{hours / 24:.0f} days before" if hours > 96 else None


@rule(RULES, "DATE_IN_FUTURE", 2.2, "By its Date it was written more than six hours after it arrived")
def date_in_future(message: Examined) -> str | None:
    hours = _hours_early(message)
    return f"{-hours:.0f} hours after" if hours < -6 else None


@rule(RULES, "MISSING_FROM", 2.0, "There is no From")
def missing_from(message: Examined) -> str | None:
    return None if message.values("From") else "no From field"


@rule(RULES, "FROM_NO_ADDRESS", 1.6, "From names nobody who could be written to")
def from_no_address(message: Examined) -> str | None:
    if not message.values("From") or "." in message.author_domain:
        return None
    return shown(message.value("From")) or "empty"


@rule(
    RULES, "FROM_OTHER_ADDRESS", 1.9, "The author's name is an address, of another domain than the author's"
)
def from_other_address(message: Examined) -> str | None:
    name, address = message.author
    for other in message.addresses_in(name):
        if registered(domain(other)) != registered(domain(address)):
            return shown(f"{name} <{address}>")
    return None


@rule(RULES, "MISSING_TO", 0.8, "There is no To")
def missing_to(message: Examined) -> str | None:
    return None if message.values("To") else "no To field"


@rule(RULES, "UNDISCLOSED", 0.6, "To names nobody")
def undisclosed(message: Examined) -> str | None:
    if not message.values("To"):
        return None
    return (
        None
        if any("@" in address for _, address in message.recipients)
        else shown(message.value("To")) or "empty"
    )


@rule(RULES, "MANY_RECIPIENTS", 0.8, "To and Cc name very many")
def many_recipients(message: Examined) -> str | None:
    count = len(message.recipients)
    return f"{count} recipients" if count >= _MANY else None


@rule(RULES, "TO_IS_AUTHOR", 0.8, "It is addressed to its author alone: the true recipients are hidden")
def to_is_author(message: Examined) -> str | None:
    addresses = {address.lower() for _, address in message.recipients}
    return shown(message.author[1]) if addresses == {message.author[1].lower()} != {""} else None


@rule(RULES, "MISSING_MESSAGE_ID", 1.0, "There is no Message-ID")
def missing_message_id(message: Examined) -> str | None:
    return None if message.values("Message-ID") else "no Message-ID field"


@rule(RULES, "INVALID_MESSAGE_ID", 0.9, "The Message-ID is none")
def invalid_message_id(message: Examined) -> str | None:
    values = message.values("Message-ID")
    return shown(values[0]) or "empty" if values and not _MESSAGE_ID.fullmatch(values[0].strip()) else None


@rule(RULES, "DUPLICATE_FIELD", 1.5, "A field that may be there once is there more often")
def duplicate_field(message: Examined) -> str | None:
    twice = [name for name in _ONCE if len(message.values(name)) > 1]
    return ", ".join(twice) or None


@rule(RULES, "REPLY_TO_ELSEWHERE", 0.8, "Replies go to another domain than the author's")
def reply_to_elsewhere(message: Examined) -> str | None:
    to = domain(message.value("Reply-To"))
    if not to or not message.author_domain or message.is_list_mail:
        return None
    return shown(to) if registered(to) != registered(message.author_domain) else None


@rule(RULES, "SENDER_ELSEWHERE", 0.4, "The reverse-path is of another domain than the author")
def sender_elsewhere(message: Examined) -> str | None:
    sender = domain(message.sender or "")
    if not sender or not message.author_domain or message.is_list_mail:
        return None
    return shown(sender) if registered(sender) != registered(message.author_domain) else None


@rule(RULES, "ODD_HEADER_LINE", 1.0, "There are lines in the header that are no fields")
def odd_header_line(message: Examined) -> str | None:
    lines = message.message.header.odd_lines
    return shown(lines[0]) or "a line of spaces" if lines else None


@rule(RULES, "LONG_HEADER", 0.8, "The header, or one of its fields, is very long")
def long_header(message: Examined) -> str | None:
    header = message.message.header
    if header.long:
        return "more than 256 KiB"
    longest = max(header.fields, key=lambda field: len(field.raw), default=None)
    return shown(longest.name) if longest and len(longest.raw) > 10_000 else None


@rule(RULES, "CONTROL_CHARACTERS", 1.2, "There are control characters in what the header shows people")
def control_characters(message: Examined) -> str | None:
    for name in ("From", "To", "Subject"):
        if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", message.value(name)):
            return name
    return None


@rule(RULES, "HIGH_PRIORITY", 0.3, "It says that it is urgent")
def high_priority(message: Examined) -> str | None:
    for name, pattern in (
        ("X-Priority", r"\s*[12]\b"),
        ("Importance", r"(?i)\s*high"),
        ("Priority", r"(?i)\s*urgent"),
    ):
        if re.match(pattern, message.value(name)):
            return shown(f"{name}: {message.value(name)}")
    return None
