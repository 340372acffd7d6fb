"""Labs that cannot start: one line says why, and nothing is left but the run directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mailbed import Lab, rundir
from mailbed.errors import LabError, MailbedError, StartFailed, UsageError
from mailbed.pytest_plugin import LabFactory
from tests.lab.conftest import ROOT
from tests.lab.residue import Witness, until
from tests.lab.worlds import minimal_with, pair, program
from topologies import features, minimal
from topologies.plan import Command, Link, NameServer, Plan, Zone

BIND_25 = "import socket, time; s = socket.create_server(('', 25)); print('bound'); time.sleep(60)"


def failure(lab: Lab, expected: type[MailbedError] = StartFailed) -> str:
    """Return why a lab does not start; nothing may be left of it then."""
    with pytest.raises(expected) as caught:
        lab.up()
    assert "\n" not in str(caught.value)
    Witness(run=lab.run, name=lab.name, plan=lab.plan).wait_until_gone()
    record = rundir.read_record(lab.run)
    assert (record["state"], record["reason"]) == ("failed", str(caught.value))
    return str(caught.value)


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        pytest.param(
            minimal_with("rcpt-mx", program(BIND_25, ready="log:bound")),
            ["rcpt-mx/", "in use"],
            id="two programs want a port",
        ),
        pytest.param(
            minimal_with("rcpt-dns", NameServer(secondary=("example.org",))),
            ["rcpt-dns/", "port 53", "in use"],
            id="two of ours want a port",
        ),
        pytest.param(
            pair(Command(name="thing", command=("no-such-program",))),
            ["one/thing", "no-such-program", "not installed"],
            id="no such program",
        ),
        pytest.param(
            pair(Command(name="thing", command=("/etc/passwd",))),
            ["one/thing", "/etc/passwd", "Permission denied"],
            id="no program",
        ),
        pytest.param(
            pair(program("raise SystemExit(3)", ready="tcp:80")),
            ["one/program", "status 3"],
            id="it ends at once",
        ),
        pytest.param(
            pair(program("print('ready')", ready="log:never")),
            ["one/program", "status 0"],
            id="it ends before it is ready",
        ),
    ],
)
def test_a_service_that_cannot_start(lab_factory: LabFactory, plan: Plan, says: list[str]) -> None:
    """The line names the host, the role, the reason, and where there is more."""
    reason = failure(lab_factory(plan, up=False))
    assert [word for word in [*says, ".log"] if word not in reason] == []


def test_a_bad_configuration(lab_factory: LabFactory) -> None:
    """A zone that its server cannot read is a service that does not start."""
    plan = minimal.build()
    zones = tuple(
        replace(zone, records=("www IN A 1.2.3",)) if zone.origin == "example.org" else zone
        for zone in plan.zones
    )
    reason = failure(lab_factory(replace(plan, zones=zones), up=False))
    assert "auth-ns/name-server" in reason
    assert "example.org" in reason


def test_a_placeholder_that_is_none(lab_factory: LabFactory) -> None:
    """A command line is filled in from the plan: what cannot be is named."""
    lab = lab_factory(pair(Command(name="thing", command=("echo", "${NOTHING}"))), up=False)
    assert "NOTHING" in failure(lab, UsageError)


@pytest.mark.parametrize(
    ("implementations", "says"),
    [
        pytest.param({"nowhere": "nsd"}, "nowhere", id="no such host"),
        pytest.param({"a-root": "bind99"}, "bind99", id="nobody of that name"),
        pytest.param({"core1": "nsd"}, "core1", id="a host without roles"),
    ],
)
def test_implementations_that_are_none(implementations: dict[str, str], says: str) -> None:
    """Who is to do a job is checked before anything is written."""
    with pytest.raises(UsageError, match=says):
        Lab("minimal", implementations=implementations)


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param("no-such-topology", id="no such topology"),
        pytest.param("/no/such/file.toml", id="no such file"),
        pytest.param(replace(minimal.build(), zones=(Zone(origin="..."),)), id="a plan with mistakes"),
    ],
)
def test_plans_that_are_none(plan: str | Plan) -> None:
    """Mistakes in a plan are told before anything is written, wherever the plan comes from."""
    with pytest.raises(UsageError):
        Lab(plan)


def test_a_plan_that_requires_netem(lab_factory: LabFactory) -> None:
    """Where the kernel can delay packets they are; where it cannot, the lab says so and does not start."""
    plan = pair(require=("netem",), link=Link(a="one", b="lan", delay_ms=200))
    enter = ("unshare", "--net") if os.geteuid() == 0 else features.OUTSIDE
    lab = lab_factory(plan, up=False)
    if features.why_missing(features.FEATURES["netem"], enter=enter) is None:
        assert lab.up()["left_out"] == {}
        assert "time=4" in lab.exec("two", "ping", "-c2", "198.18.1.10").stdout
    else:
        reason = failure(lab, LabError)
        assert "netem" in reason
        assert "modprobe sch_netem" in reason


def test_a_plan_that_wants_netem(lab_factory: LabFactory) -> None:
    """Delays that the kernel lacks are left out with a notice, in the answer and in run.json."""
    plan = pair(link=Link(a="one", b="lan", delay_ms=1))
    enter = ("unshare", "--net") if os.geteuid() == 0 else features.OUTSIDE
    missing = features.why_missing(features.FEATURES["netem"], enter=enter) is not None
    lab = lab_factory(plan, up=False)
    left_out = lab.up()["left_out"]
    assert list(left_out) == (["netem"] if missing else [])
    record = rundir.read_record(lab.run)
    assert record["left_out"] == left_out
    assert record["features"]["netem"] is not missing


def test_progress_is_told(lab_factory: LabFactory) -> None:
    """While a lab starts, whoever asked for it hears what it is at."""
    told: list[dict[str, Any]] = []
    lab = lab_factory(pair(program("import time; time.sleep(60)")), progress=told.append)
    until(lambda: any(event["kind"] == "ready" and event["host"] == "one" for event in told) or None)
    assert [event["phase"] for event in told if event["kind"] == "starting"] == ["network", "services"]
    lab.fault("host-down", "two")
    assert "fault" not in {event["kind"] for event in told}


@pytest.mark.parametrize("where", ["/proc/nothing", "file/below"])
def test_an_output_directory_that_cannot_be_made(lab_factory: LabFactory, tmp_path: Path, where: str) -> None:
    """The line names the directory and what to do."""
    (tmp_path / "file").touch()
    lab = lab_factory(out=tmp_path / where, up=False)
    with pytest.raises(LabError, match="cannot make the run directory"):
        lab.up()


def test_an_output_directory_without_permission(lab_factory: LabFactory, tmp_path: Path) -> None:
    """The same for a directory that somebody else owns."""
    if os.geteuid() == 0:
        pytest.skip("needs a user who is not root: root may write anywhere")
    with pytest.raises(LabError, match="Permission denied"):
        lab_factory(out="/root/lab")


def test_an_output_directory_that_is_used(lab_factory: LabFactory, tmp_path: Path) -> None:
    """A directory with something in it is left as it is."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("words")
    with pytest.raises(LabError, match="not empty"):
        lab_factory(out=tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["thesis.tex"]


ON_A_SMALL_DISK = """
import json, sys
from topologies import kernel
from mailbed import Lab
from mailbed.errors import MailbedError
kernel.mount("tmpfs", sys.argv[1], "tmpfs", 0, f"size={sys.argv[2]}")
lab = Lab("minimal", name=sys.argv[3], out=sys.argv[1])
try:
    lab.up()
    sent = lab.send(b"Subject: x\\r\\n\\r\\n" + b"x" * 70 * 1024 + b"\\r\\n", to="bob@example.org")
    print(json.dumps({"outcome": sent.wait(20)["bob@example.org"].state}))
except MailbedError as error:
    print(json.dumps({"error": str(error), "kind": type(error).__name__}))
finally:
    try:
        lab.__exit__()
    except MailbedError as error:
        print(json.dumps({"down": str(error)}))
"""


@pytest.mark.parametrize("size", ["4k", "32k", "64k", "128k", "256k", "384k", "512k", "1m", "64m"])
def test_a_full_disk(tmp_path: Path, size: str) -> None:
    """Wherever the disk gets full, one line says so, and the lab is gone; with enough room it works."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    name = f"full-{os.getpid()}-{size}"
    result = subprocess.run(
        ["unshare", *user, "--mount", sys.executable, "-c", ON_A_SMALL_DISK, str(tmp_path), size, name],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    print(size, result.stdout, result.stderr)
    assert result.stderr == ""
    said = [json.loads(line) for line in result.stdout.splitlines()]
    assert said
    if size == "64m":
        assert said == [{"outcome": "delivered"}]
    for line in said:
        assert "\n" not in str(line)
    Witness(run=tmp_path, name=name, plan=minimal.build()).wait_until_gone()
