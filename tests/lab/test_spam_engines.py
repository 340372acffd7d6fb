"""Spam engines in a lab: ours asks the lab's own DNS; SpamAssassin's spamd; both are taught."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailbed import Lab
from mailbed.cli.app import run_command
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


@pytest.mark.parametrize("host", ["rcpt-mx", "corp-mta"])
def test_both_are_taught(lab: Lab, host: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`mailbed filter train` teaches either engine; what was taught counts, and once is enough."""
    for number in range(25):
        for kind, text in (("spam", "casino jackpot pills"), ("ham", "train lake lunch")):
            path = tmp_path / kind / "cur" / f"{number}.eml"
            path.parent.mkdir(parents=True, exist_ok=True)
            text = f"{text} number {number}"
            path.write_text(LETTER.format(helo="corp-mta.example.com", client="198.2.3.4", text=text))
    command = ["filter", "train", host, "--lab", lab.name, "--spam", str(tmp_path / "spam")]
    command += ["--ham", str(tmp_path / "ham")]
    assert run_command(command) == 0
    assert capsys.readouterr().out == "spam: 25 messages, 25 of them new\nham: 25 messages, 25 of them new\n"
    assert run_command([*command, "--json"]) == 0
    taught = json.loads(capsys.readouterr().out)["taught"]
    assert taught == {kind: {"messages": 25, "new": 0} for kind in ("spam", "ham")}
    assert "BAYES_9" in symbols(judged(lab, host, "The casino has a jackpot and pills, casino pills"))
    ham = symbols(judged(lab, host, "The train to the lake, and lunch at the lake"))
    # SpamAssassin draws more from what both kinds have in common.
    assert "BAYES_0" in ham or "BAYES_20" in ham


def symbols(judgement: Judgement) -> str:
    """The names of the rules that fired."""
    return " ".join(each.name for each in judgement.fired)


@pytest.mark.parametrize(
    ("host", "options", "status", "said"),
    [
        pytest.param(
            "alice", ["--spam", "."], 2, "no host alice in minimal has a spam engine", id="no engine"
        ),
        pytest.param("rcpt-mx", [], 2, "there is nothing to learn from", id="no directory"),
        pytest.param("rcpt-mx", ["--ham", "no-such"], 2, "no-such is no directory", id="not there"),
    ],
)
def test_mistakes(
    lab: Lab, host: str, options: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line that says what is wrong."""
    assert run_command(["filter", "train", host, "--lab", lab.name, *options]) == status
    assert said in capsys.readouterr().err
