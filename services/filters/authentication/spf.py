"""May this client send mail of that domain? SPF (RFC 7208), judged by pyspf.

pyspf asks through the process-wide resolver of dnspython. Here its one method that asks DNS is replaced, so
that each check has a resolver of its own; what that method does beside (names that cannot exist, a cache for
the check, the limit on look-ups in vain) is done here as it is there. Aliases are followed by the resolver.
And a name that an address points to is skipped if DNS does not answer for it, which pyspf takes for the end.
"""

from __future__ import annotations

import logging

import spf

from services.filters.authentication.lookups import Blocking, LookupFailed
from services.filters.authentication.results import Result

_MAX_LABEL = 63
_EXPLAINED = ("fail", "softfail", "permerror", "temperror")
_RESULTS = ("pass", "fail", "softfail", "neutral", "none", "permerror", "temperror")

log = logging.getLogger(__name__)


class Query(spf.query):
    """One SPF check: its look-ups go to `resolver`."""

    def __init__(self, resolver: Blocking, *, client: str, sender: str, helo: str, receiver: str) -> None:
        super().__init__(i=client, s=sender, h=helo, receiver=receiver)
        self._resolver = resolver
        local, at, domain = sender.rpartition("@")
        if at:
            # pyspf splits at the first @, which may stand in a quoted local part.
            self.l, self.o, self.d = local or "postmaster", domain, domain

    def dns(
        self,
        name: str,
        qtype: str,
        cnames: object = None,  # noqa: ARG002  (pyspf's own signature)
        ignore_void: bool = False,
    ) -> list[object]:
        """Return the records as pyspf has them. Raises: spf.TempError, spf.PermError."""
        name = str(name).rstrip(".").lower()
        if not all(0 < len(label) <= _MAX_LABEL for label in name.split(".")):
            return []
        key = name, qtype
        if key not in self.cache:
            try:
                found = self._resolver.look_up(name, qtype)
            except LookupFailed as error:
                raise spf.TempError(str(error)) from error
            # pyspf has each TXT record as the sequence of its strings.
            self.cache[key] = [(record,) for record in found] if qtype == "TXT" else list(found)
        result = self.cache[key]
        if not result and not ignore_void:
            self.void_lookups += 1
            if self.void_lookups > spf.MAX_VOID_LOOKUPS:
                raise spf.PermError(f"Void lookup limit of {spf.MAX_VOID_LOOKUPS} exceeded")
        return result

    def dns_ptr(self, i: str) -> list[str]:
        """Return the names that an address points to; none where DNS fails (RFC 7208 §5.5)."""
        try:
            return [str(name) for name in super().dns_ptr(i)]
        except spf.TempError:
            return []

    def validated_ptrs(self) -> list[str]:
        """Return those of the client's names that lead back to its address (RFC 7208 §5.5)."""
        return [name for name in self.dns_ptr(self.i)[: spf.MAX_PTR] if self._leads_back(name)]

    def _leads_back(self, name: str) -> bool:
        try:
            return self.cidrmatch(self.dns_a(name, self.A), self.cidrmax)
        except spf.TempError:
            return False


def check(resolver: Blocking, *, client: str, helo: str, sender: str, receiver: str = "") -> Result:
    """Return SPF's result for a client's address and the reverse-path; a null one is judged by `helo`.

    Domains beyond ASCII are asked for by their A-labels (RFC 7208 §4.3).
    """
    sender, helo = _ascii_domain(sender), _ascii_domain(helo)
    domain = (sender or helo).rpartition("@")[2].lower()
    try:
        query = Query(resolver, client=client, sender=sender, helo=helo, receiver=receiver)
        result, _, explanation = query.check()
    except Exception as error:
        # A record of a stranger's that pyspf stumbles over must not stop the mail.
        log.warning("SPF of %r: %s: %s", domain, type(error).__name__, error)
        return Result(result="permerror", domain=domain, reason="the record cannot be evaluated")
    if result not in _RESULTS:
        return Result(result="permerror", domain=domain, reason=f"pyspf says {result}")
    return Result(result=result, domain=domain, reason=explanation if result in _EXPLAINED else "")


def _ascii_domain(address: str) -> str:
    local, at, domain = address.rpartition("@")
    try:
        return local + at + domain.encode("idna").decode()
    except UnicodeError:
        return address
