"""Ours and NSD, side by side on the same zone files: what they answer is the same, whatever is asked.

Every name and type of the zones is asked for, and names below, beside and above; with and without EDNS, by
UDP and TCP. Of a reply all is compared: codes, flags, EDNS, and the sections, the answer's in its order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import dns.exception
import dns.message
import dns.name
import dns.rdatatype
import pytest

from mailbed.roles.service import World
from services.dns import names, zone
from services.dns.records import targets
from tests.lab import beside
from tests.lab.beside import Servers
from topologies import catalog
from topologies.plan import NameServer, Plan

ZONES = Path(__file__).parent / "zones"
TYPES = tuple(map(dns.rdatatype.from_text, ("A", "NS", "SOA", "MX", "CNAME", "ANY", "DS", "TYPE65280")))
"""What every name is asked for, beside the types that it has."""

FEW_TYPES = tuple(map(dns.rdatatype.from_text, ("A", "NS", "DS", "ANY")))
"""What names around those of the zone are asked for."""

PAYLOADS = (512, 1232)


def is_glue_that_is_missing(ours: str, nsd: str) -> bool:
    """RFC 9471 §3.1: a referral without all the glue is truncated. NSD 4.6 is older than this rule."""
    first, _, rest = ours.partition("\n")
    return f"{first.replace(' TC', '')}\n{rest}" == nsd and " AA" not in first and "\nauthority " in ours


DIFFERENCES: tuple[Callable[[str, str], bool], ...] = (is_glue_that_is_missing,)
"""Where NSD may differ, and the RFC that says that ours is right."""


def big() -> str:
    """A zone with RRsets of all sizes: what fits into a datagram, and what does not by a few octets."""
    lines = ["$ORIGIN big.test.", "$TTL 60", "@ SOA ns1 h 1 2 3 4 5"]
    lines += [f"@ NS ns{i}\nns{i} A 198.18.0.{i}\nns{i} AAAA 2001:db8::{i}" for i in range(1, 5)]
    for count in (20, *range(24, 32), *range(70, 78), 300):
        lines += [f"a{count} A 198.18.{i // 200 + 1}.{i % 200}" for i in range(count)]
    for count in (1, 3, 10, 16, 19, 20, 40):
        lines += [f"m{count} MX {i} mx{i}" for i in range(count)]
        lines += [f"u{count} MX {i} h{i % 5}" for i in range(count)]
        lines += [f"d{count} NS ns{i}.d{count}\nns{i}.d{count} A 198.18.5.{i}" for i in range(count)]
        lines += [f"e{count} NS ns{i}.d{count}" for i in range(count)]
        lines += [f"s{count} NS ns{i}.s{count}\nns{i}.s{count} AAAA 2001:db8::{i:x}" for i in range(count)]
    lines += [f"mx{i} A 198.18.6.{i}\nmx{i} AAAA 2001:db8:1::{i:x}" for i in range(40)]
    lines += [f"h{i} A 198.18.{i + 21}.{j}" for i in range(5) for j in range(9 + i)]
    lines += [f"h{i} AAAA 2001:db8::{i}:{j}" for i in range(3) for j in range(3)]
    lines += [f"t{count} TXT {'x' * 200}{i}" for count in (2, 6, 200) for i in range(count)]
    lines += ["c1 CNAME a28", "c2 CNAME a300"]
    lines += [f"any A 198.18.9.{i}" for i in range(20)]
    lines += [f"any TXT {'y' * 200}{i}" for i in range(3)]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def hand_written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Servers, Mapping[str, Path]]]:
    """Both servers with the zones that were made to be difficult."""
    directory = tmp_path_factory.mktemp("nsd")
    (directory / "big.test.zone").write_text(big())
    zones = {path.stem: path for path in (*ZONES.glob("*.zone"), directory / "big.test.zone")}
    with beside.both(zones, directory) as servers:
        yield servers, zones


@pytest.mark.parametrize("origin", ["nasty.test", "sister.test", "child.nasty.test"])
def test_difficult_zones(hand_written: tuple[Servers, Mapping[str, Path]], origin: str) -> None:
    """Wildcards, aliases across zones, delegations with and without glue, odd names and types."""
    servers, zones = hand_written
    compare(servers, questions([zones[origin]]))


def test_large_answers(hand_written: tuple[Servers, Mapping[str, Path]]) -> None:
    """Whatever the size that the client takes, what is left out and what is truncated is the same."""
    servers, zones = hand_written
    asked = []
    for name, rtypes in _names([zones["big.test"]]).items():
        for rtype in {*rtypes, names.ANY} if rtypes else {names.A}:
            asked += [query(name, rtype)] + [query(name, rtype, payload=payload) for payload in PAYLOADS]
    compare(servers, asked)


def _zone_sets(plan: Plan) -> list[tuple[str, ...]]:
    """The zones of each kind of name server of a plan."""
    roles = [role for host in plan.hosts for role in host.roles if isinstance(role, NameServer)]
    return sorted({role.zones for role in roles})


TWO_COMPANIES = catalog.load("two-companies")


@pytest.mark.parametrize("origins", _zone_sets(TWO_COMPANIES), ids=lambda origins: "+".join(origins)[:60])
def test_built_in_zones(origins: tuple[str, ...], tmp_path: Path) -> None:
    """The zones of `two-companies`, as its name servers have them."""
    world = World(plan=TWO_COMPANIES, seed=1, run=tmp_path)
    paths = {}
    for number, origin in enumerate(origins):
        paths[origin] = tmp_path / f"{number}.zone"
        paths[origin].write_text(world.zones[origin])
    with beside.both(paths, tmp_path) as servers:
        compare(servers, questions(paths.values()))


def questions(paths: Iterable[Path]) -> list[bytes]:
    """Return queries for all names of the zones and those around them, with and without EDNS."""
    asked = []
    for name, rtypes in _names(paths).items():
        for rtype in {*rtypes, *TYPES} if rtypes else FEW_TYPES:
            asked += [query(name, rtype), query(name, rtype, payload=1232), query(name, rtype, do=True)]
    return asked


def _names(paths: Iterable[Path]) -> dict[dns.name.Name, set[int]]:
    """Return each name with its types; around it, other names with none."""
    found: dict[dns.name.Name, set[int]] = {dns.name.root: set()}
    for path in paths:
        for labels, node in zone.load(path).nodes.items():
            name = dns.name.Name((*labels, b""))
            found.setdefault(name, set()).update(node)
            hosts = [host for rrset in node.values() for host in targets(rrset)]
            for other in (*_around(name), *(dns.name.Name((*host, b"")) for host in hosts)):
                found.setdefault(other, set())
    return found


def _around(name: dns.name.Name) -> Iterator[dns.name.Name]:
    """Yield names above, below and beside a name."""
    above = name
    while above != dns.name.root:
        above = above.parent()
        yield above
    for below in ("x", "a.b", "*"):
        try:
            yield dns.name.from_text(below, name)
        except dns.name.NameTooLong:
            continue
    if name != dns.name.root:
        yield dns.name.Name((b"zz", *name.labels[1:]))


def query(name: dns.name.Name, rtype: str | int, *, payload: int = 0, do: bool = False) -> bytes:
    """Return a query; with a payload size or the DO bit it has EDNS."""
    edns = 0 if payload or do else -1
    asked = dns.message.make_query(
        name, dns.rdatatype.RdataType.make(rtype), use_edns=edns, payload=payload or 1232, want_dnssec=do
    )
    return asked.to_wire()


def compare(servers: Servers, asked: list[bytes]) -> None:
    """Ask both by UDP and TCP. Fails with what each said, if that differs and no RFC says why."""
    assert len(asked) > 40
    wrong = []
    for stream in (False, True):
        replies = zip(
            asked,
            beside.ask(servers.ours, asked, stream=stream),
            beside.ask(servers.nsd, asked, stream=stream),
            strict=True,
        )
        for packet, ours, nsd in replies:
            if ours == nsd:
                continue
            told = beside.told(ours), beside.told(nsd)
            if told[0] != told[1] and not any(is_right(*told) for is_right in DIFFERENCES):
                question = beside.told(packet).splitlines()[-1]
                wrong.append(f"{question}\n-- ours:\n{told[0]}\n-- NSD:\n{told[1]}")
    assert not wrong, f"{len(wrong)} answers differ; the first ones:\n\n" + "\n\n".join(wrong[:5])
