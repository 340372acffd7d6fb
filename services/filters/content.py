"""The content filter: what is asked about a message, in which order, and what follows from the answers.

Theory of operation. A message from outside is judged like this; the first that decides ends it:

    virus engine             malware, or what it cannot look into    quarantine; the sender is told
    authentication, DMARC    the author's domain says `quarantine`   quarantine; nobody is told
                             it says `reject`                        delete; nobody is told
    spam engine              as many points as it takes to be spam   delete; nobody is told
    else                                                             pass, with the verdict on top

Mail of the organisation's own, on its way out, is looked through for malware only. An engine that does not
answer raises EngineUnavailable: then nothing is decided, and the message must wait.

Why reject means delete here: the message has been taken from its last server already, and the reverse-path
of a forged one leads to somebody who has nothing to do with it (RFC 7489 §10.3).

The bytes of a message that passes stay as they are but for the header: our fields stand on top, and such as
claim to be ours from outside are gone.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from services.filters.authentication import Authentication, LookupFailed, Resolver, authenticate
from services.filters.engines import CLAMD_PORT, SPAMD_PORT, Scan, Score, printable, scan, score
from services.filters.header import fields, header_length, values, without_results_of
from services.filters.origin import Network, Origin, origin, with_reverse_name
from services.filters.verdict import Verdict

_SCORED = 512 * 1024  # what spamc sends at most; above that rules take minutes
_AT_ONCE = 8  # questions to each engine
_SPAM_FIELD = re.compile(rb"X-Spam-[!-9;-~]+[ \t]*:", re.IGNORECASE)
_HOST_NAME = re.compile(r"[A-Za-z0-9_.-]{1,255}")
_NAMES_TRIED = 3
_CRLF = "\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a filter is told: `border` and `inside` as in `origin`; a port of 0 means that there is no engine.

    `authserv_id` is its name in Authentication-Results, `trusted_sealers` whose ARC seals are believed.
    """

    authserv_id: str
    border: tuple[str, ...] = ()
    inside: tuple[Network, ...] = ()
    virus_port: int = CLAMD_PORT
    spam_port: int = SPAMD_PORT
    engine_timeout_s: float = 60.0
    trusted_sealers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A verdict, who the message is from, and the message as it goes on if it passes."""

    verdict: Verdict
    origin: Origin
    authentication: Authentication | None
    content: bytes = field(repr=False)
    notify: bool = False


class ContentFilter:
    """Judges messages by the engines of this host; `clock` in seconds since 1970."""

    def __init__(self, settings: Settings, *, resolver: Resolver, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._resolver = resolver
        self._clock = clock
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def judge(self, message: bytes, *, sender: str) -> Judgement:
        """Return what is to be done with a message that this host has accepted from `sender`.

        Raises: EngineUnavailable; LookupFailed never: what DNS does not answer is a result.
        """
        async with self._places:
            return await self._judge(message, sender)

    async def _judge(self, message: bytes, sender: str) -> Judgement:
        where = origin(message, border=self._settings.border, inside=self._settings.inside)
        scanned = await self._scan(message)
        if where.inside:
            return self._settled(where, message, infected(scanned) or Verdict(action="pass"), sender=sender)
        clean = without_verdicts(message, self._settings.authserv_id)
        found = await authenticate(
            clean,
            client=where.client,
            helo=where.helo,
            sender=sender,
            resolver=self._resolver,
            authserv_id=self._settings.authserv_id,
            now=self._clock(),
            trusted_sealers=self._settings.trusted_sealers,
        )
        verdict = infected(scanned) or disowned(found)
        marked = crlf(found.header()) + clean
        if verdict:
            return self._settled(where, marked, verdict, found, sender=sender)
        scored = await self._score(marked, sender, where)
        if scored is None:
            return self._settled(where, marked, Verdict(action="pass"), found, sender=sender)
        verdict = weighed(scored)
        return self._settled(where, crlf(spam_status(scored)) + marked, verdict, found, sender=sender)

    async def _scan(self, message: bytes) -> Scan:
        if not self._settings.virus_port:
            return Scan()
        return await scan(message, port=self._settings.virus_port, timeout_s=self._settings.engine_timeout_s)

    async def _score(self, message: bytes, sender: str, where: Origin) -> Score | None:
        """The spam engine reads in header fields what the envelope says, and what the client is called."""
        if not self._settings.spam_port:
            return None
        name = await self._name(where.client)
        named = with_reverse_name(message, where.client, name) if name else message
        asked = crlf(f"Return-Path: <{sender}>") + named
        return await score(
            asked[:_SCORED], port=self._settings.spam_port, timeout_s=self._settings.engine_timeout_s
        )

    async def _name(self, client: str) -> str:
        """The client's name in DNS, if that leads back to it (RFC 8601 §2.7.3, iprev); else nothing."""
        try:
            for name in (await self._resolver.ptr(ip_address(client).reverse_pointer))[:_NAMES_TRIED]:
                if _HOST_NAME.fullmatch(name) and client in await self._resolver.a(name):
                    return name.rstrip(".")
        except LookupFailed:
            pass  # No name is known.
        return ""

    def _settled(
        self,
        where: Origin,
        content: bytes,
        verdict: Verdict,
        found: Authentication | None = None,
        *,
        sender: str,
    ) -> Judgement:
        told = verdict.action == "quarantine" and bool(verdict.virus)
        notify = told and is_to_be_told(content, sender=sender, found=found)
        return Judgement(verdict=verdict, origin=where, authentication=found, content=content, notify=notify)


def infected(found: Scan) -> Verdict | None:
    """Return what follows from what the virus engine found, None if that is nothing."""
    if found.virus:
        return Verdict(action="quarantine", reason=f"it holds {found.virus}", virus=found.virus)
    if found.refused:
        reason = f"the virus engine cannot look into it: {found.refused}"
        return Verdict(action="quarantine", reason=reason, virus="Unscannable")
    return None


def disowned(found: Authentication) -> Verdict | None:
    """Return what the author's domain wants done with a message that is not its own, None if nothing."""
    dmarc = found.dmarc
    domain = printable(dmarc.domain)
    asks = f"DMARC: {domain} asks to {dmarc.disposition} what does not prove to be its own"
    match dmarc.disposition:
        case "quarantine":
            return Verdict(action="quarantine", reason=asks)
        case "reject":
            return Verdict(action="delete", reason=asks)
        case _:
            return None


def weighed(found: Score) -> Verdict:
    """Return what follows from a score."""
    points = f"spam score {found.score:g}, {found.required:g} required"
    return Verdict(
        action="delete" if found.spam else "pass", reason=points, score=found.score, rules=found.rules
    )


def spam_status(found: Score) -> str:
    """Return the X-Spam-Status field, in the words of SpamAssassin, folded, without its final line end."""
    tests = [f"{rule.name}={rule.weight:g}" for rule in found.rules] or ["none"]
    answer = "Yes" if found.spam else "No"
    listed = f",{_CRLF}\t".join(tests)
    return (
        f"X-Spam-Status: {answer}, score={found.score:g} required={found.required:g}{_CRLF}\ttests={listed}"
    )


def without_verdicts(message: bytes, authserv_id: str) -> bytes:
    """Return the message without fields from outside that claim to be a filter's of this organisation."""
    length = header_length(message)
    kept = [line for line in fields(message[:length]) if not _SPAM_FIELD.match(line)]
    return without_results_of(b"".join(kept) + message[length:], authserv_id)


def is_to_be_told(message: bytes, *, sender: str, found: Authentication | None) -> bool:
    """Return whether the sender of malware is told: a person whose address is not forged for all we know.

    Nobody is told of what has the null reverse-path or comes from a machine or a list (RFC 3834 §2), for
    machines answer machines without end; nor where SPF or DMARC say that the address is forged: whose it
    is has nothing to do with it. Most malware has a forged sender.
    """
    if not sender or _is_automatic(message):
        return False
    forged = found is not None and (found.spf.result in ("fail", "softfail") or found.dmarc.result == "fail")
    return not forged


def _is_automatic(message: bytes) -> bool:
    submitted = [value.partition(b";")[0].strip().lower() for value in values(message, "Auto-Submitted")]
    precedence = [value.lower() for value in values(message, "Precedence")]
    return (
        any(value != b"no" for value in submitted)
        or any(value in (b"bulk", b"junk", b"list") for value in precedence)
        or bool(values(message, "List-Id"))
    )


def crlf(field: str) -> bytes:
    """Return a header field as it stands in a message."""
    return (field + _CRLF).encode("utf-8", "replace")


def told(verdict: Verdict, found: Authentication | None) -> dict[str, object]:
    """Return what the event `filtered` says of a verdict, as JSON values."""
    return {
        "action": verdict.action,
        "reason": verdict.reason,
        "virus": verdict.virus,
        "score": verdict.score,
        "rules": [
            {"name": rule.name, "weight": rule.weight, "evidence": rule.evidence} for rule in verdict.rules
        ],
        "authentication": _told_results(found) if found else {},
    }


def _told_results(found: Authentication) -> dict[str, object]:
    signatures: Sequence[dict[str, str]] = [
        {"result": one.result, "domain": one.domain} for one in found.dkim
    ]
    return {
        "spf": {"result": found.spf.result, "domain": found.spf.domain},
        "dkim": signatures,
        "dmarc": {"result": found.dmarc.result, "domain": found.dmarc.domain, "policy": found.dmarc.policy},
        "arc": found.arc,
    }
