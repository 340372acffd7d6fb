"""The report on a real journey: the page, and the capture with comments as tshark reads it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from captures.journeys import Journeys
from captures.reports import annotate, comments, page
from mailbed import Lab


@pytest.fixture(scope="module")
def told(shared_lab: Lab) -> Journeys:
    """The journey of one message through the lab, whose resolvers know nothing yet."""
    sent = shared_lab.send("Subject: hello\n\nHello Bob\n", sender="alice@example.com", to="bob@example.org")
    assert sent.wait()["bob@example.org"].state == "delivered"
    return shared_lab.journeys()


@pytest.fixture(scope="module")
def commented(shared_lab: Lab, told: Journeys, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the capture with the comments."""
    copy = tmp_path_factory.mktemp("report") / "network.pcapng"
    shutil.copy(shared_lab.run / "network.pcapng", copy)
    said = comments(told)
    assert annotate(copy, said) == len(said)
    return copy


def output(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_comments_stand_at_their_packets(told: Journeys, commented: Path) -> None:
    """tshark shows each comment at the packet that it speaks of: a query for the name, a SYN."""
    fields = ("frame.comment", "dns.qry.name", "dns.flags.response", "tcp.flags.syn")
    wanted = [part for field in fields for part in ("-e", field)]
    lines = output("tshark", "-r", commented, "-Y", "frame.comment", "-T", "fields", *wanted).splitlines()
    assert len(lines) == len(comments(told))
    seen = set()
    for comment, name, response, syn in (line.split("\t") for line in lines):
        if asked := re.match(r"[A-G]: \w+ lookup of (\S+|the root) at ", comment):
            # Resolvers spell names at random.
            assert asked[1].replace("the root", "<root>") == name.lower()
            assert response in ("0", "False")
            seen.add("lookup")
        elif re.match(r"[A-G]: \S+ (answers|refers)", comment):
            assert response in ("1", "True")
            seen.add("answer")
        elif re.match(r"[A-G]: \S+ connects to", comment):
            assert syn in ("1", "True")
            seen.add("connection")
    assert seen == {"lookup", "answer", "connection"}
    assert any(
        re.fullmatch(r"E: MX lookup of example\.org at [a-m]-root", line.split("\t")[0]) for line in lines
    )


def test_the_capture_is_otherwise_the_same(shared_lab: Lab, commented: Path) -> None:
    """All packets, times, interfaces, names and secrets are there: tshark dissects both files alike."""
    original = shared_lab.run / "network.pcapng"
    columns = ("-t", "e", "-N", "n", "-T", "fields", "-e", "frame.time_epoch", "-e", "frame.interface_name")
    shown = (*columns, "-e", "_ws.col.Source", "-e", "_ws.col.Protocol", "-e", "smtp.req.command")
    before = output("tshark", "-r", original, *shown).splitlines()
    after = output("tshark", "-r", commented, *shown).splitlines()
    # The lab still runs: the file may have grown since it was copied.
    assert before[: len(after)] == after
    assert "pcapng" in output("capinfos", "-t", commented)


def test_the_page(shared_lab: Lab, told: Journeys) -> None:
    """The page of the journey tells it from the first host to the mailbox."""
    shown = page(told, title=shared_lab.run.name)
    (journey,) = told.journeys
    assert "✓ delivered" in shown
    for host in journey.path:
        assert f">{host}<" in shown
