"""What archives hold: zip, tar, and what gzip, bzip2 and xz have packed, read by hand.

Theory of operation. The standard library's readers believe what an archive says of itself: its directory,
sizes, names. Here only the data count. Names are for the report alone (`../../etc/passwd` is one like any
other: nothing is ever written), and sizes are what comes out.

    zip      `zips`
    tar      from header to header, in blocks of 512 octets
    packed   gzip, bzip2, xz: `packed`

What is not read here (rar, 7z, other methods of zip) is only looked at as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from services.filters.virus import zips
from services.filters.virus.limits import Budget
from services.filters.virus.packed import Member, bzip2, gzip, xz

_BLOCK = 512
_TAR_DATA = b"\x00" + b"01234567SDg"  # all kinds whose data may be somebody's file

Opener = Callable[[bytes, Budget], Iterator[Member]]


def opener(data: bytes) -> tuple[str, Opener] | None:
    """Return the format that data have, by what they hold, and what opens it; None if it is no archive."""
    if data.startswith(b"\x1f\x8b"):
        return "gzip", gzip
    if data.startswith(b"BZh") and data[4:10] in (b"\x31\x41\x59\x26\x53\x59", b"\x17\x72\x45\x38\x50\x90"):
        return "bzip2", bzip2
    if data.startswith(b"\xfd7zXZ\x00"):
        return "xz", xz
    if data[257:262] == b"ustar":
        return "tar", _tar
    if zips.is_zip(data):
        return "zip", zips.members
    return None


def _tar(data: bytes, budget: Budget) -> Iterator[Member]:
    at = 0
    while at + _BLOCK <= len(data):
        header = data[at : at + _BLOCK]
        budget.tick()
        size = _tar_size(header[124:136])
        at += _BLOCK
        if header[156:157] in _TAR_DATA and size:
            name = header[:100].rstrip(b"\0").decode("utf-8", "replace")
            found = data[at : at + size]
            budget.spend(len(found), expanded=len(found), packed=len(found))
            yield Member(name=name, data=found)
        at += -(-size // _BLOCK) * _BLOCK


def _tar_size(field: bytes) -> int:
    """A size in octal digits, or in binary with the first bit set; 0 for one that makes no sense."""
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    try:
        return max(int(field.strip(b" \0") or b"0", 8), 0)
    except ValueError:
        return 0
