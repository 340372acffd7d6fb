"""Whose DKIM signatures does a message bear (RFC 6376), as dkimpy judges them."""

from __future__ import annotations

import logging
import re
from typing import Protocol

import dkim

from services.filters.authentication.lookups import Blocking, LookupFailed
from services.filters.authentication.results import Signature

MAX_SIGNATURES = 10
"""More are not looked at: each costs a look-up and a hash of the body."""

_FIELD = b"dkim-signature"

log = logging.getLogger(__name__)


class KeySource(Protocol):
    """What dkimpy asks for the TXT record of a key."""

    def __call__(self, name: bytes, timeout: float = 5) -> bytes | None: ...


class Heard(logging.Logger):
    """A logger that keeps the last error: dkimpy tells its reasons in no other way."""

    def __init__(self) -> None:
        super().__init__("dkim", logging.ERROR)
        self.said = ""

    def error(self, msg: object, *args: object, **_: object) -> None:
        self.said = str(msg) % args if args else str(msg)


def key_source(resolver: Blocking) -> KeySource:
    """Return dkimpy's way to ask: of several TXT records at the name the first that may be a key."""

    def ask(name: bytes, timeout: float = 5) -> bytes | None:  # noqa: ARG001  (the resolver has its own)
        records = resolver.txt(name.decode("ascii", "replace"))
        keys = [record for record in records if b"p=" in record]
        return next(iter([*keys, *records]), None)

    return ask


def check(message: bytes, resolver: Blocking, *, now: float) -> tuple[Signature, ...]:
    """Return what each DKIM-Signature field comes to at `now`, topmost first (at most MAX_SIGNATURES)."""
    heard = Heard()
    try:
        verifier = dkim.DKIM(message, logger=heard)
    except Exception as error:
        # A header that is none (a line without a colon): others could not verify it either.
        if b"dkim-signature" not in message.lower():
            return ()
        return (Signature(result="permerror", reason=_reason(error)),)
    present = sum(name.lower() == _FIELD for name, _ in verifier.headers)
    return tuple(
        _check_one(verifier, place, heard, resolver, now) for place in range(min(present, MAX_SIGNATURES))
    )


def _check_one(verifier: dkim.DKIM, place: int, heard: Heard, resolver: Blocking, now: float) -> Signature:
    heard.said, verifier.signature_fields = "", {}
    try:
        valid = verifier.verify(place, dnsfunc=key_source(resolver))
        result, reason = _verdict(valid, heard.said)
    except LookupFailed as error:
        result, reason = "temperror", str(error)
    except dkim.ValidationError as error:
        reason = _reason(error)
        result = "fail" if reason.startswith(("body hash", "x=", "t=")) else "permerror"
    except dkim.MessageFormatError as error:
        result, reason = "neutral", _reason(error)
    except Exception as error:
        # A stranger's signature that dkimpy stumbles over must not stop the mail.
        log.info("DKIM: %s: %s", type(error).__name__, error)
        result, reason = "permerror", _reason(error)
    tags = verifier.signature_fields
    expiry = tags.get(b"x", b"")
    if result == "pass" and expiry.isdigit() and int(expiry) < now:
        result, reason = "fail", "the signature has expired"
    return Signature(result=result, domain=_text(tags, b"d"), selector=_text(tags, b"s"), reason=reason)


def _verdict(valid: bool, said: str) -> tuple[str, str]:
    if valid:
        return "pass", ""
    # It was not even tried: there is no key, or none that can be read (RFC 6376 §6.1.2).
    if said:
        return "permerror", said
    return "fail", "the signature does not match the header"


def _text(tags: dict[bytes, bytes], name: bytes) -> str:
    return tags.get(name, b"").decode("ascii", "replace").strip().lower()


def _reason(error: Exception) -> str:
    """An error in one line, without the hashes that dkimpy puts in parentheses."""
    return re.sub(r"\s*\(.*\)$", "", str(error), flags=re.DOTALL) or type(error).__name__
