"""Which sessions carried the same message: from host to host, as far as the capture shows it.

Theory of operation. A server that takes a message names it in its reply (`250 … queued as 4F2A`) and in the
`Received` field that it puts on top. So the next server's session is found by what was sent in it:

    ──► corp-hub   250 queued as 4F2A
                   corp-hub ──►   Received: … by corp-hub.example.com with ESMTP id 4F2A

A server that names no id is followed by the Message-ID. A transfer that failed before its data shows neither;
it belongs to the oldest message of the same envelope that waited at that host, and a connection that failed
before any envelope to the oldest that waited there: exact with one message in flight at the host.

Nothing is asked of logs, plans or clocks: what comes in are the sessions, in order of time.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from captures.conversations import Endpoint
from captures.smtp import Recipient, Reply, Session, Transaction, header_field, received_ids

MAIL_PORTS = frozenset({25, 465, 587})


@dataclass(slots=True, eq=False)
class Transfer:
    """One attempt to hand over a message; `onward` is what its server then did with it, in order of time.

    `transaction` is None when the session ended before MAIL.
    """

    session: Session
    transaction: Transaction | None
    ended_ns: int
    recipients: dict[str, Recipient] = field(default_factory=dict)
    onward: list[Transfer] = field(default_factory=list)
    message_id: str = ""

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
    def accepted(self) -> bool:
        """The server took the message for at least one recipient."""
        return self.transaction is not None and positive(self.transaction.reply)

    def accepted_for(self, recipient: str) -> bool:
        found = self.recipients.get(recipient)
        return self.accepted and found is not None and positive(found.exchange.reply)

    def settled_ns(self, recipient: str) -> float:
        """When the server had passed the message on for that recipient; infinite if it has not."""
        return min((sent.ended_ns for sent in self.onward if sent.accepted_for(recipient)), default=math.inf)


def positive(reply: Reply | None) -> bool:
    """Return whether a reply says that it was done (2xx)."""
    return reply is not None and 200 <= reply.code < 300


def canonical(address: str) -> str:
    """Return an address as it compares: its domain without case (RFC 5321 §2.4)."""
    local, at, domain = address.rpartition("@")
    return f"{local}{at}{domain.lower()}"


def link(sessions: Iterable[Session]) -> tuple[list[Transfer], list[Transfer]]:
    """Return the transfers that brought each message into the capture, and the sessions that came to nothing.

    Every other transfer is reached from a root by `onward`. What came to nothing, connections that failed
    before MAIL, is still to be attributed (`adopt`), which takes knowing what its client had looked up.
    """
    transfers, failed = _transfers(sessions)
    transfers.sort(key=lambda transfer: transfer.began_ns)
    custody = _Custody(transfers)
    roots = []
    blind = []
    for transfer in transfers:
        transaction = transfer.transaction
        if transaction is None or transaction.content is None:
            blind.append(transfer)
            continue
        parent = custody.of(transfer, transaction.content)
        if parent is None:
            roots.append(transfer)
        else:
            parent.onward.append(transfer)
    for transfer in blind:
        parent = custody.of_envelope(transfer)
        if parent is None:
            roots.append(transfer)
        else:
            parent.onward.append(transfer)
            parent.onward.sort(key=lambda sent: sent.began_ns)
    roots.sort(key=lambda transfer: transfer.began_ns)
    return roots, failed


def _transfers(sessions: Iterable[Session]) -> tuple[list[Transfer], list[Transfer]]:
    transfers, failed = [], []
    for session in sessions:
        for transaction in session.transactions:
            recipients = {canonical(recipient.address): recipient for recipient in transaction.recipients}
            transfers.append(Transfer(session, transaction, _end(transaction), recipients))
        if not session.transactions and session.tls != "sealed":
            failed.append(Transfer(session, None, session.connection.last_ns))
    for transfer in transfers:
        if transfer.transaction and transfer.transaction.content is not None:
            transfer.message_id = header_field(transfer.transaction.content, "Message-ID") or ""
    return transfers, failed


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
        self._by_envelope: dict[tuple[str, str, str], list[Transfer]] = defaultdict(list)
        for transfer in transfers:
            if not transfer.accepted or transfer.transaction is None:
                continue
            host = transfer.server.host
            if transfer.transaction.queue_id:
                self._by_id[host, transfer.transaction.queue_id] = transfer
            if transfer.message_id:
                self._by_message[host, transfer.message_id].append(transfer)
            for recipient in transfer.recipients:
                self._by_envelope[host, canonical(transfer.transaction.sender), recipient].append(transfer)

    def of(self, transfer: Transfer, content: bytes) -> Transfer | None:
        """Return the transfer by which this one's client got the message."""
        host = transfer.client.host
        ids = received_ids(content)
        if ids and ids[0][1]:
            found = self._by_id.get((host, ids[0][1]))
            if found is not None and found.ended_ns <= transfer.ended_ns:
                return found
        earlier = [
            candidate
            for candidate in self._by_message.get((host, transfer.message_id), ())
            if candidate.ended_ns <= transfer.began_ns and candidate is not transfer
        ]
        return earlier[-1] if earlier else None

    def of_envelope(self, transfer: Transfer) -> Transfer | None:
        """Return the oldest that waited at the client with this envelope."""
        if transfer.transaction is None:
            return None
        sender = canonical(transfer.transaction.sender)
        for recipient in transfer.recipients:
            for candidate in self._by_envelope.get((transfer.client.host, sender, recipient), ()):
                if candidate.ended_ns <= transfer.began_ns < candidate.settled_ns(recipient):
                    return candidate
        return None


def everything(roots: Iterable[Transfer]) -> list[Transfer]:
    """Return every transfer that is reached from `roots`, in order of time."""
    found: list[Transfer] = []
    waiting = list(roots)
    while waiting:
        transfer = waiting.pop()
        found.append(transfer)
        waiting += transfer.onward
    return sorted(found, key=lambda transfer: transfer.began_ns)
