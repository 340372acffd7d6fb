"""A plan realised by Mininet: hosts, bridges, routers and links in this process' namespaces.

Theory of operation. Mininet's object model is kept (topologies.nodes), so that everything written for it
works on a lab: `network.mininet["core1"].cmd("ip route")`. What it does one process at a time is done in
batches:

    Mininet                                     here
    a shell in each host, at once               namespaces held by descriptors; a shell on demand
    `ip link add`, moved into the host          one netlink message makes a pair with both ends in place
    `ifconfig` and `ip route` through shells    netlink messages, a batch for each host
    a run of `ovs-vsctl` for each setting       one transaction for all switches (plan.switch: openvswitch)

It must run inside a sandbox (mailbed.sandbox): bridges lie in the process' own network namespace.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Collection, Mapping
from functools import partial

from topologies import features, filtering, namespaces, netlink, openvswitch, shaping
from topologies.addressing import Interface, Port, assign
from topologies.errors import NetworkError
from topologies.namespaces import Namespace
from topologies.netlink import INDEX_BASE, RouteSocket, VethEnd
from topologies.nodes import LabBridge, LabMininet, LabOpenVSwitch, PlanTopo, number
from topologies.plan import Plan
from topologies.routing import Route, routes

_LOOPBACK = 1
_BRIDGE_INDEX = 1_000
_PORT_INDEX = 10_000


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


def _index_of(interface: str) -> int:
    return INDEX_BASE + number(interface)


def _index(end: Interface | Port) -> int:
    """An interface's index: by its number in its host's namespace, by its link among the switches."""
    return _index_of(end.name) if isinstance(end, Interface) else _PORT_INDEX + end.link
