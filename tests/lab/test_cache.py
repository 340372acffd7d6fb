"""The cache of a lab's resolver: what it knows, what that spares, and what it is made to forget."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from captures.journeys import Journey
from mailbed import Lab
from mailbed.cli.telling import of_message
from mailbed.errors import LabError, UsageError
from mailbed.pytest_plugin import LabFactory
from tests.lab.residue import until

ROOT = Path(__file__).resolve().parents[2]
ALICE, BOB = "alice@example.com", "bob@example.org"

pytestmark = pytest.mark.topology("two-companies", time_scale=600)


def lookups(lab: Lab) -> list[dict[str, Any]]:
    """What corp-dns has told of its lookups so far."""
    lines = (lab.run / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    return [event for event in events if (event["host"], event["kind"]) == ("corp-dns", "lookup")]


def look_up(lab: Lab, name: str, rtype: str) -> dict[str, Any]:
    """Ask corp-dns from one of its clients, and return what it tells of that."""
    before = len(lookups(lab))
    assert "status: NOERROR" in lab.exec("alice", "dig", name, rtype).stdout
    return until(lambda: [e for e in lookups(lab)[before:] if e["name"] == name] or None)[0]


def known(lab: Lab, name: str | None = None) -> dict[tuple[str, str], tuple[str, int]]:
    """What corp-dns remembers, by name and type: its kind and the TTL that is left."""
    return {(e.name, e.rtype): (e.kind, e.ttl) for e in lab.cache("corp-dns", name)}


def roots_asked(lab: Lab) -> list[str]:
    """Send a message, and return the root servers that corp-dns asked on account of it."""
    sent = lab.send("Subject: hello\n\nHello\n", sender=ALICE, to=BOB)
    assert sent.wait()[BOB].state == "delivered"
    journey: Journey
    (journey,) = of_message(lab.journeys(), sent.host, sent.queue_id)
    asked = [
        query.server.host
        for hop in journey.hops
        for lookup in hop.lookups
        if lookup.query.server.host == "corp-dns"
        for query in lookup.upstream
    ]
    return [host for host in asked if host.endswith("-root")]


def test_a_cached_tld_makes_the_root_step_unnecessary(shared_lab: Lab) -> None:
    """The TLD's delegation stays for its TTL; until it is flushed, names in the TLD cost no root query."""
    lab = shared_lab
    lab.flush_cache("corp-dns")
    assert lab.cache("corp-dns") == []
    # The roots' own list, a root, the TLD, the domain.
    assert look_up(lab, "example.org", "MX")["queries"] == 4
    found = known(lab)
    assert found[".", "NS"][0] == "answer"
    assert found["example.org", "MX"][0] == "answer"
    kind, ttl = found["org", "NS"]
    assert kind == "delegation"
    assert 0 < ttl <= 3600
    # The TLD knows that it is not signed: it alone is asked.
    assert look_up(lab, "example.org", "DS")["queries"] == 1
    again = look_up(lab, "example.org", "MX")
    assert (again["queries"], again["cached"]) == (0, True)
    assert known(lab)["org", "NS"][1] <= ttl
    flushed = lab.flush_cache("corp-dns", "org")
    assert flushed == sum(name == "org" or name.endswith(".org") for name, _ in found) + 1
    assert known(lab, "org") == {}
    assert (".", "NS") in known(lab)
    # The roots are known, but who serves the TLD is not.
    assert look_up(lab, "example.org", "MX")["queries"] == 3


def test_what_the_journey_shows_of_it(shared_lab: Lab) -> None:
    """In the packets of a message, roots are asked by a resolver that knows nothing, and then no more."""
    shared_lab.flush_cache("corp-dns")
    first = roots_asked(shared_lab)
    assert len(first) >= 2
    assert roots_asked(shared_lab) == []
    shared_lab.flush_cache("corp-dns")
    # Other ones, maybe: the choice is keyed by how often the question has been asked.
    assert len(roots_asked(shared_lab)) == len(first)


def mailbed(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "scripts" / "mailbed"), *argv], capture_output=True, text=True, check=False
    )


def test_the_command(shared_lab: Lab) -> None:
    """`cache show` is a table or a document of what is left, `cache flush` says how much was forgotten."""
    lab = ("--lab", shared_lab.name)
    shared_lab.flush_cache("corp-dns")
    look_up(shared_lab, "example.org", "MX")
    shown = mailbed("cache", "show", "corp-dns", "--name", "org", *lab)
    assert shown.returncode == 0
    assert re.search(r"^corp-dns +org +NS +\d+ +delegation +org-ns1\.nic\.net$", shown.stdout, re.MULTILINE)
    document = json.loads(mailbed("cache", "show", "*-dns", "--json", *lab).stdout)
    assert [each["host"] for each in document["caches"]] == ["corp-dns", "rcpt-dns", "isp-dns"]
    entries = document["caches"][0]["entries"]
    assert {"name": "org", "rtype": "NS", "kind": "delegation"}.items() <= next(
        e for e in entries if e["name"] == "org"
    ).items()
    assert (
        mailbed("cache", "flush", "corp-dns", *lab).stdout == f"corp-dns: {len(entries)} entries forgotten\n"
    )
    assert mailbed("cache", "show", "corp-dns", *lab).stdout == "Nothing is remembered.\n"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            ("show", "alice"),
            "no host alice in two-companies has a resolver; those that have: corp-dns",
        ),
        (("flush", "corp-dsn"), "there is no host corp-dsn in two-companies; did you mean corp-dns"),
        (("flush", "corp-dns", "--name", "a..b"), "corp-dns/resolver: 'a..b' has an empty label"),
    ],
)
def test_what_makes_no_sense(shared_lab: Lab, argv: tuple[str, ...], said: str) -> None:
    """A host without a resolver, or what is no name, is a usage error in one line."""
    refused = mailbed("cache", *argv, "--lab", shared_lab.name)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"mailbed: {said}")
    assert len(refused.stderr.splitlines()) == 1


def test_a_resolver_that_is_down(shared_lab: Lab) -> None:
    """A resolver that a fault has taken down cannot be asked; back again, it knows nothing."""
    look_up(shared_lab, "example.org", "MX")
    with (
        shared_lab.fault("service-down", "corp-dns", "resolver"),
        pytest.raises(LabError, match=r"^corp-dns/resolver is down$"),
    ):
        shared_lab.cache("corp-dns")
    assert shared_lab.cache("corp-dns") == []
    with pytest.raises(UsageError, match=r"^host alice has not the role resolver"):
        shared_lab.cache("alice")


def test_somebody_elses_resolver(lab_factory: LabFactory) -> None:
    """Another program's cache is its own: that is said in one line, with what to do."""
    lab = lab_factory("dns", implementations={"resolver": "unbound"})
    assert "status: NOERROR" in lab.exec("client", "dig", "example.org", "NS").stdout
    for ask in (lab.cache, lab.flush_cache):
        with pytest.raises(
            LabError, match=r"^resolver/resolver does not answer cache\.\w+: a program that is"
        ):
            ask("resolver")
