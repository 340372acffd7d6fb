"""The Linux system calls that Python 3.11 lacks: namespaces, mounts, parent-death signals.

Python 3.12 has os.unshare and os.setns; until 3.11 is gone there is one way for all versions. Every
function raises OSError with the call's name, so that an error says what the kernel refused.
"""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000

_FSOPEN = 430
_FSCONFIG = 431
_FSMOUNT = 432
"""Their numbers are the same on every architecture; the C library has no names for them before 2.36."""
_CLOEXEC = 1
_CMD_CREATE = 6

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Move the calling thread into new namespaces (unshare(2))."""
    _call("unshare", ctypes.c_int(flags))


def setns(fd: int, kind: int = 0) -> None:
    """Move the calling thread into the namespace that `fd` refers to (setns(2))."""
    _call("setns", ctypes.c_int(fd), ctypes.c_int(kind))


def mount(source: str, target: str, fstype: str | None = None, flags: int = 0, data: str = "") -> None:
    """Mount `source` on `target` (mount(2))."""
    kind = fstype.encode() if fstype else None
    _call("mount", source.encode(), target.encode(), kind, ctypes.c_ulong(flags), data.encode())


def open_filesystem(fstype: str) -> int:
    """Return a descriptor of a new file system, which is mounted nowhere and ends with it (fsmount(2))."""
    context = _system_call("fsopen", _FSOPEN, ctypes.c_char_p(fstype.encode()), ctypes.c_uint(_CLOEXEC))
    try:
        no_value = ctypes.c_void_p(None)
        command = ctypes.c_uint(_CMD_CREATE)
        _system_call(
            "fsconfig", _FSCONFIG, ctypes.c_int(context), command, no_value, no_value, ctypes.c_int(0)
        )
        return _system_call(
            "fsmount", _FSMOUNT, ctypes.c_int(context), ctypes.c_uint(_CLOEXEC), ctypes.c_uint(0)
        )
    finally:
        os.close(context)


def _system_call(name: str, number: int, *arguments: object) -> int:
    result: int = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def die_with_parent(signal: int) -> None:
    """Have the kernel send `signal` to this process when the thread that forked it ends (prctl(2))."""
    _call("prctl", ctypes.c_int(_PR_SET_PDEATHSIG), ctypes.c_ulong(signal))


def set_process_name(name: str) -> None:
    """Make `ps` and `top` show `name` (cut to 15 bytes) as the calling thread's command."""
    _call("prctl", ctypes.c_int(_PR_SET_NAME), ctypes.c_char_p(name.encode()[:15]))
