"""Spam engines in a lab: ours asks the lab's own DNS; SpamAssassin's spamd; both are taught."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from mailbed import Lab
from services.filters.spam.report import read
from services.filters.spam.rules.bulk import GTUBE
from services.filters.spam.score import Judgement
from topologies import minimal
from topologies.parts import with_records
from topologies.plan import Plan, SpamEngine

LETTER = """\
Received: from {helo} ([{client}])\r
\tby rcpt-mx.example.org with ESMTP id A1; Tue, 24 Nov 2026 10:00:00 +0000\r
From: Alice <alice@example.com>\r
To: Bob <bob@example.org>\r
Subject: Lunch on Thursday\r
Date: Tue, 24 Nov 2026 10:00:00 +0000\r
Message-ID: <1234@example.com>\r
\r
{text}\r
"""


def world() -> Plan:
    """Minimal, with engines at the recipient's server and a block list in a zone of the sender's."""
    plan = minimal.build()
    engine = SpamEngine(block_lists=("bl.example.com",), url_block_lists=("dbl.example.com",))
    other = dataclasses.replace(engine, implementation="spamassassin")
    roles = {"rcpt-mx": engine, "corp-mta": other}
    hosts = tuple(
        dataclasses.replace(host, roles=(*host.roles, roles[host.name])) if host.name in roles else host
        for host in plan.hosts
    )
    listed = ("4.3.2.198.bl A 127.0.0.2", '4.3.2.198.bl TXT "it sent spam"', "evil.example.dbl A 127.0.0.2")
    return with_records(dataclasses.replace(plan, hosts=hosts), {"example.com": listed})


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One lab for the module."""
    with Lab(world(), out=tmp_path_factory.mktemp("engines") / "run") as running:
        yield running


def judged(
    lab: Lab, host: str, text: str, *, helo: str = "corp-mta.example.com", client: str = "198.2.3.4"
) -> Judgement:
    """What the engine on a host makes of a letter, by its report to Debian's spamc."""
    message = LETTER.format(helo=helo, client=client, text=text)
    path = lab.run / "letter.eml"
    path.write_bytes(message.encode())
    result = lab.exec(host, "sh", "-c", f"spamc -x -R < {path}")
    found = read(result.stdout)
    assert found is not None, result
    return found


def test_our_engine_asks_the_labs_dns(lab: Lab) -> None:
    """Block lists of addresses and domains, names of the client and of the author's domain."""
    found = {each.name: each.evidence for each in judged(lab, "rcpt-mx", "See http://evil.example/").fired}
    assert found["BL_SOURCE"] == "198.2.3.4 is on bl.example.com: it sent spam"
    assert found["URL_LISTED"] == "evil.example is on dbl.example.com"
    assert "NO_REVERSE_NAME" in found
    assert "AUTHOR_UNREACHABLE" not in found


def test_a_server_with_nothing_wrong_is_not_suspected(lab: Lab) -> None:
    """The sender's real server: it has the name that it gives, and is on no list."""
    address = lab.exec("alice", "dig", "+short", "corp-mta.example.com").stdout.strip()
    assert judged(lab, "rcpt-mx", "Shall we meet at noon?", client=address).fired == ()


@pytest.mark.parametrize("host", ["rcpt-mx", "corp-mta"])
def test_both_know_the_test_message(lab: Lab, host: str) -> None:
    """GTUBE is spam to our engine and to SpamAssassin."""
    found = judged(lab, host, GTUBE)
    assert found.score >= 1000
    assert "GTUBE" in [each.name for each in found.fired]
