"""Each rule: a letter that it applies to, and the letter with nothing wrong, which none does."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from services.filters.spam.findings import Findings, Listing
from services.filters.spam.rules import RULES, Rule
from services.filters.spam.rules.bulk import GTUBE
from services.filters.spam.score import judge
from tests.unit.filters.spam.letters import FIELDS, TEXT, WHEN, examined, letter


@dataclass(frozen=True, kw_only=True)
class Case:
    """A change to the letter, and what stands in the evidence."""

    fields: dict[str, str | None] = field(default_factory=dict)
    text: str = TEXT
    more: str = ""
    html: str | None = None
    findings: Findings = field(default_factory=Findings)
    results: str = ""
    evidence: str = ""

    def message(self) -> bytes:
        fields = dict(self.fields)
        if self.results:
            fields["Authentication-Results"] = f"filter.example.org; {self.results}"
        return letter(fields, self.text, more=self.more, html=self.html)


def listed(where: str, reason: str, about: str = "198.18.1.10") -> Findings:
    """Findings with one listing."""
    entry = Listing(zone="bl.example.net", about=about, where=where, reason=reason)  # type: ignore[arg-type]
    return Findings(listings=(entry,))


def received(*hops: str) -> dict[str, str | None]:
    """Received fields below ours, topmost first."""
    return {"Received": "\r\nReceived: ".join([FIELDS["Received"], *hops])}


def client(helo: str) -> dict[str, str | None]:
    """A client that gave that name."""
    return {"Received": FIELDS["Received"].replace("mta.example.com", helo)}


def attached(name: str) -> Case:
    """A letter with an attachment of that name."""
    body = (
        f"--m\r\n\r\n{TEXT}\r\n--m\r\nContent-Type: application/octet-stream\r\n"
        f"Content-Disposition: attachment; filename*=utf-8''{name}\r\n\r\nMZ\r\n--m--\r\n"
    )
    return Case(fields={"MIME-Version": "1.0", "Content-Type": "multipart/mixed; boundary=m"}, text=body)


def typed(content_type: str, encoding: str | None = None, text: str = TEXT) -> Case:
    """A letter of another type and encoding."""
    fields = {"MIME-Version": "1.0", "Content-Type": content_type, "Content-Transfer-Encoding": encoding}
    return Case(fields=fields, text=text)


def link(target: str, text: str = "the lake") -> Case:
    """A letter with a link."""
    return Case(html=f'<p>{TEXT} <a href="{target}">{text}</a></p>')


DMARC = "dmarc=fail policy.published-domain-policy="
LONG = "Let us go and see the lake, and the hills that are behind it. "
CASES: dict[str, Case] = {
    "SPF_PASS": Case(results="spf=pass smtp.mailfrom=alice@example.com", evidence="alice@example.com"),
    "SPF_FAIL": Case(results='spf=fail reason="no; not" smtp.mailfrom=a@b.example'),
    "SPF_SOFTFAIL": Case(results="spf=softfail"),
    "SPF_PERMERROR": Case(results="spf=permerror"),
    "DKIM_AUTHOR": Case(results="dkim=pass header.d=mail.example.com", evidence="mail.example.com"),
    "DKIM_OTHER": Case(results="dkim=pass header.d=lists.example.net"),
    "DKIM_BROKEN": Case(results="dkim=fail (changed) header.d=example.com"),
    "DMARC_PASS": Case(results="dmarc=pass header.from=example.com"),
    "DMARC_REJECT": Case(results=DMARC + "reject"),
    "DMARC_QUARANTINE": Case(results=DMARC + "quarantine"),
    "DMARC_FAIL": Case(results=DMARC + "none"),
    "ARC_PASS": Case(results="arc=pass"),
    "ARC_FAIL": Case(results="arc=fail"),
    "NOBODY_VOUCHES": Case(results="spf=none; dkim=none"),
    "ALL_OURS": Case(fields={"Received": f"from bob ([10.2.0.11]) by mda.example.org; {WHEN}"}),
    "BL_SOURCE": Case(findings=listed("entry", "sender"), evidence="198.18.1.10 is on bl.example.net"),
    "BL_RELAY": Case(findings=listed("entry", "relay")),
    "BL_POLICY": Case(findings=listed("entry", "policy")),
    "BL_BEFORE": Case(findings=listed("claimed", "relay")),
    "NO_REVERSE_NAME": Case(findings=Findings(reverse=()), evidence="198.18.1.10"),
    "REVERSE_NAME_FORGED": Case(findings=Findings(reverse=("mail.bank.example",), confirmed=())),
    "REVERSE_NAME_DYNAMIC": Case(findings=Findings(reverse=("p198-18-1-10.isp.example",))),
    "HELO_IS_ADDRESS": Case(fields=client("[198.18.1.10]")),
    "HELO_NOT_QUALIFIED": Case(fields=client("desktop")),
    "HELO_UNKNOWN": Case(findings=Findings(helo=()), evidence="mta.example.com"),
    "HELO_OF_OTHERS": Case(findings=Findings(helo=("198.18.9.9",), confirmed=("x.example.net",))),
    "HELO_IS_OURS": Case(fields=client("mx1.example.org")),
    "SENDER_UNREACHABLE": Case(findings=Findings(sender_exists=False), evidence="alice@example.com"),
    "AUTHOR_UNREACHABLE": Case(findings=Findings(author_exists=False)),
    "OURS_FROM_OUTSIDE": Case(fields={"From": "Boss <boss@example.org>"}, evidence="boss@example.org"),
    "RECEIVED_FORGED": Case(
        fields=received(f"from a.test ([192.0.2.1]) by mail.bank.test; {WHEN}"), evidence="by mail.bank.test"
    ),
    "RECEIVED_IMPOSSIBLE": Case(
        fields=received(f"from a.example.com ([311.2.3.4]) by b.example.com; {WHEN}"), evidence="311.2.3.4"
    ),
    "RECEIVED_BACKWARDS": Case(
        fields=received("from a.example.com ([192.0.2.1]) by b.example.com; Tue, 24 Nov 2026 14:00:00 +0000"),
        evidence="4.0 hours",
    ),
    "MANY_HOPS": Case(fields=received(*["from a.example.com by b.example.com"] * 20)),
    "MISSING_DATE": Case(fields={"Date": None}),
    "INVALID_DATE": Case(fields={"Date": "yesterday"}, evidence="yesterday"),
    "DATE_IN_PAST": Case(fields={"Date": "Tue, 10 Nov 2026 10:00:00 +0000"}, evidence="14 days"),
    "DATE_IN_FUTURE": Case(fields={"Date": "Wed, 25 Nov 2026 10:00:00 +0000"}, evidence="24 hours"),
    "MISSING_FROM": Case(fields={"From": None}),
    "FROM_NO_ADDRESS": Case(fields={"From": "Alice"}),
    "FROM_OTHER_ADDRESS": Case(fields={"From": '"service@bank.example" <x@evil.test>'}),
    "MISSING_TO": Case(fields={"To": None}),
    "UNDISCLOSED": Case(fields={"To": "undisclosed-recipients:;"}),
    "MANY_RECIPIENTS": Case(fields={"To": ", ".join(f"u{n}@example.org" for n in range(25))}),
    "TO_IS_AUTHOR": Case(fields={"To": "alice@example.com"}),
    "MISSING_MESSAGE_ID": Case(fields={"Message-ID": None}),
    "INVALID_MESSAGE_ID": Case(fields={"Message-ID": "17"}),
    "DUPLICATE_FIELD": Case(more="Subject: another\r\n", evidence="Subject"),
    "REPLY_TO_ELSEWHERE": Case(more="Reply-To: x@evil.test\r\n", evidence="evil.test"),
    "SENDER_ELSEWHERE": Case(fields={"Return-Path": "<x@bulk.test>"}),
    "ODD_HEADER_LINE": Case(more="this is no field\r\n", evidence="this is no field"),
    "LONG_HEADER": Case(more="X-Long: " + "a" * 20_000 + "\r\n", evidence="X-Long"),
    "CONTROL_CHARACTERS": Case(fields={"Subject": "Lunch\x07"}, evidence="Subject"),
    "HIGH_PRIORITY": Case(more="X-Priority: 1 (Highest)\r\n"),
    "MISSING_SUBJECT": Case(fields={"Subject": None}),
    "SUBJECT_CAPITALS": Case(fields={"Subject": "[friends] LUNCH ON THURSDAY"}),
    "SUBJECT_SHOUTS": Case(fields={"Subject": "Lunch!!"}),
    "SUBJECT_MONEY": Case(fields={"Subject": "Your $500"}, evidence="$5"),
    "SUBJECT_GAPS": Case(fields={"Subject": "Buy v i a g r a here"}, evidence="v i a g r a"),
    "SUBJECT_NEEDLESS_BASE64": Case(fields={"Subject": "=?utf-8?B?THVuY2g=?="}, evidence="Lunch"),
    "SUBJECT_NO_REPLY": Case(fields={"Subject": "Re: Lunch"}),
    "SUBJECT_NOT_ENCODED": Case(fields={"Subject": "M\udcfcnchen"}),
    "SUBJECT_TAIL": Case(fields={"Subject": "Lunch          xq7h"}, evidence="xq7h"),
    "SUBJECT_URGENT": Case(fields={"Subject": "Final notice"}, evidence="Final notice"),
    "GTUBE": Case(text=f"{GTUBE}\r\n"),
    "LIST_MARKS": Case(more="List-Id: <f.example.net>\r\nList-Unsubscribe: <mailto:x@example.net>\r\n"),
    "REPLY_MARKS": Case(fields={"Subject": "Re: Lunch"}, more="In-Reply-To: <1@x>\r\nReferences: <1@x>\r\n"),
    "BULK_MARK": Case(more="Precedence: bulk\r\n"),
    "UNSUBSCRIBE_WITHOUT_LIST": Case(more="List-Unsubscribe: <mailto:x@example.net>\r\n"),
    "NO_WAY_OUT": Case(text="To unsubscribe write to us.\r\n", evidence="unsubscribe"),
    "BULK_MAILER": Case(more="X-Mailer: MassMail 3.1\r\n"),
    "HTML_ONLY": Case(text="", html=f"<p>{TEXT}</p>"),
    "BASE64_TEXT": typed("text/plain", "base64", "THVuY2ggb24gVGh1cnNkYXk=\r\n"),
    "MIME_BROKEN": typed("multipart/mixed; boundary=x"),
    "MIME_EXCESSIVE": typed("multipart/mixed; boundary=x", text="--x\r\n\r\na\r\n" * 300),
    "MIME_NO_VERSION": Case(
        fields={"Content-Type": "multipart/mixed; boundary=x"}, text="--x\r\n\r\na\r\n--x--"
    ),
    "UNKNOWN_ENCODING": typed("text/plain", "rot13"),
    "UNKNOWN_CHARSET": typed("text/plain; charset=x-klingon"),
    "WRONG_CHARSET": typed("text/plain; charset=utf-8", text="M\udcfcnchen\r\n"),
    "ALTERNATIVES_DIFFER": Case(
        html="<p>Cheap watches, replica brands, delivered worldwide, great prices today, order yours</p>"
    ),
    "EMPTY_ALTERNATIVE": Case(text="\r\n", html=f"<p>{TEXT}</p>"),
    "EXECUTABLE": attached("letter.scr"),
    "DOUBLE_EXTENSION": attached("invoice.pdf.exe"),
    "NAME_TURNED_ROUND": attached("letter%E2%80%AEfdp.exe"),
    "EMPTY": Case(text="\r\n"),
    "BARELY_TEXT": Case(text="", html="<img src='http://example.com/a.png'>"),
    "HTML_HIDDEN_TEXT": Case(html=f'<p>{TEXT}</p><p style="display: none">{LONG}</p>', evidence="Let us go"),
    "HTML_LINK_DECEIVES": link("http://evil.test/", "http://www.bank.example/login"),
    "HTML_TINY_IMAGE": Case(html=f'<p>{TEXT}</p><img src="http://x.example/?1" width="1" height="1">'),
    "HTML_FORM": Case(html=f'<p>{TEXT}</p><form action="http://x.example/"></form>'),
    "HTML_PASSWORD": Case(html=f"<p>{TEXT}</p><input name=p type=password>"),
    "HTML_SCRIPT": Case(html=f"<p>{TEXT}</p><script>alert(1)</script>"),
    "HTML_FRAME": Case(html=f'<p>{TEXT}</p><iframe src="http://x.example/"></iframe>'),
    "HTML_REFRESH": Case(html=f'<meta http-equiv="refresh" content="0; url=http://x.example/"><p>{TEXT}</p>'),
    "HTML_SPLIT_WORDS": Case(html=f"<p>{TEXT} v<!-- x -->i<!-- x -->a<!-- x -->g<!-- x -->r<!-- x -->a</p>"),
    "HTML_NEEDLESS_ENTITIES": Case(html=f"<p>{TEXT} {'&#97;' * 12}</p>"),
    "HTML_LARGE_LETTERS": Case(html=f'<p>{TEXT}</p><p style="font-size: 72px">Lake</p>'),
    "URL_LISTED": Case(findings=listed("url", "sender", "evil.test"), evidence="evil.test"),
    "URL_ADDRESS": link("http://192.0.2.1/lake"),
    "URL_USER": link("http://bank.example@evil.test/"),
    "URL_ENCODED_HOST": link("http://%65vil.test/"),
    "URL_PORT": link("http://evil.test:8123/"),
    "URL_SHORTENED": link("https://bit.ly/abc"),
    "URL_MANY_LABELS": link("http://www.bank.example.login.secure.a.evil.test/"),
    "URL_LOOKS_ALIKE": link("http://xn--pple-43d.example/"),
    "URL_PROGRAM": link("http://example.com/photos.exe"),
    "URL_ONWARDS": link("http://example.com/go?to=https://evil.test/"),
    "URL_ONLY": Case(text="http://example.com/\r\n"),
    "ADVANCE_FEE": Case(text="I am a barrister for the next of kin.\r\n", evidence="barrister, next of kin"),
    "ADVANCE_FEE_MANY": Case(
        text="Strictly confidential: the barrister wants the inheritance, God bless\r\n"
    ),
    "LARGE_SUM": Case(text="The sum of 12.5 million dollars is yours.\r\n", evidence="12.5 million dollars"),
    "LOTTERY": Case(text="Congratulations, you have won\r\n"),
    "ACCOUNT_TROUBLE": Case(text="Dear customer, verify your account\r\n"),
    "ACCOUNT_TROUBLE_MANY": Case(
        text="Dear customer, your account has been suspended, verify your account\r\n"
    ),
    "PHARMACY": Case(text="Some viagra\r\n"),
    "PHARMACY_MANY": Case(text="Some viagra and cialis\r\n"),
    "SALES_TALK": Case(text="Act now, order today\r\n"),
    "SALES_TALK_MANY": Case(text="Act now, order today, special offer, money-back\r\n"),
    "EASY_MONEY": Case(text="Work from home for extra income\r\n"),
    "EXTORTION": Case(text="I recorded you with your webcam; pay me in bitcoin\r\n"),
    "WORDS_DISGUISED": Case(text="Some v1agra\r\n", evidence="v1agra"),
    "LETTERS_INVISIBLE": Case(text="l\u200bu\u200bn\u200bch\r\n"),
    "LETTERS_MIXED": Case(text="P\u0430yPal \u0430ccount\r\n"),
    "SHOUTS": Case(text="SHALL WE MEET NOON TAKE TRAIN LAKE " * 5),
    "EXCLAIMS": Case(text="Lunch! Lunch! Lunch! Lunch! Lunch!\r\n"),
    "WORD_SALAD": Case(text="gravel antler pocket mildew turnip casket " * 15),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_applies(rule: Rule) -> None:
    """To a letter with the thing that it is about; it says what that is, in one printable line."""
    name, case = rule.name, CASES[rule.name]
    judgement = judge(examined(case.message(), case.findings))
    fired = {each.name: each for each in judgement.fired}
    assert name in fired
    assert case.evidence in fired[name].evidence
    assert fired[name].evidence.isprintable()


def test_nothing_is_wrong_with_the_letter() -> None:
    """No rule applies to a letter with nothing wrong with it, plain or with HTML beside."""
    html = f"<p>{TEXT}</p>"
    for message in (letter(), letter(html=html)):
        assert judge(examined(message)).fired == ()


def test_every_rule_has_a_case_and_says_what_it_is_about() -> None:
    """Names are words in capitals, each once; descriptions fit a line; no weight is nothing."""
    names = [rule.name for rule in RULES]
    assert sorted(names) == sorted(CASES)
    assert all(name.replace("_", "").isalnum() and name.isupper() for name in names)
    assert all(0 < len(rule.description) < 100 and "\n" not in rule.description for rule in RULES)
    assert all(rule.weight for rule in RULES)


def test_no_single_rule_makes_spam() -> None:
    """Only the test for spam filters is enough by itself."""
    assert [rule.name for rule in RULES if rule.weight >= 5] == ["GTUBE"]


@pytest.mark.parametrize(
    ("name", "case"),
    [
        pytest.param(
            "SPF_FAIL", Case(fields={"Authentication-Results": "evil.test; spf=fail"}), id="others' results"
        ),
        pytest.param(
            "DKIM_BROKEN",
            Case(results="dkim=fail header.d=a.test; dkim=pass header.d=b.test"),
            id="one valid",
        ),
        pytest.param("NOBODY_VOUCHES", Case(), id="nobody checked"),
        pytest.param("NO_REVERSE_NAME", Case(findings=Findings(reverse=None)), id="not known is no no"),
        pytest.param(
            "SENDER_UNREACHABLE", Case(findings=Findings(sender_exists=None)), id="sender not known"
        ),
        pytest.param(
            "HTML_LINK_DECEIVES", link("http://www.example.com/x", "example.com"), id="the same domain"
        ),
        pytest.param(
            "HTML_LINK_DECEIVES", link("http://example.com/notes.txt", "notes.txt"), id="a file's name"
        ),
        pytest.param("REPLY_TO_ELSEWHERE", Case(more="Reply-To: l@x.test\r\nList-Id: <x>\r\n"), id="a list"),
        pytest.param(
            "RECEIVED_FORGED", Case(fields=received("from [10.0.0.1] by smtp.example.com")), id="same domain"
        ),
        pytest.param(
            "SUBJECT_NO_REPLY", Case(fields={"Subject": "Re: a"}, more="References: <1@x>\r\n"), id="a reply"
        ),
        pytest.param(
            "SUBJECT_CAPITALS",
            Case(fields={"Subject": "\u5b9f\u9a13\u5ba4\u304b\u3089"}),
            id="no capitals there",
        ),
        pytest.param(
            "BASE64_TEXT", typed("text/plain; charset=utf-8", "base64", "TcO8bmNoZW4="), id="needed"
        ),
        pytest.param(
            "LETTERS_MIXED",
            Case(text="\u041c\u043e\u0441\u043a\u0432\u0430 Moskva\r\n"),
            id="each in its script",
        ),
        pytest.param(
            "OURS_FROM_OUTSIDE",
            Case(fields={"From": "b@example.org"}, results="dmarc=pass"),
            id="vouched for",
        ),
    ],
)
def test_a_rule_does_not_apply(name: str, case: Case) -> None:
    """Where it looks alike but is not the thing."""
    assert name not in [each.name for each in judge(examined(case.message(), case.findings)).fired]
