"""Routes in the kernel follow what is down: after each change every host has the routes that were computed.

The network is built and changed by this file run as a program inside a sandbox of its own.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from topologies.namespaces import Namespace
from topologies.network import Network
from topologies.plan import Host, Link, Plan
from topologies.plan import Network as Lan
from topologies.routing import routes

ROOT = Path(__file__).resolve().parents[2]
STEPS = 60


def plan() -> Plan:
    """Five routers in a ring with a short cut, a LAN with two of them, hosts on one cable and on two."""
    routers = [f"r{number}" for number in range(5)]
    pairs = [*zip(routers, routers[1:] + routers[:1], strict=True), ("r0", "r2")]
    pairs += [("h0", "lan"), ("h1", "lan"), ("r1", "lan"), ("r3", "lan")]
    pairs += [("h2", "r4"), ("h3", "r0"), ("h3", "r3")]
    return Plan(
        name="mesh",
        networks=(Lan(name="lan", subnet="198.18.1.0/24"),),
        hosts=tuple(
            Host(name=name, fqdn=f"{name}.nic.net", router=name in routers)
            for name in (*routers, "h0", "h1", "h2", "h3")
        ),
        links=tuple(Link(a=a, b=b) for a, b in pairs),
    )


def kernel_routes(namespace: Namespace) -> set[str]:
    """The routes that a host has besides those of its own subnets."""
    listing = subprocess.run(
        ["nsenter", f"--net=/proc/self/fd/{namespace.net}", "ip", "-j", "route", "show", "proto", "static"],
        capture_output=True,
        check=True,
        pass_fds=[namespace.net],
    ).stdout
    return {f"{route['dst']} {route['gateway']} {route['dev']}" for route in json.loads(listing or "[]")}


def wander(seed: int) -> int:
    """Inside: take links and hosts down and up at random; return how many routes were compared."""
    rng = random.Random(seed)
    network = Network(plan())
    network.build()
    links: set[int] = set()
    hosts: set[str] = set()
    compared = 0
    for step in range(STEPS):
        if rng.random() < 0.6:
            link = rng.randrange(len(network.plan.links))
            network.set_link(link, up=link in links)
            links ^= {link}
        else:
            host = rng.choice(network.plan.hosts).name
            network.set_host(host, up=host in hosts)
            hosts ^= {host}
        wanted = routes(network.plan, network.addressing, links_down=links, hosts_down=hosts)
        for name, namespace in network.namespaces.items():
            expected = {
                f"{str(route.destination).replace('0.0.0.0/0', 'default')} {route.via} {route.device}"
                for route in wanted[name]
            }
            found = kernel_routes(namespace)
            assert found == expected, f"step {step}, {name}: {found ^ expected}, {links} and {hosts} are down"
            compared += len(found)
    return compared


@pytest.mark.parametrize("seed", [1, 2])
def test_the_kernel_has_the_routes_that_were_computed(seed: int) -> None:
    """Whatever goes down and up, no route is missing and none is left over from before."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    sandbox = ["unshare", *user, "--net", "--mount", "--pid", "--fork", "--mount-proc", "--uts"]
    result = subprocess.run(
        [*sandbox, sys.executable, "-m", "tests.lab.test_rerouting", str(seed)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 5 * STEPS


if __name__ == "__main__":
    print(wander(int(sys.argv[1])))
