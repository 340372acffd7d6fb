"""Firewalls in the kernel: each host's rules, loaded into its own network namespace.

What the rules say is `firewall`'s; `nft` loads them all or none.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Mapping

from topologies.addressing import Addressing
from topologies.errors import NetworkError
from topologies.features import search_path
from topologies.firewall import ruleset
from topologies.namespaces import Namespace
from topologies.plan import Plan


def apply(
    plan: Plan, addressing: Addressing, hosts: Mapping[str, Namespace], *, missing: Collection[str] = ()
) -> None:
    """Load the rules of every firewall of the plan. Raises: NetworkError with what `nft` refused, and why."""
    if "nftables" in missing:
        return
    for host in plan.hosts:
        if host.firewall is None:
            continue
        result = subprocess.run(
            ["nsenter", f"--net=/proc/{os.getpid()}/fd/{hosts[host.name].net}", "nft", "-f", "-"],
            input=ruleset(plan, addressing, host, log="nflog" not in missing),
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": search_path()},
        )
        if result.returncode:
            reason = result.stderr.strip().partition("\n")[0]
            raise NetworkError(f"nft refused the firewall of {host.name}: {reason}")
