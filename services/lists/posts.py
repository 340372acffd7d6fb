"""A post as the members of a list get it.

Theory of operation. The header loses what another list said of itself and gains List-* fields (RFC 2369,
RFC 2919), `Precedence`, and `X-BeenThere`, by which the list knows its own mail again. The subject gets a tag
and the text a footer; the author's DKIM signature stays where it is, and does not verify any more. Nothing
else is touched:

    text/plain, not in base64       the footer is appended
    multipart/mixed                 the footer is a last part of its own
    anything else                   the message is the first part of a multipart/mixed, the footer the second

The footer is ASCII without `=`, so it reads the same in quoted-printable.
"""

from __future__ import annotations

import hashlib
import re
from email.errors import HeaderParseError
from email.header import Header, decode_header, make_header
from email.utils import getaddresses

from services.filters.header import fields, header_length, values
from services.lists.settings import MailingList

CRLF = b"\r\n"

# What only the last list says, and requests that would be answered by every member.
_REPLACED = (
    b"list-id", b"list-post", b"list-help", b"list-subscribe", b"list-unsubscribe", b"list-unsubscribe-post",
    b"list-owner", b"list-archive", b"precedence", b"sender", b"errors-to", b"return-path",
    b"disposition-notification-to", b"return-receipt-to",
)  # fmt: skip
_CONTENT = (b"content-", b"mime-version")
_ENCODING = "Content-Transfer-Encoding"
_PLAIN = ("", "7bit", "8bit", "quoted-printable")


def identifiers(content: bytes) -> set[str]:
    """Return the lists that a message has been through, as it says: addresses and List-Ids."""
    texts = b" ".join([*values(content, "X-BeenThere"), *values(content, "List-Id")])
    return set(re.findall(r"[^\s<>]+", texts.decode("utf-8", "replace").lower()))


def distributed(settings: MailingList, content: bytes) -> bytes:
    """Return the post as members get it; lines end in CRLF."""
    length = header_length(content)
    kept = [line for line in fields(content[:length]) if _name(line) not in _REPLACED]
    body = content[length:].removeprefix(CRLF)
    if settings.footer:
        kept, body = _with_footer(settings, content, kept, body)
    if settings.tag:
        kept = _tagged(settings, kept, content)
    if settings.rewrite_from:
        kept = _rewritten(settings, kept, content)
    header = b"".join(line if line.endswith(b"\n") else line + CRLF for line in kept)
    return header + _own_fields(settings) + CRLF + body


def _own_fields(settings: MailingList) -> bytes:
    mailto = {name: f"<mailto:{settings.at(name)}>" for name in ("post", "subscribe", "unsubscribe", "owner")}
    lines = [
        f"Sender: <{settings.at('bounces')}>",
        "Precedence: list",
        f"X-BeenThere: {settings.address}",
        f"List-Id: {_display(settings.title)} <{settings.identifier}>",
        f"List-Post: {mailto['post']}",
        f"List-Help: <mailto:{settings.at('request')}?subject=help>",
        f"List-Subscribe: {mailto['subscribe']}",
        f"List-Unsubscribe: {mailto['unsubscribe']}",
        f"List-Owner: {mailto['owner']}",
    ]
    return b"".join(line.encode() + CRLF for line in lines)


def _tagged(settings: MailingList, kept: list[bytes], content: bytes) -> list[bytes]:
    tag = f"[{settings.title}]"
    subjects = values(content, "Subject")
    if not subjects:
        return [*kept, _field("Subject", f"{tag} (no subject)")]
    if tag.lower() in _decoded(subjects[0]).lower():
        return kept
    found = False
    tagged = []
    for line in kept:
        if not found and _name(line) == b"subject":
            found = True
            line = _field("Subject", tag).rstrip(CRLF) + b" " + line.partition(b":")[2].lstrip(b" \t")
        tagged.append(line)
    return tagged


def _rewritten(settings: MailingList, kept: list[bytes], content: bytes) -> list[bytes]:
    """The list is the author; a reply still goes to the person (DMARC knows no other way)."""
    texts = [_decoded(value) for value in values(content, "From")]
    found = [(name, address) for name, address in getaddresses(texts) if "@" in address]
    name = (found[0][0] or found[0][1].partition("@")[0]) if found else "somebody"
    lines = [_field("From", f"{_display(f'{name} via {settings.title}')} <{settings.address}>")]
    if found and not values(content, "Reply-To"):
        lines.append(_field("Reply-To", ", ".join(address for _, address in found)))
    at = next((number for number, line in enumerate(kept) if _name(line) == b"from"), len(kept))
    rest = [line for line in kept[at:] if _name(line) != b"from"]
    return [*kept[:at], *lines, *rest]


def _with_footer(
    settings: MailingList, content: bytes, kept: list[bytes], body: bytes
) -> tuple[list[bytes], bytes]:
    footer = _footer(settings)
    declared = _first(content, "Content-Type")
    kind = declared.partition(";")[0].strip().lower() or "text/plain"
    if kind == "text/plain" and _may_be_appended_to(declared, _first(content, _ENCODING).lower(), body):
        return kept, body + (b"" if not body or body.endswith(CRLF) else CRLF) + footer
    if kind == "multipart/mixed" and (end := _closing(declared, body)):
        opening, at = end
        return kept, body[:at] + CRLF + opening + CRLF + _part(footer) + body[at:]
    return _wrapped(kept, body, footer)


def _may_be_appended_to(declared: str, encoding: str, body: bytes) -> bool:
    if encoding not in _PLAIN or re.search(r"charset\W+utf-?(16|32)", declared, re.IGNORECASE):
        return False
    # A last line that goes on would swallow the footer's first.
    return encoding != "quoted-printable" or not body.rstrip(b" \t\r\n").endswith(b"=")


def _closing(declared: str, body: bytes) -> tuple[bytes, int] | None:
    """Return the delimiter of the parts, and where the closing one begins; None if there is none."""
    boundary = re.search(r';\s*boundary\s*=\s*(?:"([^"]+)"|([^\s;"]+))', declared, re.IGNORECASE)
    if not boundary:
        return None
    opening = b"--" + (boundary[1] or boundary[2]).encode("ascii", "replace")
    last = list(re.finditer(rb"(?:\A|\r\n)" + re.escape(opening) + rb"--[ \t]*(?:\r\n|\Z)", body))
    return (opening, last[-1].start()) if last else None


def _wrapped(kept: list[bytes], body: bytes, footer: bytes) -> tuple[list[bytes], bytes]:
    inner = [line for line in kept if _name(line).startswith(b"content-")]
    outer = [line for line in kept if not _name(line).startswith(_CONTENT)]
    boundary = b"list-" + hashlib.sha256(body).hexdigest()[:24].encode()
    opening = b"--" + boundary
    outer += [b"MIME-Version: 1.0\r\n", b'Content-Type: multipart/mixed; boundary="' + boundary + b'"\r\n']
    if any(re.search(rb"8bit|binary", line, re.IGNORECASE) for line in inner):
        outer.append(b"Content-Transfer-Encoding: 8bit\r\n")
    first = b"".join(inner) + CRLF + body
    parts = opening + CRLF + first + CRLF + opening + CRLF + _part(footer) + CRLF + opening + b"--" + CRLF
    return outer, parts


def _part(footer: bytes) -> bytes:
    return b"Content-Type: text/plain; charset=us-ascii\r\nContent-Disposition: inline\r\n\r\n" + footer


def _footer(settings: MailingList) -> bytes:
    lines = ["_" * 47, f"Mail to everybody: {settings.address}", f"To leave: {settings.at('unsubscribe')}"]
    return b"".join(line.replace("=", "-").encode("ascii", "replace") + CRLF for line in lines)


def _name(line: bytes) -> bytes:
    return line.partition(b":")[0].strip().lower()


def _first(content: bytes, name: str) -> str:
    return b"".join(values(content, name)[:1]).decode("ascii", "replace").strip()


def _decoded(value: bytes) -> str:
    text = value.decode("utf-8", "replace")
    try:
        return str(make_header(decode_header(text)))
    except (ValueError, LookupError, HeaderParseError):
        # An encoding that nobody knows, or base64 that is none: it is shown as it is written.
        return text


def _display(name: str) -> str:
    """A display name as it stands in a field: encoded if it is not ASCII, else quoted where it must be."""
    printable = "".join(char if char.isprintable() else " " for char in name)
    if not printable.isascii():
        return Header(printable, "utf-8", maxlinelen=900).encode()
    if re.fullmatch(r"[A-Za-z0-9 ]+", printable):
        return printable
    return '"' + printable.replace("\\", r"\\").replace('"', r"\"") + '"'


def _field(name: str, text: str) -> bytes:
    if not text.isascii():
        text = Header(text, "utf-8", maxlinelen=900).encode()
    return f"{name}: {text}".encode() + CRLF
