"""Journeys, read from the conversations of a capture.

Theory of operation. `linking` says which transfers carried the same message, `questions` what each host had
asked before it connected. Here both become hops:

    message taken by H ──── lookups of H, connection, transaction ──── next server
                       waited                   hop

What a host asked while it had the message counts to the hop that followed: everything, if no other message
was at that host then, and otherwise what led to the address that it connected to. A connection that came to
nothing goes to the message that waited there, the oldest one if there were several.

The letter of a hop follows from names alone (places).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from captures.conversations import read_conversations
from captures.garbage import no_garbage_collection
from captures.journeys.hops import attempt, decisive, end, reached, received
from captures.journeys.linking import MAIL_PORTS, Transfer, everything, link
from captures.journeys.model import Hop, Journey, Journeys
from captures.journeys.notices import with_notices
from captures.journeys.places import Places, name_of, place
from captures.journeys.presence import Presence
from captures.journeys.questions import Questions, answers
from captures.lookups import Lookup, read_lookups
from captures.pcapng import Reader
from captures.smtp import Session, header_field, read_session
from captures.tls import Secrets

_LOOKED_UP_WITHIN_NS = 60_000_000_000
"""A program that connects has looked the server up a moment ago; what is older belongs to something else."""


def read_journeys(reader: Reader) -> Journeys:
    """Return the journeys of all messages in a capture; `reader` has been read to its end.

    Raises: captures.errors.NotACapture.
    """
    with no_garbage_collection():
        return _read(reader)


def _read(reader: Reader) -> Journeys:
    wire = read_conversations(reader)
    secrets = Secrets(wire.secrets)
    sessions = [
        session
        for connection in wire.connections
        if connection.server.port in MAIL_PORTS and (session := read_session(connection, secrets))
    ]
    return Journeys(
        journeys=tuple(journeys(sessions, read_lookups(wire))),
        packets=wire.packets,
        dropped=wire.dropped,
        cut=wire.cut,
        first_ns=wire.first_ns,
        last_ns=wire.last_ns,
    )


def journeys(sessions: Sequence[Session], lookups: Iterable[Lookup]) -> list[Journey]:
    """Return the journeys that sessions and lookups, each in order of time, tell of; numbered from 1."""
    return _Book(sessions, lookups).journeys()


class _Book:
    """Everything that a capture says about mail, while its journeys are written."""

    def __init__(self, sessions: Sequence[Session], lookups: Iterable[Lookup]) -> None:
        self._questions = Questions(lookups)
        self._roots, failed = link(sessions)
        self._presence = Presence(everything(self._roots))
        self._adopt(failed)

    def journeys(self) -> list[Journey]:
        """Return the journeys, numbered from 1, each notice with the journey it reports on."""
        found: list[tuple[Transfer, str]] = [
            (root, recipient) for root in self._roots for recipient in root.recipients
        ]
        told = [
            self._journey(number, root, recipient) for number, (root, recipient) in enumerate(found, start=1)
        ]
        return with_notices(told, [root for root, _ in found])

    def _adopt(self, failed: Iterable[Transfer]) -> None:
        """Give each connection that came to nothing to the message that it was made for."""
        for transfer in failed:
            at = [
                custody
                for custody in self._presence.at(transfer.client.host)
                if custody.ended_ns <= transfer.began_ns < self._presence.left_ns(custody)
            ]
            if at:
                at[0].onward.append(transfer)
                at[0].onward.sort(key=lambda sent: sent.began_ns)

    def _journey(self, number: int, root: Transfer, recipient: str) -> Journey:
        hops: list[Hop] = []
        places = Places(root, recipient)
        transfer: Transfer | None = root
        custody: Transfer | None = None
        taken: list[Transfer] = []
        while transfer is not None:
            hops.append(self._hop(transfer, custody, recipient, places, hops))
            if hops[-1].accepted:
                custody, tried = transfer, [sent for sent in transfer.onward if _concerns(sent, recipient)]
                taken.append(custody)
            else:
                tried = tried[1:] if custody else []
            transfer = tried[0] if tried else None
        if hops[-1].accepted and custody is not None:
            lost = self._unroutable(custody, recipient, places)
            if lost is not None:
                hops.append(lost)
        content = root.transaction.content if root.transaction else None
        sender = root.transaction.sender if root.transaction else ""
        return Journey(
            number=number,
            message_id=root.message_id or _given_message_id(root),
            subject=(header_field(content, "Subject") or "") if content else "",
            sender=sender,
            recipient=root.recipients[recipient].address,
            size=len(content) if content else 0,
            hops=tuple(hops),
            end=end(hops, places),
            checks=tuple(received(hops, taken)),
        )

    def _hop(
        self,
        transfer: Transfer,
        custody: Transfer | None,
        recipient: str,
        places: Places,
        before: Sequence[Hop],
    ) -> Hop:
        lookups = self._lookups(transfer, custody, before)
        began = min([transfer.began_ns, *(lookup.query.time_ns for lookup in lookups)])
        transaction = transfer.transaction
        entry = transfer.recipients.get(recipient)
        said = (transaction.mail, entry and entry.exchange, transaction.data) if transaction else ()
        return Hop(
            step=places.step(transfer),
            client=place(transfer.client, transfer.session.helo),
            server=place(transfer.server, transfer.session.server_name),
            reached=reached(transfer, recipient),
            began_ns=began,
            ended_ns=transfer.ended_ns,
            waited_ns=_waited_ns(began, custody, before),
            again=_again(transfer, before),
            lookups=tuple(lookups),
            attempt=attempt(transfer.session),
            sender=transaction.sender if transaction else "",
            recipients=len(transfer.recipients),
            dialogue=tuple(exchange for exchange in said if exchange),
            reply=decisive(transfer, recipient),
            queue_id=transaction.queue_id
            if transaction and entry and transfer.accepted_for(recipient)
            else "",
            size=len(transaction.content) if transaction and transaction.content is not None else None,
        )

    def _lookups(self, transfer: Transfer, custody: Transfer | None, before: Sequence[Hop]) -> list[Lookup]:
        """What was asked for this hop: since the message was there, or since the hop before was tried."""
        client, server = transfer.client, transfer.server
        until = transfer.began_ns
        if custody is None:
            return self._questions.leading_to(
                client.address, server.address, until - _LOOKED_UP_WITHIN_NS, until
            )
        since = custody.ended_ns
        if before and before[-1].client.host == client.host:
            since = before[-1].attempt.opened_ns if before[-1].attempt else since
        if self._presence.alone(custody, until):
            return self._questions.between(client.address, since, until)
        return self._questions.leading_to(client.address, server.address, since, until)

    def _unroutable(self, custody: Transfer, recipient: str, places: Places) -> Hop | None:
        """The hop that could not be tried, since DNS named no server; None if nothing was asked in vain."""
        server = custody.server
        asked = self._in_vain(custody, recipient.rpartition("@")[2])
        if not asked:
            return None
        last = asked[-1].query
        ended = last.answered_ns or last.time_ns
        return Hop(
            step=places.between(name_of(server, custody.session.server_name), ""),
            client=place(server, custody.session.server_name),
            server=None,
            reached="unroutable",
            began_ns=asked[0].query.time_ns,
            ended_ns=ended,
            waited_ns=asked[0].query.time_ns - custody.ended_ns,
            lookups=tuple(asked),
        )

    def _in_vain(self, custody: Transfer, domain: str) -> list[Lookup]:
        """The lookups for a message up to those that failed; what is asked later is for its notice."""
        client, since = custody.server.address, custody.ended_ns
        asked: list[Lookup] = []
        for lookup in self._questions.between(client, since, math.inf):
            if not self._presence.alone(custody, lookup.query.time_ns):
                break
            if asked and not answers(asked[-1]) and lookup.query.name != domain:
                break
            asked.append(lookup)
        asked = asked or self._questions.named(client, domain, since)
        return asked if asked and not answers(asked[-1]) else []


def _again(transfer: Transfer, before: Sequence[Hop]) -> bool:
    """Whether the client had tried another server already."""
    return bool(before) and not before[-1].accepted and before[-1].client.host == transfer.client.host


def _waited_ns(began_ns: int, custody: Transfer | None, before: Sequence[Hop]) -> int | None:
    """How long nothing was done for the message: since it came, or since the attempt before."""
    if custody is None:
        return None
    since = custody.ended_ns if before[-1].accepted else before[-1].ended_ns
    return max(0, began_ns - since)


def _given_message_id(root: Transfer) -> str:
    """The Message-ID that the first server added to a message without one (RFC 6409 §8.2)."""
    return next((sent.message_id for sent in root.onward if sent.message_id), "")


def _concerns(transfer: Transfer, recipient: str) -> bool:
    """A connection that failed before the envelope was for all of the message's recipients."""
    return transfer.transaction is None or recipient in transfer.recipients
