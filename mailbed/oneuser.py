"""A program that wants several users, run where there is one: `python -m mailbed.oneuser COMMAND...`.

Theory of operation. Programs such as Postfix begin as root, give files to a user of their own and then take
on that user. In a sandbox of an unprivileged user only that user may exist (mapped as root), and what other
ids own cannot be removed from outside. So each system call that changes the owner of a file or a process's
ids is answered by the kernel, through a seccomp filter, as done, and nothing is done: the program goes on as
the only user, who owns everything. The sandbox is what confines it. Children inherit the filter.

Such a filter must not let set-user-id programs see it, so none gains anything here (no_new_privs).
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Sequence

# <linux/audit.h>; then setuid, setgid, setre[ug]id, setgroups, setres[ug]id, setfs[ug]id, and the chowns.
_X86_64 = (0xC000003E, (105, 106, 113, 114, 116, 117, 119, 122, 123, 92, 93, 94, 260))
_AARCH64 = (0xC00000B7, (144, 146, 143, 145, 159, 147, 149, 151, 152, 54, 55))
MACHINES = {"x86_64": _X86_64, "aarch64": _AARCH64}

_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _DONE = 0x7FFF0000, 0x00050000
_AT_NUMBER, _AT_ARCHITECTURE = 0, 4
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def instructions(architecture: int, calls: Sequence[int]) -> bytes:
    """Return the filter: these calls return 0 without being made, all others are made."""
    code = [
        (_LOAD, 0, 0, _AT_ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _ALLOW),
        (_LOAD, 0, 0, _AT_NUMBER),
    ]
    code += [(_EQUAL, len(calls) - number, 0, call) for number, call in enumerate(calls)]
    code += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _DONE)]
    return b"".join(struct.pack("=HBBI", *line) for line in code)


def one_user() -> None:
    """From now on this process and its children change neither ids nor owners, and are told that they did.

    Raises: OSError: the kernel refuses the filter, or the machine is of a kind that is not known here.
    """
    if platform.machine() not in MACHINES:
        raise OSError(f"system calls of {platform.machine()} are not known to mailbed.oneuser")
    code = instructions(*MACHINES[platform.machine()])
    program = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        _PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0
    ):
        number = ctypes.get_errno()
        raise OSError(number, f"the kernel refuses a seccomp filter: {os.strerror(number)}")


def main(arguments: Sequence[str]) -> int:
    """Become the command, with one user; return 2 or 1 if that cannot be."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: python -m mailbed.oneuser COMMAND...", file=sys.stderr)
        return 2
    try:
        one_user()
        os.execvp(arguments[0], list(arguments))  # noqa: S606 (a shell has no part in it)
    except OSError as error:
        print(f"oneuser: {arguments[0]}: {error.strerror or error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
