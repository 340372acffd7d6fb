"""A host's own namespaces: network, hostname, and mounts for its /etc files.

Theory of operation. A namespace lives as long as something refers to it: a process in it, or an open
file descriptor. Mininet keeps a shell in each; here a short-lived thread makes the namespaces, opens
descriptors and the sockets that configure them, and ends. That costs no process and next to no memory;
whoever wants to run something in the host enters by the descriptors (setns). When the supervisor that holds
them ends, the kernel takes everything away.

Whatever the machine is set to, each host starts alike: IPv6 off, no reverse-path filter (mail may come back
another way than it went), no ICMP redirects in the captures.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from topologies import kernel
from topologies.netlink import RouteSocket

T = TypeVar("T")

_SETTINGS = {
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv6/conf/default/disable_ipv6": "1",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
}
_FORWARDING = {"ipv4/ip_forward": "1"}
_DESCRIPTORS = 4
"""A host's: three namespaces and a netlink socket."""
_OTHER_DESCRIPTORS = 100
"""Of the process that holds them: modules, logs, the control socket's connections."""
_NETLINK_NETFILTER = 12
_SIOCETHTOOL = 0x8946
# ETHTOOL_STXCSUM, SSG, STSO, SGSO, SGRO (linux/ethtool.h): set a feature to 0.
_OFFLOADS = (0x17, 0x19, 0x1F, 0x24, 0x2C)


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A host's own: `net`, `uts` and `mnt` are descriptors for setns; the sockets are open in its network."""

    name: str
    net: int
    uts: int
    mnt: int
    route: RouteSocket
    packets: list[socket.socket] = field(default_factory=list)
    """AF_PACKET sockets, bound to nothing yet: one for each interface that will be captured."""
    drops: socket.socket | None = None
    """A socket for the log of the host's firewall, if it has one; bound to nothing yet."""

    def disable_offloads(self, interface: str) -> None:
        """Have every packet leave whole and checksummed: none above the MTU, every checksum right."""
        for command in _OFFLOADS:
            value = ctypes.create_string_buffer(struct.pack("=II", command, 0))
            request = struct.pack("16sP", interface.encode(), ctypes.addressof(value))
            # Any socket of the namespace will do for a request about its interfaces.
            fcntl.ioctl(self.route, _SIOCETHTOOL, request)


def create(
    name: str,
    *,
    files: Mapping[str, str] | None = None,
    router: bool = False,
    firewall: bool = False,
    packet_sockets: int = 0,
) -> Namespace:
    """Return new namespaces for a host called `name`.

    `files` maps a file below /etc to the path of the host's own, which is mounted over it.
    Raises: OSError.
    """
    return _in_thread(lambda: _create(name, files or {}, router, firewall, packet_sockets))


def create_all(jobs: Sequence[Callable[[], Namespace]]) -> list[Namespace]:
    """Return the namespaces that the jobs make, in order; as many at once as there are processors."""
    results: list[Namespace | BaseException | None] = [None] * len(jobs)
    numbers = iter(range(len(jobs)))

    def work() -> None:
        # next() on a shared iterator is atomic: each job is taken once.
        for number in numbers:
            try:
                results[number] = jobs[number]()
            except BaseException as error:
                results[number] = error

    workers = [threading.Thread(target=work) for _ in range(2 * (os.cpu_count() or 1))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    made: list[Namespace] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        if result is not None:
            made.append(result)
    return made


def why_no_room(hosts: int, *, others: int, allowed: int) -> str | None:
    """Return None if so many hosts fit into `allowed` open files (negative: any number), else why not.

    `others` are held beside them: a socket for each interface, which the recorder takes over, and then one
    for each service.
    """
    needed = hosts * _DESCRIPTORS + others + _OTHER_DESCRIPTORS
    if allowed < 0 or needed <= allowed:
        return None
    return (
        f"{hosts:,} hosts take {needed:,} open files, and {allowed:,} are allowed here: raise the hard limit "
        f"(ulimit -Hn {needed}; nofile in /etc/security/limits.conf)"
    )


def inside(namespace: Namespace, action: Callable[[], T]) -> T:
    """Return what `action` returns when it runs in the host's network namespace."""

    def run() -> T:
        kernel.setns(namespace.net, kernel.CLONE_NEWNET)
        return action()

    return _in_thread(run)


def packet_socket() -> socket.socket:
    """Return an AF_PACKET socket that is bound to no protocol, so that nothing is queued before it is."""
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)


def log_socket() -> socket.socket:
    """Return a netlink socket to netfilter, by which a firewall's log can be had."""
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)


def _create(
    name: str, files: Mapping[str, str], router: bool, firewall: bool, packet_sockets: int
) -> Namespace:
    kernel.unshare(kernel.CLONE_NEWNET | kernel.CLONE_NEWUTS | kernel.CLONE_NEWNS)
    socket.sethostname(name)
    for target, source in files.items():
        kernel.mount(source, os.path.realpath(f"/etc/{target}"), None, kernel.MS_BIND)
    configure({**_SETTINGS, **_FORWARDING} if router else _SETTINGS)
    return Namespace(
        name=name,
        net=os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC),
        uts=os.open("/proc/thread-self/ns/uts", os.O_RDONLY | os.O_CLOEXEC),
        mnt=os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC),
        route=RouteSocket(),
        packets=[packet_socket() for _ in range(packet_sockets)],
        drops=log_socket() if firewall else None,
    )


def quiet() -> None:
    """Give the calling thread's network namespace the settings that every host starts with."""
    configure(_SETTINGS)


def configure(settings: Mapping[str, str]) -> None:
    """Give the calling thread's network namespace settings: what lies below /proc/sys/net, to its value."""
    proc = _proc()
    try:
        for path, value in settings.items():
            _set(proc, path, value)
    finally:
        os.close(proc)


def _proc() -> int:
    """A /proc of our own, for a moment.

    In the one that all share, `net/ipv4` of every namespace has one name in one directory, and the kernel
    compares them one by one: with 2,000 hosts that was more work than all the rest of making them.
    """
    try:
        return kernel.open_filesystem("proc")
    except OSError:
        # Linux before 5.2, or somebody forbids it: then it takes longer.
        return os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _set(proc: int, path: str, value: str) -> None:
    try:
        setting = os.open(f"sys/net/{path}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
    except FileNotFoundError:
        # A kernel without IPv6 has nothing to switch off.
        if not path.startswith("ipv6/"):
            raise
        return
    try:
        os.write(setting, value.encode())
    finally:
        os.close(setting)


def _in_thread(action: Callable[[], T]) -> T:
    """Run in a thread of its own: it changes namespaces, so nothing else may ever run in it."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(action())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
