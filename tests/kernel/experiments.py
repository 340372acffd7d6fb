"""What is tried inside the virtual machine: labs on a kernel with netem and Open vSwitch.

    python -m tests.kernel.experiments FINDINGS [NAME…]

Each experiment returns facts as JSON values; nothing is judged here. A line `{"name", "began": true}` comes
before each, `{"name", "facts", "seconds"}` or `{"name", "error", …}` after it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pwd
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mailbed import Lab
from topologies import catalog, features, kernel, namespaces, shaping
from topologies.addressing import assign
from topologies.errors import NetworkError
from topologies.network import Network
from topologies.plan import Host, Link, Plan
from topologies.plan import Network as Lan

Facts = dict[str, Any]
PINGS = 300


def main() -> None:
    """Run the experiments named in the arguments, or all of them."""
    findings, *names = sys.argv[1:]
    with open(findings, "a", encoding="utf-8") as file:
        for name in names or EXPERIMENTS:
            print(json.dumps({"name": name, "began": True}), file=file, flush=True)
            began = time.monotonic()
            line: Facts = {"name": name}
            try:
                line["facts"] = EXPERIMENTS[name]()
            except Exception:
                traceback.print_exc()
                line["error"] = traceback.format_exc(limit=-2)
            line["seconds"] = round(time.monotonic() - began, 1)
            print(json.dumps(line), file=file, flush=True)


def probes() -> Facts:
    """What the kernel can do, and whether trying left anything in our own namespace."""
    return {
        "missing": {name: features.why_missing(features.FEATURES[name]) for name in PROBED},
        "interfaces": os.listdir("/sys/class/net"),
        "datapaths": _said("ovs-dpctl", "dump-dps").split(),
        "writing": _try_to_write(Path(__file__).with_suffix(".new")),
    }


def delays() -> Facts:
    """`minimal`, which wants netem; here it is required. Nothing is asked of alice's link."""
    plan = catalog.load("minimal")
    links = tuple(
        dataclasses.replace(link, rate_mbit=None) if link.a == "alice" else link for link in plan.links
    )
    plan = dataclasses.replace(plan, links=links, require=("netem", "htb"))
    with Lab(plan) as lab:
        where = assign(plan).primary()
        return {
            "left_out": _record(lab)["left_out"],
            "round_trips_ms": {
                host: _ping(lab, "alice", str(where[host])) for host in ("corp-mta", "core1", "bob", "a-root")
            },
            "disciplines": {
                "core1": lab.exec("core1", "tc", "qdisc").stdout,
                "a-root": lab.exec("a-root", "tc", "qdisc").stdout,
                "switches": _beside_switches("tc", "qdisc"),
            },
            "classes": {
                "core1": lab.exec("core1", "tc", "class", "show", "dev", "core1-eth0").stdout,
                "switches": _beside_switches("tc", "class", "show", "dev", "corp-lan-eth4"),
            },
            "delivery": _deliver(lab),
        }


def losses() -> Facts:
    """Two hosts on a link that loses a fifth of the packets each way, one behind a narrow link."""
    with Lab(_trio()) as lab:
        lossy = lab.exec("near", "ping", "-n", "-q", "-c", str(PINGS), "-i", "0.01", "-W", "1", _LOSSY)
        # Offered at 5.8 Mbit/s: 100 packets of 1442 bytes with their headers, every 2 ms.
        fast = lab.exec("narrow", "ping", "-n", "-q", "-c", "100", "-i", "0.002", "-s", "1400", _NEAR)
        return {
            "sent": PINGS,
            "received": _number(r"(\d+) received", lossy.stdout),
            "narrow_bits": 100 * 1442 * 8,
            "narrow_ms": _number(r"time (\d+)ms", fast.stdout),
        }


def refusals() -> Facts:
    """A lab's network shaped a second time: the kernel refuses, at a host and at the switches."""

    def shape_twice() -> Facts:
        kernel.unshare(kernel.CLONE_NEWNET | kernel.CLONE_NEWNS)
        network = Network(_trio())
        network.build()
        host = _refused(network)
        # With the host's end of the first link free again, the switches' end is the first that is refused.
        near = network.namespaces["near"]
        namespaces.inside(near, lambda: _said("tc", "qdisc", "del", "dev", "near-eth0", "root"))
        return {"host": host, "switches": _refused(network)}

    return _in_child(shape_twice)


def _refused(network: Network) -> str:
    plan = dataclasses.replace(network.plan, links=network.plan.links[:1])
    try:
        shaping.apply(plan, assign(plan), network.namespaces)
    except NetworkError as error:
        return str(error)
    return ""


def switches() -> Facts:
    """`minimal` with networks made of Open vSwitch, as root."""
    _wait_for_processor_count()
    plan = dataclasses.replace(catalog.load("minimal"), switch="openvswitch")
    with Lab(plan) as lab:
        bob = str(assign(plan).primary()["bob"])
        facts: Facts = {
            "timing": _record(lab)["timing"],
            "bridges": lab.exec("core1", "ovs-vsctl", "list-br").stdout.split(),
            "ports": lab.exec("core1", "ovs-vsctl", "list-ports", "corp-lan").stdout.split(),
            "round_trips_ms": _ping(lab, "alice", bob),
            "delivery": _deliver(lab),
        }
        with lab.fault("link-down", "core1", "corp-lan"):
            facts["while_down"] = _ping(lab, "alice", bob)
        facts["after_fault_ms"] = _ping(lab, "alice", bob)
        facts["disciplines"] = _beside_switches("tc", "qdisc")
        facts["refused"] = lab.exec("core1", sys.executable, "-c", _ADD_NO_PORT).stderr
    facts["processes_left"] = [name for name in _processes() if name.startswith("ovs")]
    facts["datapaths_left"] = _said("ovs-dpctl", "dump-dps").split()
    return facts


def switches_without_root() -> Facts:
    """The same for a user who is not root."""

    def run() -> Facts:
        with Lab(dataclasses.replace(catalog.load("minimal"), switch="openvswitch")) as lab:
            return {"uid": os.getuid(), "delivery": _deliver(lab)}

    _wait_for_processor_count()
    return _in_child(run, user="nobody")


PROBED = ("netem", "htb", "openvswitch")
EXPERIMENTS: dict[str, Callable[[], Facts]] = {
    function.__name__: function
    for function in (probes, delays, losses, refusals, switches, switches_without_root)
}

_ADD_NO_PORT = """
from topologies import openvswitch
from topologies.errors import NetworkError
try:
    openvswitch.transact(["add-port", "corp-lan", "no-such"])
except NetworkError as error:
    raise SystemExit(str(error))
"""
_NEAR, _NARROW, _LOSSY = "198.18.1.10", "198.18.1.11", "198.18.9.2"


def _trio() -> Plan:
    names = ("near", "narrow", "lossy")
    return Plan(
        name="trio",
        networks=(Lan(name="lan", subnet="198.18.1.0/24"),),
        hosts=tuple(Host(name=name, fqdn=f"{name}.example.org") for name in names),
        links=(
            Link(a="near", b="lan", address=_NEAR, delay_ms=1),
            Link(a="narrow", b="lan", address=_NARROW, rate_mbit=1),
            Link(a="lossy", b="near", address=_LOSSY, loss_percent=20),
        ),
        require=("netem",),
    )


def _ping(lab: Lab, host: str, address: str, count: int = 12) -> list[float]:
    """Return round-trip times in ms without the first two, which wait for ARP; none if nobody answered."""
    said = lab.exec(host, "ping", "-n", "-c", str(count), "-i", "0.1", "-W", "1", address).stdout
    return _times(said)[2:]


def _times(said: str) -> list[float]:
    return [float(number) for number in re.findall(r"time=([\d.]+) ms", said)]


def _try_to_write(path: Path) -> str:
    try:
        path.touch()
    except OSError as error:
        return str(error.strerror)
    path.unlink()
    return "allowed"


def _number(pattern: str, said: str) -> int:
    found = re.search(pattern, said)
    if found is None:
        raise ValueError(f"no {pattern} in {said!r}")
    return int(found[1])


def _deliver(lab: Lab) -> Facts:
    """Send a message from alice to bob; return its outcome and whether bob has just that text."""
    began = time.monotonic()
    sent = lab.send("Subject: hello\n\nacross\n", sender="alice@example.com", to="bob@example.org")
    outcome = sent.wait()["bob@example.org"]
    files = [path for path in (lab.maildir("bob@example.org") / "new").iterdir() if path.is_file()]
    return {
        "state": outcome.state,
        "path": outcome.path,
        "seconds": round(time.monotonic() - began, 3),
        "received": [path.read_text(encoding="utf-8").splitlines()[-1] for path in files],
    }


def _record(lab: Lab) -> Facts:
    record: Facts = json.loads((lab.run / "run.json").read_text(encoding="utf-8"))
    return record


def _beside_switches(*argv: str) -> str:
    """Run a command in the network namespace of the only lab's switches: that of its supervisor."""
    pids = [pid for name, pid in _processes().items() if name == "mailbed-lab"]
    return _said("nsenter", f"--target={pids[0]}", "--net", *argv)


def _processes() -> dict[str, int]:
    found = {}
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            found[path.read_text(encoding="utf-8").strip()] = int(path.parent.name)
        except OSError:
            continue  # it has ended meanwhile
    return found


def _said(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def _wait_for_processor_count() -> None:
    """Return when Open vSwitch sees a processor, which takes until the machine is up for ten seconds.

    It (3.1) counts them every ten seconds by the monotonic clock, and begins as if it had at zero; without
    any it starts no threads, and drops what the kernel asks about. Real machines take longer to boot.
    """
    time.sleep(max(0.0, 10.5 - time.monotonic()))


def _in_child(function: Callable[[], Facts], user: str | None = None) -> Facts:
    """Return what a function returns in a process of its own, which may change namespaces and users."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if user is not None:
                entry = pwd.getpwnam(user)
                os.setgroups([])
                os.setgid(entry.pw_gid)
                os.setuid(entry.pw_uid)
                os.environ["MAILBED_RUNS"] = f"/dev/shm/runs-{user}"  # noqa: S108 - a tmpfs of the machine's
            os.write(write, json.dumps(function()).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as answer:
        facts = answer.read()
    os.waitpid(pid, 0)
    if not facts:
        raise RuntimeError("the child failed; the console says why")
    result: Facts = json.loads(facts)
    return result


if __name__ == "__main__":
    main()
