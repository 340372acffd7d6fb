"""Mailbox addresses and the paths that carry them in MAIL and RCPT.

Theory of operation. A path is `<local@domain>` (RFC 5321 §4.1.2), `<>` for the null reverse-path, or
`<postmaster>` without a domain (§4.5.1). An old source route, `@one,@two:` (RFC 821 §3.1), may stand before
the mailbox: what becomes of it is for the policy to say (RFC 5321 §3.6.1, appendix C).
With SMTPUTF8 both sides may hold any printable character beyond ASCII (RFC 6531 §3.3).

Only the host that serves a domain may look into a local part (RFC 5321 §2.3.11). This one reads its own:
without case, `"john"@` equal to `john@`, accents composed (NFC, RFC 6532 §3.1), and `+detail` cut off.
Towards others an address is sent as it came, letter by letter.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from services.smtp.errors import BadAddress

_BEYOND_ASCII = "\u0080-\U0010ffff"
_ATOM = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~\-{_BEYOND_ASCII}]+"
_DOT_STRING = rf"{_ATOM}(?:\.{_ATOM})*"
_QUOTED = rf'"(?:[\x20\x21\x23-\x5b\x5d-\x7e{_BEYOND_ASCII}]|\\[\x20-\x7e])*"'
_LABEL = rf"[A-Za-z0-9_{_BEYOND_ASCII}](?:[A-Za-z0-9_\-{_BEYOND_ASCII}]*[A-Za-z0-9_{_BEYOND_ASCII}])?"
_LITERAL = r"\[[0-9A-Za-z.:\-]+\]"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*|{_LITERAL}"

_MAILBOX = re.compile(rf"(?P<local>{_DOT_STRING}|{_QUOTED})@(?P<domain>{_DOMAIN})")
_ROUTED = re.compile(rf"@(?:{_DOMAIN})")
_PATH = re.compile(rf"<(?P<route>@[^:\s<>\"]*:)?(?P<mailbox>(?:{_QUOTED}|[^<>\"])*)>(?:[ \t]+(?P<rest>.*))?")
# What nearly every path is: it needs no second look.
_PLAIN = re.compile(
    r"<([A-Za-z0-9_+=\-]{1,60}(?:\.[A-Za-z0-9_+=\-]{1,60}){0,3})"
    r"@((?:[A-Za-z0-9](?:[A-Za-z0-9\-]{0,38}[A-Za-z0-9])?\.){1,5}[A-Za-z]{2,20})>"
)
# What is remembered: strangers may send addresses, and what only looks like some, of any length.
_LONGEST_KNOWN = 320
_UNQUOTED = re.compile(_DOT_STRING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A mailbox, as it was written; `route` are hosts by way of which it is to be reached (RFC 821 §3.1)."""

    local: str
    domain: str
    route: tuple[str, ...] = ()

    def __str__(self) -> str:
        via = ",".join([f"@{host}" for host in self.route]) + ":" if self.route else ""
        return f"{via}{self.local}@{self.domain}"

    @property
    def is_ascii(self) -> bool:
        """It can travel without SMTPUTF8."""
        return self.local.isascii() and self.domain.isascii() and (not self.route or str(self).isascii())

    @property
    def literal(self) -> str:
        """The address inside an address literal such as `[198.18.2.3]`; empty for a domain."""
        return self.domain[1:-1] if self.domain.startswith("[") else ""

    @property
    def canonical(self) -> Address:
        """The same mailbox as this host compares it: no case, no needless quotes, accents composed."""
        if len(self.local) + len(self.domain) > _LONGEST_KNOWN:
            return canonical(self.local, self.domain)
        return _canonical(self.local, self.domain)

    @property
    def without_detail(self) -> Address:
        """The canonical mailbox that `user+detail@` belongs to: `user@`."""
        whole = self.canonical
        user, plus, _ = whole.local.partition("+")
        return Address(local=user, domain=whole.domain) if plus and user else whole


def canonical(local: str, domain: str) -> Address:
    """Return the mailbox as `Address.canonical` has it, without remembering what was asked."""
    if local.isascii() and domain.isascii() and not local.startswith('"'):
        return Address(local=local.lower(), domain=domain.lower().rstrip("."))
    if local.startswith('"'):
        inner = re.sub(r"\\(.)", r"\1", local[1:-1])
        local = inner if _UNQUOTED.fullmatch(inner) else local
    local = unicodedata.normalize("NFC", local.lower())
    return Address(local=local, domain=canonical_domain(domain))


_canonical = lru_cache(maxsize=4096)(canonical)


def canonical_domain(domain: str) -> str:
    """Return the domain as DNS spells it: lower case, A-labels, no final dot."""
    domain = domain.rstrip(".").lower()
    if not domain.isascii():
        try:
            return domain.encode("idna").decode("ascii")
        except UnicodeError:
            return domain  # Nothing that DNS knows: the look-up will say so.
    return domain


@lru_cache(maxsize=1024)
def parse_address(text: str) -> Address:
    """Return the mailbox that `text` spells.

    It may stand behind a source route, `@one,@two:`. Raises: BadAddress.
    """
    whole = text
    route: tuple[str, ...] = ()
    if text.startswith("@"):
        hosts, colon, text = text.partition(":")
        route = tuple(host.removeprefix("@") for host in hosts.split(","))
        if not colon or not all(map(_ROUTED.fullmatch, hosts.split(","))):
            raise BadAddress(f"not a mailbox: {printable(whole)}")
        if len(hosts) > 255:
            raise BadAddress("the source route has more than 255 characters")
    found = _MAILBOX.fullmatch(text)
    # isprintable() also refuses the surrogates that stand for bytes which were no UTF-8.
    if not found or not text.isprintable():
        raise BadAddress(f"not a mailbox: {printable(text)}")
    # RFC 5321 §4.5.3.1 asks for 64 and 255 octets and recommends to take more. But an address stands on one
    # line of the header fields that servers add, and a line has at most 998 (RFC 5322 §2.1.1).
    if len(found["local"].encode()) > 255:
        raise BadAddress("the local part has more than 255 octets")
    if len(found["domain"]) > 255:
        raise BadAddress("the domain has more than 255 characters")
    return Address(local=found["local"], domain=found["domain"], route=route)


def parse_path(text: str, *, postmaster_at: str) -> tuple[Address | None, str]:
    """Return the mailbox of the path that `text` begins with, and the parameters after it.

    A source route stays with the mailbox. The null path gives None, `<postmaster>` alone the one at
    `postmaster_at`.
    Raises: BadAddress.
    """
    plain = _PLAIN.fullmatch(text)
    if plain:
        return Address(local=plain[1], domain=plain[2]), ""
    found = _PATH.fullmatch(text)
    if not found:
        raise BadAddress("a path stands in angle brackets: <local@domain>")
    mailbox, rest = found["mailbox"], found["rest"] or ""
    if found["route"]:
        return parse_address(found["route"] + mailbox), rest
    if not mailbox:
        return None, rest
    if mailbox.lower() == "postmaster":
        return Address(local=mailbox, domain=postmaster_at), rest
    return parse_address(mailbox), rest


def printable(text: str) -> str:
    """Return `text` with everything escaped that does not belong on a line of a reply or a log."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
