"""The generated Internet: it starts, delivers, records, and leaves nothing, also when it is large."""

from __future__ import annotations

from pathlib import Path

import pytest

from captures import pcapng
from captures.summary import summarise
from mailbed import Lab
from mailbed.pytest_plugin import LabFactory
from tests.lab.residue import Witness
from topologies.addressing import assign

TEXT = "Subject: across\n\nFrom one of many to another.\n"


def crosses(lab: Lab, sender: int, to: int) -> None:
    """A message from one domain's user reaches another's, from server to server."""
    domains = lab.plan.domains
    source, target = f"user@{domains[sender - 1].name}", f"user@{domains[to - 1].name}"
    outcome = lab.send(TEXT, sender=source, to=target).wait()[target]
    assert (outcome.state, outcome.path) == ("delivered", (f"mx{sender}", f"mx{to}"))
    assert (lab.maildir(target) / "new" / Path(outcome.file).name).is_file()


def starts_delivers_and_leaves_nothing(lab: Lab, number: int) -> None:
    """From the first network to the last one and back, through the capture, until nothing is left."""
    witness = Witness(run=lab.run, name=lab.name, plan=lab.plan)
    witness.look()
    assert {row["state"] for row in lab.ps()} == {"ready"}
    crosses(lab, 1, number)
    crosses(lab, number, 2)
    record = lab.down()
    assert record["capture"]["dropped"] == record["capture"]["late"] == 0
    with pcapng.open_capture(lab.run / "network.pcapng") as reader:
        summary = summarise(reader)
        names = {interface.name for interface in reader.interfaces}
    assert names == {interface.name for interface in assign(lab.plan).interfaces}
    assert summary.packets == record["capture"]["packets"] > 0
    witness.wait_until_gone(30)


@pytest.mark.topology("internet:DOMAINS=30")
def test_thirty_domains(lab: Lab) -> None:
    """Two access networks, and a message each way between them."""
    starts_delivers_and_leaves_nothing(lab, 30)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_three_hundred_domains(lab_factory: LabFactory) -> None:
    """665 hosts: rings are smaller and slower then, and still nothing is lost."""
    starts_delivers_and_leaves_nothing(lab_factory("internet:DOMAINS=300"), 300)
