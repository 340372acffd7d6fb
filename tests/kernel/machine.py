"""A virtual machine whose kernel has what this one may lack: netem and Open vSwitch.

Theory of operation. Debian's User-mode Linux is a kernel that is an ordinary program; it starts in seconds,
and its disk is this machine's file system. Its first process is a shell script, which loads modules and runs
a Python module of the checkout (tests.kernel.experiments by default); that writes one JSON object a line to a
file in the test's directory. It measures; the tests, out here, judge.

    boot(directory) ── namespaces, read-only host (tests.kernel.keeper) ── linux.uml
        init ── modprobe … ── python -m tests.kernel.experiments ──> directory/findings.jsonl
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
MODULES = Path("/usr/lib/uml/modules")
LOADED = ("sch_netem", "sch_htb", "veth", "bridge", "openvswitch")
MEMORY = "2G"

_INIT = """\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/dev/shm MAILBED_RUNS=/dev/shm/runs
export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# Where the tests run without root, files of root seem to be nobody's: no set-user-id program may become it.
setpriv --no-new-privs mount -t proc proc /proc
setpriv --no-new-privs mount -o remount,bind,nosuid /
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mkdir -p /dev/shm
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
# /tmp is the machine's own, but what lies there of ours.
for path in {kept}; do
    mkdir -p "/run/kept$path" && mount --bind "$path" "/run/kept$path"
done
mount -t tmpfs -o mode=1777 tmpfs /tmp
for path in {kept}; do
    [ -d "$path" ] || {{ mkdir -p "$path" && mount --bind "/run/kept$path" "$path"; }}
done
mkdir -p /run/uml/lib/modules
ln -s {modules}/* /run/uml/lib/modules/
for module in {loaded}; do modprobe -d /run/uml $module; done
cd {checkout}
{command}
{power_off}
"""
# Not `poweroff`, which only machines with an init system have.
_POWER_OFF = "import ctypes; ctypes.CDLL(None).reboot(0x4321FEDC)"


class MachineError(Exception):
    """The virtual machine did not do what it was started for; the message is for the person at the test."""


def why_missing() -> str | None:
    """Return None if such a machine can be started here, else a line that names the remedy."""
    for tool, package in (("linux.uml", "user-mode-linux"), ("modprobe", "kmod")):
        if shutil.which(tool, path=_path()) is None:
            return f"{tool} is not installed: scripts/setup --test installs it (Debian package {package})"
    if not list(MODULES.glob("*/modules.dep")):
        return f"there are no kernel modules in {MODULES}: apt-get install --reinstall user-mode-linux"
    return None


class Machine:
    """A running virtual machine; it ends with `close`, with `with`, or with this process."""

    def __init__(
        self, directory: Path, *, module: str = "tests.kernel.experiments", arguments: Sequence[str] = ()
    ) -> None:
        """Start it: `python -m module FINDINGS arguments…` runs inside. Raises: MachineError."""
        missing = why_missing()
        if missing is not None:
            raise MachineError(missing)
        self.directory = directory
        self.findings = directory / "findings.jsonl"
        self.findings.touch()
        python = CHECKOUT / ".venv" / "bin" / "python"
        command = [str(python), "-m", module, str(self.findings), *arguments]
        _write_init(directory / "init", python, command)
        self._lifetime, theirs = os.pipe()[::-1]
        settings = {
            "lifetime": theirs,
            "directory": str(directory),
            "command": _uml(directory),
            "env": {"TMPDIR": str(directory / "memory")},
        }
        with (directory / "console").open("ab") as console:
            self._process = subprocess.Popen(
                [*_enter(), sys.executable, "-m", "tests.kernel.keeper", json.dumps(settings)],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                pass_fds=(theirs,),
                # Ctrl-C is for the tests, which then close the machine.
                start_new_session=True,
                cwd=CHECKOUT,
                env={**os.environ, "PATH": _path(), "PYTHONDONTWRITEBYTECODE": "1"},
            )
        os.close(theirs)

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Return when the machine and every process of it are gone."""
        if self._lifetime >= 0:
            os.close(self._lifetime)
            self._lifetime = -1
        self._process.wait()

    def read(self, within_s: float) -> Iterator[Mapping[str, Any]]:
        """Yield what the machine writes, as it comes, until it powers off.

        Raises: MachineError if that takes longer, with the end of its console.
        """
        deadline = time.monotonic() + within_s
        with self.findings.open(encoding="utf-8") as file:
            pending = ""
            while True:
                # Asked first, so that nothing is missed of what was written just before the end.
                ended = self._process.poll() is not None
                *lines, pending = (pending + file.read()).split("\n")
                for line in lines:
                    yield json.loads(line)
                if ended:
                    return
                if time.monotonic() > deadline:
                    raise MachineError(
                        f"the machine did not end within {within_s:g} s; its console ends:\n{self.console()}"
                    )
                time.sleep(0.1)

    def console(self, lines: int = 25) -> str:
        """Return the last lines of what kernel and programs said."""
        text = (self.directory / "console").read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])


def _uml(directory: Path) -> list[str]:
    return [
        "linux.uml",
        f"mem={MEMORY}",
        "quiet",
        # Its control socket lies here and not in the user's home.
        f"uml_dir={directory}/",
        "umid=uml",
        "root=none",
        "rootfstype=hostfs",
        "rw",
        f"init={directory / 'init'}",
        "con=null",
        "con0=null,fd:1",
    ]


def _write_init(path: Path, python: Path, command: Sequence[str]) -> None:
    text = _INIT.format(
        modules=MODULES,
        loaded=" ".join(LOADED),
        checkout=shlex.quote(str(CHECKOUT)),
        kept=shlex.join([str(CHECKOUT), str(path.parent)]),
        command=shlex.join(command),
        power_off=shlex.join([str(python), "-c", _POWER_OFF]),
    )
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def _enter() -> list[str]:
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--mount", "--pid", "--fork", "--mount-proc", "--"]


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
