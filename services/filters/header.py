"""The header of a message as it stands in its bytes: read, and freed of what only its recipient may say.

Nothing is parsed and written anew: a field is a line and those that continue it, whatever they hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.utils import getaddresses

# Possessive: a header of a million lines is read in one go, never twice.
_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:(.*+(?:\n[ \t].*+)*+)(?:\n|\Z)")
_LINE = re.compile(rb".*+(?:\n[ \t].*+)*+(?:\n|\Z)")
_END = re.compile(rb"(\A|\n)\r?\n")


def header_length(message: bytes) -> int:
    """Return the length of the header: up to the empty line, or all of it."""
    found = _END.search(message)
    return found.end(1) if found else len(message)


def fields(header: bytes) -> Iterator[bytes]:
    """Yield each field of a header as it stands there, its folded lines included."""
    at = 0
    while at < len(header):
        found = _LINE.match(header, at)
        assert found is not None  # noqa: S101  (the pattern matches the empty string)
        yield found[0]
        at = max(found.end(), at + 1)


def values(message: bytes, name: str) -> list[bytes]:
    """Return the values of all fields of that name, unfolded, topmost first."""
    wanted = name.lower().encode()
    return [
        re.sub(rb"\r?\n", b"", field[2]).strip()
        for line in fields(message[: header_length(message)])
        if (field := _FIELD.fullmatch(line)) and field[1].lower() == wanted
    ]


def author_domains(message: bytes) -> list[str]:
    """Return the domains in From (RFC 5322 §3.6.2), each once, as A-labels in lower case.

    More than one is suspicious, and so is none (RFC 7489 §6.6.1).
    """
    texts = [value.decode("utf-8", "replace") for value in values(message, "From")]
    addresses = [address for _, address in getaddresses(texts)]
    return list(dict.fromkeys(_domain(address) for address in addresses if "@" in address))


def without_results_of(message: bytes, authserv_id: str) -> bytes:
    """Return the message without Authentication-Results fields that claim to be ours (RFC 8601 §5).

    A field whose author cannot be read is taken out too: someone may read more into it than we do.
    """
    length = header_length(message)
    kept = [line for line in fields(message[:length]) if not _claims(line, authserv_id)]
    return b"".join(kept) + message[length:]


def _claims(line: bytes, authserv_id: str) -> bool:
    field = _FIELD.fullmatch(line)
    if not field or field[1].lower() != b"authentication-results":
        return False
    # A comment may stand before the id; an id may be quoted (RFC 8601 §2.2).
    text = re.sub(r"\([^()]*\)", " ", field[2].decode("utf-8", "replace"))
    found = re.match(r'\s*"?([^\s;"]+)"?', text)
    return not found or "(" in found[1] or found[1].lower() == authserv_id.lower()


def _domain(address: str) -> str:
    domain = address.rpartition("@")[2].strip().rstrip(".").lower()
    try:
        return domain.encode("idna").decode()
    except UnicodeError:
        return domain
