"""A plan realised by Mininet: hosts, bridges, routers and links in this process' namespaces.

Theory of operation. Mininet's object model is kept (`Mininet`, `Node`, `Switch`, `Link`, `Intf`), so that
everything written for it works on a lab: `network.mininet["core1"].cmd("ip route")`. What it does one process
at a time is done in batches:

    Mininet                                     here
    a shell in each host, at once               namespaces held by descriptors; a shell on demand
    `ip link add`, moved into the host          one netlink message makes a pair with both ends in place
    `ifconfig` and `ip route` through shells    netlink messages, a batch for each host
    a run of `ovs-vsctl` for each setting       one transaction for all switches (plan.switch: openvswitch)

This is the one module that imports Mininet. It must run inside a sandbox (mailbed.sandbox): bridges lie in
the process' own network namespace.
"""

from __future__ import annotations

import os
import resource
import shlex
import subprocess
import warnings
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from topologies import features, filtering, namespaces, netlink, openvswitch, shaping
from topologies.addressing import Addressing, Interface, Port, assign
from topologies.errors import NetworkError
from topologies.namespaces import Namespace
from topologies.netlink import INDEX_BASE, RouteSocket, VethEnd
from topologies.plan import Plan
from topologies.routing import Route, routes

with warnings.catch_warnings():
    # Mininet imports distutils; setuptools stands in for it from Python 3.12 on.
    warnings.simplefilter("ignore", DeprecationWarning)
    from mininet.link import Intf, Link
    from mininet.net import VERSION, Mininet
    from mininet.node import Host, Node, OVSBridge, Switch
    from mininet.nodelib import LinuxBridge
    from mininet.topo import Topo

MININET_VERSION = VERSION
_LOOPBACK = 1
_BRIDGE_INDEX = 1_000
_PORT_INDEX = 10_000


class PlanTopo(Topo):
    """A plan as a Mininet topology, for our network and for stock Mininet alike."""

    def build(self, *_args: object, **params: object) -> None:
        plan, addressing = params["plan"], params["addressing"]
        assert isinstance(plan, Plan)  # noqa: S101 - Topo.build has no signature of its own
        assert isinstance(addressing, Addressing)  # noqa: S101
        table = routes(plan, addressing)
        for host in plan.hosts:
            first, *_ = addressing.of(host.name)
            self.addHost(
                host.name,
                ip=str(first.address),
                mac=first.mac,
                router=host.router,
                interfaces=addressing.of(host.name),
                routes=table[host.name],
            )
        for number, network in enumerate(plan.networks, start=1):
            # Mininet would derive the datapath id from digits in the name, and fail where there are none.
            self.addSwitch(network.name, dpid=f"{number:016x}")
        for index, link in enumerate(plan.links):
            near, far = addressing.ends(index)
            self.addLink(
                link.a,
                link.b,
                port1=_number(near.name),
                port2=_number(far.name),
                intfName1=near.name,
                intfName2=far.name,
                addr1=near.mac,
                addr2=far.mac,
            )


class StockHost(Host):
    """A host of stock Mininet that configures itself from the plan, one command at a time."""

    def config(self, **params: Any) -> dict[str, Any]:
        result = super().config(**params)
        for interface in params.get("interfaces", ())[1:]:
            self.setIP(str(interface.address.ip), interface.address.network.prefixlen, interface.name)
        if params.get("router"):
            self.cmd("sysctl -qw net.ipv4.ip_forward=1")
        for route in params.get("routes", ()):
            self.cmd(f"ip route replace {route.destination} via {route.via} dev {route.device}")
        return result


def stock_mininet(plan: Plan, addressing: Addressing) -> Mininet:
    """Return stock Mininet with the plan's hosts, bridges, links, addresses and routes; it is not started."""
    topo = PlanTopo(plan=plan, addressing=addressing)
    return Mininet(topo=topo, host=StockHost, switch=LinuxBridge, controller=None)


class LabHost(Host):
    """A host whose namespaces exist already; its shell starts when somebody asks for a command."""

    def __init__(self, name: str, *, namespace: Namespace, **params: Any) -> None:
        self.namespace = namespace
        super().__init__(name, **params)

    @classmethod
    def checkSetup(cls) -> None:  # noqa: N802 - Mininet's name
        """Nothing to check: no command of the system is needed."""

    def startShell(self, mnopts: str | None = None) -> None:  # noqa: N802 - Mininet's name
        """No shell yet (see `sendCmd`)."""

    def _popen(self, cmd: list[str], **params: Any) -> subprocess.Popen[bytes]:
        # Mininet asks for `mnexec -cdn …`: n would make new namespaces, but the host has its own.
        cmd = [part.replace("n", "") if part == "-cdn" else part for part in cmd]
        return super()._popen([*self._enter(), *cmd], **params)

    def popen(self, *args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        kwargs.setdefault("mncmd", self._enter())
        return super().popen(*args, **kwargs)

    def sendCmd(self, *args: Any, **kwargs: Any) -> None:  # noqa: N802 - Mininet's name
        self._start_shell_once()
        super().sendCmd(*args, **kwargs)

    def cmd(self, *args: Any, **kwargs: Any) -> str | None:
        self._start_shell_once()
        return super().cmd(*args, **kwargs)

    def config(self, **params: Any) -> dict[str, Any]:
        """Do nothing: `Network.build` configures all hosts in batches."""
        return params

    def _start_shell_once(self) -> None:
        if self.shell is None:
            super().startShell()

    def _enter(self) -> list[str]:
        """The command prefix that enters the host's namespaces through our own open descriptors."""
        namespace = self.namespace
        here = f"/proc/{os.getpid()}/fd"
        return [
            "nsenter",
            f"--net={here}/{namespace.net}",
            f"--uts={here}/{namespace.uts}",
            f"--mount={here}/{namespace.mnt}",
        ]


class LabBridge(Switch):
    """A Linux bridge that `Network.build` makes; it has no controller and no shell."""

    @classmethod
    def checkSetup(cls) -> None:  # noqa: N802 - Mininet's name
        """Nothing to check."""

    def startShell(self, mnopts: str | None = None) -> None:  # noqa: N802 - Mininet's name
        """A bridge needs no shell."""

    def cmd(self, *_args: Any, **_kwargs: Any) -> str | None:
        """Do nothing: Mininet would bring up the loopback interface beside the bridges."""
        return ""

    def config(self, **params: Any) -> dict[str, Any]:
        """Do nothing, as for a host."""
        return params

    def start(self, controllers: list[Any]) -> None:
        """A bridge forwards from the moment it is there."""

    def stop(self, deleteIntfs: bool = True) -> None:  # noqa: N803 - Mininet's name
        """The kernel removes it with its namespace."""


class LabOpenVSwitch(LabBridge, OVSBridge):
    """Mininet's Open vSwitch in stand-alone mode: what it would run is gathered for one transaction."""

    def __init__(self, name: str, **params: Any) -> None:
        super().__init__(name, **{**params, "batch": True})

    @classmethod
    def setup(cls) -> None:
        """Nothing to check: Mininet would ask the machine's daemons, and exit when they do not answer."""

    @classmethod
    def isOldOVS(cls) -> bool:  # noqa: N802 - Mininet's name
        """Mininet would ask for the version, to treat those before 1.10 (2013) in another way."""
        return False

    def transaction(self) -> list[str]:
        """Return what makes this switch and its ports, as words for `ovs-vsctl`."""
        OVSBridge.start(self, [])
        return [word for command in self.commands for word in shlex.split(command)]


class LabInterface(Intf):
    """An interface that `Network.build` makes and configures."""

    def config(self, **params: Any) -> dict[str, Any]:
        return params


class LabLink(Link):
    """A link that `Network.build` makes."""

    def __init__(self, node1: Node, node2: Node, **params: Any) -> None:
        super().__init__(node1, node2, **{**params, "intf": LabInterface})

    @classmethod
    def makeIntfPair(cls, intfname1: str, intfname2: str, *args: Any, **params: Any) -> None:  # noqa: N802
        """The pair is made later, in one batch with all others."""

    def stop(self) -> None:
        """The kernel removes it with its namespaces."""


class LabMininet(Mininet):
    """A Mininet whose hosts have their namespaces already."""

    def __init__(self, topo: Topo, made: Mapping[str, Namespace], switch: type[LabBridge]) -> None:
        self._made = made
        # Mininet's own initialisation raises the machine's limits: as root for everybody, for good.
        Mininet.inited = True
        super().__init__(topo=topo, host=LabHost, switch=switch, link=LabLink, controller=None, build=False)

    def addHost(self, name: str, cls: Any = None, **params: Any) -> Node:  # noqa: N802 - Mininet's name
        return super().addHost(name, cls, namespace=self._made[name], **params)


class Network:
    """A plan as a running network.

    `features` holds, for each kernel feature that the plan makes use of, whether it is there; `left_out`, for
    each wanted one that is not, a sentence that says what was left out.
    Links and hosts can be taken down and up again; routes follow.
    """

    def __init__(self, plan: Plan, *, etc: Mapping[str, Mapping[str, str]] | None = None) -> None:
        """`etc` maps a host to its own files for /etc: name there to path."""
        self.plan = plan
        self.addressing = assign(plan)
        self.namespaces: dict[str, Namespace] = {}
        self.left_out: dict[str, str] = {}
        self.features: dict[str, bool] = {}
        self._etc = etc or {}
        self._links_down: set[int] = set()
        self._hosts_down: set[str] = set()
        self._routes: dict[str, tuple[Route, ...]] = {}
        self._root = RouteSocket()
        self._mininet: LabMininet | None = None

    @property
    def mininet(self) -> LabMininet:
        """Mininet's own view of the network, once it is built."""
        if self._mininet is None:
            raise NetworkError("the network is not built yet")
        return self._mininet

    def build(self) -> None:
        """Return when every link is up, addressed, routed and shaped.

        Raises: NetworkError, MissingFeature.
        """
        self._check_room()
        self.left_out = features.left_out(self.plan)
        asked = {*self.plan.require, *features.wanted(self.plan)}
        self.features = {name: name not in self.left_out for name in sorted(asked)}
        try:
            namespaces.quiet()
            self._make_namespaces()
            topo = PlanTopo(plan=self.plan, addressing=self.addressing)
            switch = LabOpenVSwitch if self.plan.switch == "openvswitch" else LabBridge
            self._mininet = LabMininet(topo, self.namespaces, switch)
            self._mininet.build()
            self._make_links()
            self._make_switches()
            for namespace in self.namespaces.values():
                self._configure(namespace)
            self._update_routes()
            shaping.apply(self.plan, self.addressing, self.namespaces, missing=self.left_out)
            filtering.apply(self.plan, self.addressing, self.namespaces, missing=self.left_out)
        except OSError as error:
            raise NetworkError(f"the kernel refused to build the network: {error}") from error

    def set_link(self, link: int, *, up: bool) -> None:
        """Take a link (its place in the plan) down or up again, at both ends, and route around it."""
        (self._links_down.discard if up else self._links_down.add)(link)
        self._set_ends(link)
        self._update_routes()

    def set_host(self, name: str, *, up: bool) -> None:
        """Take a host's links down or up again (but those that are down themselves), and route around it."""
        (self._hosts_down.discard if up else self._hosts_down.add)(name)
        for interface in self.addressing.of(name):
            self._set_ends(interface.link)
        self._update_routes()

    def links_between(self, one: str, other: str) -> list[int]:
        """Return the places in the plan of the links between two hosts, or a host and a network."""
        ends = {one, other}
        return [index for index, link in enumerate(self.plan.links) if {link.a, link.b} == ends]

    def _check_room(self) -> None:
        services = sum(1 for _ in self.plan.roles())
        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        refusal = namespaces.why_no_room(
            len(self.plan.hosts), others=max(len(self.addressing.interfaces), services), allowed=allowed
        )
        if refusal:
            raise NetworkError(refusal)

    def _make_namespaces(self) -> None:
        jobs = [
            partial(
                namespaces.create,
                host.name,
                files=self._etc.get(host.name, {}),
                router=host.router,
                firewall=host.firewall is not None and "nflog" not in self.left_out,
                packet_sockets=len(self.addressing.of(host.name)),
            )
            for host in self.plan.hosts
        ]
        self.namespaces = {namespace.name: namespace for namespace in namespaces.create_all(jobs)}

    def _make_links(self) -> None:
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        networks = self.plan.networks if self.plan.switch == "bridge" else ()
        bridges = {network.name: _BRIDGE_INDEX + n for n, network in enumerate(networks)}
        made = [netlink.bridge(name, index) for name, index in bridges.items()]
        joined = []
        for link in range(len(self.plan.links)):
            near, far = self.addressing.ends(link)
            made.append(netlink.veth(self._veth_end(near, own), self._veth_end(far, own)))
            if isinstance(far, Port):
                joined.append(netlink.set_link(_index(far), up=True, master=bridges.get(far.network)))
        self._root.send(made)
        self._root.send(joined)
        os.close(own)

    def _make_switches(self) -> None:
        """Join the links by Open vSwitch, where the plan says so; before shaping, which it would undo."""
        switches = [switch for switch in self.mininet.switches if isinstance(switch, LabOpenVSwitch)]
        if switches:
            openvswitch.start()
            openvswitch.transact([word for switch in switches for word in switch.transaction()])

    def _veth_end(self, end: Interface | Port, own: int) -> VethEnd:
        netns = self.namespaces[end.host].net if isinstance(end, Interface) else own
        return VethEnd(name=end.name, index=_index(end), mac=end.mac, netns=netns)

    def _configure(self, namespace: Namespace) -> None:
        messages = [netlink.set_link(_LOOPBACK, up=True)]
        for interface in self.addressing.of(namespace.name):
            messages.append(netlink.add_address(_index(interface), interface.address))
            messages.append(netlink.set_link(_index(interface), up=True))
        namespace.route.send(messages)
        for interface in self.addressing.of(namespace.name):
            namespace.disable_offloads(interface.name)

    def _set_ends(self, link: int) -> None:
        ends = self.addressing.ends(link)
        hosts = {end.host for end in ends if isinstance(end, Interface)}
        up = link not in self._links_down and not hosts & self._hosts_down
        for end in ends:
            route = self.namespaces[end.host].route if isinstance(end, Interface) else self._root
            route.send([netlink.set_link(_index(end), up=up)])
            if isinstance(end, Interface) and not up:
                # The kernel drops the routes of an interface that goes down, and those alone.
                known = self._routes.get(end.host, ())
                self._routes[end.host] = tuple(route for route in known if route.device != end.name)

    def _update_routes(self) -> None:
        """Bring every host's routes to what the plan says for what is up now."""
        wanted = routes(self.plan, self.addressing, links_down=self._links_down, hosts_down=self._hosts_down)
        for host, table in wanted.items():
            known = set(self._routes.get(host, ()))
            replaced = {route.destination for route in table}
            gone = [route for route in known - set(table) if route.destination not in replaced]
            new = [route for route in table if route not in known]
            self._send_routes(host, gone, new)
        self._routes = wanted

    def _send_routes(self, host: str, gone: Collection[Route], new: Collection[Route]) -> None:
        deleted = [netlink.delete_route(r.destination, r.via, _index_of(r.device)) for r in gone]
        replaced = [netlink.replace_route(r.destination, r.via, _index_of(r.device)) for r in new]
        self.namespaces[host].route.send([*deleted, *replaced], absent_ok=True)


def _number(interface: str) -> int:
    return int(interface.rpartition("-eth")[2])


def _index_of(interface: str) -> int:
    return INDEX_BASE + _number(interface)


def _index(end: Interface | Port) -> int:
    """An interface's index: by its number in its host's namespace, by its link among the switches."""
    return _index_of(end.name) if isinstance(end, Interface) else _PORT_INDEX + end.link
