"""Journeys, read from the conversations of a capture.

Theory of operation. `linking` says which transfers carried the same message, `questions` what each host had
asked before it connected. Here both become hops:

    message taken by H ──── lookups of H, connection, transaction ──── next server
                       waited                   hop

What a host asked while it had the message counts to the hop that followed, if it led to the address that the
host connected to; what it asked in vain does, too, if no other message was there. Attempts that show no
message are given to one that waited (attribution).

The letter of a hop follows from names alone (places).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from captures.conversations import read_conversations
from captures.garbage import no_garbage_collection
from captures.imap import IMAP_PORTS
from captures.imap import read_session as read_imap
from captures.journeys.attribution import attribute
from captures.journeys.fetches import with_fetches
from captures.journeys.hops import attempt, end, reached, received
from captures.journeys.linking import MAIL_PORTS, Transfer, domain, everything, link
from captures.journeys.model import Hop, Journey, Journeys
from captures.journeys.notices import with_notices
from captures.journeys.places import Places, name_of, place
from captures.journeys.presence import Presence
from captures.journeys.questions import Questions, leads_nowhere
from captures.journeys.routes import LOOKED_UP_WITHIN_NS
from captures.lookups import Lookup, read_lookups
from captures.paths import mailbox
from captures.pcapng import Reader
from captures.smtp import Session, header_field, read_session
from captures.tls import Secrets


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
    readings = [
        reading
        for connection in wire.connections
        if connection.server.port in IMAP_PORTS and (reading := read_imap(connection, secrets))
    ]
    return Journeys(
        journeys=tuple(with_fetches(journeys(sessions, read_lookups(wire)), readings)),
        drops=tuple(wire.drops),
        packets=wire.packets,
        dropped=wire.dropped,
        cut=wire.cut,
        first_ns=wire.first_ns if wire.packets else None,
        last_ns=wire.last_ns if wire.packets else None,
    )


def journeys(sessions: Sequence[Session], lookups: Iterable[Lookup]) -> list[Journey]:
    """Return the journeys that sessions and lookups, each in order of time, tell of; numbered from 1."""
    return _Book(sessions, lookups).journeys()


class _Book:
    """Everything that a capture says about mail, while its journeys are written."""

    def __init__(self, sessions: Sequence[Session], lookups: Iterable[Lookup]) -> None:
        self._questions = Questions(lookups)
        self._roots = attribute(link(sessions), self._questions)
        self._presence = Presence(everything(self._roots))

    def journeys(self) -> list[Journey]:
        """Return the journeys, numbered from 1, each notice with the journey it reports on."""
        found: list[tuple[Transfer, str]] = [
            (root, recipient) for root in self._roots for recipient in root.recipients
        ]
        told = [
            self._journey(number, root, recipient) for number, (root, recipient) in enumerate(found, start=1)
        ]
        return with_notices(told, [root for root, _ in found])

    def _journey(self, number: int, root: Transfer, recipient: str) -> Journey:
        hops: list[Hop] = []
        places = Places(root, recipient)
        custody: Transfer | None = None
        taken: list[Transfer] = []
        tried = [*(sent for sent in root.before if sent.concerns(recipient)), root]
        while tried:
            transfer, *tried = tried
            hops.append(self._hop(transfer, custody, recipient, places, hops))
            if hops[-1].accepted:
                custody, tried = transfer, [sent for sent in transfer.onward if sent.concerns(recipient)]
                taken.append(custody)
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
            recipient=mailbox(root.recipients[recipient].address),
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
        lookups = self._lookups(transfer, custody, recipient, before)
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
            reply=transfer.decisive(recipient),
            queue_id=transaction.queue_id
            if transaction and entry and transfer.accepted_for(recipient)
            else "",
            size=len(transaction.content) if transaction and transaction.content is not None else None,
            whole=transaction is not None and transaction.complete,
        )

    def _lookups(
        self, transfer: Transfer, custody: Transfer | None, recipient: str, before: Sequence[Hop]
    ) -> list[Lookup]:
        """What was asked for this hop: since the message was there, or since the hop before was tried."""
        host, address, until = transfer.client.host, transfer.server.address, transfer.began_ns
        since = custody.had_ns if custody else until - LOOKED_UP_WITHIN_NS
        if before and before[-1].client.host == host and before[-1].attempt:
            since = max(since, before[-1].attempt.opened_ns)
        own = self._questions.leading_to(host, address, since, until)
        if custody is None or not self._presence.alone(custody, until):
            return own
        others = self._for_others(custody, recipient)
        asked = self._questions.for_attempt(host, address, since, until, domain=domain(recipient))
        return [each for each in asked if id(each) not in others or any(each is one for one in own)]

    def _for_others(self, custody: Transfer, recipient: str) -> set[int]:
        """The lookups for the message's recipients elsewhere, by identity."""
        return {
            id(lookup)
            for sent in custody.onward
            if not sent.concerns(recipient)
            for lookup in self._questions.leading_to(
                sent.client.host, sent.server.address, custody.had_ns, sent.began_ns
            )
        }

    def _unroutable(self, custody: Transfer, recipient: str, places: Places) -> Hop | None:
        """The hop that could not be tried, since DNS named no server; None if nothing was asked in vain."""
        server = custody.server
        asked = self._in_vain(custody, domain(recipient))
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
            waited_ns=max(0, asked[0].query.time_ns - custody.ended_ns),
            lookups=tuple(asked),
        )

    def _in_vain(self, custody: Transfer, place: str) -> list[Lookup]:
        """The lookups for a message to that domain, if they led nowhere."""
        host, since = custody.server.host, custody.had_ns
        until = self._presence.alone_until(custody)
        if self._presence.alone(custody, custody.ended_ns) and (
            asked := self._questions.in_vain(host, since, until, domain=place)
        ):
            return asked
        asked = self._questions.exchangers_of(host, place, since, math.inf)
        return asked if asked and leads_nowhere(asked[-1]) else []


def _again(transfer: Transfer, before: Sequence[Hop]) -> bool:
    """Whether the client had tried another server already."""
    return bool(before) and not before[-1].accepted and before[-1].client.host == transfer.client.host


def _waited_ns(began_ns: int, custody: Transfer | None, before: Sequence[Hop]) -> int | None:
    """How long nothing was done for the message: since it came, or since the attempt before."""
    if not before:
        return None
    since = custody.ended_ns if custody and before[-1].accepted else before[-1].ended_ns
    return max(0, began_ns - since)


def _given_message_id(root: Transfer) -> str:
    """The Message-ID that the first server added to a message without one (RFC 6409 §8.2)."""
    return next((sent.message_id for sent in root.onward if sent.message_id), "")
