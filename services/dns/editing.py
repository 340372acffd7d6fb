"""Changes to a zone's master file: what people ask for, made to its text.

Theory of operation. The text is changed where it has to be and nowhere else: a line is added at the end,
lines are taken out, the serial is raised; so comments and layout stay. Master files can be written in many
ways, though (an entry on several lines, an owner left out), so what came out is read again: unless it
holds exactly the records that were wanted, all of it is written anew, a line each. So is a text that
includes files.

The result is a zone without mistakes, or there is none. Nothing here writes a file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import dnslib

from services.dns import master, names, serials, zone
from services.dns.master import Record
from services.dns.names import Name
from services.dns.presentation import absolute, master_data
from services.dns.records import negative_ttl, octets
from services.dns.zone import Zone
from services.errors import ConfigError

_SERIAL = re.compile(
    r"(\bSOA\b(?:\s|\(|;[^\n]*\n)+[^\s()]+(?:\s|\(|;[^\n]*\n)+[^\s()]+(?:\s|\(|;[^\n]*\n)+)(\d+)",
    re.IGNORECASE,
)
_DEFAULT_TTL = re.compile(r"^\$TTL\s+(\S+)", re.MULTILINE | re.IGNORECASE)
_INCLUDE = re.compile(r"^\$INCLUDE\b", re.MULTILINE | re.IGNORECASE)
_LINE = re.compile(r":\d+: ")

_Key = tuple[Name, int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A changed zone: its text, its serial, and for how long (s) resolvers may remember what was before.

    If nothing was to be changed it is as it was.
    """

    text: str
    serial: int
    changed: bool
    remembered_s: int


def revise(
    text: str,
    origin: Name,
    *,
    directory: Path = Path(),
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    put: Sequence[str] = (),
) -> Revision:
    """Return the zone with records added, removed, or `put` in place of those of the same name and type.

    Each is a line of a master file; names without a final dot are relative to `origin`, and the TTL may be
    left out. To remove, `NAME` or `NAME TYPE` are enough. Files that the text includes are in `directory`.
    Raises: ConfigError: a line is wrong, is there already or is not there, or the zone would be wrong.
    """
    label = f"zone {names.to_text(origin)}"
    old = master.parse(text, origin, source=label, directory=directory)
    kept = list(old)
    for line in remove:
        kept = _without(kept, line, origin, label)
    new = [_given(line, origin, _default_ttl(text, old)) for line in put]
    replaced = {(record.owner, record.rtype) for record in new}
    kept = [record for record in kept if (record.owner, record.rtype) not in replaced]
    for line in add:
        record = _given(line, origin, _default_ttl(text, old))
        if _key(record) in map(_key, (*kept, *new)):
            raise ConfigError(f"{label}: the record is there already: {line}")
        new.append(record)
    try:
        return _revision(text, origin, old, [*kept, *new], directory)
    except ConfigError as error:
        # Lines of a text that nobody has seen help nobody.
        raise ConfigError(_LINE.sub(": ", str(error), count=1)) from error


def supersede(
    old: str, new: str, origin: Name, *, source: str, directory: Path = Path(), included: Path = Path()
) -> Revision:
    """Return the zone of the text `new` in place of `old`, its serial raised if it is not newer by itself.

    Files that `old` includes are in `directory`, those of `new` in `included`; what is in them is
    written out.
    Raises: ConfigError: the new text is wrong; the message names `source` and the line.
    """
    records = master.parse(new, origin, source=source, directory=included)
    found = zone.build(records, source=source)
    if found.origin != origin:
        raise ConfigError(
            f"{source}: holds the zone {names.to_text(found.origin)}, not {names.to_text(origin)}"
        )
    before = master.parse(old, origin, source=f"zone {names.to_text(origin)}", directory=directory)
    if Counter(map(_exact, before)) == Counter(map(_exact, records)):
        return Revision(text=old, serial=found.serial, changed=False, remembered_s=0)
    return _revision(new, origin, before, records, directory)


def _revision(text: str, origin: Name, old: list[Record], wanted: list[Record], directory: Path) -> Revision:
    """Return the zone with the records that are wanted, in a text as near to `text` as can be."""
    label = f"zone {names.to_text(origin)}"
    before = zone.build(old, source=label).serial
    if Counter(map(_exact, old)) == Counter(map(_exact, wanted)):
        return Revision(text=text, serial=before, changed=False, remembered_s=0)
    # The mistakes first: what follows needs an SOA.
    serial = zone.build(wanted, source=label).serial
    if not serials.is_newer(serial, before):
        serial = serials.following(before)
    wanted = [_with_serial(record, serial) for record in wanted]
    changed = "" if _INCLUDE.search(text) else _edited(text, origin, wanted, serial)
    if not _holds(changed, origin, wanted, directory):
        changed = _written(text, origin, wanted)
    found = zone.build(master.parse(changed, origin, source=label, directory=directory), source=label)
    return Revision(
        text=changed,
        serial=serial,
        changed=True,
        remembered_s=_remembered(zone.build(old, source=label), found),
    )


def _edited(text: str, origin: Name, wanted: list[Record], serial: int) -> str:
    """Return the text with as little changed as may be enough."""
    present = master.parse(text, origin, source="")
    missing = Counter(map(_exact, wanted))
    gone: set[int] = set()
    for record in present:
        if missing[_exact(_with_serial(record, serial))]:
            missing[_exact(_with_serial(record, serial))] -= 1
        else:
            gone.add(record.line)
    lines = text.splitlines()
    kept = [line for number, line in enumerate(lines, start=1) if number not in gone]
    kept += [_line(record, _default_ttl(text, present)) for record in wanted if _take(missing, record)]
    changed = "\n".join([*kept, ""])
    return _SERIAL.sub(lambda match: f"{match[1]}{serial}", changed, count=1)


def _take(missing: Counter[tuple[_Key, int]], record: Record) -> bool:
    if not missing[_exact(record)]:
        return False
    missing[_exact(record)] -= 1
    return True


def _holds(text: str, origin: Name, wanted: Iterable[Record], directory: Path) -> bool:
    try:
        found = master.parse(text, origin, source="", directory=directory)
    except ConfigError:
        return False
    return Counter(map(_exact, found)) == Counter(map(_exact, wanted))


def _written(text: str, origin: Name, wanted: list[Record]) -> str:
    """Return a text of its own, a record a line; comments at the top stay."""
    ttl = _default_ttl(text, wanted)
    top = []
    for line in text.splitlines():
        if not line.startswith(";"):
            break
        top.append(line)
    lines = [*top, f"$ORIGIN {absolute(origin)}", f"$TTL {ttl}"]
    ordered = sorted(wanted, key=lambda record: (record.rtype != names.SOA, record.owner != origin))
    return "\n".join([*lines, *(_line(record, ttl) for record in ordered), ""])


def _line(record: Record, ttl: int) -> str:
    data = octets(record.rdata)
    given = "" if record.ttl == ttl else f"{record.ttl} "
    return f"{absolute(record.owner)} {given}{master_data(data, 0, len(data), record.rtype)}"


def _default_ttl(text: str, records: Sequence[Record]) -> int:
    """The TTL of a record that names none, at the end of the file."""
    if _DEFAULT_TTL.search(text) is None:
        return records[-1].ttl if records else 3600
    return master.parse(f"$TTL {_DEFAULT_TTL.findall(text)[-1]}\n. NS .\n", names.ROOT, source="")[0].ttl


def _given(line: str, origin: Name, ttl: int) -> Record:
    """Return the record that a line gives. Raises: ConfigError."""
    where = f"the record {line.strip()!r}"
    try:
        records = master.parse(f"$TTL {ttl}\n{line}\n", origin, source="")
    except ConfigError as error:
        raise ConfigError(f"{where}: {str(error).partition(': ')[2]}") from error
    if len(records) != 1:
        raise ConfigError(f"{where}: one record is needed, such as `www A 198.18.0.1`")
    (record,) = records
    if not names.is_below(record.owner, origin):
        raise ConfigError(f"{where}: {names.to_text(record.owner)} lies outside {names.to_text(origin)}")
    return record


def _without(records: list[Record], line: str, origin: Name, label: str) -> list[Record]:
    """Return the records but those that `NAME`, `NAME TYPE` or a whole record means."""
    words = [word for word in line.split() if word.upper() != "IN"]
    if len(words) > 2:
        key = _key(_given(line, origin, 0))
        left = [record for record in records if _key(record) != key]
    else:
        owner, rtype = _named(words, origin, line)
        left = [
            record
            for record in records
            if record.owner != owner
            or rtype not in (None, record.rtype)
            or (rtype is None and _is_soa(record))
        ]
    if len(left) == len(records):
        raise ConfigError(f"{label}: there is no such record: {line}")
    return left


def _named(words: list[str], origin: Name, line: str) -> tuple[Name, int | None]:
    try:
        owner = origin if words[:1] == ["@"] else names.lower(names.from_text(words[0], origin))
        return owner, names.type_number(words[1]) if len(words) > 1 else None
    except (IndexError, ValueError) as error:
        raise ConfigError(f"the record {line.strip()!r}: {error if words else 'there is no name'}") from error


def _is_soa(record: Record) -> bool:
    return record.rtype == names.SOA


def _key(record: Record) -> _Key:
    """What makes a record the same as another; the names in its data compare without case."""
    data = octets(record.rdata)
    text = master_data(data, 0, len(data), record.rtype)
    return record.owner, record.rtype, text if record.rtype == names.TXT else text.lower()


def _exact(record: Record) -> tuple[_Key, int]:
    return _key(record), record.ttl


def _with_serial(record: Record, serial: int) -> Record:
    rdata = record.rdata
    if not isinstance(rdata, dnslib.SOA):
        return record
    _, refresh, retry, expire, minimum = rdata.times
    times = (serial, refresh, retry, expire, minimum)
    return replace(record, rdata=dnslib.SOA(rdata.mname, rdata.rname, times))


def _remembered(before: Zone, after: Zone) -> int:
    """The longest TTL of what is no more, or that is now where nothing was."""
    old = {(name, rtype): rrset for name, node in before.nodes.items() for rtype, rrset in node.items()}
    new = {(name, rtype): rrset for name, node in after.nodes.items() for rtype, rrset in node.items()}
    longest = 0
    for key in old.keys() | new.keys():
        if key[1] == names.SOA:
            continue
        if key not in old:
            longest = max(longest, negative_ttl(before.soa))
        elif key not in new or old[key] != new[key]:
            longest = max(longest, old[key].ttl)
    return longest
