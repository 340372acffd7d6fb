"""One question to one server: the message to send, and which replies are its own.

Theory of operation. A reply is believed if it comes from the address that was asked, to the port that
asked, with the id of the query, its question, and the question's letters in the same case (0x20): an
attacker who cannot see the query has to guess all of these (RFC 5452). The edge takes care of addresses
and ports, `judge` of the rest; what fails is dropped, and the right one is waited for. If all that came was
one with the letters in another case, the server need not be under attack, it may be one that keeps no case:
it is asked again over TCP, where nobody can guess.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from services.dns import message, names
from services.dns.names import Name
from services.dns.streams import Bits

_KIND = 0xF8  # in a header's third octet: QR and the opcode
_RESPONSE = 0x80  # to a QUERY
_CASE = bytes(0x20 if 0x41 <= octet & 0xDF <= 0x5A else 0 for octet in range(256))
"""By octet: the bit that makes a letter large or small; none for all else, lengths of labels among it."""


class Failure(Enum):
    """Why a server gave no reply that counts."""

    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"  # ICMP, or the connection was refused
    SPELLING = "spelling"  # the right question in other letters
    MALFORMED = "malformed"


class Ask(NamedTuple):
    """A query to send to `address` by UDP or, if `stream`, by TCP.

    `question` is the query's question in the letters in which it is sent.
    """

    address: str
    packet: bytes
    question: bytes
    stream: bool
    timeout_s: float

    def judge(self, reply: bytes) -> bool | Failure:
        """Tell whether `reply` answers this query; SPELLING if only the letters' case differs."""
        if len(reply) < 12 or reply[:2] != self.packet[:2] or reply[2] & _KIND != _RESPONSE:
            return False
        if reply[4:6] == b"\0\0":
            # Servers that refuse to read a query may leave out its question.
            return reply[3] & 0xF not in (names.NOERROR, names.NXDOMAIN)
        if reply[4:6] != b"\0\1":
            return False
        if reply.startswith(self.question, 12):
            return True
        question = reply[12 : 12 + len(self.question)]
        if question.lower() != self.question.lower():
            return False
        return self.stream or Failure.SPELLING

    def unspelled(self, reply: bytes) -> bytes:
        """Return the reply with its question in lower case, and so all that points into it."""
        end = 12 + len(self.question) - 4
        if not reply.startswith(self.question[:-4], 12):
            return reply
        return b"".join((reply[:12], reply[12:end].lower(), reply[end:]))


def ask(
    address: str,
    name: Name,
    rtype: int,
    *,
    rng: Bits,
    timeout_s: float,
    recurse: bool,
    stream: bool = False,
    edns: bool = True,
    spell: bool = False,
) -> Ask:
    """Return a query with a random id; if `spell`, with letters of random case too."""
    wire = names.to_wire(name)
    question = message.question(_respelled(wire, rng) if spell else wire, rtype)
    packet = message.write_query(rng.getrandbits(16), question, recurse=recurse, edns=edns)
    return Ask(address, packet, question, stream, timeout_s)


def _respelled(wire: bytes, rng: Bits) -> bytes:
    """Return a name on the wire with each of its letters made large or small by lot."""
    size = len(wire)
    flips = int.from_bytes(wire.translate(_CASE)) & rng.getrandbits(8 * size)
    return (int.from_bytes(wire) ^ flips).to_bytes(size)
