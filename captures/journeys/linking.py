"""Which sessions carried the same message: from host to host, as far as the capture shows it.

Theory of operation. A server that takes a message names it in its reply (`250 … queued as 4F2A`) and in the
`Received` field that it puts on top. So the next server's session is found by what was sent in it:

    ──► corp-hub   250 queued as 4F2A
                   corp-hub ──►   Received: … by corp-hub.example.com with ESMTP id 4F2A

A server that names no id is followed by the Message-ID; of several messages that share one, the first to come
is the first to go on. What goes on from another reverse-path to other recipients is a mailing list's copy,
and a journey of its own that begins there. What shows no message, since it failed before its data, is left to
`attribution`.

Nothing is asked of logs, plans or clocks: what comes in are the sessions, in order of time.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from captures.conversations import Endpoint
from captures.paths import same
from captures.smtp import Recipient, Reply, Session, Transaction, header_field, received_ids

MAIL_PORTS = frozenset({25, 465, 587})


@dataclass(slots=True, eq=False)
class Transfer:
    """One attempt to hand over a message; `onward` is what its server then did with it, in order of time.

    `transaction` is None when the session ended before MAIL; then `concerned` are the recipients that it was
    for. `before` are the attempts that its client had made before this one, if the message came from there.
    """

    session: Session
    transaction: Transaction | None
    ended_ns: int
    recipients: dict[str, Recipient] = field(default_factory=dict)
    onward: list[Transfer] = field(default_factory=list)
    message_id: str = ""
    concerned: frozenset[str] = frozenset()
    before: list[Transfer] = field(default_factory=list)

    @property
    def client(self) -> Endpoint:
        return self.session.connection.client

    @property
    def server(self) -> Endpoint:
        return self.session.connection.server

    @property
    def began_ns(self) -> int:
        """When the client turned to this server: the connection, or MAIL on one that stood."""
        if self.transaction is None or self.transaction is not self.session.transactions[0]:
            return self.transaction.mail.time_ns if self.transaction else self.session.connection.opened_ns
        return self.session.connection.opened_ns

    @property
    def had_ns(self) -> int:
        """When the server had the whole message, which it may pass on before it says that it took it."""
        content = self.transaction.content_ns if self.transaction else None
        return self.ended_ns if content is None else content

    @property
    def accepted(self) -> bool:
        """The server took the message for at least one recipient."""
        return self.transaction is not None and positive(self.transaction.reply)

    def accepted_for(self, recipient: str) -> bool:
        found = self.recipients.get(recipient)
        return self.accepted and found is not None and positive(found.exchange.reply)

    def concerns(self, recipient: str) -> bool:
        """It was for that recipient, among others perhaps."""
        return recipient in (self.recipients if self.transaction else self.concerned)

    def decisive(self, recipient: str) -> Reply | None:
        """The reply that decided it for one recipient; None if the server never gave one."""
        if self.transaction is None:
            return _opening_reply(self.session)
        entry = self.recipients.get(recipient)
        for exchange in (self.transaction.mail, entry.exchange if entry else None):
            if exchange is None or exchange.reply is None or not positive(exchange.reply):
                return exchange.reply if exchange else None
        data = self.transaction.data
        return data.reply if data and negative(data.reply) else self.transaction.reply

    def settled_ns(self, recipient: str) -> float:
        """When the server was done with that recipient: had passed the message on, or been refused for good.

        Infinite if it was not.
        """
        return min((sent.ended_ns for sent in self.onward if sent.settles(recipient)), default=math.inf)

    def settles(self, recipient: str) -> bool:
        """There is nothing left to be tried for that recipient."""
        if self.transaction is None or recipient not in self.recipients:
            return False
        reply = self.decisive(recipient)
        return self.accepted_for(recipient) or (reply is not None and reply.code >= 500)


def positive(reply: Reply | None) -> bool:
    """Return whether a reply says that it was done (2xx)."""
    return reply is not None and 200 <= reply.code < 300


def negative(reply: Reply | None) -> bool:
    """Return whether a reply refuses what was asked, for now or for good (4xx, 5xx)."""
    return reply is not None and reply.code >= 400


def domain(address: str) -> str:
    """Return the domain of an address, in lower case; "" of the null reverse-path."""
    return address.rpartition("@")[2].lower()


@dataclass(slots=True)
class Linked:
    """What the sessions of a capture come to, each list in order of time.

    `roots` brought each message into the capture; what was then done with it is reached by `onward`. `blind`
    showed no message: a refusal before the data, or a connection that came to nothing.
    """

    roots: list[Transfer]
    blind: list[Transfer]


def link(sessions: Iterable[Session]) -> Linked:
    """Return the transfers that the sessions attempted, each with what its server then did."""
    transfers = sorted(_transfers(sessions), key=_began)
    custody = _Custody(transfers)
    linked = Linked([], [])
    for transfer in transfers:
        transaction = transfer.transaction
        if transaction is None or transaction.content is None:
            linked.blind.append(transfer)
            continue
        parent = custody.of(transfer, transaction.content)
        if parent is not None and _is_sent_anew(transfer, parent):
            parent = None
        (linked.roots if parent is None else parent.onward).append(transfer)
    return linked


def _is_sent_anew(transfer: Transfer, parent: Transfer) -> bool:
    """Whether the envelope is another one altogether: then it is a mailing list's copy of the message."""
    if transfer.transaction is None or parent.transaction is None:
        return False
    back, before = transfer.transaction.sender, parent.transaction.sender
    return same(back) != same(before) and not transfer.recipients.keys() & parent.recipients.keys()


def _began(transfer: Transfer) -> int:
    return transfer.began_ns


def _transfers(sessions: Iterable[Session]) -> Iterator[Transfer]:
    for session in sessions:
        for transaction in session.transactions:
            if _asks_only(session, transaction):
                continue
            recipients = {same(recipient.address): recipient for recipient in transaction.recipients}
            transfer = Transfer(session, transaction, _end(transaction), recipients)
            if transaction.content is not None:
                transfer.message_id = header_field(transaction.content, "Message-ID") or ""
            yield transfer
        if not session.transactions and _failed(session):
            yield Transfer(session, None, session.connection.last_ns)


def _asks_only(session: Session, transaction: Transaction) -> bool:
    """Whether the client went on, or away, with nobody refused: it asked for an address, and had no mail."""
    left = session.quit or transaction is not session.transactions[-1]
    said = [transaction.mail, *(recipient.exchange for recipient in transaction.recipients)]
    return left and transaction.data is None and not any(negative(exchange.reply) for exchange in said)


def _failed(session: Session) -> bool:
    """Whether a session without MAIL was to have one; a client that looks around says good-bye."""
    if session.tls == "sealed":
        return False
    return not (session.quit and positive(session.greeting)) or _opening_reply(session) is not None


def _opening_reply(session: Session) -> Reply | None:
    """The reply that kept a client from saying MAIL, the last one if there are several."""
    replies = [session.greeting, *(exchange.reply for exchange in session.exchanges)]
    return next(filter(negative, reversed(replies)), None)


def _end(transaction: Transaction) -> int:
    """When the last thing was said that belongs to the transaction."""
    said = [transaction.mail, *(recipient.exchange for recipient in transaction.recipients)]
    times = [exchange.reply.time_ns if exchange.reply else exchange.time_ns for exchange in said]
    if transaction.content_ns:
        times.append(transaction.content_ns)
    if transaction.reply:
        times.append(transaction.reply.time_ns)
    return max(times)


class _Custody:
    """Who had which message: accepted transfers, by what later transfers can be told by."""

    def __init__(self, transfers: Sequence[Transfer]) -> None:
        self._by_id: dict[tuple[str, str], Transfer] = {}
        self._by_message: dict[tuple[str, str], list[Transfer]] = defaultdict(list)
        for transfer in transfers:
            if not transfer.accepted or transfer.transaction is None:
                continue
            host = transfer.server.host
            if transfer.transaction.queue_id:
                self._by_id[host, transfer.transaction.queue_id] = transfer
            if transfer.message_id:
                self._by_message[host, transfer.message_id].append(transfer)

    def of(self, transfer: Transfer, content: bytes) -> Transfer | None:
        """Return the transfer by which this one's client got the message."""
        host = transfer.client.host
        for depth, (_, queue_id) in enumerate(received_ids(content)):
            found = self._by_id.get((host, queue_id))
            if found is None or found.ended_ns > transfer.ended_ns:
                continue
            # Below the top it is the client's if that passed the message through a filter of its own.
            if not depth or found.message_id == transfer.message_id:
                return found
        earlier = [
            candidate
            for candidate in self._by_message.get((host, transfer.message_id), ())
            if candidate.ended_ns <= transfer.began_ns and candidate is not transfer
        ]
        waiting = (candidate for candidate in earlier if _waits(candidate, transfer))
        return next(waiting, earlier[-1] if earlier else None)


def _waits(custody: Transfer, transfer: Transfer) -> bool:
    """Whether the message still waited for one of the recipients when the transfer began."""
    return any(transfer.began_ns < custody.settled_ns(recipient) for recipient in transfer.recipients)


def everything(roots: Iterable[Transfer]) -> list[Transfer]:
    """Return every transfer that is reached from `roots`, in order of time."""
    found: list[Transfer] = []
    waiting = list(roots)
    while waiting:
        transfer = waiting.pop()
        found.append(transfer)
        waiting += transfer.onward
    return sorted(found, key=_began)
