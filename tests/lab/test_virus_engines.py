"""Our virus engine and ClamAV's clamd on hosts of a lab, with the same signatures."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from mailbed import Lab
from mailbed.errors import UsageError
from mailbed.pytest_plugin import LabFactory
from tests.lab.residue import until
from tests.lab.worlds import pair
from tests.unit.filters.virus.samples import EICAR, NAME, mail, zipped
from topologies.plan import Host, Link, Plan, VirusEngine

WORM = {"lab.ndb": "# of the lab\nLab.Worm:0:*:" + b"squirming".hex() + "*" + b"tail".hex() + "\n"}


def both() -> Plan:
    """Ours on the host `one`, clamd on `three`."""
    plan = pair(VirusEngine(signatures=WORM))
    clamd = VirusEngine(signatures=WORM, implementation="clamav")
    third = Host(name="three", fqdn="three.example.org", roles=(clamd,))
    return replace(plan, hosts=(*plan.hosts, third), links=(*plan.links, Link(a="three", b="lan")))


def verdict(lab: Lab, host: str, message: bytes, directory: Path) -> str:
    """What ClamAV's client is told on a host about a message."""
    (directory / "message").write_bytes(message)
    (directory / "client.conf").write_text("TCPSocket 3310\nTCPAddr 127.0.0.1\n")
    arguments = ("-c", str(directory / "client.conf"), "--stream", "--no-summary", str(directory / "message"))
    said = lab.exec(host, "clamdscan", *arguments)
    assert said.returncode in (0, 1), said.stdout + said.stderr
    return str(said.stdout).strip().rpartition(": ")[2]


def test_both_engines(lab_factory: LabFactory, tmp_path: Path) -> None:
    """Both find EICAR and what the lab's signature describes, in archives too, and tell it; nothing else."""
    for program in ("clamd", "clamdscan"):
        assert shutil.which(program, path="/usr/sbin:/usr/bin"), (
            f"{program} is not installed: scripts/setup --test"
        )
    lab = lab_factory(both())
    worm = b"it is squirming, from head to tail"
    messages = {
        mail(b"harmless"): "OK",
        mail(EICAR): f"{NAME} FOUND",
        mail(zipped(zipped(EICAR))): f"{NAME} FOUND",
        mail(worm, encoding="quoted-printable"): "Lab.Worm FOUND",
        mail(zipped(worm, method=zipfile.ZIP_STORED)): "Lab.Worm FOUND",
    }
    for message, expected in messages.items():
        assert verdict(lab, "one", message, tmp_path) == expected
        assert verdict(lab, "three", message, tmp_path).replace(".UNOFFICIAL", "") == expected
    events = [json.loads(line) for line in (lab.run / "events.jsonl").read_text().splitlines()]
    told = [event["host"] for event in events if event["kind"] == "found"]
    assert (told.count("one"), told.count("three")) == (4, 4)
    # Nothing of it is in the capture: engines are asked on the loopback.
    assert [packet for packet in lab.packets() if packet.haslayer("TCP")] == []


def _found(lab: Lab, host: str, message: bytes, directory: Path) -> bool | None:
    return verdict(lab, host, message, directory).startswith("Lab.Beast") or None


def test_new_signatures(lab_factory: LabFactory, tmp_path: Path) -> None:
    """A signature file that is changed in the run directory counts after RELOAD, for both."""
    lab = lab_factory(both())
    newer = mail(b"a newer beast")
    for host in ("one", "three"):
        assert verdict(lab, host, newer, tmp_path) == "OK"
        file = lab.run / "hosts" / host / "signatures" / "newer.ndb"
        file.write_text("Lab.Beast:0:*:" + b"newer beast".hex() + "\n")
        assert lab.exec(host, "clamdscan", "-c", str(tmp_path / "client.conf"), "--reload").returncode == 0
        until(partial(_found, lab, host, newer, tmp_path))


def test_a_signature_that_is_wrong(lab_factory: LabFactory) -> None:
    """A mistake in a signature is told before anything starts."""
    with pytest.raises(UsageError, match=r"host one: virus-engine: lab.ndb line 1: a line is NAME"):
        lab_factory(pair(VirusEngine(signatures={"lab.ndb": "x\n"})))
