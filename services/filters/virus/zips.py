"""What a zip archive holds, whoever says so.

Theory of operation. A member is described twice: by the local header in front of its data, and by the
directory at the end. Some programs believe the one, some the other; so each reading counts:

    every local header, from one to the next, whether there is a directory or not
    every place that the directory names, also in the middle of another member
    where the two differ in what the data are (encrypted, packed how), both

The directory counts from where the archive begins, which may be behind a program that unpacks it: where the
directory is and where it says that it is tell how far.
"""

from __future__ import annotations

import bz2
from collections.abc import Iterator
from dataclasses import dataclass

from services.filters.virus.limits import Budget
from services.filters.virus.packed import Member, Zlib, expand

_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_LOCAL_LENGTH, _CENTRAL_LENGTH = 30, 46
_END_WITHIN = 66_000
_ENCRYPTED, _SIZE_FOLLOWS = 0x1, 0x8
_DEFLATED, _BZIP2 = 8, 12
_NEWEST, _LAST_METHOD = 63, 99
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claims:
    """What a header says of a member's data; `size` as packed."""

    encrypted: bool
    follows: bool
    method: int
    size: int


def is_zip(data: bytes) -> bool:
    """Return whether it begins as an archive does, or ends as one."""
    return data.startswith((_LOCAL, b"PK00" + _LOCAL)) or _END in data[-_END_WITHIN:]


def members(data: bytes, budget: Budget) -> Iterator[Member]:
    """Yield all members. Raises: LimitExceeded."""
    listed = _listed(data)
    at = data.find(_LOCAL)
    while at >= 0:
        budget.tick()
        end = at + len(_LOCAL)
        for member, behind in _at(data, at, listed.pop(at, set()), budget):
            end = max(end, behind)
            yield member
        at = data.find(_LOCAL, end)
    for at in sorted(listed):
        budget.tick()
        for member, _ in _at(data, at, listed[at], budget):
            yield member


def _listed(data: bytes) -> dict[int, set[_Claims]]:
    """What the directory says of each place."""
    end = data.rfind(_END)
    size, offset = _number(data, end + 12, 4), _number(data, end + 16, 4)
    shift = max(end - size - offset, 0) if end >= 0 else 0
    found: dict[int, set[_Claims]] = {}
    at = data.find(_CENTRAL)
    while 0 <= at <= len(data) - _CENTRAL_LENGTH:
        place = _number(data, at + 42, 4)
        for start in (place, place + shift):
            if data.startswith(_LOCAL, start):
                found.setdefault(start, set()).add(_claims(data, at + 8))
        at = data.find(_CENTRAL, at + _CENTRAL_LENGTH)
    return found


def _claims(data: bytes, at: int) -> _Claims:
    """Flags, method and size as they stand in both headers, from the flags on."""
    flags = _number(data, at, 2)
    return _Claims(
        encrypted=bool(flags & _ENCRYPTED),
        follows=bool(flags & _SIZE_FOLLOWS),
        method=_number(data, at + 2, 2),
        size=_number(data, at + 12, 4),
    )


def _number(data: bytes, at: int, length: int) -> int:
    return int.from_bytes(data[at : at + length], "little")


def _at(data: bytes, at: int, listed: set[_Claims], budget: Budget) -> Iterator[tuple[Member, int]]:
    """Yield the member of a local header, and where its data end, for each way to read them."""
    local = _claims(data, at + 6)
    if at + _LOCAL_LENGTH > len(data) or _number(data, at + 4, 1) > _NEWEST or local.method > _LAST_METHOD:
        # Four octets that are there by chance.
        return
    length, extra = _number(data, at + 26, 2), _number(data, at + 28, 2)
    start = at + _LOCAL_LENGTH + length + extra
    name = data[at + _LOCAL_LENGTH : at + _LOCAL_LENGTH + length].decode("utf-8", "replace")[:_LONGEST_NAME]
    yield _member(data, start, name, local, budget)
    seen = {(local.encrypted, local.method)}
    for claims in sorted(listed, key=lambda claims: (claims.encrypted, claims.method)):
        if (claims.encrypted, claims.method) not in seen:
            seen.add((claims.encrypted, claims.method))
            # What follows is found from the end that the local header gives.
            yield _member(data, start, name, claims, budget)[0], 0


def _member(data: bytes, start: int, name: str, claims: _Claims, budget: Budget) -> tuple[Member, int]:
    if claims.encrypted:
        return Member(name=name, data=b"", encrypted=True), start + claims.size
    if claims.method in (_DEFLATED, _BZIP2):
        stream = Zlib(-15) if claims.method == _DEFLATED else bz2.BZ2Decompressor()
        found, end = expand(data, start, stream, budget)
        # The end of a broken one is not known: then the next may begin anywhere.
        return Member(name=name, data=found), end if stream.eof else start
    size = claims.size
    if claims.follows and not size:
        end = data.find(b"PK\x07\x08", start)
        size = (end if end >= 0 else len(data)) - start
    found = data[start : start + size]
    budget.spend(len(found), expanded=len(found), packed=len(found))
    return Member(name=name, data=found), start + len(found)
