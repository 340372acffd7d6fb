"""What it says: words that unwanted mail has and other mail seldom has, and words written to evade rules.

A phrase alone proves nothing. Most rules here want several of a kind.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from services.filters.spam.examined import Examined
from services.filters.spam.rules.rule import Rule, rule, shown

RULES: list[Rule] = []

_LONGEST = 50_000

_FEE = (
    r"next of kin|\bbarrister\b|\bbeneficiary\b|transfer of (?:the )?(?:funds?|money|sum)|"
    r"strictly confidential|(?:late|deceased) (?:client|husband|father|president|customer)|"
    r"foreign (?:partner|account)|\bdiplomat(?:ic)?\b|inheritance|business proposal|risk[- ]free|"
    r"(?:\d+|fifty|forty|thirty|twenty) ?% (?:of the )?(?:total|sum|fund)|bank of (?:africa|nigeria)|"
    r"security company|unclaimed|trustworthy|god bless"
)
_LOTTERY = (
    r"you(?:r email(?: address)?)? (?:have|has|'ve) (?:been )?(?:won|selected|chosen)|\blotter(?:y|ies)\b|"
    r"\bjackpot\b|winning number|claim your (?:prize|reward|gift)|lucky winner|sweepstakes?|"
    r"congratulations"
)
_PHISHING = (
    r"(?:verify|confirm|update|validate) (?:your )?"
    r"(?:account|identity|password|billing|details|information|mailbox)|"
    r"account (?:has been|will be|was|is) "
    r"(?:suspended|limited|locked|closed|disabled|restricted|deactivated)|"
    r"unusual (?:sign[- ]?in|activity|login)|unauthori[sz]ed (?:access|login|transaction)|"
    r"click (?:the link )?(?:below|here) to (?:verify|confirm|restore|update|avoid)|"
    r"(?:mailbox|storage|quota) (?:is |has )?(?:almost )?(?:full|exceeded)|"
    r"security (?:alert|department|team)|within (?:24|48|72) hours|"
    r"dear (?:customer|user|client|account holder|valued)|password (?:has )?expire[sd]?|"
    r"failure to (?:do so|comply|verify)"
)
_PHARMACY = (
    r"\bviagra\b|\bcialis\b|\blevitra\b|\bxanax\b|\bvalium\b|\btramadol\b|"
    r"online (?:pharmacy|drugstore|drug store)|no prescription|weight loss|lose weight|burn fat|"
    r"male enhancement|erectile|anti-?ag(?:e)?ing|miracle (?:cure|pill)|diet pills?"
)
_SALES = (
    r"act now|order (?:now|today)|buy now|limited[- ](?:time )?offer|special (?:offer|promotion)|"
    r"money[- ]back|100% (?:free|guaranteed|satisfied)|no (?:obligation|cost|credit check|strings)|"
    r"lowest prices?|best price|save (?:up to |over )?(?:\d+ ?%|[$€£]\d)|\d+ ?% off|"
    r"while (?:supplies|stocks?) last|click here|call now|don't miss|once in a lifetime|"
    r"satisfaction guaranteed|free (?:trial|gift|sample|shipping|bonus)|exclusive (?:deal|offer)|"
    r"risk free|cheap(?:est)?\b|discount"
)
_EARNING = (
    r"work (?:from|at) home|earn (?:up to |over )?[$€£]?\d|extra (?:cash|income)|financial freedom|"
    r"make money|be your own boss|passive income|get rich|double your|guaranteed (?:income|return|profit)|"
    r"investment opportunity|no experience|high returns?|per (?:week|day) from|forex|penny stocks?|"
    r"hot stock|debt (?:free|relief|consolidation)|pre-?approved|refinance|"
    r"low(?:est)? (?:interest|mortgage)"
)
_EXTORTION = (
    r"\bbitcoin\b|\bbtc\b|webcam|recorded you|your (?:password|contacts|device) (?:is|was|has)|"
    r"adult (?:site|website|video)|i (?:have|'ve) (?:hacked|infected|access)|wallet address|malware on|"
    r"pay (?:me|the ransom)|transfer .{1,20} to (?:my|this) wallet"
)
_PLAIN = re.compile(r"\b(?:viagra|cialis|porno?|free|money|casino|lottery|pharmacy|discount)\b")
_DISGUISED = re.compile(
    r"\b(?:v[i1!|l][a@4]gr[a@4]|c[i1!|][a@4]l[i1!|]s|p[o0]rn[o0]?|fr[e3][e3]|m[o0]n[e3]y|c[a@4]s[i1!|]n[o0]|"
    r"l[o0]tt[e3]ry|ph[a@4]rm[a@4]cy|d[i1!|]sc[o0]unt)\b"
)
_COMPILED = {
    name: re.compile(pattern)
    for name, pattern in {
        "fee": _FEE,
        "lottery": _LOTTERY,
        "phishing": _PHISHING,
        "pharmacy": _PHARMACY,
        "sales": _SALES,
        "earning": _EARNING,
        "extortion": _EXTORTION,
    }.items()
}


def _phrases(message: Examined, name: str) -> Sequence[str]:
    return list(dict.fromkeys(_COMPILED[name].findall(message.words[:_LONGEST])))


def _at_least(message: Examined, name: str, least: int, most: int = 1000) -> str | None:
    found = _phrases(message, name)
    return shown(", ".join(found)) if least <= len(found) <= most else None


@rule(RULES, "ADVANCE_FEE", 1.4, "Phrases of one who needs help to move a fortune: two or three")
def advance_fee(message: Examined) -> str | None:
    return _at_least(message, "fee", 2, 3)


@rule(RULES, "ADVANCE_FEE_MANY", 3.0, "Phrases of one who needs help to move a fortune: four or more")
def advance_fee_many(message: Examined) -> str | None:
    return _at_least(message, "fee", 4)


@rule(RULES, "LARGE_SUM", 1.0, "It speaks of a very large sum of money")
def large_sum(message: Examined) -> str | None:
    found = re.search(
        r"(?:[$€£]|\busd|\beur|\bgbp)\s?\d{1,3}(?:[.,]\d{3}){2,4}|"
        r"\b\d{1,4}(?:\.\d{1,2})? ?million (?:us |united states )?(?:dollars|euros?|pounds|usd)",
        message.words[:_LONGEST],
    )
    return shown(found[0]) if found else None


@rule(RULES, "LOTTERY", 1.8, "It says that its reader has won something")
def lottery(message: Examined) -> str | None:
    return _at_least(message, "lottery", 2)


@rule(
    RULES,
    "ACCOUNT_TROUBLE",
    1.5,
    "It says that an account is in trouble and something must be done: two such phrases",
)
def account_trouble(message: Examined) -> str | None:
    return _at_least(message, "phishing", 2, 2)


@rule(
    RULES,
    "ACCOUNT_TROUBLE_MANY",
    2.6,
    "It says that an account is in trouble and something must be done: three or more",
)
def account_trouble_many(message: Examined) -> str | None:
    return _at_least(message, "phishing", 3)


@rule(RULES, "PHARMACY", 1.6, "It offers medicines")
def pharmacy(message: Examined) -> str | None:
    return _at_least(message, "pharmacy", 1, 1)


@rule(RULES, "PHARMACY_MANY", 2.8, "It offers several medicines or cures")
def pharmacy_many(message: Examined) -> str | None:
    return _at_least(message, "pharmacy", 2)


@rule(RULES, "SALES_TALK", 0.8, "Phrases of one who sells: two or three")
def sales_talk(message: Examined) -> str | None:
    return _at_least(message, "sales", 2, 3)


@rule(RULES, "SALES_TALK_MANY", 2.0, "Phrases of one who sells: four or more")
def sales_talk_many(message: Examined) -> str | None:
    return _at_least(message, "sales", 4)


@rule(RULES, "EASY_MONEY", 1.6, "It promises money for little: two such phrases or more")
def easy_money(message: Examined) -> str | None:
    return _at_least(message, "earning", 2)


@rule(RULES, "EXTORTION", 2.8, "It says that it knows a secret, and wants coins that cannot be traced")
def extortion(message: Examined) -> str | None:
    found = _phrases(message, "extortion")
    coins = any("bitcoin" in each or "btc" in each or "wallet" in each for each in found)
    return shown(", ".join(found)) if len(found) >= 3 and coins else None


@rule(RULES, "WORDS_DISGUISED", 1.8, "Words are written with figures and signs in place of letters")
def words_disguised(message: Examined) -> str | None:
    # As they are usually written they are no disguise.
    words = _PLAIN.sub("", message.words[:_LONGEST])
    found = _DISGUISED.search(words)
    return shown(found[0]) if found else None


@rule(RULES, "LETTERS_INVISIBLE", 1.4, "There are invisible characters within its words")
def letters_invisible(message: Examined) -> str | None:
    # Where writing joins letters (Persian, Indian scripts) some of these belong.
    count = len(re.findall("[A-Za-z][\u00ad\u200b-\u200d\u2060\ufeff]+(?=[A-Za-z])", message.text[:_LONGEST]))
    return f"{count} places" if count >= 3 else None


@rule(RULES, "LETTERS_MIXED", 1.8, "Words have letters of two scripts that look alike")
def letters_mixed(message: Examined) -> str | None:
    found = re.findall(
        "\\b(?=\\w*[A-Za-z])(?=\\w*[\u0370-\u03ff\u0400-\u04ff])\\w{3,40}\\b",
        f"{message.subject} {message.text[:20_000]}",
    )
    return shown(", ".join(found[:5])) if len(found) >= 2 else None


@rule(RULES, "SHOUTS", 1.0, "Much of it is in capitals")
def shouts(message: Examined) -> str | None:
    words = re.findall(r"[A-Za-z]{4,}", message.text[:_LONGEST])
    capitals = sum(word.isupper() for word in words)
    return f"{capitals} of {len(words)} words" if len(words) >= 20 and capitals > 0.4 * len(words) else None


@rule(RULES, "EXCLAIMS", 0.5, "It is full of exclamation marks")
def exclaims(message: Examined) -> str | None:
    text = message.text[:_LONGEST]
    count = text.count("!")
    return f"{count} exclamation marks" if count >= 5 and count * 250 > len(text) else None


@rule(RULES, "WORD_SALAD", 0.9, "Most of it are words that occur once, without those that join words")
def word_salad(message: Examined) -> str | None:
    words = re.findall(r"[a-z]{3,}", message.words[:_LONGEST])
    if len(words) < 60 or not message.text.isascii():
        return None
    joining = sum(word in _JOINING for word in words)
    return f"{joining} joining words of {len(words)}" if joining < 0.04 * len(words) else None


_JOINING = frozenset(
    [
        "the",
        "and",
        "for",
        "you",
        "are",
        "that",
        "this",
        "with",
        "have",
        "your",
        "from",
        "not",
        "but",
        "was",
        "they",
        "all",
        "can",
        "our",
        "has",
        "will",
        "one",
        "out",
        "his",
        "her",
        "der",
        "die",
        "und",
        "das",
        "ist",
        "nicht",
        "mit",
        "ein",
        "eine",
        "les",
        "des",
        "est",
        "pour",
        "dans",
        "que",
        "los",
        "las",
        "por",
        "con",
        "para",
        "una",
        "del",
    ]
)
