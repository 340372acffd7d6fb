"""Rates, delays and losses of links, as queueing disciplines at both ends.

Theory of operation. An HTB class holds the rate, and below it (or alone) netem the delay and the loss, as
Mininet's TCLink has it. All settings of a host go to one `tc -batch`. Mininet goes on silently when a
discipline is missing; here the caller says which ones the kernel has, and any other failure is an error.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Collection, Mapping

from topologies.addressing import Addressing, Interface
from topologies.errors import NetworkError
from topologies.namespaces import Namespace
from topologies.plan import Link, Plan


def commands(link: Link, device: str, *, missing: Collection[str] = ()) -> list[str]:
    """Return the lines for `tc -batch` that shape what leaves `device`; none if nothing is asked for."""
    lines: list[str] = []
    parent = "root"
    if link.rate_mbit and "htb" not in missing:
        lines.append(f"qdisc add dev {device} root handle 5: htb default 1")
        rate = f"rate {link.rate_mbit:g}mbit burst 15k"
        lines.append(f"class add dev {device} parent 5: classid 5:1 htb {rate}")
        parent = "parent 5:1"
    if (link.delay_ms or link.loss_percent) and "netem" not in missing:
        delay = f" delay {link.delay_ms:g}ms" if link.delay_ms else ""
        loss = f" loss {link.loss_percent:g}%" if link.loss_percent else ""
        lines.append(f"qdisc add dev {device} {parent} handle 10: netem limit 10000{delay}{loss}")
    return lines


def apply(
    plan: Plan, addressing: Addressing, hosts: Mapping[str, Namespace], *, missing: Collection[str] = ()
) -> None:
    """Shape every link of the plan. Raises: NetworkError with the command that `tc` refused, and why."""
    batches: dict[str, list[str]] = {}
    for index, link in enumerate(plan.links):
        for end in addressing.ends(index):
            owner = end.host if isinstance(end, Interface) else ""
            batches.setdefault(owner, []).extend(commands(link, end.name, missing=missing))

    running = []
    for owner, lines in batches.items():
        if lines:
            running.append((owner, lines, _start(hosts[owner] if owner else None, lines)))
    # All are waited for before the first failure is told: none may go on behind the caller's back.
    said = [process.communicate()[1] for _, _, process in running]
    for (owner, lines, process), text in zip(running, said, strict=True):
        if process.returncode:
            raise NetworkError(f"tc refused a link of {owner or 'the switches'}: {_refusal(text, lines)}")


def _refusal(said: str, lines: list[str]) -> str:
    """Return the first thing that `tc -batch` complained about, after the command that it was about."""
    reason = said.strip().partition("\n")[0].removeprefix("Error: ")
    failed = re.search(r"^Command failed -:(\d+)", said, re.MULTILINE)
    return f"{lines[int(failed[1]) - 1]}: {reason}" if failed else reason


def _start(host: Namespace | None, lines: list[str]) -> subprocess.Popen[str]:
    enter = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{host.net}"] if host else []
    process = subprocess.Popen(
        [*enter, "tc", "-batch", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None  # noqa: S101 - a pipe was asked for
    process.stdin.write("\n".join(lines) + "\n")
    # communicate() would flush it too, but only when it is this process' turn: all start at once.
    process.stdin.flush()
    return process
