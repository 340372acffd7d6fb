"""Who sent it, as our own server found out (RFC 7208, RFC 6376, RFC 7489, RFC 8617).

That a message is authentic says little: spammers have domains, too. That it is not says more.
"""

from __future__ import annotations

from services.filters.spam.examined import Examined
from services.filters.spam.rules.rule import Rule, rule, shown
from services.filters.spam.urls import registered

RULES: list[Rule] = []


def _result(message: Examined, method: str, *results: str) -> str | None:
    found = message.results.first(method, *results)
    return shown(f"{method}={found.result} {found.about}".strip()) if found else None


@rule(RULES, "SPF_PASS", -0.1, "SPF: the client may send for the domain of the reverse-path")
def spf_pass(message: Examined) -> str | None:
    return _result(message, "spf", "pass")


@rule(RULES, "SPF_FAIL", 2.0, "SPF: the client may not send for the domain of the reverse-path")
def spf_fail(message: Examined) -> str | None:
    return _result(message, "spf", "fail")


@rule(RULES, "SPF_SOFTFAIL", 1.0, "SPF: the client probably may not send for the domain of the reverse-path")
def spf_softfail(message: Examined) -> str | None:
    return _result(message, "spf", "softfail")


@rule(RULES, "SPF_PERMERROR", 0.5, "SPF: the domain's record cannot be understood")
def spf_permerror(message: Examined) -> str | None:
    return _result(message, "spf", "permerror")


@rule(RULES, "DKIM_AUTHOR", -0.4, "DKIM: a valid signature of the author's own domain")
def dkim_author(message: Examined) -> str | None:
    for found in message.results.all("dkim"):
        signer = found.properties.get("header.d", "").lower()
        if found.result == "pass" and signer and registered(signer) == registered(message.author_domain):
            return shown(f"signed by {signer}")
    return None


@rule(RULES, "DKIM_OTHER", -0.1, "DKIM: a valid signature, of another domain than the author's")
def dkim_other(message: Examined) -> str | None:
    return None if dkim_author(message) else _result(message, "dkim", "pass")


@rule(RULES, "DKIM_BROKEN", 0.5, "DKIM: signed, but no signature is valid: changed on the way, or forged")
def dkim_broken(message: Examined) -> str | None:
    if message.results.first("dkim", "pass"):
        return None
    return _result(message, "dkim", "fail", "permerror", "policy")


@rule(RULES, "DMARC_PASS", -0.4, "DMARC: it does come from the author's domain")
def dmarc_pass(message: Examined) -> str | None:
    return _result(message, "dmarc", "pass")


def _dmarc_failed(message: Examined, *policies: str) -> str | None:
    found = message.results.first("dmarc", "fail")
    policy = found.properties.get("policy.published-domain-policy", "none") if found else ""
    return shown(f"dmarc=fail {found.about}") if found and policy in policies else None


@rule(RULES, "DMARC_REJECT", 2.8, "DMARC: not from the author's domain, which wants such mail rejected")
def dmarc_reject(message: Examined) -> str | None:
    return _dmarc_failed(message, "reject")


@rule(RULES, "DMARC_QUARANTINE", 1.8, "DMARC: not from the author's domain, which wants such mail put aside")
def dmarc_quarantine(message: Examined) -> str | None:
    return _dmarc_failed(message, "quarantine")


@rule(RULES, "DMARC_FAIL", 0.8, "DMARC: not from the author's domain, which does not say what to do then")
def dmarc_fail(message: Examined) -> str | None:
    return _dmarc_failed(message, "none")


@rule(RULES, "ARC_PASS", -0.3, "ARC: those who passed it on vouch for what it was before")
def arc_pass(message: Examined) -> str | None:
    return _result(message, "arc", "pass")


@rule(RULES, "ARC_FAIL", 0.6, "ARC: the chain of those who passed it on is broken")
def arc_fail(message: Examined) -> str | None:
    return _result(message, "arc", "fail")


@rule(RULES, "NOBODY_VOUCHES", 0.7, "Neither SPF nor DKIM tells who sent it")
def nobody_vouches(message: Examined) -> str | None:
    results = message.results
    if not results.known or results.first("spf", "pass") or results.first("dkim", "pass"):
        return None
    # What failed has rules of its own; what could not be looked up tells nothing.
    odd = ("fail", "softfail", "permerror", "temperror")
    return None if results.first("spf", *odd) or results.first("dkim", *odd) else "neither SPF nor DKIM"


@rule(RULES, "ALL_OURS", -1.5, "It has passed through our own servers only")
def all_ours(message: Examined) -> str | None:
    return "no server of others" if message.trace.ours and message.trace.entry is None else None
