"""What this machine has of what a lab needs, found out by trying.

Theory of operation. Each thing is a `Finding`: whether it is there, what it is for, and the command that
mends it. Some are needed for the topology `minimal`; the others are wanted by one topology, tool or test,
and a lab goes without them, or says that it cannot. Nothing is changed on the machine; namespaces made for
a trial end with it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mailbed import rundir, sandbox
from topologies import features

OLDEST_PYTHON, FIRST_UNTRIED_PYTHON = (3, 11), (3, 14)
ROOM_BYTES = 200 << 20
"""Free space below which a run is likely to fill the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked for: `detail` is what was found, `remedy` what to do where it is missing."""

    name: str
    purpose: str
    ok: bool
    needed: bool
    detail: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program that is looked for on the PATH, and the Debian package that brings it."""

    name: str
    package: str
    purpose: str
    needed: bool = False


TOOLS = (
    Tool(name="unshare", package="util-linux", purpose="the sandbox", needed=True),
    Tool(name="nsenter", package="util-linux", purpose="entering a host", needed=True),
    Tool(name="tc", package="iproute2", purpose="rates, delays and losses of links", needed=True),
    Tool(name="ip", package="iproute2", purpose="looking at a host's addresses and routes"),
    Tool(name="mnexec", package="mininet", purpose="Mininet's shells in hosts"),
    Tool(name="newuidmap", package="uidmap", purpose="daemons that give up root, without being root"),
    Tool(name="nft", package="nftables", purpose="firewalls"),
    Tool(name="dig", package="bind9-dnsutils", purpose="asking name servers by hand"),
    Tool(name="swaks", package="swaks", purpose="sending mail by hand"),
    Tool(name="nsd", package="nsd", purpose="NSD as a name server (--use a-root=nsd)"),
    Tool(name="postfix", package="postfix", purpose="Postfix as a mail server (--use rcpt-mx1=postfix)"),
    Tool(name="clamd", package="clamav-daemon", purpose="ClamAV as a virus engine"),
    Tool(name="tcpdump", package="tcpdump", purpose="reading captures"),
    Tool(name="tshark", package="tshark", purpose="reading captures, with TLS opened"),
)


def examine() -> Iterator[Finding]:
    """Yield what was found, one thing after the other; some trials take a moment."""
    yield python(sys.version_info[:2])
    yield _sandbox()
    base = rundir.default_base()
    yield run_directory(base)
    yield room(shutil.disk_usage(_existing(base)).free)
    yield several_users(sandbox.maps_several_users())
    for tool in TOOLS:
        yield find_tool(tool, partial(shutil.which, path=features.search_path()))
    enter = features.INSIDE if os.geteuid() == 0 else features.OUTSIDE
    for feature in features.FEATURES.values():
        yield try_feature(feature, features.why_missing(feature, enter=enter))


def healthy(findings: list[Finding]) -> bool:
    """Return whether everything is there that `minimal` needs."""
    return all(finding.ok for finding in findings if finding.needed)


def python(version: tuple[int, ...]) -> Finding:
    """Judge the version of Python, (major, minor)."""
    shown, oldest, newest = (
        ".".join(map(str, each)) for each in (version, OLDEST_PYTHON, FIRST_UNTRIED_PYTHON)
    )
    return Finding(
        name="Python",
        purpose="everything",
        ok=OLDEST_PYTHON <= version < FIRST_UNTRIED_PYTHON,
        needed=True,
        detail=shown,
        remedy=f"install a Python from {oldest} to before {newest}, and run scripts/setup again",
    )


def run_directory(base: Path) -> Finding:
    """Find out whether runs can be kept in `base`; it is not made."""
    problem = ""
    try:
        with tempfile.TemporaryFile(dir=_existing(base)):
            pass
    except OSError as error:
        problem = error.strerror or str(error)
    return Finding(
        name="run directory",
        purpose="what a lab leaves: capture, mail, logs",
        ok=not problem,
        needed=True,
        detail=f"{base}: {problem}" if problem else str(base),
        remedy="export MAILBED_RUNS=DIR with a directory that you may write to",
    )


def room(free: int) -> Finding:
    """Judge the free space, in bytes, where runs are kept."""
    return Finding(
        name="disk space",
        purpose="captures and queues",
        ok=free >= ROOM_BYTES,
        needed=True,
        detail=f"{free / 2**30:.1f} GiB free",
        remedy="mailbed clean, or export MAILBED_RUNS=DIR on another disk",
    )


def several_users(there: bool) -> Finding:
    """Judge whether a lab has other users than root: as root it has, else with subordinate ids."""
    return Finding(
        name="several users",
        purpose="Postfix, and other daemons that give up root",
        ok=there,
        needed=False,
        detail="mapped in a lab" if there else "a lab of yours has one user alone",
        remedy="apt-get install uidmap, and usermod --add-subuids 100000-165535 --add-subgids "
        "100000-165535 USER",
    )


def find_tool(tool: Tool, which: Callable[[str], str | None]) -> Finding:
    """Look for a tool with `which`."""
    path = which(tool.name)
    return Finding(
        name=tool.name,
        purpose=tool.purpose,
        ok=path is not None,
        needed=tool.needed,
        detail=path or "not on the PATH",
        remedy=f"apt-get install {tool.package}",
    )


def try_feature(feature: features.Feature, reason: str | None) -> Finding:
    """Judge a kernel feature by what a trial of it said (None: it works)."""
    return Finding(
        name=feature.name,
        purpose=feature.purpose,
        ok=reason is None,
        needed=False,
        detail=reason or "works",
        remedy=feature.remedy,
    )


def _sandbox() -> Finding:
    refused = sandbox.why_refused()
    return Finding(
        name="sandbox",
        purpose="the lab's own namespaces" + ("" if os.geteuid() == 0 else ", without being root"),
        ok=refused is None,
        needed=True,
        detail=refused or "works",
        remedy=refused or "",
    )


def _existing(path: Path) -> Path:
    """The path, or the nearest directory above it that exists."""
    # Not Path.exists, which raises where one may not look.
    while not os.path.exists(path) and path != path.parent:
        path = path.parent
    return path
