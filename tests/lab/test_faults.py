"""Faults: what they break, what goes on, and that they can be taken back."""

from __future__ import annotations

import time

import pytest
from scapy.layers.inet import ICMP

from mailbed import Lab, SentMessage
from mailbed.errors import SendFailed, UsageError
from mailbed.pytest_plugin import LabFactory
from tests.lab.residue import until
from tests.lab.worlds import ring

ALICE, BOB, CAROL, DAVE = "alice@example.com", "bob@example.org", "carol@example.com", "dave@example.org"
TEXT = "Subject: hello\n\nHello Bob\n"
QUICKLY = pytest.mark.topology("minimal", time_scale=600)
"""Retry intervals of minutes become fractions of a second."""


def answers(lab: Lab) -> bool:
    """Whether rcpt-mx answers one of bob's three pings: ARP that failed is tried again after a second."""
    return lab.exec("bob", "ping", "-c3", "-W1", "198.18.2.10").returncode == 0


def state(sent: SentMessage, to: str = BOB, timeout_s: float = 0) -> str:
    return sent.wait(timeout_s)[to].state


def states(lab: Lab, host: str) -> set[str]:
    return {row["state"] for row in lab.ps() if row["host"] == host}


@QUICKLY
def test_a_host_is_down_and_up_again(lab: Lab) -> None:
    """Mail for a host that is down waits in the sender's queue, and gets there once it is up."""
    with lab.fault("host-down", "rcpt-mx"):
        assert states(lab, "rcpt-mx") == {"down"}
        sent = lab.send(TEXT, sender=ALICE, to=BOB)
        until(lambda: state(sent) == "deferred" or None, 60)
        assert sent.wait(0)[BOB].host == "corp-mta"
        assert [message.id for message in lab.queue("corp-mta").messages()] == [sent.queue_id]
        assert not answers(lab)
    assert states(lab, "rcpt-mx") == {"ready"}
    assert state(sent, timeout_s=60) == "delivered"
    assert lab.queue("corp-mta").messages() == []


def test_nothing_runs_on_a_host_that_is_down(lab: Lab) -> None:
    """Power off ends every program on the host, also one that was left behind, and nobody else's."""
    for host in ("alice", "bob"):
        lab.exec(host, "sh", "-c", "sleep 4321 </dev/null >/dev/null 2>&1 &")
    assert lab.exec("bob", "pgrep", "-fc", "sleep 4321").stdout == "2\n"
    with lab.fault("host-down", "alice"):
        assert lab.exec("bob", "pgrep", "-fc", "sleep 4321").stdout == "1\n"
        with pytest.raises(SendFailed):
            lab.send(TEXT, sender=ALICE, to=BOB)
    assert state(lab.send(TEXT, sender=ALICE, to=BOB), timeout_s=60) == "delivered"


@QUICKLY
def test_a_service_is_down_and_up_again(lab: Lab) -> None:
    """A killed server refuses connections; what it had queued is still there when it is up again."""
    fault = lab.fault("service-down", "rcpt-mx", "mail-server")
    sent = lab.send(TEXT, sender=ALICE, to=BOB)
    until(lambda: state(sent) == "deferred" or None, 60)
    assert answers(lab)
    with lab.fault("service-down", "corp-mta", "mail-server"):
        fault.clear()
        assert state(sent) == "deferred"
    assert state(sent, timeout_s=60) == "delivered"


def test_a_service_that_died_starts_again(lab: Lab) -> None:
    """Whatever a service died of, taking it down and up again starts it."""
    (pid,) = (row["pid"] for row in lab.ps() if (row["host"], row["role"]) == ("rcpt-mx", "mail-server"))
    lab.exec("bob", "kill", "-9", str(pid))
    until(lambda: states(lab, "rcpt-mx") == {"dead", "ready"} or None)
    with lab.fault("host-down", "rcpt-mx"):
        pass
    assert states(lab, "rcpt-mx") == {"ready"}
    assert state(lab.send(TEXT, sender=ALICE, to=BOB), timeout_s=60) == "delivered"


def test_faults_over_one_another(lab: Lab) -> None:
    """Clearing a fault restores what it took away, but not what another one keeps down."""
    host = lab.fault("host-down", "rcpt-mx")
    service = lab.fault("service-down", "rcpt-mx", "mail-server")
    link = lab.fault("link-down", "rcpt-mx", "rcpt-lan")
    assert [fault.number for fault in lab.faults()] == [host.number, service.number, link.number]

    host.clear()
    assert states(lab, "rcpt-mx") == {"down", "ready"}
    service.clear()
    assert states(lab, "rcpt-mx") == {"ready"}
    assert not answers(lab)
    lab.clear_fault()
    assert lab.faults() == []
    assert answers(lab)


@pytest.mark.parametrize(
    ("kind", "target", "says"),
    [
        pytest.param("fire", ["rcpt-mx"], "host-down, link-down, service-down", id="no such kind"),
        pytest.param("host-down", ["nowhere"], "nowhere", id="no such host"),
        pytest.param("host-down", [], "HOST", id="no host"),
        pytest.param("link-down", ["alice", "bob"], "alice and bob", id="no such link"),
        pytest.param("service-down", ["rcpt-mx", "resolver"], "mail-server", id="no such role"),
        pytest.param("service-down", ["core1", "resolver"], "core1", id="a host without services"),
    ],
)
def test_faults_that_make_no_sense(shared_lab: Lab, kind: str, target: list[str], says: str) -> None:
    """What cannot be broken is said in one line, and nothing is broken."""
    with pytest.raises(UsageError, match=says):
        shared_lab.fault(kind, *target)
    assert shared_lab.faults() == []


def test_a_fault_in_force_and_one_that_is_not(shared_lab: Lab) -> None:
    """A fault cannot be put in force twice, nor taken back when there is none."""
    fault = shared_lab.fault("link-down", "bob", "rcpt-lan")
    with pytest.raises(UsageError, match="in force already"):
        shared_lab.fault("link-down", "bob", "rcpt-lan")
    fault.clear()
    with pytest.raises(UsageError, match=str(fault.number)):
        fault.clear()


class Pings:
    """Which routers the pings of a lab pass, told from the capture."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._seen = self._count()

    def way(self) -> set[str]:
        """Return the routers that an echo and its reply passed, or nothing if there was no reply."""
        result = self._lab.exec("a", "ping", "-c1", "-W2", "198.18.2.10")
        before, self._seen = self._seen, self._count()
        if result.returncode != 0:
            return set()
        return {host for host in self._seen if self._seen[host] > before[host]}

    def _count(self) -> dict[str, int]:
        packets = [str(packet.sniffed_on) for packet in self._lab.packets() if packet.haslayer(ICMP)]
        return {
            f"r{number}": sum(name.startswith(f"r{number}-") for name in packets) for number in range(1, 5)
        }


@pytest.fixture
def ring_lab(lab_factory: LabFactory) -> Lab:
    return lab_factory(ring())


@pytest.mark.parametrize("kind", ["link-down", "host-down"])
def test_traffic_goes_the_other_way_round(ring_lab: Lab, kind: str) -> None:
    """When a link or a router fails, routes are computed again: the ring's other half takes over."""
    pings = Pings(ring_lab)
    one_way = pings.way()
    (near,) = one_way - {"r1", "r3"}
    (far,) = {"r2", "r4"} - one_way
    other_way = {"r1", far, "r3"}

    target = (near,) if kind == "host-down" else ("r1", near)
    with ring_lab.fault(kind, *target):
        assert pings.way() == other_way
        with ring_lab.fault("link-down", far, "r3"):
            assert pings.way() == set()
        assert pings.way() == other_way
    assert pings.way() == one_way


def test_routes_follow_at_once(ring_lab: Lab) -> None:
    """A fault is in force, and taken back, when the call returns: no wait for routes to settle."""
    began = time.monotonic()
    for _ in range(3):
        for link in (("r1", "r2"), ("r1", "r4")):
            with ring_lab.fault("link-down", *link):
                assert ring_lab.exec("a", "ping", "-c1", "-W2", "198.18.2.10").returncode == 0
    assert time.monotonic() - began < 30
