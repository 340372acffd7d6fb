"""The built-in plans in Mininet's own launcher, in a sandbox: what `topologies.custom` promises."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from topologies import catalog
from topologies.addressing import assign

CHECKOUT = Path(__file__).resolve().parents[2]
NOBODY = 65534
SANDBOX = ("unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--uts")
# The launcher's clean-up removes files in /tmp: it gets one of its own, wherever the checkout lies.
INSIDE = """\
set -e
mount --rbind "$1" /mnt
mount -t tmpfs tmpfs /tmp
cat >/tmp/commands
cd /
exec mn --custom /mnt/topologies/custom.py --topo "$2" --switch lxbr --controller none \
    --test "$3" --post /tmp/commands </dev/null
"""
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/tmp",  # noqa: S108 - the sandbox' own
    "PYTHONDONTWRITEBYTECODE": "1",
}


def launch(
    commands: str, *, user: int | None = None, topology: str = "minimal", test: str = "pingall"
) -> str:
    """What the launcher says when it runs a test, then these commands; `user` None: as we are."""
    unprivileged = user is not None or os.geteuid() != 0
    result = subprocess.run(
        [
            *SANDBOX,
            *(["--user", "--map-root-user"] if unprivileged else []),
            "sh",
            "-c",
            INSIDE,
            "-",
            CHECKOUT,
            topology,
            test,
        ],
        input=commands,
        capture_output=True,
        text=True,
        timeout=60,
        env=ENVIRONMENT,
        cwd="/",
        user=user,
        group=user,
        extra_groups=[] if user is not None else None,
    )
    assert result.returncode == 0, result.stderr
    # The launcher tells its story on standard error, and tests' results on standard output.
    return result.stdout + result.stderr


@pytest.mark.parametrize("who", ["root", "unprivileged"])
def test_the_launcher_builds_the_plan(who: str) -> None:
    """Every host answers every other; alice's packets reach bob through core1 and no other router."""
    if who == "root" and os.geteuid() != 0:
        pytest.skip("needs root: to be the other of the two")
    user = NOBODY if who == "unprivileged" and os.geteuid() == 0 else None
    addressing = assign(catalog.load("minimal"))
    bob = addressing.primary()["bob"]
    near, *_ = addressing.of("core1")

    said = launch("alice ping -n -c 1 -t 1 bob\nalice ping -n -c 1 -t 2 bob\n", user=user)

    hosts = len(addressing.primary())
    everybody = hosts * (hosts - 1)
    assert f"0% dropped ({everybody}/{everybody} received)" in said
    # One hop is not enough, and it is core1 who says so; two are.
    assert f"From {near.address.ip} icmp_seq=1 Time to live exceeded" in said
    assert f"64 bytes from {bob}: icmp_seq=1 ttl=63" in said


def test_the_launcher_passes_parameters_on() -> None:
    """What stands behind commas sets the parameters of a generated plan, whose ends reach each other."""
    addressing = assign(catalog.load("internet:DOMAINS=26"))
    other = addressing.primary()["mua26"]

    said = launch("mua1 ping -n -c 1 mua26\n", topology="internet,DOMAINS=26", test="none")

    # edge1, core1, core2 and edge2 lie between.
    assert f"64 bytes from {other}: icmp_seq=1 ttl=60" in said


def test_the_whole_world_builds_in_the_launcher() -> None:
    """alice reaches bob across the Internet, and a root server at its real address answers her."""
    commands = "alice ping -n -c 1 bob\nalice ping -n -c 1 198.41.0.4\n"
    said = launch(commands, topology="two-companies", test="none")
    # corp-gw, core1, core2, core3 and rcpt-fw lie between.
    assert "64 bytes from 10.2.0.11: icmp_seq=1 ttl=59" in said
    assert "64 bytes from 198.41.0.4: icmp_seq=1 ttl=62" in said
