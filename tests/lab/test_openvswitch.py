"""Networks made of Open vSwitch, on this kernel: they work, or the lab refuses and says what to do."""

from __future__ import annotations

import dataclasses
import os

import pytest

from mailbed.errors import LabError
from mailbed.pytest_plugin import LabFactory
from mailbed.rundir import read_record
from topologies import catalog, features

ENTER = features.INSIDE if os.geteuid() == 0 else features.OUTSIDE


def test_on_request(lab_factory: LabFactory) -> None:
    """A plan never falls back to Linux bridges: mail crosses Open vSwitch, or one line names the remedy."""
    plan = dataclasses.replace(catalog.load("minimal"), switch="openvswitch")
    feature = features.FEATURES["openvswitch"]
    missing = features.why_missing(feature, enter=ENTER)
    lab = lab_factory(plan, up=False)
    if missing is None:
        lab.up()
        assert lab.exec("alice", "ovs-vsctl", "list-br").stdout.split() == ["corp-lan", "rcpt-lan"]
        sent = lab.send("Subject: hello\n\nHello\n", sender="alice@example.com", to="bob@example.org")
        assert sent.wait()["bob@example.org"].state == "delivered"
    else:
        with pytest.raises(LabError) as caught:
            lab.up()
        told = f"minimal requires openvswitch, which is missing here ({missing}): {feature.remedy}"
        assert str(caught.value) == told
        assert "\n" not in told
        assert "apt-get install openvswitch-switch" in told
        record = read_record(lab.run)
        assert (record["state"], record["reason"]) == ("failed", told)
