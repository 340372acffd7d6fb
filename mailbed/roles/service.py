"""What an implementation gets to see, and what it has to return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mailbed.dkim import DkimKey
from topologies import hierarchy, zonedata
from topologies.addressing import Addressing, assign
from topologies.plan import ROOT, Domain, Host, Plan


@dataclass(frozen=True, kw_only=True)
class World:
    """A plan and what follows from it, for one run in the directory `run`.

    `keys` are the DKIM keys of its domains; a domain without one neither signs nor publishes any.
    """

    plan: Plan
    seed: int
    run: Path
    time_scale: float = 1.0
    keys: Mapping[str, DkimKey] = field(default_factory=dict)

    @cached_property
    def addressing(self) -> Addressing:
        return assign(self.plan)

    @cached_property
    def addresses(self) -> dict[str, str]:
        """Each host's main address."""
        return {host: str(address) for host, address in self.addressing.primary().items()}

    @cached_property
    def zones(self) -> dict[str, str]:
        """The master file of each zone, by origin."""
        keys = {domain: key.record for domain, key in self.keys.items()}
        return zonedata.zone_files(self.plan, self.addressing, keys)

    @cached_property
    def hints(self) -> str:
        """The root hints file."""
        return zonedata.root_hints(self.plan, self.addressing)

    @cached_property
    def has_real_roots(self) -> bool:
        """Whether the root servers that the world knows are all there, at the addresses they have there."""
        here = {(server.fqdn, self.addresses[server.name]) for server in self.plan.servers_of(ROOT)}
        return all((f"{letter}.root-servers.net", at) in here for letter, at in hierarchy.ROOTS.items())

    @cached_property
    def domains(self) -> dict[str, Domain]:
        """The mail domains, by name."""
        return {domain.name: domain for domain in self.plan.domains}

    @cached_property
    def taken(self) -> dict[str, list[Domain]]:
        """For each host, the domains whose mail it takes as an MX."""
        found: dict[str, list[Domain]] = {}
        for domain in (domain for domain in self.plan.domains if not domain.transit):
            for host in dict.fromkeys(exchanger.host for exchanger in domain.exchangers):
                found.setdefault(host, []).append(domain)
        return found

    def directory(self, host: str) -> Path:
        """Return where a host's files lie."""
        return self.run / "hosts" / host

    @property
    def tls(self) -> Path:
        """Where certificates and the key log lie."""
        return self.run / "tls"

    def nameserver(self, host: Host) -> str | None:
        """Return the address of the resolver that a host asks, if it has one."""
        return self.addresses[host.resolver] if host.resolver else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What runs on a host for one role.

    `files` maps a path below the host's directory to its text, and so does `secrets`, which only their owner
    may read. `module` has `load(path)` and `serve(config, notices)`; it is given the file `config`. Without a
    module nothing runs by itself: the files are there for when they are needed (a mail client). `certificate`
    asks for one in the host's name.
    """

    host: str
    role: str
    module: str | None
    config: str
    files: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    certificate: bool = False

    @property
    def key(self) -> str:
        """Its name within the lab: HOST/ROLE."""
        return f"{self.host}/{self.role}"

    @property
    def log(self) -> str:
        """Its log, below the host's directory."""
        return f"{self.role}.log"
