"""What is said of each packet that a journey names: `E: MX lookup of example.org at m-root`.

Theory of operation. A comment is the letter of the step, a colon, and what the packet does in it:

    a question to a DNS server, and its answer     of the host that sends mail, and of its resolver
    the SYN of each hop, and the last packet       also of those that came to nothing
    each command of the session, and its reply     those before MAIL, and those about this recipient
    the same of an IMAP session, and the message   the first and the last packet that have it

each at the capture point where it was read, which is one copy of the packet, at its sender's or its client's
own end. A packet that serves several journeys, or holds several commands (PIPELINING), has all of that in its
comment, each thing once.

Source: the letters are those of captures.journeys.model.STEPS.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final, NamedTuple

from captures.imap import Exchange as ImapExchange
from captures.imap import Reply as ImapReply
from captures.journeys.model import Attempt, Fetch, Hop, Journeys, Reading, Step
from captures.lookups import Lookup, Query
from captures.reports.visible import shortened, visible
from captures.smtp import Exchange, Reply

_LONGEST_TEXT: Final = 160
_MOST_TEXTS: Final = 8
"""A hundred recipients may be named in one packet; so many are told."""


class _Remark(NamedTuple):
    """What is said of one packet; those of one `letter` and `actor` on the same packet are told together."""

    letter: Step
    actor: str
    text: str


_Remarks = Iterator[tuple[int | None, _Remark]]


def comments(found: Journeys) -> dict[int, str]:
    """Return a comment for each packet that a journey names, by frame number."""
    remarks: dict[int, dict[_Remark, None]] = {}
    for journey in found.journeys:
        for hop in journey.hops:
            for frame, remark in _hop(hop, takes_over="B" if hop is journey.handed_in else hop.step):
                if frame:
                    remarks.setdefault(frame, {})[remark] = None
        for fetch in journey.fetches:
            for frame, remark in _fetch(fetch):
                if frame:
                    remarks.setdefault(frame, {})[remark] = None
    return {frame: _comment(remarks[frame]) for frame in sorted(remarks)}


def _comment(remarks: Iterable[_Remark]) -> str:
    parts = []
    letter = None
    for (step, actor), group in groupby(remarks, key=lambda remark: (remark.letter, remark.actor)):
        texts = [shortened(visible(remark.text), _LONGEST_TEXT) for remark in group]
        if len(texts) > _MOST_TEXTS:
            texts[_MOST_TEXTS - 1 :] = [f"and {len(texts) - _MOST_TEXTS + 1} more"]
        said = f"{visible(actor)} {'; '.join(texts)}".lstrip()
        parts.append(said if step == letter else f"{step}: {said}")
        letter = step
    return "; ".join(parts)


def _hop(hop: Hop, takes_over: Step) -> _Remarks:
    for lookup in hop.lookups:
        yield from _lookup(hop.step, lookup)
    if hop.server is None or hop.attempt is None:
        return
    client, server = hop.client.host, hop.server.host
    yield from _connection(hop.step, client, server, hop.attempt)
    for exchange in (*hop.attempt.opening, *hop.dialogue):
        yield from _exchange(hop.step, client, server, exchange)
    if hop.reply is not None and not any(exchange.reply == hop.reply for exchange in hop.dialogue):
        yield (
            hop.reply.frame,
            _Remark(takes_over, server, f"{_VERDICTS.get(hop.reached, 'says')} {hop.reply}"),
        )


def _fetch(fetch: Fetch) -> _Remarks:
    """What is said of an IMAP session; nothing of one that no packet shows."""
    session = fetch.session
    if session is None:
        return
    client, server = fetch.client.host, fetch.server.host
    yield from _connection("G", client, server, session)
    for exchange in session.opening:
        yield from _exchange("G", client, server, exchange)
    command, *reply = _exchange("G", client, server, session.exchange)
    yield command
    if session.first_frame != session.message_frame:
        yield session.first_frame, _Remark("G", server, "begins to send the message")
    size = f"{fetch.size:,} bytes{'' if fetch.whole else ' of it'}"
    yield session.message_frame, _Remark("G", server, f"has sent the message, {size}")
    yield from reply


_VERDICTS: Final = {
    "accepted": "takes the message over:",
    "deferred": "does not take the message now:",
    "refused": "refuses the message:",
}


def _lookup(letter: Step, lookup: Lookup) -> _Remarks:
    for query in (lookup.query, *lookup.upstream):
        name = "the root" if query.name == "." else query.name
        tried = f", {query.retries + 1} times" if query.retries else ""
        unanswered = ": no answer" if query.answer_frame is None else ""
        text = f"{query.type} lookup of {name} at {query.server.host}{tried}{unanswered}"
        yield query.frame, _Remark(letter, "", text)
        yield query.answer_frame, _Remark(letter, query.server.host, _answer(query, lookup))


def _answer(query: Query, lookup: Lookup) -> str:
    if query.outcome == "referral":
        return f"refers to {'the root' if query.zone == '.' else query.zone}"
    if query.outcome == "truncated":
        return "has more to say than a datagram holds"
    if query.outcome == "error":
        return f"fails: {query.said}"
    cached = " from its cache" if query is lookup.query and lookup.cached else ""
    return f"answers{cached}: {query.said}"


def _connection(letter: Step, client: str, server: str, attempt: Attempt | Reading) -> _Remarks:
    unanswered = ": no answer" if attempt.ended == "unanswered" else ""
    yield attempt.frame, _Remark(letter, client, f"connects to {server}{unanswered}")
    if attempt.greeting is not None:
        yield attempt.greeting.frame, _said(letter, server, attempt.greeting)
    if attempt.ended == "refused":
        yield attempt.last_frame, _Remark(letter, server, "refuses the connection")
    elif attempt.ended in ("closed", "reset"):
        how = "ends" if attempt.ended == "closed" else "is reset"
        yield attempt.last_frame, _Remark(letter, "", f"the session of {client} with {server} {how}")


def _exchange(letter: Step, client: str, server: str, exchange: Exchange | ImapExchange) -> _Remarks:
    if exchange.command:
        yield exchange.frame, _Remark(letter, f"{client} says", exchange.command)
    if exchange.reply is not None:
        yield exchange.reply.frame, _said(letter, server, exchange.reply)


def _said(letter: Step, server: str, reply: Reply | ImapReply) -> _Remark:
    return _Remark(letter, f"{server} says", str(reply))
