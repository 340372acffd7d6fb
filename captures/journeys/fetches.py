"""Who has read the messages: IMAP sessions, and whose journeys end with what was fetched in them.

Theory of operation. The last server puts a `Received` field on top that names itself and its queue id (RFC
5321 §4.4), and delivers the message so. What a mail store sends to a mail program begins with that field: it
is the message of the journey that ended at this host under this id; without ids, of the one with this
Message-ID. If that message had several recipients here, it belongs to the one who has logged in. An alias is
nobody who logs in: it gets what belongs to no other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from captures.imap import Exchange, Fetched, Session
from captures.journeys.model import Fetch, Journey, Reading
from captures.journeys.places import place
from captures.smtp import header_field, received_ids

_HEADER_BYTES = 1 << 18


def with_fetches(journeys: Sequence[Journey], sessions: Iterable[Session]) -> list[Journey]:
    """Return the journeys, each with what IMAP sessions show of its message being read, in order of time."""
    fetched = [(session, one) for session in sessions for one in session.fetched]
    if not fetched:
        return list(journeys)
    ended: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, journey in enumerate(journeys):
        for key in _keys(journey):
            ended[key].append(index)
    users = {session.user.lower() for session, _ in fetched}
    found: dict[int, list[Fetch]] = defaultdict(list)
    for session, one in fetched:
        candidates = next((ended[key] for key in _names(session, one) if key in ended), [])
        for index in _owners(candidates, journeys, session.user.lower(), users):
            found[index].append(_fetch(session, one))
    return [
        replace(journey, fetches=tuple(sorted(found[index], key=lambda each: each.began_ns)))
        if index in found
        else journey
        for index, journey in enumerate(journeys)
    ]


def _keys(journey: Journey) -> Iterator[tuple[str, str]]:
    """What names the message at the host where the journey ended."""
    last = next((hop for hop in reversed(journey.hops) if hop.accepted), None)
    if last is None or last.server is None:
        return
    for name in filter(None, (last.queue_id, journey.message_id)):
        yield last.server.host, name


def _names(session: Session, one: Fetched) -> Iterator[tuple[str, str]]:
    """What names the message that was fetched, best first."""
    header = one.content[:_HEADER_BYTES]
    host = session.connection.server.host
    # The queue id on top is this host's own.
    ids = [queue_id for _, queue_id in received_ids(header)[:1]]
    for name in filter(None, (*ids, header_field(header, "Message-ID"))):
        yield host, name


def _owners(
    candidates: Sequence[int], journeys: Sequence[Journey], user: str, users: set[str]
) -> Sequence[int]:
    """Which of the journeys is that of the user who has logged in; with an unknown one, each may be."""
    if not user:
        return candidates
    own = [index for index in candidates if journeys[index].recipient.lower() == user]
    return own or [index for index in candidates if journeys[index].recipient.lower() not in users]


def _fetch(session: Session, one: Fetched) -> Fetch:
    connection = session.connection
    ended_ns = one.exchange.reply.time_ns if one.exchange.reply else one.ended_ns
    return Fetch(
        client=place(connection.client, ""),
        server=place(connection.server, ""),
        user=session.user,
        began_ns=one.exchange.time_ns,
        ended_ns=max(ended_ns, one.ended_ns),
        size=len(one.content),
        whole=one.whole,
        session=Reading(
            client_port=connection.client.port,
            port=connection.server.port,
            interface=connection.interface,
            frame=connection.frame,
            last_frame=connection.last_frame,
            opened_ns=connection.opened_ns,
            connected_ns=connection.established_ns,
            ended=connection.end,
            path=connection.path,
            greeting=session.greeting,
            tls=session.tls,
            sealed_reason=session.sealed_reason,
            opening=tuple(_opening(session)),
            exchange=one.exchange,
            number=one.number,
            uid=one.uid,
            item=one.item,
            first_frame=one.frame,
            message_ns=one.ended_ns,
            message_frame=one.last_frame,
        ),
    )


def _opening(session: Session) -> Iterator[Exchange]:
    """What was said before the first FETCH."""
    for exchange in session.exchanges:
        if "FETCH" in exchange.command.upper().split(" ")[:2]:
            return
        yield exchange
