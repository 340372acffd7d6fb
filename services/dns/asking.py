"""One question to one server: the message to send, and which replies are its own.

Theory of operation. A reply is believed if it comes from the address that was asked, to the port that
asked, with the id of the query, its question, and the question's letters in the same case (0x20): an
attacker who cannot see the query has to guess all of these (RFC 5452). The edge takes care of addresses
and ports, `judge` of the rest; what fails is dropped, and the right one is waited for. If all that came was
one with the letters in another case, the server need not be under attack, it may be one that keeps no case:
it is asked again over TCP, where nobody can guess.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum

from services.dns import message, names
from services.dns.names import Name

_KIND = 0xF8  # in a header's third octet: QR and the opcode
_RESPONSE = 0x80  # to a QUERY


class Failure(Enum):
    """Why a server gave no reply that counts."""

    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"  # ICMP, or the connection was refused
    SPELLING = "spelling"  # the right question in other letters
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A query to send to `address` by UDP or, if `stream`, by TCP.

    `source_port` 0 leaves the choice to the kernel.
    """

    address: str
    packet: bytes
    stream: bool
    timeout_s: float
    source_port: int = 0

    def judge(self, reply: bytes) -> bool | Failure:
        """Tell whether `reply` answers this query; SPELLING if only the letters' case differs."""
        end = self._end_of_question()
        if len(reply) < 12 or reply[:2] != self.packet[:2] or reply[2] & _KIND != _RESPONSE:
            return False
        if reply[4:6] == b"\0\0":
            # Servers that refuse to read a query may leave out its question.
            return reply[3] & 0xF not in (names.NOERROR, names.NXDOMAIN)
        if reply[4:6] != b"\0\1":
            return False
        if reply[12:end] == self.packet[12:end]:
            return True
        if reply[12:end].lower() != self.packet[12:end].lower():
            return False
        return self.stream or Failure.SPELLING

    def unspelled(self, reply: bytes) -> bytes:
        """Return the reply with its question in lower case, and so all that points into it."""
        end = self._end_of_question() - 4
        if reply[12:end] != self.packet[12:end]:
            return reply
        return reply[:12] + reply[12:end].lower() + reply[end:]

    def _end_of_question(self) -> int:
        at = 12
        while length := self.packet[at]:
            at += length + 1
        return at + 5


def ask(
    address: str,
    name: Name,
    rtype: int,
    *,
    rng: random.Random,
    timeout_s: float,
    recurse: bool,
    stream: bool = False,
    edns: bool = True,
    spell: bool = False,
) -> Ask:
    """Return a query with a random id and source port; if `spell`, with letters of random case too."""
    ident, port = rng.randrange(65536), rng.randrange(1024, 65536)
    spelled = tuple(_spell(label, rng) for label in name) if spell else name
    packet = message.write_query(ident, spelled, rtype, recurse=recurse, edns=edns)
    return Ask(address=address, packet=packet, stream=stream, timeout_s=timeout_s, source_port=port)


def _spell(label: bytes, rng: random.Random) -> bytes:
    return bytes(octet ^ 0x20 if _is_letter(octet) and rng.getrandbits(1) else octet for octet in label)


def _is_letter(octet: int) -> bool:
    return 0x41 <= octet & 0xDF <= 0x5A
