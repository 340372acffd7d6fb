"""Replies kept ready: the fast way through an authoritative server.

Theory of operation. A server's life is answering the same questions with other ids and other spellings.
`Ready` stands in front of a server, `slow`, and knows nothing of zones but which names exist. It has the
server answer each question once, in plain form (see `plain`), and keeps the pieces of the reply:

    answers     by question, for names that exist

To a name that does not exist, or that lies below a delegation, the reply depends on the closest name that
exists (its encloser) and on how many octets are in front of that, which is where compressed names point to.
Such names are without number, so the reply is kept once for all of them:

    covers      by the encloser, and by the number of octets in front of it

A cover is right for a name if no name from it up to the encloser exists, and if the label right below the
encloser is nowhere in the reply: there it might be part of a name that this question would compress. For the
same reason a reply with pointers to what is in front of the encloser makes no cover. A wildcard's answers
have the name asked for in them, so they are never kept like this.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterator
from typing import Any

from services.dns import plain
from services.dns.names import to_wire
from services.dns.nodes import Nodes
from services.dns.plain import HEAD, NAME, Cut
from services.dns.zone import Zones

_MIN_ANSWERS = 10_000
_MAX_COVERED = 20_000
_RCODE, _NXDOMAIN, _AA = 0x0F, 3, 0x04
_QUESTION = 12
_POINTER = struct.Struct("!H")


class Ready:
    """Answers like `slow`, which takes a message and whether it came by TCP; faster where it can."""

    __slots__ = ("_answers", "_covered", "_covers", "_heads", "_names", "_slow")

    def __init__(self, slow: Callable[[bytes, bool], Any]) -> None:
        self._slow = slow
        # By question; an empty one has no pieces that could be kept.
        self._answers: dict[bytes, tuple[bytes, bytes] | tuple[()]] = {}
        self._covers: dict[bytes, dict[int, tuple[bytes, bytes]]] = {}
        self._covered = 0
        self._heads: dict[bytes, bytes] = {}
        self._names: Collection[bytes] | None = None

    def replace(self, existing: Collection[bytes] | None) -> None:
        """Forget all replies; from now on these names exist, as octets in lower case. None: nobody knows."""
        self._names = existing
        self._forget()

    def respond(self, packet: bytes, stream: bool) -> Any:
        """Return the reply to a message: what `slow` would return for it."""
        question = packet[2:].lower()
        found = self._answers.get(question)
        if found:
            return packet[:2] + found[0] + packet[12:] + found[1]
        if question[:NAME] == HEAD and (found := self._cover(question)):
            return packet[:2] + found[0] + packet[12:] + found[1]
        return self._uncommon(packet, stream)

    def _uncommon(self, packet: bytes, stream: bool) -> Any:
        query = plain.read(packet) if self._names is not None else None
        if query is not None:
            question = query.plain
            found = self._answers.get(question)
            if found is None:
                found = self._cover(question) or self._learn(question)
            if found:
                reply = plain.stitch(packet, query, Cut(*found), stream=stream)
                if reply is not None:
                    return reply
        return self._slow(packet, stream)

    def _cover(self, question: bytes) -> tuple[bytes, bytes] | None:
        """Return the reply that the encloser has for names like this one, if there is one."""
        at = NAME
        covers = self._covers
        try:
            while True:
                label = question[at]
                if not 0 < label < 64:
                    return None
                below = at
                at += label + 1
                covered = covers.get(question[at:-4])
                if covered is not None:
                    break
        except IndexError:
            return None
        found = covered.get(at)
        if (
            found is None
            or question[below:at] in found[1]
            or question[below:-4] in self._names  # type: ignore[operator]  # there are none without names
            or question[-4:] not in plain.TYPES
        ):
            return None
        return found

    def _learn(self, question: bytes) -> tuple[bytes, bytes] | None:
        """Have the question answered, and keep the reply."""
        if not plain.is_proper(question):
            return None
        # As by TCP: what had to be shortened for UDP without EDNS is not for everyone.
        reply = self._slow(b"\0\0" + question, True)
        pieces = plain.cut(question, reply) if isinstance(reply, bytes) else None
        name = question[NAME:-4]
        if name in self._names:  # type: ignore[operator]  # `_uncommon` has looked
            self._make_room()
            self._answers[question] = () if pieces is None else self._shared(pieces)
        elif pieces is not None and _is_alike_below(pieces.head):
            self._keep_cover(question, pieces)
        return pieces

    def _keep_cover(self, question: bytes, pieces: Cut) -> None:
        pointers = []
        for at in _suffixes(question):
            if question[at:-4] in self._names:  # type: ignore[operator]  # `_uncommon` has looked
                break
            pointers.append(_POINTER.pack(0xC000 | _QUESTION + at - NAME))
        else:
            return
        # A name in the reply that ends as this one does points into it; in the reply to others it would be
        # another name. (Other data may have such octets too: that only costs time.)
        if any(pointer in pieces.body for pointer in pointers):
            return
        self._covered += 1
        self._make_room()
        self._covers.setdefault(question[at:-4], {})[at] = self._shared(pieces)

    def _shared(self, pieces: Cut) -> tuple[bytes, bytes]:
        """Return the pieces, of which few heads differ."""
        return self._heads.setdefault(pieces.head, pieces.head), pieces.body

    def _make_room(self) -> None:
        most = max(_MIN_ANSWERS, 2 * len(self._names or ()))
        if len(self._answers) >= most or self._covered >= _MAX_COVERED:
            self._forget()

    def _forget(self) -> None:
        self._answers.clear()
        self._covers.clear()
        self._heads.clear()
        self._covered = 0


def _is_alike_below(head: bytes) -> bool:
    """Tell whether the reply is an NXDOMAIN or a referral, with nothing about the name itself."""
    if head[4:6] != b"\0\0":
        return False
    if head[1] & _RCODE == _NXDOMAIN:
        return True
    return not head[1] & _RCODE and not head[0] & _AA and head[6:8] != b"\0\0"


def _suffixes(question: bytes) -> Iterator[int]:
    """Yield where each label begins, and the end of the name."""
    at = NAME
    yield at
    while question[at]:
        at += question[at] + 1
        yield at


def existing(zones: Zones) -> Collection[bytes] | None:
    """Return the names that exist in any of the zones, in octets; None if that is not known of each."""
    octets = {}
    for zone in zones:
        if not isinstance(zone.nodes, Nodes):
            return None
        octets[to_wire(zone.origin)] = zone.nodes.octets
    if len(octets) == 1:
        return next(iter(octets.values()))
    return _Existing(octets)


class _Existing(Collection[bytes]):
    """The names of several zones, and those that have one of the zones below them."""

    def __init__(self, octets: dict[bytes, dict[bytes, bytes]]) -> None:
        self._octets = octets
        self._above = {origin[at:] for origin in octets for at in _labels(origin)}

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, bytes):
            return False
        if name in self._above:
            return True
        at = 0
        while True:
            names = self._octets.get(name[at:])
            if names is not None and name in names:
                return True
            if not name[at]:
                return False
            at += name[at] + 1

    def __iter__(self) -> Iterator[bytes]:
        for names in self._octets.values():
            yield from names

    def __len__(self) -> int:
        return sum(map(len, self._octets.values()))


def _labels(name: bytes) -> Iterator[int]:
    at = 0
    yield at
    while name[at]:
        at += name[at] + 1
        yield at
