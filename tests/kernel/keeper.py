"""Process 1 beside the virtual machine: it ends when the tests do, and the machine with it.

Theory of operation. User-mode Linux is a handful of host processes that trace each other; one that is killed
may leave the others stopped for ever. So it runs in a PID namespace, whose first process this is, and which
ends when a pipe from the tests closes, by whatever means. In this mount namespace the host's file system is
read-only but for the test's directory: root in the machine is root on the files of this one.

    tests ── unshare ── 1: this ── linux.uml ── …
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import struct
import subprocess
import sys
from pathlib import Path

from topologies import kernel

_SYS_MOUNT_SETATTR = 442
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 0x1


def main() -> None:
    """Run a command until it ends or the pipe closes. The argument is JSON that tests.kernel.machine made."""
    settings = json.loads(sys.argv[1])
    _protect(Path(settings["directory"]))
    process = subprocess.Popen(settings["command"], env={**os.environ, **settings["env"]})
    ended = os.pidfd_open(process.pid)
    poll = select.poll()
    for fd in (ended, settings["lifetime"]):
        poll.register(fd, select.POLLIN)
    poll.poll()
    status = process.poll()
    # Anything else: the tests are gone, and nobody reads it.
    os._exit(status if status is not None and status >= 0 else 1)


def _protect(directory: Path) -> None:
    """Make all but `directory` read-only, and a tmpfs in it, which holds the machine's memory."""
    kernel.mount(str(directory), str(directory), None, kernel.MS_BIND)
    _set_read_only("/", _AT_RECURSIVE, on=True)
    _set_read_only(str(directory), 0, on=False)
    memory = directory / "memory"
    memory.mkdir()
    kernel.mount("tmpfs", str(memory), "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=3g")


def _set_read_only(path: str, flags: int, *, on: bool) -> None:
    """Change a mount, and with AT_RECURSIVE all below it, in this namespace (Linux 5.12)."""
    rdonly = _MOUNT_ATTR_RDONLY
    attributes = struct.pack("=QQQQ", rdonly if on else 0, 0 if on else rdonly, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (_AT_FDCWD, path.encode(), flags, attributes, ctypes.c_size_t(len(attributes)))
    if libc.syscall(ctypes.c_long(_SYS_MOUNT_SETATTR), *arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount_setattr {path}: {os.strerror(number)}")


if __name__ == "__main__":
    main()
