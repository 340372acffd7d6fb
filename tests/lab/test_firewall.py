"""Firewalls in a running lab: what passes, what is dropped, and that the capture shows it."""

from __future__ import annotations

import time

import pytest

from captures.journeys.steps import steps
from mailbed import Lab
from mailbed.pytest_plugin import LabFactory
from topologies.plan import Allow, Command, Firewall, Host, Link, Network, Plan

pytestmark = pytest.mark.topology("two-companies")


def connects(lab: Lab, host: str, address: str, port: int) -> bool:
    """Whether a connection from that host comes about within a second."""
    result = lab.exec(host, "timeout", "1", "bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}")
    return result.returncode == 0


@pytest.mark.parametrize(
    ("source", "address", "port", "passes"),
    [
        pytest.param("mallory", "198.18.2.10", 25, True, id="outside to an MX host"),
        pytest.param("mallory", "198.18.2.13", 53, True, id="outside to a name server in the DMZ"),
        pytest.param("mallory", "198.18.2.12", 25, False, id="outside to the filter"),
        pytest.param("mallory", "10.2.0.10", 25, False, id="outside to the mail store"),
        pytest.param("mallory", "10.2.0.10", 143, False, id="outside to the mailboxes"),
        pytest.param("mallory", "10.1.0.13", 25, False, id="outside to the company's hub"),
        pytest.param("rcpt-filt", "10.2.0.10", 25, True, id="the filter to the mail store"),
        pytest.param("rcpt-mx1", "10.2.0.10", 25, False, id="an MX host to the mail store"),
        pytest.param("bob", "10.2.0.10", 587, True, id="a user to submission, inside"),
        pytest.param("bob", "198.18.2.10", 25, False, id="a user to an MX host"),
        pytest.param("corp-hub", "198.18.1.10", 25, True, id="the hub to an MTA"),
        pytest.param("alice", "198.18.1.10", 25, False, id="a user to an MTA"),
    ],
)
def test_who_may_begin_what(shared_lab: Lab, source: str, address: str, port: int, passes: bool) -> None:
    """What the plan allows passes, what it does not is dropped without an answer."""
    assert connects(shared_lab, source, address, port) == passes


def test_drops_are_in_the_capture(shared_lab: Lab) -> None:
    """A dropped packet stands in the capture at the firewall's own point, and the journeys list it."""
    assert not connects(shared_lab, "mallory", "10.2.0.11", 143)
    shared_lab.sync()
    (packet, *_) = [
        packet for packet in shared_lab.packets("rcpt-fw:drop") if packet["IP"].dst == "10.2.0.11"
    ]
    assert (packet["IP"].src, packet["TCP"].dport, packet.sniffed_on) == ("198.18.20.12", 143, "rcpt-fw:drop")
    (drop,) = [drop for drop in shared_lab.journeys().drops if drop.destination.address == "10.2.0.11"]
    assert (drop.host, drop.source.host, drop.destination.host) == ("rcpt-fw", "mallory", "bob")
    assert drop.destination.port == 143


def test_the_rules_can_be_read(shared_lab: Lab) -> None:
    """The run directory has the rules as they were loaded, in a file that nft takes."""
    file = shared_lab.run / "hosts" / "rcpt-fw" / "etc" / "nftables.conf"
    assert "outside to rcpt-mx1 rcpt-mx2: smtp" in file.read_text(encoding="utf-8")
    loaded = shared_lab.exec("rcpt-fw", "nft", "list", "ruleset")
    assert "outside to rcpt-mx1 rcpt-mx2: smtp" in loaded.stdout
    checked = shared_lab.exec("rcpt-fw", "nft", "--check", "--file", str(file))
    assert checked.returncode == 0, checked.stderr


def test_a_refused_hop_is_told(lab_factory: LabFactory) -> None:
    """A mail server that a firewall keeps out is told so in the journey: dropped, by which firewall."""
    lab = lab_factory("two-companies")
    lab.zone("example.org").put("filter 60 MX 10 rcpt-mda")
    lab.send("Subject: past the filter\n\nHello\n", sender="alice@example.com", to="bob@example.org")
    deadline = time.monotonic() + 60
    while not (dropped := _dropped(lab)):
        assert time.monotonic() < deadline, "nothing was dropped"
        time.sleep(0.1)
    assert dropped == ["rcpt-mx1 → rcpt-mda: dropped by the firewall rcpt-fw"]


def _dropped(lab: Lab) -> list[str]:
    """Who tried whom in vain, as the account tells it."""
    lab.sync()
    return [
        f"{hop.client.host} → {hop.server.host}: {said}"
        for journey in lab.journeys().journeys
        for hop in journey.hops
        for told in steps(journey)
        for _, said in told.lines
        if told.about is hop and hop.server and "dropped" in said
    ]


def walled() -> Plan:
    """Two hosts on one side of a firewall that lets each begin five connections a minute to the other."""
    web = Command(name="web", command=("python3", "-m", "http.server", "8080"), ready="tcp:8080")
    allow = Allow(source=("lan",), to=("web",), services=("tcp/8080",), per_minute=5)
    return Plan(
        name="walled",
        networks=(Network(name="lan", subnet="10.1.0.0/24"), Network(name="dmz", subnet="10.2.0.0/24")),
        hosts=(
            Host(name="one", fqdn="one.example.com"),
            Host(name="two", fqdn="two.example.com"),
            Host(name="web", fqdn="web.example.com", roles=(web,)),
            Host(name="fw", fqdn="fw.example.com", router=True, firewall=Firewall(allow=(allow,))),
        ),
        links=(
            Link(a="fw", b="lan"),
            Link(a="fw", b="dmz"),
            Link(a="one", b="lan"),
            Link(a="two", b="lan"),
            Link(a="web", b="dmz"),
        ),
    )


def test_a_limit_holds_for_each_source(lab_factory: LabFactory) -> None:
    """The sixth or seventh connection within a minute is refused; another address has its own share."""
    lab = lab_factory(walled())
    outcomes = [connects(lab, "one", "10.2.0.10", 8080) for _ in range(8)]
    passed = outcomes.index(False)
    assert 5 <= passed <= 6
    assert connects(lab, "two", "10.2.0.10", 8080)
