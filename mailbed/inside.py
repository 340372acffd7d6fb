"""The first process of a sandbox: it reaps, and it ends when the lab has to end.

Theory of operation. In a PID namespace the kernel kills everybody when process 1 ends, and takes all
interfaces, mounts and sockets away with them. So a lab's lifetime is this process' lifetime, and it ends
when

    the pipe from the owner closes       the owner asks for it, or died, by whatever means
    the owner's process ends             also if a child that the owner forked still holds the pipe
    the supervisor or the zygote ends    without either there is no lab

Parent-death signals would not do: they are sent when the *thread* that forked ends. Before anything else it
closes the doors: /run becomes empty, so that no daemon of the machine (a resolver's socket, D-Bus) can be
reached.

    owner (outside) ── unshare ── 1: this ─┬─ supervisor     network, control socket   (mailbed.supervisor)
                                           └─ zygote ─┬─ services, one each            (mailbed.zygote)
                                                      └─ recorder
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import sys
from pathlib import Path

from mailbed import channel
from topologies import kernel

ETC_FILES = ("hosts", "hostname", "resolv.conf")


def main() -> None:
    """Run as process 1. The argument is a JSON object (mailbed.sandbox makes it)."""
    settings = json.loads(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _raise_limits()
    close_doors(Path(settings["run"]))
    socket.sethostname("mailbed")

    for_supervisor, for_zygote = channel.pair()
    zygote = _fork(lambda: _zygote(for_zygote), [for_supervisor.fileno(), settings["listener"]], settings)
    supervisor = _fork(lambda: _supervisor(for_supervisor, settings), [for_zygote.fileno()], settings)
    for_supervisor.close()
    for_zygote.close()
    os.close(settings["listener"])
    os._exit(_reap({supervisor, zygote}, settings["lifetime"], settings["owner"]))


def _supervisor(zygote: socket.socket, settings: dict[str, object]) -> None:
    from mailbed import supervisor

    supervisor.main(zygote, settings)


def _zygote(supervisor: socket.socket) -> None:
    from mailbed import zygote

    zygote.main(supervisor)


def _fork(run: object, close: list[int], settings: dict[str, int]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        for fd in [*close, settings["lifetime"], settings["owner"]]:
            os.close(fd)
        assert callable(run)  # noqa: S101 - it is one of the two functions above
        run()
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _raise_limits() -> None:
    """Allow as many open files as the machine does: each host needs some (topologies.namespaces)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def close_doors(run: Path) -> None:
    """Empty /run but for the run directory, if that lies there; make the /etc files that hosts mount over."""
    kept = os.open(run, os.O_RDONLY | os.O_DIRECTORY)
    links = [os.path.realpath(f"/etc/{name}") for name in ETC_FILES]
    kernel.mount("tmpfs", "/run", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755")
    if not run.is_dir():
        run.mkdir(parents=True)
        kernel.mount(f"/proc/self/fd/{kept}", str(run), None, kernel.MS_BIND)
    os.close(kept)
    for path in links:
        if path.startswith("/run/"):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).touch()


def _reap(vital: set[int], lifetime: int, owner: int) -> int:
    """Wait for children, all of them orphans' too, until a reason to end; return the exit status."""
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    poll = select.poll()
    for fd in (wake_read, lifetime, owner):
        poll.register(fd, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll(1000)}
        if lifetime in ready or owner in ready:
            return 0
        if wake_read in ready:
            os.read(wake_read, 4096)
        # Also without a signal: one that came before the handler was set is lost.
        while (reaped := _next_dead()) is not None:
            if reaped[0] in vital:
                return os.waitstatus_to_exitcode(reaped[1]) & 0xFF


def _next_dead() -> tuple[int, int] | None:
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


if __name__ == "__main__":
    main()
