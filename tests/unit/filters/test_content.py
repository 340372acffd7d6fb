"""The content filter: what follows from what is found about a message."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network

import pytest

from services.filters.content import ContentFilter, Judgement, Settings, without_verdicts
from services.filters.engines import EngineUnavailable
from services.filters.origin import Origin, origin
from tests.unit.filters.dns import Table, TableResolver
from tests.unit.filters.enginesat import EICAR, GTUBE, Engine, spam_engine, virus_engine

BORDER = "198.18.2.10"
BY_BORDER = (
    b"Received: from mx1.example.org ([198.18.2.10])\r\n\tby filt.example.org with ESMTP id AAA; now\r\n"
)
FROM_OUTSIDE = (
    b"Received: from out.example.com ([198.18.1.1])\r\n\tby mx1.example.org with ESMTP id BBB; now\r\n"
)
FROM_INSIDE = (
    b"Received: from mda.example.org ([10.2.0.10])\r\n\tby filt.example.org with ESMTP id CCC; now\r\n"
)
FORGED = b"Received: from friend.example.org ([10.2.0.10])\r\n\tby mx9.example.org with ESMTP id DDD; now\r\n"
HEADER = b"From: Alice <alice@example.com>\r\nSubject: hello\r\n"
SENDER = "alice@example.com"

DNS: Table = {
    ("1.1.18.198.in-addr.arpa", "PTR"): ["out.example.com."],
    ("2.1.18.198.in-addr.arpa", "PTR"): ["out.example.com."],
    ("out.example.com", "A"): ["198.18.1.1"],
    ("example.com", "TXT"): ["v=spf1 ip4:198.18.1.1 -all"],
    ("_dmarc.example.com", "TXT"): ["v=DMARC1; p=none"],
    ("strict.example.net", "TXT"): ["v=spf1 ip4:198.18.9.9 -all"],
    ("_dmarc.strict.example.net", "TXT"): ["v=DMARC1; p=reject"],
    ("lax.example.edu", "TXT"): ["v=spf1 ip4:198.18.9.9 ?all"],
    ("_dmarc.lax.example.edu", "TXT"): ["v=DMARC1; p=quarantine"],
}


def message(body: bytes = b"hi\r\n", header: bytes = HEADER, way: bytes = BY_BORDER + FROM_OUTSIDE) -> bytes:
    return way + header + b"\r\n" + body


def judged(content: bytes, *, sender: str = SENDER, spam: Engine | None = None) -> Judgement:
    """What the filter decides, with both engines there; `spam` is what the spam engine was asked."""

    async def main() -> Judgement:
        async with virus_engine() as (_, virus_port), spam_engine() as (asked, spam_port):
            found = await ContentFilter(
                Settings(
                    authserv_id="filt.example.org",
                    border=(BORDER,),
                    inside=(ip_network("10.2.0.0/24"),),
                    virus_port=virus_port,
                    spam_port=spam_port,
                ),
                resolver=TableResolver(DNS),
                clock=lambda: 1.7e9,
            ).judge(content, sender=sender)
            if spam:
                spam.asked += asked.asked
            return found

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("way", "found"),
    [
        (BY_BORDER + FROM_OUTSIDE, Origin(client="198.18.1.1", helo="out.example.com", inside=False)),
        (
            BY_BORDER + FROM_OUTSIDE + FORGED,
            Origin(client="198.18.1.1", helo="out.example.com", inside=False),
        ),
        (FROM_OUTSIDE, Origin(client="198.18.1.1", helo="out.example.com", inside=False)),
        (FROM_INSIDE, Origin(client="10.2.0.10", helo="mda.example.org", inside=True)),
        (BY_BORDER, Origin(client="198.18.2.10", helo="mx1.example.org", inside=True)),
        (BY_BORDER * 2 + FROM_OUTSIDE, Origin(client="198.18.1.1", helo="out.example.com", inside=False)),
        (b"", Origin(client="127.0.0.1", helo="localhost", inside=True)),
    ],
    ids=[
        "by the MX",
        "forged below",
        "handed in directly",
        "on its way out",
        "the MX's own",
        "two MX",
        "ours",
    ],
)
def test_where_a_message_is_from(way: bytes, found: Origin) -> None:
    """The first client that is none of the organisation's border hosts, whatever stands below its field."""
    assert origin(message(way=way), border=[BORDER], inside=[ip_network("10.2.0.0/24")]) == found


def test_a_message_that_passes() -> None:
    """It has the verdicts on top, and behind them the bytes that came."""
    found = judged(message())
    assert (found.verdict.action, found.verdict.score) == ("pass", 0.4)
    assert [rule.name for rule in found.verdict.rules] == ["DKIM_VALID", "ODD_DATE"]
    assert found.content.endswith(message())
    added = found.content.removesuffix(message()).decode()
    assert added.startswith(
        "X-Spam-Status: No, score=0.4 required=5\r\n\ttests=DKIM_VALID=-0.1,\r\n\tODD_DATE=0.5\r\n"
    )
    assert "Authentication-Results: filt.example.org;\r\n\tspf=pass" in added
    assert "dmarc=pass" in added


def test_what_the_spam_engine_is_told() -> None:
    """The reverse-path, our own results, and where the message came from; no results of strangers."""
    spam = Engine()
    forged = b"Authentication-Results: filt.example.org; dkim=pass header.d=bank.example\r\n"
    judged(message(header=forged + HEADER), spam=spam)
    (asked,) = spam.asked
    assert asked.startswith(b"Return-Path: <alice@example.com>\r\nAuthentication-Results: filt.example.org;")
    assert asked.count(b"Authentication-Results:") == 1
    assert asked.endswith(HEADER + b"\r\nhi\r\n")


def test_the_client_s_name() -> None:
    """The spam engine reads the client's confirmed name in DNS where our server noted its address."""
    spam = Engine()
    judged(message(), spam=spam)
    judged(message(way=BY_BORDER + FROM_OUTSIDE.replace(b"198.18.1.1", b"198.18.1.2")), spam=spam)
    named, unnamed = spam.asked
    assert b"Received: from out.example.com (out.example.com [198.18.1.1])\r\n" in named
    assert named.count(b"out.example.com [") == 1
    assert b"Received: from out.example.com ([198.18.1.2])\r\n" in unnamed


def test_forged_verdicts() -> None:
    """Fields from outside that claim to be this filter's are gone; everything else stays as it is."""
    forged = (
        b"X-Spam-Status: No, score=-100\r\n\ttests=ALL_IS_WELL\r\nx-spam-flag: NO\r\n"
        b"Authentication-Results: FILT.example.org; spf=pass\r\n"
    )
    others = b"Authentication-Results: mx.example.net; spf=pass\r\nX-Spammer: no\r\n"
    body = b"X-Spam-Status: in the body\r\n"
    content = message(body=body, header=forged + others + HEADER)
    assert without_verdicts(content, "filt.example.org") == message(body=body, header=others + HEADER)


@pytest.mark.parametrize(
    ("content", "sender", "action", "notify"),
    [
        pytest.param(message(GTUBE), SENDER, "delete", False, id="spam"),
        pytest.param(message(EICAR), SENDER, "quarantine", True, id="malware"),
        pytest.param(message(EICAR + GTUBE), SENDER, "quarantine", True, id="malware that is spam"),
        pytest.param(message(EICAR), "", "quarantine", False, id="malware from nobody"),
        pytest.param(
            message(EICAR, b"Auto-Submitted: auto-replied\r\n" + HEADER),
            SENDER,
            "quarantine",
            False,
            id="robot",
        ),
        pytest.param(
            message(EICAR, b"Auto-Submitted: no\r\n" + HEADER), SENDER, "quarantine", True, id="a person"
        ),
        pytest.param(
            message(EICAR, b"Precedence: bulk\r\n" + HEADER), SENDER, "quarantine", False, id="bulk"
        ),
        pytest.param(message(EICAR, b"List-Id: <l.x>\r\n" + HEADER), SENDER, "quarantine", False, id="list"),
        pytest.param(message(EICAR), "x@strict.example.net", "quarantine", False, id="forged reverse-path"),
        pytest.param(
            message(EICAR, way=FROM_INSIDE), SENDER, "quarantine", True, id="malware on its way out"
        ),
        pytest.param(message(GTUBE, way=FROM_INSIDE), SENDER, "pass", False, id="spam on its way out"),
        pytest.param(
            message(header=b"From: x@strict.example.net\r\n"), SENDER, "delete", False, id="DMARC reject"
        ),
        pytest.param(
            message(header=b"From: x@lax.example.edu\r\n"), SENDER, "quarantine", False, id="DMARC quarantine"
        ),
        pytest.param(
            message(EICAR, b"From: x@lax.example.edu\r\n"), SENDER, "quarantine", False, id="forged author"
        ),
    ],
)
def test_verdicts(content: bytes, sender: str, action: str, notify: bool) -> None:
    """What is done with a message, and whether its sender is told."""
    found = judged(content, sender=sender)
    assert (found.verdict.action, found.notify) == (action, notify)
    assert found.verdict.reason or action == "pass"
    assert found.content.endswith(content)


def test_without_an_engine_nothing_is_decided() -> None:
    """Where an engine does not answer there is no verdict."""

    async def main() -> None:
        async with virus_engine() as (_, virus_port), spam_engine() as (_, spam_port):
            pass
        for virus, spam in ((virus_port, 0), (0, spam_port)):
            settings = Settings(authserv_id="filt.example.org", virus_port=virus, spam_port=spam)
            judge = ContentFilter(settings, resolver=TableResolver(DNS), clock=lambda: 1.7e9).judge
            with pytest.raises(EngineUnavailable, match="virus" if virus else "spam"):
                await judge(message(), sender=SENDER)

    asyncio.run(main())
