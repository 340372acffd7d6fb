"""A message with all that is known about it, which the rules are asked about."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.utils import getaddresses
from functools import cached_property

from services.filters.spam import markup, results, trace, urls
from services.filters.spam.findings import Findings
from services.filters.spam.markup import Markup
from services.filters.spam.message import Message, decoded_words
from services.filters.spam.results import Results
from services.filters.spam.trace import Network, Trace
from services.filters.spam.urls import Url

_ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[\w.-]{1,253}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Whose border this is: `authserv_id` writes our results, `trusted` are our servers' networks.

    `names` are the names of hosts and domains that are ours: nobody else may bear them.
    """

    authserv_id: str
    trusted: tuple[Network, ...] = ()
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """What the classifier makes of a message: `probability` of spam, and the tokens that told it."""

    probability: float
    spammy: tuple[str, ...] = ()
    hammy: tuple[str, ...] = ()


@dataclass(eq=False)
class Examined:
    """A message, read as far as any rule has asked; `now` is in seconds since 1970."""

    message: Message
    site: Site
    now: float
    findings: Findings = field(default_factory=Findings)
    taught: Taught | None = None

    def value(self, name: str) -> str:
        """Return the decoded value of the first field of that name, empty if there is none."""
        return self.message.header.get(name) or ""

    def values(self, name: str) -> list[str]:
        """Return the raw values of all fields of that name, topmost first."""
        return [found.raw for found in self.message.header.all(name)]

    @cached_property
    def trace(self) -> Trace:
        """The way that it came."""
        return trace.read(self.values("Received"), self.site.trusted)

    @cached_property
    def results(self) -> Results:
        """What our own server found out about its sender."""
        return results.read(self.values("Authentication-Results"), self.site.authserv_id)

    @cached_property
    def markup(self) -> Markup:
        """Its HTML parts, read."""
        return markup.read(self.message.html) if self.message.html else Markup()

    @cached_property
    def text(self) -> str:
        """What its reader sees: its plain text, and its HTML as shown."""
        return f"{self.message.plain}\n{self.markup.text}"

    @cached_property
    def words(self) -> str:
        """The same in lower case, each space single: what phrases are looked for in."""
        return re.sub(r"\s+", " ", f"{self.subject}\n{self.text}".lower())

    @cached_property
    def urls(self) -> list[Url]:
        """The web addresses in it: those shown, and those that links lead to."""
        found = {url.text: url for url in urls.find(self.text)}
        for link in self.markup.links:
            url = urls.parse(link.target)
            if url is not None:
                found.setdefault(url.text, url)
        for image in self.markup.images:
            url = urls.parse(image.source)
            if url is not None:
                found.setdefault(url.text, url)
        return list(found.values())[: urls.MOST_URLS]

    @cached_property
    def subject(self) -> str:
        """Its subject, decoded."""
        return self.value("Subject").strip()

    @cached_property
    def author(self) -> tuple[str, str]:
        """The display name and the address of the first author in From."""
        return self._mailboxes("From")[0] if self._mailboxes("From") else ("", "")

    @cached_property
    def author_domain(self) -> str:
        """The domain of the author's address, in lower case."""
        return domain(self.author[1])

    @cached_property
    def sender(self) -> str | None:
        """The reverse-path, empty if it is the null one; None if nobody wrote it down."""
        for name in ("X-Envelope-From", "Return-Path"):
            values = self.values(name)
            if values:
                return values[0].strip().strip("<>")
        return None

    @cached_property
    def recipients(self) -> list[tuple[str, str]]:
        """Those whom To and Cc name."""
        return self._mailboxes("To") + self._mailboxes("Cc")

    @cached_property
    def is_list_mail(self) -> bool:
        """It bears a list's marks (RFC 2919)."""
        return bool(self.value("List-Id"))

    def addresses_in(self, text: str) -> list[str]:
        """Return the mail addresses that stand in a text."""
        return _ADDRESS.findall(text[:2000])

    def _mailboxes(self, name: str) -> list[tuple[str, str]]:
        # Raw: an encoded word may decode to what looks like another address (RFC 2047 §5).
        return mailboxes(self.values(name))


def mailboxes(values: Sequence[str]) -> list[tuple[str, str]]:
    """Return display names, decoded, and addresses in the values of an address field."""
    try:
        found = getaddresses([value[:20_000] for value in values[:5]])
    except (ValueError, IndexError, AttributeError):
        # The library has its limits with what is no address at all.
        return []
    return [(decoded_words(name), address) for name, address in found if name or address]


def domain(address: str) -> str:
    """Return the domain of an address in lower case, empty if it has none."""
    return address.rpartition("@")[2].strip("> .").lower() if "@" in address else ""
