"""Labs on a kernel that has netem and HTB: what the plan says is what the packets see."""

from __future__ import annotations

from statistics import median

import pytest

from tests.kernel.conftest import Findings
from topologies import catalog

pytestmark = pytest.mark.timeout(240)

# Both ways along the path from alice: sums of the delays in `minimal`.
ROUND_TRIPS = {"corp-mta": 0.0, "core1": 2 * 5.0, "bob": 2 * (5.0 + 5.0), "a-root": 2 * (5.0 + 10.0)}
SHAPED = "qdisc htb 5: dev {0} root", "qdisc netem 10: dev {0} parent 5:1 limit 10000 delay 5ms"


def test_features_are_detected(findings: Findings) -> None:
    """Every probe finds its feature, and none leaves an interface or a datapath behind."""
    facts = findings.of("probes")
    assert facts["missing"] == {"netem": None, "htb": None, "openvswitch": None}
    assert facts["interfaces"] == ["lo"]
    assert facts["datapaths"] == []


def test_nothing_is_left_out(findings: Findings) -> None:
    """A plan that requires netem and HTB starts, and all that it asks for is there."""
    assert findings.of("delays")["left_out"] == {}


def test_the_plan_is_what_these_tests_think() -> None:
    """The delays below are those of `minimal`."""
    links = {(link.a, link.b): link.delay_ms for link in catalog.load("minimal").links}
    assert links["alice", "corp-lan"] is None
    assert (links["core1", "corp-lan"], links["core1", "rcpt-lan"], links["a-root", "core1"]) == (5, 5, 10)


@pytest.mark.parametrize("host", ROUND_TRIPS)
def test_delays_hold(findings: Findings, host: str) -> None:
    """A round trip takes the delays of its links, each twice: netem sits at both ends of each."""
    measured = findings.of("delays")["round_trips_ms"][host]
    assert len(measured) == 10
    assert min(measured) >= ROUND_TRIPS[host] - 0.2
    # The machine has one slow processor: single packets may wait for it, most do not.
    assert median(measured) <= ROUND_TRIPS[host] + 4


@pytest.mark.parametrize(("where", "device"), [("core1", "core1-eth0"), ("switches", "corp-lan-eth4")])
def test_a_link_to_a_network_is_shaped_at_both_ends(findings: Findings, where: str, device: str) -> None:
    """The rate is a class of HTB, and netem holds the delay below it, at the host and at the switch."""
    facts = findings.of("delays")
    for line in SHAPED:
        assert line.format(device) in facts["disciplines"][where]
    assert "class htb 5:1 root leaf 10: prio 0 rate 100Mbit" in facts["classes"][where]


@pytest.mark.parametrize(("where", "device"), [("core1", "core1-eth2"), ("a-root", "a-root-eth0")])
def test_a_link_between_hosts_is_shaped_at_both_ends(findings: Findings, where: str, device: str) -> None:
    """Without a rate, netem alone is the root."""
    line = f"qdisc netem 10: dev {device} root refcnt 2 limit 10000 delay 10ms"
    assert line in findings.of("delays")["disciplines"][where]


def test_what_is_not_asked_for_is_not_shaped(findings: Findings) -> None:
    """The cable from alice to her network has no discipline."""
    assert "qdisc noqueue 0: dev corp-lan-eth1" in findings.of("delays")["disciplines"]["switches"]


def test_losses_hold(findings: Findings) -> None:
    """Of 300 pings over 20 % each way 192 come back: within five standard deviations (8.3 each)."""
    facts = findings.of("losses")
    assert facts["sent"] == 300
    assert 192 - 42 <= facts["received"] <= 192 + 42


def test_rates_hold(findings: Findings) -> None:
    """What is offered faster than the link's 1 Mbit/s is carried at that, but for the first burst."""
    facts = findings.of("losses")
    mbit_s = facts["narrow_bits"] / facts["narrow_ms"] / 1000
    assert 0.6 <= mbit_s <= 1.2


@pytest.mark.parametrize(
    ("where", "told"),
    [("host", "a link of near: qdisc add dev near-eth0"), ("switches", "the switches: qdisc")],
)
def test_what_tc_refuses_is_an_error(findings: Findings, where: str, told: str) -> None:
    """NetworkError says in one line whose link, which command and why, where Mininet would go on."""
    said = findings.of("refusals")[where]
    assert told in said
    assert "netem limit 10000 delay 1ms: Exclusivity flag on" in said
    assert "\n" not in said


def test_a_message_crosses_the_delays(findings: Findings) -> None:
    """Mail and look-ups work across slow links, and take their time."""
    delivery = findings.of("delays")["delivery"]
    assert delivery["state"] == "delivered"
    assert delivery["path"] == ["corp-mta", "rcpt-mx"]
    assert delivery["received"] == ["across"]
    # At least a look-up at the root (30 ms), a TLD's (30 ms) and a domain's server, then SMTP's turns.
    assert delivery["seconds"] > 0.15
