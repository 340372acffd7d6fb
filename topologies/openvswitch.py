"""Open vSwitch for one lab: its own database and switch daemon, inside the sandbox.

Theory of operation. The machine's Open vSwitch, if it runs, is not asked: in a sandbox /run is empty, so the
daemons' customary places are free, and every tool finds them there without an option (`ovs-vsctl show` works
on any host of the lab). The datapath is the kernel's, in the sandbox's own network namespace.

    ovsdb-tool       an empty database, on the sandbox's tmpfs
    ovsdb-server     keeps it; returns when its socket is there, and goes on in the background
    ovs-vswitchd     makes the kernel's datapath what the database says, and forwards what that asks about
    ovs-vsctl        all bridges and ports in one transaction; returns when the switch daemon has done it

The daemons are orphans of ours, so children of the sandbox's process 1, and end with it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from topologies.errors import NetworkError

RUN = Path("/run/openvswitch")
SOCKET = f"unix:{RUN / 'db.sock'}"
SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
WITHIN_S = 30


def start() -> None:
    """Return when a database and a switch daemon run in this sandbox, with no bridges yet.

    Raises: NetworkError with what the tool said.
    """
    RUN.mkdir(parents=True, exist_ok=True)
    database = str(RUN / "conf.db")
    _run("ovsdb-tool", "create", database, str(SCHEMA))
    _run("ovsdb-server", *_daemon("ovsdb-server"), f"--remote=p{SOCKET}", database)
    _run("ovs-vswitchd", *_daemon("ovs-vswitchd"), SOCKET)


def transact(commands: Sequence[str]) -> None:
    """Return when the switches are what `commands` (words for ovs-vsctl) make them.

    Raises: NetworkError with what the tool said, also if a port was refused.
    """
    said = _run("ovs-vsctl", f"--db={SOCKET}", f"--timeout={WITHIN_S}", "--", *commands)
    # ovs-vsctl succeeds when the database took the ports; that the kernel did not, it only mentions.
    if "Error detected while setting up" in said:
        raise NetworkError(f"Open vSwitch refused a port: {said.splitlines()[0]}")


def _daemon(name: str) -> list[str]:
    return ["-vconsole:err", "-vsyslog:off", "--detach", "--no-chdir", f"--log-file={RUN / name}.log"]


def _run(tool: str, *arguments: str) -> str:
    """Run a tool to its end and return what it said on standard error."""
    try:
        result = subprocess.run(
            [tool, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * WITHIN_S,
        )
    except FileNotFoundError:
        raise NetworkError(f"{tool} is not installed: apt-get install openvswitch-switch") from None
    except subprocess.TimeoutExpired:
        raise NetworkError(f"{tool} did not end within {2 * WITHIN_S} s") from None
    said = result.stderr.strip()
    if result.returncode:
        reason = said.splitlines()[-1] if said else f"status {result.returncode}"
        raise NetworkError(f"{tool} failed: {reason}")
    return said
