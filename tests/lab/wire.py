"""A wire to test captures on: a namespace with a veth pair, which lends packet sockets.

A child process is inside, makes the link and hands out sockets over SCM_RIGHTS, as a lab does. It imports
little, for each test starts one.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Wire:
    """A network namespace with v0 and v1, which are the ends of one link, both up."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        self._control = control
        self.root = Path(f"/proc/{process.pid}/root")
        """The file system as the namespace's processes see it."""

    def run(self, command: str) -> None:
        """Run a shell command inside."""
        self._control.send(command.encode())
        answer = self._control.recv(4096)
        assert answer == b"0", answer

    def socket(self, ifname: str = "") -> socket.socket:
        """A packet socket from inside: not bound, or one that sends to `ifname`."""
        self._control.send(b"socket")
        _, descriptors, _, _ = socket.recv_fds(self._control, 16, 1)
        lent = socket.socket(fileno=descriptors[0])
        if ifname:
            lent.bind((ifname, 0))
        return lent


def lend(control: socket.socket) -> None:
    """Inside: make the link, then do as `Wire` says until it closes its end."""
    for scope in ("all", "default"):
        Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6").write_text("1")
    for command in ("link add v0 type veth peer name v1", "link set v0 up", "link set v1 up"):
        subprocess.run(["ip", *command.split()], check=True)
    control.send(b"up")
    while command := control.recv(4096).decode():
        if command == "socket":
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
                socket.send_fds(control, [b"socket"], [sock.fileno()])
        else:
            control.send(str(subprocess.run(["sh", "-c", command], check=False).returncode).encode())


@contextmanager
def new_wire() -> Iterator[Wire]:
    """A wire, which is gone afterwards."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        inside = [sys.executable, "-m", "tests.lab.wire", str(theirs.fileno())]
        with theirs:
            process = subprocess.Popen(
                ["unshare", "--user", "--map-root-user", "--net", "--mount", *inside],
                pass_fds=[theirs.fileno()],
            )
        with process:
            assert ours.recv(16) == b"up"
            yield Wire(process, ours)
            ours.close()


if __name__ == "__main__":
    lend(socket.socket(fileno=int(sys.argv[1])))
