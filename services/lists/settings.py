"""What one mailing list is told, and the addresses that it is reached at.

Theory of operation. The list `friends@lists.example.net` has these, after the part of its own before the `@`:

    (nothing)           posts
    -subscribe          mail there asks to be put on the list; -unsubscribe to be taken off it
    -confirm+COOKIE     mail there confirms what was asked for
    -request            the subject is a command: subscribe, unsubscribe, help
    -owner              the person who looks after it
    -bounces+bob=example.org    the reverse-path of bob@example.org's copies: what comes back names him,
                        whatever the server that returned it wrote (variable envelope return path, VERP)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from services.errors import ConfigError

Purpose = Literal["post", "subscribe", "unsubscribe", "confirm", "request", "owner", "bounces"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)

Posting = Literal["members", "anyone"]

BOUNCE_WINDOW_S = 7 * 86400.0
COOKIE_LIFE_S = 3 * 86400.0

# A member's address becomes a part of another one: without quotes, in ASCII.
_MEMBER = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,180}@[A-Za-z0-9.-]{1,255}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MailingList:
    """A list at `address`; `members` are on it from its first start on, and `owner` looks after it.

    Posts get a subject tag and a footer, as most lists have it; so the author's DKIM signature does not hold
    any more. Against that, `rewrite_from` makes the list the author, `seal` vouches for the author (ARC). A
    member is left out after `bounce_limit` bounces, no two of them further apart than `bounce_window_s`;
    a cookie is good for `cookie_life_s`.
    """

    address: str
    title: str
    members: tuple[str, ...] = ()
    owner: str = ""
    posting: Posting = "members"
    tag: bool = True
    footer: bool = True
    rewrite_from: bool = False
    seal: bool = False
    bounce_limit: int = 5
    bounce_window_s: float = BOUNCE_WINDOW_S
    cookie_life_s: float = COOKIE_LIFE_S

    def __post_init__(self) -> None:
        """Raises: ConfigError."""
        for member in self.members:
            if not may_be_member(member):
                raise ConfigError(f"{member!r} cannot be on {self.address}: {WHO_MAY}")

    @property
    def local(self) -> str:
        return self.address.rpartition("@")[0]

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]

    @property
    def identifier(self) -> str:
        """What stands in List-Id (RFC 2919 §2)."""
        return f"{self.local}.{self.domain}"

    @property
    def owner_address(self) -> str:
        return self.owner or f"postmaster@{self.domain}"

    def at(self, purpose: Purpose, detail: str = "") -> str:
        """Return the list's address for a purpose."""
        suffix = "" if purpose == "post" else f"-{purpose}"
        return f"{self.local}{suffix}{'+' if detail else ''}{detail}@{self.domain}"

    def return_path(self, member: str) -> str:
        """Return the reverse-path of a member's copies."""
        return self.at("bounces", member.replace("@", "="))


WHO_MAY = "an address without quotes, in ASCII, of at most 180 characters before the @"


def may_be_member(address: str) -> bool:
    """Return whether copies can be sent to the address: it has to fit into a reverse-path."""
    return bool(_MEMBER.fullmatch(address))


def returned_for(detail: str) -> str:
    """Return the member whom the detail of a -bounces address names; empty if it names nobody."""
    local, sign, domain = detail.rpartition("=")
    return f"{local}@{domain}".lower() if sign and local and domain else ""
