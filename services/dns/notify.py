"""NOTIFY: a primary tells its secondaries that a zone has changed (RFC 1996).

Theory of operation. A NOTIFY is a question for the zone's SOA with an opcode of its own; the answer section
may hold the new SOA, as a hint. Whoever gets it repeats the question as the reply, and then asks for the SOA
in the ordinary way. So a forged NOTIFY does no harm beyond that question.

`Notifier` keeps who has to be told what: each secondary gets a NOTIFY at once, and again with growing
pauses until it replies or has been told often enough; then it will learn at its next refresh. The clock is
passed in; nothing here opens a socket.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from services.dns import message, names, transfer
from services.dns.message import Malformed
from services.dns.names import Name
from services.dns.presentation import read_name
from services.dns.transfer import Peer
from services.dns.zone import Zone

OPCODE = 4
FIRST_PAUSE_S = 1.0
TRIES = 6

_FLAGS = OPCODE << 11 | message.AA
_HEADER = struct.Struct("!6H")
_TYPE_CLASS = struct.Struct("!HH")
_RR = struct.Struct("!HHIH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """A NOTIFY that came: `serial` if it tells one, `question` as it stands in the message."""

    ident: int
    origin: Name
    serial: int | None
    question: bytes


def write(ident: int, zone: Zone) -> bytes:
    """Return the NOTIFY for a zone, its SOA with it. Source: RFC 1996 §4.5, §3.7."""
    counts, body, _ = message.encode(zone.origin, answer=(zone.soa,))
    question = names.to_wire(zone.origin)
    header = _HEADER.pack(ident, _FLAGS, 1, counts[0], 0, 0)
    return header + question + _TYPE_CLASS.pack(names.SOA, names.IN) + body


def read(packet: bytes) -> Notify:
    """Return the NOTIFY that a packet with that opcode holds. Raises: Malformed."""
    try:
        ident, _, questions, answers, _, _ = _HEADER.unpack_from(packet)
        origin, at = read_name(packet, 12)
        rtype, rclass = _TYPE_CLASS.unpack_from(packet, at)
        if (questions, rtype, rclass) != (1, names.SOA, names.IN):
            raise Malformed("a NOTIFY has one question, for an SOA")
        at += _TYPE_CLASS.size
        question = packet[12:at]
        serial = _hint(packet, at, names.lower(origin)) if answers else None
    except struct.error:
        raise Malformed("the message ends too early") from None
    return Notify(ident=ident, origin=names.lower(origin), serial=serial, question=question)


def _hint(packet: bytes, at: int, origin: Name) -> int | None:
    owner, at = read_name(packet, at)
    rtype = _TYPE_CLASS.unpack_from(packet, at)[0]
    if rtype != names.SOA or names.lower(owner) != origin:
        return None
    return transfer.serial_at(packet, at + _RR.size)


def reply(notify: Notify, rcode: int) -> bytes:
    """Return the reply to a NOTIFY. Source: RFC 1996 §4.7."""
    header = _HEADER.pack(notify.ident, message.QR | _FLAGS | rcode, 1, 0, 0, 0)
    return header + notify.question


def reply_code(packet: bytes, ident: int) -> int | None:
    """Return the code of the reply to the NOTIFY of that id; None if the packet is no such reply."""
    if len(packet) < 12:
        return None
    found, flags = struct.unpack_from("!HH", packet)
    if found != ident or not flags & message.QR or (flags >> 11) & 0xF != OPCODE:
        return None
    return int(flags & 0xF)


@dataclass(slots=True)
class _Due:
    ident: int
    zone: Zone
    at: float
    tries: int = 0


class Notifier:
    """Who has yet to be told of which change."""

    def __init__(self, rng: random.Random) -> None:
        """`rng` gives the ids."""
        self._rng = rng
        self._waiting: dict[tuple[Name, Peer], _Due] = {}

    def changed(self, zone: Zone, secondaries: Iterable[Peer], now: float) -> None:
        """Note that these secondaries are to be told of the zone; an older change is told no more."""
        for peer in secondaries:
            self._waiting[zone.origin, peer] = _Due(self._rng.getrandbits(16), zone, now)

    def due(self, now: float) -> list[tuple[Peer, bytes]]:
        """Return what is to be sent now, and to whom; those told often enough are given up."""
        sending: list[tuple[Peer, bytes]] = []
        for key, due in list(self._waiting.items()):
            if due.at > now:
                continue
            if due.tries == TRIES:
                del self._waiting[key]
                continue
            sending.append((key[1], write(due.ident, due.zone)))
            due.at = now + FIRST_PAUSE_S * 2**due.tries
            due.tries += 1
        return sending

    def next_due(self) -> float | None:
        """Return when there will be something to do, or None."""
        return min((due.at for due in self._waiting.values()), default=None)

    def heard(self, packet: bytes, address: str) -> tuple[Name, int] | None:
        """Take what came from an address; return the zone and the code if a secondary has replied."""
        for (origin, secondary), due in self._waiting.items():
            if secondary.address == address and (rcode := reply_code(packet, due.ident)) is not None:
                del self._waiting[origin, secondary]
                return origin, rcode
        return None
