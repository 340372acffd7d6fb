"""What this kernel can do, found out by trying.

Theory of operation. Each feature has a command that uses it, run in a network namespace of its own that ends
with the command. What a kernel configuration says is not asked: modules may be missing, forbidden, or not
allowed in a user namespace. `enter` says how to get such a namespace: inside a sandbox `unshare --net` is
enough, outside a user namespace is needed too.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from topologies.errors import MissingFeature
from topologies.plan import Plan

INSIDE = ("unshare", "--net")
OUTSIDE = ("unshare", "--user", "--map-root-user", "--net")


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """Something a kernel may lack: what it is for, how it is tried, and what to do where it is missing."""

    name: str
    purpose: str
    command: tuple[str, ...]
    remedy: str


FEATURES = {
    feature.name: feature
    for feature in (
        Feature(
            name="netem",
            purpose="delay and loss on links",
            command=("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"),
            remedy="modprobe sch_netem (Debian's cloud kernels lack it: apt-get install linux-image-amd64)",
        ),
        Feature(
            name="htb",
            purpose="rates of links",
            command=("tc", "qdisc", "add", "dev", "lo", "root", "handle", "1:", "htb"),
            remedy="modprobe sch_htb",
        ),
        Feature(
            name="openvswitch",
            purpose="networks made of Open vSwitch",
            # What it says, without the time of day. The datapath ends with the namespace.
            command=("ovs-dpctl", "-vPATTERN:console:%m", "add-dp", "mailbed-probe"),
            remedy="apt-get install openvswitch-switch, and modprobe openvswitch",
        ),
        Feature(
            name="nftables",
            purpose="firewalls",
            command=("nft", "add table inet probe"),
            remedy="apt-get install nftables, and modprobe nf_tables",
        ),
        Feature(
            name="nflog",
            purpose="the log of firewalls, in the capture",
            command=(
                "nft",
                "add table inet p; add chain inet p c { type filter hook input priority 0; };"
                " add rule inet p c log group 1",
            ),
            remedy="modprobe nft_log nfnetlink_log",
        ),
    )
}


def search_path() -> str:
    """Return where tools are looked for: the PATH, and where it may not lead for a user who is not root."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def why_missing(feature: Feature, *, enter: Sequence[str] = INSIDE) -> str | None:
    """Return None if the feature works here, else what the kernel or the tool said."""
    try:
        result = subprocess.run(
            [*enter, *feature.command],
            capture_output=True,
            text=True,
            timeout=20,
            env={**os.environ, "PATH": search_path()},
        )
    except FileNotFoundError as error:
        return f"{error.filename} is not installed"
    except subprocess.TimeoutExpired:
        return f"{feature.command[0]} did not answer"
    if result.returncode == 0:
        return None
    said = [line.strip() for line in result.stderr.splitlines() if line.strip()]
    return said[0] if said else f"{feature.command[0]} failed"


def wanted(plan: Plan) -> dict[str, str]:
    """Return the features that a plan makes use of, with what for."""
    uses: dict[str, str] = {}
    if any(link.delay_ms or link.loss_percent for link in plan.links):
        uses["netem"] = "the delays and losses of its links"
    if any(link.rate_mbit for link in plan.links):
        uses["htb"] = "the rates of its links"
    if plan.switch == "openvswitch":
        uses["openvswitch"] = "its networks"
    if any(host.firewall for host in plan.hosts):
        uses["nftables"] = "its firewalls"
        uses["nflog"] = "what its firewalls drop, in the capture,"
    return uses


def left_out(plan: Plan, *, enter: Sequence[str] = INSIDE) -> dict[str, str]:
    """Return what the plan wants and this kernel lacks, each with a sentence that says what was left out.

    Raises: MissingFeature if the plan requires it.
    """
    uses = wanted(plan)
    missing: dict[str, str] = {}
    for name in dict.fromkeys([*plan.require, *uses]):
        feature = FEATURES[name]
        reason = why_missing(feature, enter=enter)
        if reason is None:
            continue
        if name in plan.require or name == "openvswitch":
            raise MissingFeature(
                f"{plan.name} requires {name}, which is missing here ({reason}): {feature.remedy}"
            )
        missing[name] = f"this kernel has no {name}: {uses[name]} are left out"
    return missing
