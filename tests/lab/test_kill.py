"""Whoever is killed, nothing is left of a lab; and when it is a service, the lab goes on.

Moments are random, from a seed: while the lab starts, just when it is up, and later. Each test comes short
and, marked `long`, fifty times.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailbed import Lab
from mailbed.errors import LabError, StartFailed
from mailbed.pytest_plugin import LabFactory
from tests.lab.residue import Witness, until
from topologies import catalog

ROOT = Path(__file__).resolve().parents[2]
ALICE_TO_BOB = ("alice@example.com", "bob@example.org")
ALICE_TO_CAROL = ("alice@example.com", "carol@example.com")
BOB_TO_DAVE = ("bob@example.org", "dave@example.org")
ZYGOTE, SUPERVISOR = 2, 3
"""Their numbers inside the sandbox: process 1 makes them in this order."""

TIMES = pytest.mark.parametrize(
    "times",
    [
        pytest.param(3, id="3 times"),
        pytest.param(50, id="50 times", marks=[pytest.mark.long, pytest.mark.timeout(900)]),
    ],
)


SERVICES = tuple(
    (host.name, role.kind) for host, role in catalog.load("minimal").roles() if role.kind != "mail-client"
)


def moments(times: int, subject: str) -> Iterator[float]:
    """Yield delays (s): one in three after the lab is up, the others over the time that it takes to start."""
    rng = random.Random(f"{subject} {times}")
    for number in range(times):
        yield rng.uniform(0.6, 1.2) if number % 3 == 2 else rng.uniform(0.0, 0.3)


def check_phases(hit: Counter[str], times: int) -> None:
    """Check that enough tries hit a lab while it started, and enough one that was up."""
    print(dict(hit))
    if times >= 50:
        assert min(hit["starting"], hit["running"]) >= 5


def witness(name: str, run: Path) -> Witness:
    return Witness(run=run, name=name, plan=catalog.load("minimal"))


def own(name: str, run: Path, *options: str) -> subprocess.Popen[str]:
    """Return another process that has begun to start a lab."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.lab.owner", name, str(run), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begins\n"
    return process


@TIMES
def test_the_owner_is_killed(tmp_path: Path, times: int) -> None:
    """Nothing but the run directory is left of a lab whose owner was killed, whenever that was."""
    hit: Counter[str] = Counter()
    for number, moment in enumerate(moments(times, "owner")):
        name, run = f"owned-{os.getpid()}-{number}", tmp_path / str(number)
        seen = witness(name, run)
        with own(name, run) as owner:
            time.sleep(moment)
            seen.look()
            owner.kill()
            assert owner.stdout is not None
            hit["running" if "up\n" in owner.stdout.read() else "starting"] += 1
        seen.wait_until_gone()
        assert (run / "plan.toml").exists() or moment < 0.3
    check_phases(hit, times)


def test_a_child_of_the_owner_does_not_keep_the_lab(tmp_path: Path) -> None:
    """The lab ends with its owner, also when a process that the owner forked holds all its descriptors."""
    name, run = f"forked-{os.getpid()}", tmp_path / "run"
    seen = witness(name, run)
    with own(name, run, "--fork") as owner:
        assert owner.stdout is not None
        word, child = owner.stdout.readline().split()
        assert (word, owner.stdout.readline()) == ("child", "up\n")
        try:
            assert len(seen.look()) > 5
            owner.kill()
            owner.wait()
            # The child has the run directory in its command line, as the owner had: it is no part of the lab.
            until(lambda: all(f"process {child}:" in line for line in seen.left()) or None)
        finally:
            os.kill(int(child), signal.SIGKILL)


def test_what_is_left_is_seen(lab: Lab) -> None:
    """A lab that runs leaves everything that is looked for: these tests would notice it."""
    seen = witness(lab.name, lab.run)
    assert len(seen.look()) == 3 + 1 + len(SERVICES)
    kinds = {
        kind: sum(name.startswith(f"{kind}:") for name in seen.namespaces) for kind in ("net", "uts", "mnt")
    }
    hosts_and_the_root = len(lab.plan.hosts) + 1
    assert kinds == dict.fromkeys(kinds, hosts_and_the_root)
    left = " ".join(seen.left())
    assert [what for what in ("process", "namespace of", "descriptor of", "socket") if what not in left] == []


class Starting:
    """A lab that starts in a thread, so that it can be hit while it does."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.error: LabError | None = None
        self._thread = threading.Thread(target=self._up)
        self._thread.start()

    def _up(self) -> None:
        try:
            self.lab.up()
        except LabError as error:
            self.error = error

    def join(self) -> LabError | None:
        """Return why it did not start, or None if it did."""
        self._thread.join()
        return self.error


@TIMES
@pytest.mark.parametrize(
    "number", [pytest.param(ZYGOTE, id="zygote"), pytest.param(SUPERVISOR, id="supervisor")]
)
def test_a_vital_process_is_killed(lab_factory: LabFactory, tmp_path: Path, number: int, times: int) -> None:
    """The lab ends, nothing of it is left, and its owner hears of it in one line."""
    hit: Counter[str] = Counter()
    for turn, moment in enumerate(moments(times, f"process {number}")):
        name, run = f"vital-{os.getpid()}-{number}-{turn}", tmp_path / f"run-{turn}"
        seen = witness(name, run)
        starting = Starting(lab_factory(name=name, out=run, up=False))
        time.sleep(moment)
        os.kill(seen.process(number), signal.SIGKILL)
        failed = starting.join()
        if failed is None:
            assert starting.lab.down()["state"] == "died"
            with pytest.raises(LabError):
                starting.lab.ps()
        else:
            assert isinstance(failed, StartFailed)
            assert "\n" not in str(failed)
        hit["starting" if failed else "running"] += 1
        seen.wait_until_gone()
    check_phases(hit, times)


@TIMES
def test_a_service_is_killed(lab_factory: LabFactory, tmp_path: Path, times: int) -> None:
    """The lab goes on and says so; who does not need the service gets his mail; it can be started again.

    Killed before it was ready, it is the reason why the lab did not start, and then nothing is left.
    """
    rng, hit = random.Random(times), Counter[str]()
    for turn, moment in enumerate(moments(times, "service")):
        host, role = rng.choice(SERVICES)
        name, run = f"service-{os.getpid()}-{turn}", tmp_path / f"run-{turn}"
        seen = witness(name, run)
        starting = Starting(lab_factory(name=name, out=run, up=False))
        time.sleep(moment)
        os.kill(until(lambda: seen.called(f"{host}/{role}")), signal.SIGKILL)  # noqa: B023
        failed = starting.join()
        if failed is None:
            goes_on(starting.lab, host, role)
            assert starting.lab.down()["state"] == "ended"
        else:
            assert isinstance(failed, StartFailed)
            assert f"{host}/{role}" in str(failed)
        hit["starting" if failed else "running"] += 1
        seen.wait_until_gone()
    print(dict(hit))


def ended_services(lab: Lab) -> list[dict[str, object]]:
    """The lab's events of services that ended."""
    events = (json.loads(line) for line in (lab.run / "events.jsonl").read_text().splitlines())
    return [event for event in events if event["kind"] == "service-ended"]


def goes_on(lab: Lab, host: str, role: str) -> None:
    """Check that the lab is as it should be when a service was killed, and that it can be mended."""
    (event,) = until(lambda: ended_services(lab) or None)
    assert (event["host"], event["role"], event["status"]) == (host, role, -signal.SIGKILL)
    others = {row["state"] for row in lab.ps() if (row["host"], row["role"]) != (host, role)}
    assert others == {"ready"}
    if not host.endswith(("root", "-ns")):
        # Everybody needs the name servers once; the other side of the world does without these.
        sender, to = ALICE_TO_CAROL if host.startswith("rcpt") else BOB_TO_DAVE
        assert lab.send("Subject: x\n\n", sender=sender, to=to).wait()[to].state == "delivered"
    with lab.fault("service-down", host, role):
        pass
    sender, to = ALICE_TO_BOB
    assert lab.send("Subject: x\n\n", sender=sender, to=to).wait()[to].state == "delivered"


def test_the_recorder_is_killed(lab: Lab) -> None:
    """Mail goes on; that the capture is incomplete is said at once, to whoever asks, and in run.json."""
    seen = Witness(run=lab.run, name=lab.name, plan=lab.plan)
    os.kill(until(lambda: seen.called("mailbed-record")), signal.SIGKILL)
    (event,) = until(lambda: ended_services(lab) or None)
    assert (event["role"], event["status"]) == ("recorder", -signal.SIGKILL)
    with pytest.raises(LabError, match="incomplete"):
        lab.sync()
    sender, to = ALICE_TO_BOB
    assert lab.send("Subject: x\n\n", sender=sender, to=to).wait()[to].state == "delivered"
    assert "incomplete" in lab.down()["capture"]
    seen.wait_until_gone()
