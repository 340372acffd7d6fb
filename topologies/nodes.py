"""A plan as Mininet's objects: for our network, which makes hosts and links itself, and for stock Mininet.

Theory of operation. Mininet makes and configures each thing as it comes to know it, with a command of its
own. Here the classes do nothing of that where `topologies.network` does it in batches; what is left is what
people use of Mininet: names, parameters, and commands that run in a host.

This is the one module that imports Mininet.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import warnings
from collections.abc import Mapping
from typing import Any

from topologies.addressing import Addressing
from topologies.namespaces import Namespace
from topologies.plan import Plan
from topologies.routing import routes

with warnings.catch_warnings():
    # Mininet imports distutils; setuptools stands in for it from Python 3.12 on.
    warnings.simplefilter("ignore", DeprecationWarning)
    from mininet.link import Intf, Link
    from mininet.net import VERSION, Mininet
    from mininet.node import Host, Node, OVSBridge, Switch
    from mininet.nodelib import LinuxBridge
    from mininet.topo import Topo

MININET_VERSION = VERSION


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
        for place, network in enumerate(plan.networks, start=1):
            # Mininet would derive the datapath id from digits in the name, and fail where there are none.
            self.addSwitch(network.name, dpid=f"{place:016x}")
        for index, link in enumerate(plan.links):
            near, far = addressing.ends(index)
            self.addLink(
                link.a,
                link.b,
                port1=number(near.name),
                port2=number(far.name),
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


def number(interface: str) -> int:
    """Return an interface's number at its host or bridge, which its name ends with."""
    return int(interface.rpartition("-eth")[2])
