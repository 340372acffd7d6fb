"""Mail through open relays, by chains that its sender chose, with a header that lies about it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mailbed import Lab
from mailbed.errors import SendFailed, UsageError
from scripts.experiments import spam_chain

pytestmark = pytest.mark.topology("two-companies", time_scale=600)

ROOT = Path(__file__).resolve().parents[2]
TO_FRANK = ("lab-mx",)


@pytest.mark.parametrize("percent", [False, True], ids=["source route", "percent hack"])
@pytest.mark.parametrize("via", ["open-1", "open-1 open-2", "open-2 open-1", "open-1 open-2 open-1"])
def test_the_true_origin(shared_lab: Lab, via: str, percent: bool) -> None:
    """The message passes the relays in the chosen order; the journey begins where it did in truth."""
    relays = via.split()
    found = spam_chain.account(shared_lab, relays, forged=2, percent=percent)
    assert found.state == "delivered"
    assert found.true == ("mallory", *relays, *TO_FRANK)
    # The header says that it began with somebody in the company, who never had it.
    assert found.header[:3] == ("corp-msa", "corp-hub", "corp-mta1")
    assert found.forged == ("corp-msa", "corp-hub", "corp-mta1")
    assert found.journey.sender == spam_chain.CHIEF
    assert found.journey.recipient == spam_chain.FRANK


@pytest.mark.parametrize("host", ["isp-b1", "corp-mta1", "rcpt-mx1"])
@pytest.mark.parametrize("percent", [False, True], ids=["source route", "percent hack"])
def test_other_hosts_refuse(shared_lab: Lab, host: str, percent: bool) -> None:
    """No other host relays for a stranger, however the path is written: 550 5.7.1."""
    with pytest.raises(SendFailed, match=r"550 5\.7\.1"):
        shared_lab.send(
            "Subject: x\n\nx\n",
            sender=spam_chain.CHIEF,
            to="frank@lab.example.org",
            host="mallory",
            via=(host, "open-2"),
            percent=percent,
        )


def test_a_relay_that_is_none(shared_lab: Lab) -> None:
    """A chain names mail servers of the plan."""
    with pytest.raises(UsageError, match="core1 is no mail server of two-companies: there are "):
        shared_lab.send("Subject: x\n\nx\n", to=spam_chain.FRANK, host="mallory", via=("core1",))


def test_a_relay_out_of_reach(shared_lab: Lab) -> None:
    """From behind the company's firewall: it is said from where it was tried, and what helps."""
    argv = ["send", "--lab", shared_lab.name, "--to", spam_chain.FRANK, "--via", "open-1"]
    result = subprocess.run(
        [ROOT / "scripts" / "mailbed", *argv], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 1
    assert "tried from alice" in result.stdout
    assert "--host chooses another host" in result.stdout


def test_from_the_command_line(shared_lab: Lab) -> None:
    """`mailbed send --via` tells the journey from the spammer on."""
    argv = ["send", "--lab", shared_lab.name, "--host", "mallory", "--from", spam_chain.CHIEF]
    argv += ["--to", spam_chain.FRANK, "--via", "open-1,open-2"]
    result = subprocess.run([ROOT / "scripts" / "mailbed", *argv], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
    for step in ("mallory  → open-1", "open-1   → open-2", "open-2   → lab-mx"):
        assert step in result.stdout
