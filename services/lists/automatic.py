"""Who wrote a message, and whether it was a person.

A list that answers machines ends up in a conversation with one (RFC 3834 §2): what comes from the null
reverse-path, or says that a machine sent it, gets no answer.
"""

from __future__ import annotations

import re
from email.utils import getaddresses

from services.filters.header import header_length, values


def author(content: bytes, sender: str) -> str:
    """Return the author's address: the only one in From, else the reverse-path; empty if there is none."""
    texts = [value.decode("utf-8", "replace") for value in values(content, "From")]
    found = [address for _, address in getaddresses(texts) if "@" in address]
    return found[0] if len(found) == 1 else sender


def is_reply_by_machine(content: bytes, sender: str) -> bool:
    """Return whether it is a notice or an automatic answer, which must never be answered or distributed."""
    return not sender or any(kind.startswith(b"auto-replied") for kind in _kinds(content))


def is_by_machine(content: bytes, sender: str) -> bool:
    """Return whether no person waits for an answer to it."""
    if is_reply_by_machine(content, sender) or values(content, "List-Id"):
        return True
    precedences = {value.strip().lower() for value in values(content, "Precedence")}
    return any(kind and kind != b"no" for kind in _kinds(content)) or bool(
        precedences & {b"bulk", b"junk", b"list"}
    )


def says_failed(content: bytes) -> bool:
    """Return whether a notice from the null reverse-path may be of a failure (RFC 3464 §2.3.3)."""
    body = content[header_length(content) :]
    actions = {found.lower() for found in re.findall(rb"^Action[ \t]*:[ \t]*([A-Za-z]+)", body, re.MULTILINE)}
    return not actions or b"failed" in actions


def _kinds(content: bytes) -> list[bytes]:
    return [value.partition(b";")[0].strip().lower() for value in values(content, "Auto-Submitted")]
