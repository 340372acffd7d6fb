"""Labs whose networks are made of Open vSwitch, on a kernel that has it."""

from __future__ import annotations

from statistics import median

import pytest

from tests.kernel.conftest import Findings

pytestmark = pytest.mark.timeout(240)


def test_networks_are_open_vswitch_bridges(findings: Findings) -> None:
    """Each network is a bridge with a port for each link, and any host of the lab can ask about them."""
    facts = findings.of("switches")
    assert facts["bridges"] == ["corp-lan", "rcpt-lan"]
    assert facts["ports"] == [f"corp-lan-eth{number}" for number in (1, 2, 3, 4)]


def test_they_forward(findings: Findings) -> None:
    """Packets cross two of them, with the delays of the links that they join."""
    measured = findings.of("switches")["round_trips_ms"]
    assert len(measured) == 10
    assert min(measured) >= 20 - 0.2
    assert median(measured) <= 20 + 4


def test_a_message_is_delivered(findings: Findings) -> None:
    """A lab is a lab, whatever its switches."""
    delivery = findings.of("switches")["delivery"]
    assert (delivery["state"], delivery["received"]) == ("delivered", ["across"])


def test_a_link_can_be_cut_and_mended(findings: Findings) -> None:
    """A fault takes a port down and up; what shapes it is still there, which Open vSwitch might remove."""
    facts = findings.of("switches")
    assert facts["while_down"] == []
    assert median(facts["after_fault_ms"]) >= 20 - 0.2
    assert "qdisc netem 10: dev corp-lan-eth4 parent 5:1 limit 10000 delay 5ms" in facts["disciplines"]


def test_a_refused_port_is_an_error(findings: Findings) -> None:
    """A port that the kernel does not take is one line, though ovs-vsctl calls it success."""
    said = findings.of("switches")["refused"].strip()
    assert said.startswith("Open vSwitch refused a port: ")
    assert "no-such" in said
    assert "\n" not in said


def test_nothing_is_left(findings: Findings) -> None:
    """Daemons and datapath end with the lab."""
    facts = findings.of("switches")
    assert facts["processes_left"] == []
    assert facts["datapaths_left"] == []


def test_no_root_is_needed(findings: Findings) -> None:
    """A user who is not root gets them too, in a sandbox of that user's."""
    facts = findings.of("switches_without_root")
    assert facts["uid"] != 0
    assert facts["delivery"]["state"] == "delivered"
