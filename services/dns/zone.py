"""Zones: the part of the name tree that one set of servers answers for.

Theory of operation. A zone holds every name from its apex down to the cuts where others take over.
A name exists if it owns records or if a name below it does (an empty non-terminal, RFC 4592 §2.2), so
both kinds get a node. Records below a cut are there too: they are glue, and `answers` knows that they
are not the zone's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import dnslib

from services.dns import master, names
from services.dns.master import Record
from services.dns.names import Name
from services.dns.nodes import Nodes
from services.dns.records import RRset, octets
from services.errors import ConfigError

_NAMES = (dnslib.CNAME, dnslib.MX, dnslib.SRV)  # what has names in it, whose case does not matter


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """One zone: its apex, its SOA, and for each name that exists the RRsets by type.

    One that is not `served` is a secondary's that has expired or never arrived: whoever asks gets SERVFAIL.
    """

    origin: Name
    soa: RRset
    nodes: Mapping[Name, Mapping[int, RRset]]
    served: bool = True

    @property
    def serial(self) -> int:
        """The serial number of its SOA."""
        return int(self.soa.rdatas[0].times[0])  # type: ignore[attr-defined]  # `build` lets no other data be


def withheld(origin: Name) -> Zone:
    """Return a zone that is configured, but of which there is no copy that may be served."""
    soa = RRset(owner=origin, rtype=names.SOA, ttl=0, rdatas=())
    return Zone(origin=origin, soa=soa, nodes=Nodes((), origin), served=False)


class Zones:
    """The zones that one server holds; a name belongs to the most specific of them."""

    def __init__(self, zones: Iterable[Zone]) -> None:
        self._by_origin = {zone.origin: zone for zone in zones}

    def __len__(self) -> int:
        return len(self._by_origin)

    def __iter__(self) -> Iterator[Zone]:
        return iter(self._by_origin.values())

    def holding(self, name: Name, rtype: int) -> Zone | None:
        """Return the zone that answers for `name`, or None if none here does.

        A DS record belongs to the parent's side of a cut (RFC 4035 §3.1.4.1), so the parent zone is
        preferred for it where it is held.
        """
        found = self._closest(name)
        if found is not None and rtype == names.DS and name == found.origin != names.ROOT:
            return self._closest(name[1:]) or found
        return found

    def _closest(self, name: Name) -> Zone | None:
        for start in range(len(name) + 1):
            zone = self._by_origin.get(name[start:])
            if zone is not None:
                return zone
        return None


def load(path: Path, origin: Name | None = None) -> Zone:
    """Return the zone of a master file.

    Without `origin` the apex is where the SOA record stands, and relative names before any $ORIGIN are
    completed with the file's stem: `example.org.zone` needs no $ORIGIN.
    Raises: ConfigError: names the file and, where there is one, the line.
    """
    try:
        start = origin if origin is not None else names.lower(names.from_text(path.stem))
    except names.BadName as error:
        raise ConfigError(f"{path}: {error}") from error
    zone = build(master.read(path, start), source=str(path))
    if origin is not None and zone.origin != origin:
        raise ConfigError(
            f"{path}: holds {names.to_text(zone.origin)}, but is configured for {names.to_text(origin)}"
        )
    return zone


def build(records: Iterable[Record], *, source: str) -> Zone:
    """Return the zone that the records make; `source` is what errors call it.

    Raises: ConfigError: no SOA or several, no NS at the apex, records outside the zone, or a CNAME beside
    other data.
    """
    records = list(records)
    soas = [record for record in records if record.rtype == names.SOA]
    if len(soas) != 1:
        where = f"{soas[1].source or source}:{soas[1].line}" if soas else source
        raise ConfigError(f"{where}: a zone has exactly one SOA record, not {len(soas)}")
    origin = soas[0].owner
    for record in records:
        if not names.is_below(record.owner, origin):
            _refuse(source, record, f"lies outside the zone {names.to_text(origin)}")

    nodes = Nodes(rrsets(records), origin)
    if names.NS not in nodes[origin]:
        raise ConfigError(f"{source}: the apex {names.to_text(origin)} has no NS record")
    for record in records:
        if record.rtype == names.CNAME:
            _check_alias(nodes[record.owner], record, source)
    _check_redirections(records, nodes, origin, source)
    return Zone(origin=origin, soa=nodes[origin][names.SOA], nodes=nodes)


def rrsets(records: Iterable[Record]) -> list[RRset]:
    """Return the records grouped by name and type; differing TTLs become the lowest (RFC 2181 §5.2)."""
    grouped: dict[tuple[Name, int], list[Record]] = {}
    for record in records:
        grouped.setdefault((record.owner, record.rtype), []).append(record)
    return [
        RRset(
            owner=owner,
            rtype=rtype,
            ttl=min(record.ttl for record in group),
            rdatas=_distinct(record.rdata for record in group),
        )
        for (owner, rtype), group in grouped.items()
    ]


def _distinct(rdatas: Iterable[dnslib.RD]) -> tuple[dnslib.RD, ...]:
    """Return the data without repetitions: as octets, names in any case."""
    found: dict[tuple[type[dnslib.RD], bytes], dnslib.RD] = {}
    for rdata in rdatas:
        data = octets(rdata)
        found.setdefault((type(rdata), data.lower() if isinstance(rdata, _NAMES) else data), rdata)
    return tuple(found.values())


def _check_alias(node: Mapping[int, RRset], record: Record, source: str) -> None:
    """RFC 2181 §10.1: if a CNAME record is present at a node, no other data should be present."""
    if len(node) > 1:
        others = ", ".join(names.type_text(rtype) for rtype in node if rtype != names.CNAME)
        _refuse(source, record, f"is an alias and has {others} too")
    if len(node[names.CNAME].rdatas) > 1:
        _refuse(source, record, "is an alias for several names")


def _check_redirections(
    records: list[Record], nodes: Mapping[Name, Mapping[int, RRset]], origin: Name, source: str
) -> None:
    """RFC 6672 §2.4: one DNAME at a name, and nothing below it."""
    owners = {record.owner for record in records if record.rtype == names.DNAME}
    for record in records if owners else ():
        above = (record.owner[start:] for start in range(1, len(record.owner) - len(origin) + 1))
        if not owners.isdisjoint(above):
            _refuse(source, record, "lies below a DNAME")
        if record.rtype == names.DNAME and len(nodes[record.owner][names.DNAME].rdatas) > 1:
            _refuse(source, record, "redirects to several names")


def _refuse(source: str, record: Record, why: str) -> None:
    raise ConfigError(f"{record.source or source}:{record.line}: {names.to_text(record.owner)} {why}")
