"""What a server says of itself: questions of class CH, from before there was NSID (RFC 4892).

`dig CH TXT id.server @198.41.0.4` tells which of the 13 it is, as `dig +nsid` does.
"""

from __future__ import annotations

import struct

from services.dns import names
from services.dns.message import Encoded
from services.dns.names import Name

VERSION = "Mailbed"
_NAMES = ((b"id", b"server"), (b"hostname", b"bind"))
_VERSIONS = ((b"version", b"server"), (b"version", b"bind"))
_RR = struct.Struct("!HHHIH")
_AT_QUESTION = 0xC00C


def answer(name: Name, rtype: int, nsid: str) -> Encoded | None:
    """Return the answer to a question of class CH, or None if it is refused.

    `nsid` is what the server calls itself, if it does.
    """
    if rtype not in (names.TXT, names.ANY):
        return None
    if name in _VERSIONS:
        return _text(VERSION)
    return _text(nsid) if name in _NAMES and nsid else None


def _text(text: str) -> Encoded:
    octets = text.encode()
    data = bytes([len(octets)]) + octets
    return Encoded((1, 0, 0), _RR.pack(_AT_QUESTION, names.TXT, names.CH, 0, len(data)) + data)
