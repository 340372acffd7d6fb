"""The rules, each about one thing, in the order in which reports name them.

authentication   what our own server found: SPF, DKIM, DMARC, ARC
origin           who handed the message in, by DNS and block lists; the way that it claims to have come
fields           the header: what lacks, what is odd
subject          what the subject line does to be read
bulk             marks of lists and of bulk mail, and GTUBE
mime             how the message is built
html             what its HTML hides or pretends
links            where it leads
phrases          what it says
"""

from __future__ import annotations

from services.filters.spam.rules import (
    authentication,
    bulk,
    fields,
    html,
    links,
    mime,
    origin,
    phrases,
    subject,
)
from services.filters.spam.rules.rule import Rule

RULES: tuple[Rule, ...] = tuple(
    rule
    for module in (authentication, origin, fields, subject, bulk, mime, html, links, phrases)
    for rule in module.RULES
)
"""All rules but the classifier's."""

__all__ = ["RULES", "Rule"]
