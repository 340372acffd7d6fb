"""The sandbox: a lab's own user, network, mount, PID and host name namespaces, and how long it lives.

Theory of operation. `unshare` makes the namespaces (as root the user namespace is left out) and starts
mailbed.inside as process 1 there. Two things tie it to its owner: a pipe that only the owner keeps open,
and a descriptor of the owner's process. When either says that the owner is gone, process 1 ends and the
kernel removes the rest.

The control socket is made here, before: its name is `@mailbed/UID/LAB`, in the owner's network namespace. A
name that is taken is a lab that runs; and since it is abstract, it is gone the moment the lab is.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mailbed.errors import NameInUse, SandboxRefused, UsageError
from topologies.features import search_path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_NAMESPACES = ("--net", "--mount", "--pid", "--fork", "--mount-proc", "--uts")


def address(name: str, uid: int | None = None) -> str:
    """Return the abstract address of a lab's control socket."""
    return f"\0mailbed/{os.getuid() if uid is None else uid}/{name}"


def running() -> list[str]:
    """Return the names of this user's running labs, sorted: those whose control socket exists."""
    mark = f"@mailbed/{os.getuid()}/"
    names = set()
    for line in Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines():
        _, found, name = line.partition(mark)
        if found:
            names.add(name)
    return sorted(names)


class Sandbox:
    """A running sandbox; it ends when `end` is called, or when this process ends by whatever means."""

    def __init__(self, process: subprocess.Popen[bytes], lifetime: int) -> None:
        self._process = process
        self._lifetime = lifetime

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> None:
        """Return when the sandbox has ended, by whatever means."""
        self._process.wait()

    def end(self, timeout_s: float = 10.0) -> None:
        """Return when every process of the sandbox is gone."""
        if self._lifetime >= 0:
            os.close(self._lifetime)
            self._lifetime = -1
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            # `unshare` waits for process 1, which cannot refuse: the kernel is slow, or stuck.
            self._process.kill()
            self._process.wait()


def listen(name: str) -> socket.socket:
    """Return the listening control socket of a new lab. Raises: UsageError, NameInUse."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a lab: letters, digits, dots and hyphens, at most 64")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(address(name))
        listener.listen(64)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise NameInUse(
                f"a lab called {name} is running: end it with `mailbed down --lab {name}`, "
                "or give this one another name with --lab"
            ) from None
        raise
    return listener


def start(listener: socket.socket, run: Path, record: Mapping[str, Any]) -> Sandbox:
    """Start a sandbox whose supervisor answers on `listener`; `record` is the beginning of run.json.

    Returns at once. Raises: SandboxRefused if `unshare` is not there.
    """
    ours, theirs = os.pipe2(os.O_CLOEXEC)[::-1]
    owner = os.pidfd_open(os.getpid())
    settings = {
        "listener": listener.fileno(),
        "lifetime": theirs,
        "owner": owner,
        "run": str(run),
        "record": dict(record),
    }
    command = [*_enter(), sys.executable, "-m", "mailbed.inside", json.dumps(settings)]
    with open(run / "lab.log", "ab") as log:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(listener.fileno(), theirs, owner),
                # Ctrl-C is for the owner, which then takes the lab down in good order.
                start_new_session=True,
                cwd="/",
                env={**os.environ, "PATH": search_path(), "PYTHONPATH": _python_path()},
            )
        except FileNotFoundError:
            os.close(ours)
            raise SandboxRefused("unshare is not installed: apt-get install util-linux") from None
        finally:
            os.close(theirs)
            os.close(owner)
    return Sandbox(process, ours)


def _python_path() -> str:
    """Where our packages are, also for a process that starts in another directory."""
    root = str(Path(__file__).resolve().parent.parent)
    others = os.environ.get("PYTHONPATH", "")
    return f"{root}{os.pathsep}{others}" if others else root


def _enter() -> list[str]:
    if os.geteuid() == 0:
        return ["unshare", *_NAMESPACES]
    return ["unshare", "--user", "--map-root-user", *_map_auto(), *_NAMESPACES]


def _map_auto() -> list[str]:
    """Map subordinate user ids too, where there are any: daemons that give up root need several users."""
    if not (shutil.which("newuidmap") and shutil.which("newgidmap")):
        return []
    if not all_users_mapped(Path("/proc/self/uid_map").read_text(encoding="ascii")):
        # Already in a user namespace (a rootless container): what /etc/subuid promises is not mapped there.
        return []
    with contextlib.suppress(OSError, KeyError):
        user = pwd.getpwuid(os.getuid()).pw_name
        wanted = (f"{user}:", f"{os.getuid()}:")
        tables = [Path(table).read_text(encoding="utf-8") for table in ("/etc/subuid", "/etc/subgid")]
        if all(any(line.startswith(wanted) for line in table.splitlines()) for table in tables):
            return ["--map-auto"]
    return []


def maps_several_users() -> bool:
    """Return whether a lab that this user starts has other users than root, as some daemons need."""
    return os.geteuid() == 0 or bool(_map_auto())


def all_users_mapped(uid_map: str) -> bool:
    """Return whether a uid_map is that of the machine itself: every id, each as itself."""
    return uid_map.split() == ["0", "0", "4294967295"]


def why_refused() -> str | None:
    """Return None if a sandbox can be made here, else one line: which setting forbids it, and what to do."""
    try:
        result = subprocess.run([*_enter(), "true"], capture_output=True, text=True, timeout=20)
    except FileNotFoundError:
        return "unshare is not installed: apt-get install util-linux"
    if result.returncode == 0:
        return None
    return diagnose(result.stderr.strip(), read_setting)


def read_setting(name: str) -> str | None:
    """Return the value of a kernel setting (as sysctl names it), if the kernel has it."""
    try:
        return Path("/proc/sys", *name.split(".")).read_text(encoding="ascii").strip()
    except OSError:
        return None


def diagnose(said: str, read: Any = read_setting) -> str:
    """Return one line for a refused sandbox: the setting, how to change it, or to use root.

    `said` is what `unshare` said; `read` returns a setting's value or None.
    """
    forbidding = {
        "kernel.apparmor_restrict_unprivileged_userns": ("1", "0"),
        "kernel.unprivileged_userns_clone": ("0", "1"),
        "user.max_user_namespaces": ("0", "15000"),
        "user.max_net_namespaces": ("0", "15000"),
    }
    for name, (bad, good) in forbidding.items():
        if read(name) == bad:
            return (
                f"this machine forbids unprivileged user namespaces ({name} = {bad}): "
                f"run `sudo sysctl -w {name}={good}`, or run mailbed as root"
            )
    reason = said or "unshare failed"
    return f"the kernel refuses a sandbox ({reason}): run mailbed as root, or see `mailbed doctor`"
