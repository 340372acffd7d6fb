"""What one session says about a hop: how it ended, its decisive reply, the `Received` fields beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from captures.journeys.linking import Transfer, positive
from captures.journeys.model import Attempt, Check, End, Hop, Reached, State
from captures.journeys.places import Places
from captures.smtp import Exchange, Session, received_ids


def attempt(session: Session) -> Attempt:
    """Return a session's connection, and what was said before any message's own part."""
    connection = session.connection
    return Attempt(
        client_port=connection.client.port,
        port=connection.server.port,
        interface=connection.interface,
        frame=connection.frame,
        last_frame=connection.last_frame,
        opened_ns=connection.opened_ns,
        connected_ns=connection.established_ns,
        ended=connection.end,
        path=connection.path,
        dropped_by=connection.dropped_by,
        greeting=session.greeting,
        helo=session.helo,
        tls=session.tls,
        sealed_reason=session.sealed_reason,
        user=session.user,
        opening=_opening(session),
    )


def _opening(session: Session) -> tuple[Exchange, ...]:
    first_ns = session.transactions[0].mail.time_ns if session.transactions else math.inf
    return tuple(exchange for exchange in session.exchanges if exchange.time_ns < first_ns)


def reached(transfer: Transfer, recipient: str) -> Reached:
    """Return how a transfer ended for one recipient."""
    if transfer.transaction is None and not positive(transfer.session.greeting):
        return "unreachable"
    if transfer.accepted_for(recipient):
        return "accepted"
    reply = transfer.decisive(recipient)
    if reply is None or reply.code < 400:
        return "broken"
    return "deferred" if reply.code < 500 else "refused"


def end(hops: Sequence[Hop], places: Places) -> End:
    """Return where a journey of these hops ended, as far as the capture goes."""
    last = hops[-1]
    if last.accepted and last.server is not None:
        state: State = "delivered" if places.is_recipients(last.server) else "kept"
        return End(state=state, host=last.server.host, time_ns=last.ended_ns, reply=str(last.reply or ""))
    return End(state=_failed(last), host=last.client.host, time_ns=last.ended_ns, reply=str(last.reply or ""))


def _failed(last: Hop) -> State:
    """How a journey ended whose last hop failed."""
    if last.reached == "refused" or (
        last.reached == "unroutable" and last.lookups[-1].query.outcome in ("nxdomain", "nodata", "answer")
    ):
        return "refused"
    # Nobody has hung up: what is to come is not in the capture.
    return "unknown" if last.open else "deferred"


def received(hops: Sequence[Hop], taken: Sequence[Transfer]) -> list[Check]:
    """Compare the hops with the `Received` fields of the message as it was last sent."""
    if len(taken) < 2 or taken[-1].transaction is None or not taken[-1].transaction.content:
        return []
    ids = received_ids(taken[-1].transaction.content)
    names = [(name, queue_id) for name, queue_id in ids[: len(taken) - 1]][::-1]
    servers = [(hop.server.name, hop.queue_id) for hop in hops if hop.accepted and hop.server][:-1]
    for (name, queue_id), (server, known_id) in zip(names, servers, strict=False):
        if name.lower() != server.lower() or (queue_id and known_id and queue_id != known_id):
            detail = f"Received names {name} (id {queue_id}) where the packets show {server} (id {known_id})"
            return [Check(source="received", agrees=False, detail=detail)]
    if len(names) < len(servers):
        detail = f"{len(names)} Received fields, but {len(servers)} servers had passed it on"
        return [Check(source="received", agrees=False, detail=detail)]
    fields = "1 Received field names" if len(names) == 1 else f"{len(names)} Received fields name"
    older = f", and {len(ids) - len(names)} are older" if len(ids) > len(names) else ""
    return [Check(source="received", agrees=True, detail=f"{fields} the same servers{older}")]
