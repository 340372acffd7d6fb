"""Web addresses in a text, taken apart as a browser would."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

MOST_URLS = 200
_URL = re.compile(r"(?:https?://|\bwww\.)[^\s<>\"'()\[\]{}|\\^`]{1,1000}", re.IGNORECASE)
_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}|0x[0-9a-f]+|\d{7,10}")
_SECOND_LEVEL = {"ac", "co", "com", "edu", "gov", "net", "org"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Url:
    """`text` as it stands there; `host` in lower case, with what was percent-encoded decoded."""

    text: str
    userinfo: str
    host: str
    port: str
    path: str
    encoded_host: bool = False

    @property
    def is_address(self) -> bool:
        """The host is a number, not a name."""
        return bool(_ADDRESS.fullmatch(self.host))

    @property
    def domain(self) -> str:
        """The domain that somebody has registered."""
        return self.host if self.is_address else registered(self.host)


def parse(text: str) -> Url | None:
    """Return a web address taken apart, None if it is none."""
    scheme, found, rest = text.strip().partition("://")
    if not found:
        if not scheme.lower().startswith("www."):
            return None
        rest = scheme
    elif scheme.lower() not in ("http", "https"):
        return None
    place = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    userinfo, _, hostport = place.rpartition("@")
    host, _, port = hostport.partition(":")
    name = unquote(host).lower().strip(".")
    if not name or len(name) > 253 or not re.fullmatch(r"[\w.-]+", name):
        return None
    return Url(
        text=text.strip()[:200],
        userinfo=userinfo,
        host=name,
        port=port,
        path=rest[len(place) :],
        encoded_host="%" in host,
    )


def find(text: str) -> list[Url]:
    """Return the web addresses in a text, each once."""
    found: dict[str, Url] = {}
    for match in _URL.finditer(text):
        url = parse(match[0].rstrip(".,;:!?*_"))
        if url is not None:
            found.setdefault(url.text, url)
        if len(found) >= MOST_URLS:
            break
    return list(found.values())


def registered(host: str) -> str:
    """Return the domain below a public suffix: the last two labels, three below such as co.uk.

    An estimate: the public suffix list is longer than all of this engine's rules.
    """
    labels = host.lower().strip(".").split(".")
    below = 3 if len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _SECOND_LEVEL else 2
    return ".".join(labels[-below:])
