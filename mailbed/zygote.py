"""The warm process from which every service is forked.

Theory of operation. Python with dnslib and the rest takes a fifth of a second and 30 MB to start.
Done once and forked, a service costs a few milliseconds and its own data; the code is shared. The supervisor
asks, one object a packet, and passes the host's namespaces as descriptors; the child enters them and runs

    {"op": "import", "modules": [M, …]}              what only this lab's services need; has no answer
    {"op": "serve", "module": M, "config": PATH}     M.load(PATH), then M.serve(config, notices) until it ends
    {"op": "exec", "argv": [...]}                    a program, with the caller's own standard streams
    {"op": "record", ...}                            the recorder, with the capture sockets

The zygote answers {"id", "pid"} and, whenever a child has ended, {"ended": PID, "status": CODE}.
Nothing here knows what a service does: a foreign daemon is one more module (mailbed.daemon).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import importlib
import logging
import os
import select
import shutil
import signal
import socket
import ssl
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

from mailbed import channel
from topologies import kernel

WARM = (
    "captures.recorder",
    "mailbed.daemon",
    "mailbed.submission",
    "services.dns.authoritative",
    "services.dns.recursive",
    "services.imap.server",
    "services.smtp.mta",
)
"""What is imported before anything is asked."""


def main(supervisor: socket.socket) -> None:
    """Serve requests until the supervisor's end closes."""
    kernel.set_process_name("mailbed-zygote")
    for module in WARM:
        importlib.import_module(module)
    # OpenSSL sets itself up with its first context: a fifth of what a mail server would do by itself.
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # What is here now is shared by all children, as long as no collector touches it.
    gc.collect()
    gc.freeze()
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    channel.send(supervisor, {"warm": True})

    poll = select.poll()
    poll.register(supervisor, select.POLLIN)
    poll.register(wake_read, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll(1000)}
        if wake_read in ready:
            os.read(wake_read, 4096)
        _report_dead(supervisor)
        if supervisor.fileno() in ready:
            received = channel.receive(supervisor)
            if received is None:
                return
            _answer(supervisor, *received)


def _import(modules: list[str]) -> None:
    """Have modules here, for children to share; one that cannot be imported is the child's to complain of."""
    for module in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    gc.collect()
    gc.freeze()


def _report_dead(supervisor: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        channel.send(supervisor, {"ended": pid, "status": os.waitstatus_to_exitcode(status)})


def _answer(supervisor: socket.socket, request: dict[str, Any], fds: list[int]) -> None:
    if request["op"] == "import":
        _import(request["modules"])
        return
    pid = os.fork()
    if pid == 0:
        _child(supervisor, request, fds)
    for fd in fds:
        os.close(fd)
    channel.send(supervisor, {"id": request["id"], "pid": pid})


def _child(supervisor: socket.socket, request: dict[str, Any], fds: list[int]) -> NoReturn:
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        supervisor.close()
        os.setsid()
        kernel.set_process_name(request["name"])
        status = {"serve": _serve, "exec": _exec, "record": _record}[request["op"]](request, fds)
    except KeyboardInterrupt:
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _enter(fds: list[int]) -> list[int]:
    """Enter the namespaces that the first three descriptors refer to; return the others."""
    net, uts, mnt, *rest = fds
    kernel.setns(net, kernel.CLONE_NEWNET)
    kernel.setns(uts, kernel.CLONE_NEWUTS)
    # Last: what lies outside the host's mounts is out of sight from here on.
    kernel.setns(mnt, kernel.CLONE_NEWNS)
    for fd in (net, uts, mnt):
        os.close(fd)
    return rest


def _log_to(path: str) -> None:
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def _serve(request: dict[str, Any], fds: list[int]) -> int:
    from services.errors import ServiceError
    from services.notices import SocketNotices

    _log_to(request["log"])
    (notice,) = _enter(fds)
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO, force=True)
    notices = SocketNotices(socket.socket(fileno=notice))
    module = importlib.import_module(request["module"])
    try:
        asyncio.run(module.serve(module.load(Path(request["config"])), notices))
    except ServiceError as error:
        print(error, file=sys.stderr)
        notices.event("failed", reason=str(error))
        return 1
    return 0


def _exec(request: dict[str, Any], fds: list[int]) -> int:
    streams = _enter(fds)
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
    try:
        os.chdir(request["cwd"])
    except OSError:
        # The caller's directory lies where the sandbox does not reach.
        os.chdir("/")
    try:
        os.execvpe(request["argv"][0], request["argv"], request["env"])  # noqa: S606 - what the user asked for
    except OSError as error:
        # As shells do: 127 not found, 126 found but not to be run. A directory of the PATH that nobody may
        # read is no reason to say that the program may not be run.
        program, path = request["argv"][0], request["env"].get("PATH")
        if os.path.exists(program) or shutil.which(program, path=path):
            print(f"{program}: {error.strerror}", file=sys.stderr)
            return 126
        print(f"{program}: {os.strerror(errno.ENOENT)}", file=sys.stderr)
        return 127


def _record(request: dict[str, Any], fds: list[int]) -> int:
    from captures.recorder import CapturePoint, RecorderConfig, record

    _log_to(request["log"])
    control, *sockets = fds
    points = [
        CapturePoint(name=name, ifname=name, socket=socket.socket(fileno=fd))
        for name, fd in zip(request["interfaces"], sockets, strict=True)
    ]
    config = dict(request["config"])
    config |= {key: Path(config[key]) for key in ("path", "keylog")}
    record(RecorderConfig(**config), points, socket.socket(fileno=control))
    return 0
