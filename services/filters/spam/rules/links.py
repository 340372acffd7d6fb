"""Where its links lead."""

from __future__ import annotations

import re
from collections.abc import Callable

from services.filters.spam.examined import Examined
from services.filters.spam.rules.rule import Rule, rule, shown
from services.filters.spam.urls import Url

RULES: list[Rule] = []

_SHORT = {
    "bit.ly",
    "t.co",
    "tinyurl.com",
    "goo.gl",
    "is.gd",
    "ow.ly",
    "buff.ly",
    "cutt.ly",
    "rebrand.ly",
    "rb.gy",
    "t.ly",
    "tiny.cc",
}
_PROGRAM = re.compile(r"\.(?:exe|scr|pif|bat|cmd|msi|vbs|js|jar|apk|hta|ps1)(?:[?#].*)?$", re.IGNORECASE)
_MANY_LABELS = 6


def _first(message: Examined, odd: Callable[[Url], bool]) -> str | None:
    return next((shown(url.text) for url in message.urls if odd(url)), None)


@rule(RULES, "URL_LISTED", 3.0, "A link leads to a domain on a block list")
def listed(message: Examined) -> str | None:
    found = [each for each in message.findings.listings if each.where == "url"]
    return shown("; ".join(dict.fromkeys(each.evidence for each in found)), 200) or None


@rule(RULES, "URL_ADDRESS", 1.5, "A link leads to a number instead of a name")
def address(message: Examined) -> str | None:
    return _first(message, lambda url: url.is_address)


@rule(RULES, "URL_USER", 1.8, "A link has another name before the one that it leads to")
def user(message: Examined) -> str | None:
    return _first(message, lambda url: bool(url.userinfo))


@rule(RULES, "URL_ENCODED_HOST", 1.6, "A link writes the name that it leads to so that it cannot be read")
def encoded_host(message: Examined) -> str | None:
    return _first(message, lambda url: url.encoded_host)


@rule(RULES, "URL_PORT", 0.8, "A link leads to an unusual port")
def port(message: Examined) -> str | None:
    return _first(message, lambda url: url.port not in ("", "80", "443", "8080", "8443"))


@rule(RULES, "URL_SHORTENED", 0.6, "A link hides where it leads behind a shortener")
def shortened(message: Examined) -> str | None:
    return _first(message, lambda url: url.host in _SHORT)


@rule(RULES, "URL_MANY_LABELS", 0.8, "A link leads to a name of very many labels")
def many_labels(message: Examined) -> str | None:
    return _first(message, lambda url: not url.is_address and url.host.count(".") >= _MANY_LABELS)


@rule(RULES, "URL_LOOKS_ALIKE", 0.8, "A link leads to a name in other letters than it seems")
def looks_alike(message: Examined) -> str | None:
    return _first(message, lambda url: "xn--" in url.host or not url.host.isascii())


@rule(RULES, "URL_PROGRAM", 1.5, "A link leads to a program")
def program(message: Examined) -> str | None:
    return _first(message, lambda url: bool(_PROGRAM.search(url.path[-200:])))


@rule(RULES, "URL_ONWARDS", 0.5, "A link leads somewhere that leads on elsewhere")
def onwards(message: Examined) -> str | None:
    return _first(
        message, lambda url: bool(re.search(r"[?&][\w-]{1,20}=https?(?::|%3a)", url.path, re.IGNORECASE))
    )


@rule(RULES, "URL_ONLY", 0.6, "There is a link and hardly a word beside it")
def only(message: Examined) -> str | None:
    if not message.urls or any(part.is_attachment for part in message.message.parts):
        return None
    words = len(message.text.split())
    return shown(f"{words} words, {message.urls[0].text}") if words < 8 else None
