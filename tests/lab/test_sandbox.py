"""Nothing gets out of a lab, nothing outside is changed, and nobody needs to be root."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mailbed import Lab, sandbox
from mailbed.pytest_plugin import LabFactory
from tests.lab.residue import Witness
from topologies.addressing import assign

SETTINGS = (
    "fs.file-max",
    "kernel.hostname",
    "kernel.pid_max",
    "net.core.netdev_max_backlog",
    "net.core.rmem_max",
    "net.core.wmem_max",
    "net.ipv4.conf.all.rp_filter",
    "net.ipv4.conf.all.send_redirects",
    "net.ipv4.ip_forward",
    "net.ipv4.neigh.default.gc_thresh1",
    "net.ipv4.neigh.default.gc_thresh2",
    "net.ipv4.neigh.default.gc_thresh3",
    "net.ipv4.route.max_size",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv6.conf.all.disable_ipv6",
    "net.ipv6.conf.default.disable_ipv6",
)

LOOK = """
import json, os, socket, subprocess, sys

def said(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout

def attempt(kind, address):
    with socket.socket(socket.AF_INET, kind) as s:
        s.settimeout(0.5)
        try:
            s.connect(address)
            s.send(b"out")
            return "sent" if kind == socket.SOCK_DGRAM else "connected"
        except OSError as error:
            return error.strerror or type(error).__name__

def bound(kind, port):
    with socket.socket(socket.AF_INET, kind) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.2", port))
        except OSError as error:
            return error.strerror
    return "bound"

def text(path):
    return open(path).read() if os.path.exists(path) else ""

def unix(address):
    with socket.socket(socket.AF_UNIX) as s:
        try:
            s.connect(address)
        except OSError as error:
            return error.strerror
    return "connected"

outside, control = json.loads(sys.argv[1]), sys.argv[2]
conf = "/proc/sys/net/ipv6/conf"
print(json.dumps({
    "interfaces": sorted(name for _, name in socket.if_nameindex()),
    "routes": json.loads(said("ip", "-j", "-4", "route", "show", "table", "all") or "[]"),
    "routes6": said("ip", "-6", "route", "show", "table", "all"),
    "ipv6": text("/proc/net/if_inet6"),
    "ipv6 on": [i for i in (os.listdir(conf) if os.path.isdir(conf) else ())
                if i not in ("lo",) and text(f"{conf}/{i}/disable_ipv6").strip() == "0"],
    "hostname": socket.gethostname(),
    "etc": {name: text(f"/etc/{name}") for name in ("hostname", "hosts", "resolv.conf")},
    "below /run": [os.path.join(d, f) for d, _, files in os.walk("/run") for f in files],
    "control": unix("\\0" + control),
    "out": {address: [attempt(socket.SOCK_STREAM, (address, 53)), attempt(socket.SOCK_DGRAM, (address, 53))]
            for address in outside},
    "low ports": [bound(socket.SOCK_STREAM, 25), bound(socket.SOCK_DGRAM, 53)],
}))
"""

UNREACHABLE = {"Network is unreachable", "No route to host", "TimeoutError"}
"""Nobody there; a router need not say so each time (the kernel limits how many ICMP errors it sends)."""


def outside_addresses() -> list[str]:
    """Addresses that are not the lab's: the machine's own, and one of a documentation range."""
    result = subprocess.run(["ip", "-j", "-4", "addr"], capture_output=True, text=True, check=True)
    own = [info["local"] for link in json.loads(result.stdout) for info in link["addr_info"]]
    return [*(address for address in own if not address.startswith("127.")), "192.0.2.1"]


def arguments(lab: Lab) -> list[str]:
    control = sandbox.address(lab.name)[1:]
    return ["/usr/bin/python3", "-c", LOOK, json.dumps(outside_addresses()), control]


def look(lab: Lab, host: str) -> dict[str, Any]:
    """What a program on a host finds."""
    result = lab.exec(host, *arguments(lab))
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def at_the_root(lab: Lab, argv: Sequence[str]) -> str:
    """What a program prints in the namespaces of process 1, where the switches are."""
    first = Witness(run=lab.run, name=lab.name, plan=lab.plan).process(1)
    user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
    command = ["nsenter", f"--target={first}", *user, "--net", "--uts", "--mount", *argv]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_host_sees_its_own_world(shared_lab: Lab) -> None:
    """Each host has the plan's interfaces, its own name and files, no IPv6, nothing below /run, low ports."""
    addressing = assign(shared_lab.plan)
    for host in shared_lab.plan.hosts:
        found = look(shared_lab, host.name)
        names = {interface.name for interface in addressing.of(host.name)}
        assert set(found["interfaces"]) == {"lo"} | names, host.name
        assert (found["hostname"], found["etc"]["hostname"]) == (host.name, f"{host.name}\n")
        assert f"{host.fqdn} {host.name}\n" in found["etc"]["hosts"]
        resolver = addressing.of(host.resolver)[0].address.ip if host.resolver else None
        assert [
            line for line in found["etc"]["resolv.conf"].splitlines() if line.startswith("nameserver")
        ] == ([f"nameserver {resolver}"] if resolver else [])
        assert (found["ipv6"], found["ipv6 on"], found["routes6"]) == ("", [], ""), host.name
        kept = str(shared_lab.run)
        assert [path for path in found["below /run"] if not path.startswith(kept)] == [], host.name
        assert set(found["low ports"]) <= {"bound", "Address already in use"}, host.name


def test_a_host_has_no_way_out(shared_lab: Lab) -> None:
    """No route leads out of the plan: routers have no default route, and nothing outside answers."""
    addressing = assign(shared_lab.plan)
    own = {str(interface.address.ip) for interface in addressing.interfaces}
    for host in shared_lab.plan.hosts:
        found = look(shared_lab, host.name)
        defaults = [route for route in found["routes"] if route["dst"] == "default"]
        assert not (host.router and defaults), host.name
        assert {route["gateway"] for route in found["routes"] if "gateway" in route} <= own, host.name
        for address, (stream, datagram) in found["out"].items():
            # A datagram that is sent gets as far as the first router, which has no route for it.
            assert stream in UNREACHABLE, (host.name, address)
            assert datagram in UNREACHABLE or not host.router, (host.name, address)
        assert found["control"] == "Connection refused", host.name


def test_what_is_sent_out_ends_at_a_router(lab: Lab) -> None:
    """A packet to an address outside is seen at the first router, and nowhere behind it."""
    address = outside_addresses()[0]
    code = f"import socket; socket.socket(2, 2).sendto(b'out', ('{address}', 53))"
    lab.exec("alice", "/usr/bin/python3", "-c", code)
    seen = {p.sniffed_on for p in lab.packets() if p.haslayer("IP") and p["IP"].dst == address}
    assert seen == {"alice-eth0", "core1-eth0"}


def test_the_root_of_the_lab_has_switches_only(shared_lab: Lab) -> None:
    """Where the switches are there is no address and no route, and IPv6 is off: nobody lives there."""
    found = json.loads(at_the_root(shared_lab, arguments(shared_lab)))
    addressing = assign(shared_lab.plan)
    switches = {network.name for network in shared_lab.plan.networks}
    assert set(found["interfaces"]) == {"lo"} | switches | {port.name for port in addressing.ports}
    assert (found["routes"], found["routes6"], found["ipv6"], found["ipv6 on"]) == ([], "", "", [])
    assert found["hostname"] == "mailbed"
    assert {answer for answers in found["out"].values() for answer in answers} == {"Network is unreachable"}
    assert found["control"] == "Connection refused"
    assert at_the_root(shared_lab, ["ip", "-4", "-o", "addr"]) == ""


def test_no_socket_of_the_machine_is_reachable(shared_lab: Lab) -> None:
    """A daemon of the machine that listens below /run is out of sight, and so is one on an abstract name."""
    code = (
        "import os, stat\n"
        "found = []\n"
        "for directory, _, names in os.walk('/run'):\n"
        "    for name in names:\n"
        "        if stat.S_ISSOCK(os.lstat(os.path.join(directory, name)).st_mode):\n"
        "            found.append(os.path.join(directory, name))\n"
        "print(found, os.path.realpath('/var/run'))\n"
    )
    addresses = [f"\0mailbed-test-{os.getpid()}"]
    if os.access("/run", os.W_OK):
        addresses.append(f"/run/mailbed-test-{os.getpid()}")
    with contextlib.ExitStack() as stack:
        for address in addresses:
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(address)
            listener.listen()
            if address.startswith("/"):
                stack.callback(os.unlink, address)
            connect = f"import socket; socket.socket(1).connect({address!r})"
            said = shared_lab.exec("alice", "/usr/bin/python3", "-c", connect).stderr
            assert "Connection refused" in said or "No such file" in said, address
        assert shared_lab.exec("alice", "/usr/bin/python3", "-c", code).stdout == "[] /run\n"
        assert at_the_root(shared_lab, ["/usr/bin/python3", "-c", code]) == "[] /run\n"


def machine() -> dict[str, object]:
    """What a lab must not change."""

    def said(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True).stdout

    return {
        "hostname": socket.gethostname(),
        "links": said("ip", "-o", "link"),
        "addresses": said("ip", "-o", "addr"),
        "routes": said("ip", "route", "show", "table", "all"),
        "rules": said("nft", "list", "ruleset") if os.geteuid() == 0 else "",
        "mounts": Path("/proc/self/mountinfo").read_text(encoding="utf-8"),
        "settings": {name: sandbox.read_setting(name) for name in SETTINGS},
        "etc": {name: Path("/etc", name).read_bytes() for name in ("hosts", "hostname", "resolv.conf")},
    }


def test_the_machine_is_unchanged(lab_factory: LabFactory) -> None:
    """While a lab runs and after it, the machine has the name, interfaces, routes and mounts that it had."""
    before = machine()
    lab = lab_factory()
    lab.exec("alice", "hostname", "renamed")
    lab.exec("core1", "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=2")
    assert machine() == before
    lab.down()
    assert machine() == before


def test_renaming_a_host_renames_nobody_else(lab: Lab) -> None:
    """Each host has a name of its own, whatever a program does to it."""
    lab.exec("alice", "hostname", "renamed")
    assert lab.exec("alice", "hostname").stdout == "renamed\n"
    assert lab.exec("bob", "hostname").stdout == "bob\n"
    assert at_the_root(lab, ["hostname"]) == "mailbed\n"


def test_what_a_lab_leaves_belongs_to_its_user(lab_factory: LabFactory) -> None:
    """Every file in the run directory can be read and removed by whoever ran the lab."""
    lab = lab_factory()
    lab.send("Subject: hello\n\n", to="bob@example.org").wait()
    lab.down()
    for path in [lab.run, *lab.run.rglob("*")]:
        assert path.stat().st_uid == os.getuid(), path
        assert os.access(path, os.R_OK | (os.W_OK | os.X_OK if path.is_dir() else 0)), path


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        pytest.param(
            {"kernel.apparmor_restrict_unprivileged_userns": "1"},
            "kernel.apparmor_restrict_unprivileged_userns=0",
            id="AppArmor",
        ),
        pytest.param(
            {"kernel.unprivileged_userns_clone": "0"}, "kernel.unprivileged_userns_clone=1", id="Debian"
        ),
        pytest.param({"user.max_user_namespaces": "0"}, "user.max_user_namespaces=15000", id="none allowed"),
        pytest.param({"user.max_net_namespaces": "0"}, "user.max_net_namespaces=15000", id="no networks"),
        pytest.param({}, "Operation not permitted", id="another reason"),
    ],
)
def test_where_sandboxes_are_forbidden(settings: dict[str, str], says: str) -> None:
    """One line says which setting forbids it and how to change it, and that root may."""
    line = sandbox.diagnose("unshare: unshare failed: Operation not permitted", settings.get)
    assert says in line
    assert "root" in line
    assert "\n" not in line
