"""A journey as an account: one step after the other, each under its letter.

Theory of operation. A hop becomes up to four kinds of step, told by the host that acted:

    D    how long the message had waited there       (all hops but the first)
    x    each lookup, with every server that was asked
    x    the session with the next server, and what was said about this recipient
    B    the sender's server has the message
    F    what a content filter there makes of it, with every rule that fired

`x` is the hop's own letter. Then it is said how it ended: G if that was in the recipient's mailbox. G is also
each time that it was fetched from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from captures.journeys.model import STEPS, End, Fetch, Hop, Journey, Reached, Step, Verdict
from captures.journeys.rounds import in_line, worth_telling
from captures.lookups import Lookup, Query

__all__ = ["STEPS", "Line", "Told", "steps"]

Line = tuple[str, str]
"""Who or what, and what was said: `("a-root", "referral to org: …")`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One step: when (nanoseconds since 1970), which host did it, what it did, and the particulars.

    `about` is the lookup, the session or the fetch that it tells of, if it tells of one.
    """

    letter: Step
    time_ns: int
    host: str
    text: str
    lines: tuple[Line, ...] = ()
    good: bool = True
    about: Lookup | Hop | Fetch | None = None


def steps(journey: Journey, *, run: str = "", thin: bool = False) -> list[Told]:
    """Return the account of a journey, in the order of its hops; the mailbox's file lies below `run`.

    With `thin`, of attempts that came to the same over and over the first and the last are told.
    """
    told: list[Told] = []
    for hop, left_out in worth_telling(journey.hops) if thin else ((hop, 0) for hop in journey.hops):
        if left_out:
            text = f"tries {left_out} more time{'s' if left_out > 1 else ''}, with the same result"
            told.append(Told(letter="D", time_ns=hop.began_ns, host=hop.client.host, text=text, good=False))
        told += _hop(hop)
        if hop is journey.handed_in:
            told.append(_accepted(hop))
    told.append(_end(journey, run))
    for verdict in journey.verdicts:
        told.insert(_place(told, verdict), _judged(verdict))
    return told + [_fetched(fetch) for fetch in journey.fetches]


def _hop(hop: Hop) -> Iterator[Told]:
    if hop.waited_ns is not None and not in_line(hop):
        text = f"had it in its queue for {duration(hop.waited_ns)}{' more' if hop.again else ''}"
        yield Told(letter="D", time_ns=hop.began_ns, host=hop.client.host, text=text)
    for lookup in hop.lookups:
        yield _lookup(hop.step, lookup)
    if hop.server is not None:
        yield _session(hop)


def _lookup(letter: Step, lookup: Lookup) -> Told:
    query = lookup.query
    text = f"asks {query.server.host} for {query.name} {query.type}"
    if lookup.retries:
        text += f" ({lookup.retries + 1} times)"
    answered = query.outcome in ("answer", "alias")
    if lookup.cached:
        return Told(
            letter=letter,
            time_ns=query.time_ns,
            host=query.client.host,
            text=f"{text}: {query.said} (cached)",
            good=answered,
            about=lookup,
        )
    lines = [(asked.server.host, asked_text(asked, query)) for asked in lookup.upstream]
    # The last server's answer is the resolver's, unless the resolver had more to it.
    if not lookup.upstream or not _same_answer(lookup.upstream[-1], query):
        lines.append((query.server.host, query.said))
    return Told(
        letter=letter,
        time_ns=query.time_ns,
        host=query.client.host,
        text=text,
        lines=tuple(lines),
        good=answered,
        about=lookup,
    )


def _same_answer(one: Query, other: Query) -> bool:
    """Whether two replies say the same: the order of records means nothing (RFC 1034 §3.6)."""
    return sorted(one.said.split(", ")) == sorted(other.said.split(", "))


def asked_text(asked: Query, lookup: Query) -> str:
    """Return what a server said, after the question if it was another than the one to be resolved."""
    other = (asked.name, asked.type) != (lookup.name, lookup.type)
    question = f"{asked.name} {asked.type}: " if other else ""
    return f"{question}{asked.said}{' (over TCP)' if asked.transport == 'tcp' else ''}"


_OUTCOMES: dict[Reached, str] = {
    "accepted": "",
    "deferred": ": not now",
    "refused": ": refused",
    "unreachable": ": no session",
    "unroutable": ": no server to try",
    "broken": ": the session broke",
}


def _session(hop: Hop) -> Told:
    assert hop.server is not None  # noqa: S101 - the caller has looked
    assert hop.attempt is not None  # noqa: S101 - where there is a server, there was an attempt
    attempt = hop.attempt
    text = f"→ {hop.server.host}"
    if hop.submission:
        secured = f", {_TLS[attempt.tls]}" if attempt.tls else ""
        user = f", as {attempt.user}" if attempt.user else ""
        text += f": submission on port {attempt.port}{secured}{user}"
    elif between := attempt.path[1:-1]:
        text += f", by way of {', '.join(between)}"
    return Told(
        letter=hop.step,
        time_ns=hop.began_ns if not hop.lookups else max(hop.began_ns, attempt.opened_ns),
        host=hop.client.host,
        text=text + (": no reply by the end of the capture" if hop.open else _OUTCOMES[hop.reached]),
        lines=tuple(_dialogue(hop)),
        good=hop.accepted,
        about=hop,
    )


_TLS = {"opened": "TLS 1.3", "sealed": "TLS that cannot be opened"}


def _dialogue(hop: Hop) -> Iterator[Line]:
    """What decided about this recipient: RCPT and the end of data, or whatever stopped it before."""
    attempt = hop.attempt
    if hop.reached == "unreachable" and attempt is not None:
        dropped = f"dropped by the firewall {attempt.dropped_by}" if attempt.dropped_by else ""
        said = {
            "refused": "connection refused",
            "unanswered": dropped or "no answer to SYN",
            "reset": "connection reset",
        }.get(attempt.ended, "no greeting")
        yield ("connection", str(attempt.greeting) if attempt.greeting else said)
        return
    if not hop.dialogue:
        yield ("session", f"ended before MAIL  {hop.reply or 'no reply'}")
        return
    for exchange in hop.dialogue:
        verb = exchange.command[:4].upper()
        stopped = exchange.reply is None or exchange.reply.code >= 400
        if verb == "RCPT" or stopped:
            others = f" (and {hop.recipients - 1} more)" if verb == "RCPT" and hop.recipients > 1 else ""
            yield (
                exchange.command.partition(" ")[0].upper(),
                f"{_argument(exchange.command)}{others}  {exchange.reply or 'no reply'}",
            )
        if stopped:
            return
    if hop.size is not None:
        yield ("message", f"{hop.size:,} bytes{'' if hop.whole else ' of it'}  {hop.reply or 'no reply'}")


def _argument(command: str) -> str:
    return command.partition(":")[2].split(" ")[0] if ":" in command else ""


def _accepted(hop: Hop) -> Told:
    assert hop.server is not None  # noqa: S101 - the caller has looked
    known = f" as {hop.queue_id}" if hop.queue_id else ""
    return Told(letter="B", time_ns=hop.ended_ns, host=hop.server.host, text=f"has accepted it{known}")


def _place(told: Sequence[Told], verdict: Verdict) -> int:
    """Where a verdict is told: behind what its host did until then, once it had the message."""
    brought = (number for number, step in enumerate(told) if _reached(step) == verdict.host)
    at = next(brought, -1) + 1
    while at < len(told) - 1 and told[at].host == verdict.host and told[at].time_ns <= verdict.time_ns:
        at += 1
    return at


def _reached(step: Told) -> str:
    """The host that had the message after a step, if that brought it to one."""
    hop = step.about
    return hop.server.host if isinstance(hop, Hop) and hop.accepted and hop.server else ""


_ACTIONS = {"pass": "lets it pass", "quarantine": "puts it into quarantine", "delete": "deletes it"}


def _judged(verdict: Verdict) -> Told:
    why = f": {verdict.reason}" if verdict.reason else ""
    lines = [*verdict.authentication]
    lines += [
        (rule.name, f"{rule.weight:+.1f}  {rule.evidence}".rstrip())
        for rule in sorted(verdict.rules, key=lambda rule: -rule.weight)
    ]
    return Told(
        letter="F",
        time_ns=verdict.time_ns,
        host=verdict.host,
        text=f"{_ACTIONS.get(verdict.action, verdict.action)}{why}",
        lines=tuple(lines),
        good=verdict.action == "pass",
    )


def _end(journey: Journey, run: str) -> Told:
    end, last = journey.end, journey.hops[-1]
    letter: Step = "G" if end.state == "delivered" else last.step
    return Told(
        letter=letter,
        time_ns=end.time_ns,
        host=end.host,
        text=_ending(end, journey.recipient, filed=bool(journey.mailbox_file)),
        lines=tuple(_afterwards(journey, run)),
        good=end.state == "delivered",
    )


def _fetched(fetch: Fetch) -> Told:
    user = f", as {fetch.user}" if fetch.user else ""
    session, lines = fetch.session, []
    if session is None:
        text = f"← {fetch.server.host}: fetched over IMAP{user}, as that server tells: no packet shows it"
        lines.append(("message", f"{fetch.size:,} bytes"))
    else:
        secured = f", {_TLS[session.tls]}" if session.tls else ""
        between = f", by way of {', '.join(session.path[1:-1])}" if session.path[1:-1] else ""
        text = f"← {fetch.server.host}: IMAP on port {session.port}{secured}{user}{between}"
        named = f"message {session.number}" + ("" if session.uid is None else f", UID {session.uid}")
        lines.append(("FETCH", f"{named}  {session.exchange.reply or 'no reply'}"))
        lines.append((session.item, f"{fetch.size:,} bytes{'' if fetch.whole else ' of it'}"))
    return Told(
        letter="G",
        time_ns=fetch.began_ns,
        host=fetch.client.host,
        text=text,
        lines=tuple(lines),
        about=fetch,
    )


_NEWS = {
    "delayed": "warned that it is late",
    "delivered": "told of the delivery",
    "relayed": "told that the next server reports no success",
    "expanded": "told to whom it goes on",
}


def _afterwards(journey: Journey, run: str) -> Iterator[Line]:
    """Where it lies, and which news of it the sender got (the notice of a failure is told with that)."""
    if journey.mailbox_file:
        yield ("mailbox", str(PurePath(run) / journey.mailbox_file))
    for notice in journey.notices:
        if notice.action in _NEWS:
            yield ("sender", f"{_NEWS[notice.action]} (journey {notice.journey})")


def _ending(end: End, recipient: str, *, filed: bool) -> str:
    # Whether it lies in a mailbox is not on the wire.
    seen = "" if filed else ", for all that packets tell"
    notice = f"; the sender is told (journey {end.notice})" if end.notice is not None else ""
    return {
        "delivered": f"delivers it to {recipient}{seen}",
        "kept": f"keeps it: passed on to nobody for {recipient}",
        "deferred": f"keeps it for {recipient}, to try again",
        "bounced": f"gives up for {recipient}{notice}",
        "quarantined": f"keeps it from {recipient}, in quarantine{notice or '; the sender is not told'}",
        "deleted": f"has deleted what was for {recipient}; the sender is not told",
        "refused": f"fails for {recipient}, and no notice is seen",
        "unknown": "the capture breaks off here",
    }[end.state]


def duration(time_ns: int) -> str:
    """Return a span of time as people read it: `0.4 ms`, `12 ms`, `3.2 s`, `4 min`."""
    ms = time_ns / 1e6
    if ms < 9.95:
        return f"{ms:.1f} ms"
    if ms < 999.5:
        return f"{ms:.0f} ms"
    return f"{ms / 1000:.1f} s" if ms < 120_000 else f"{ms / 60_000:.0f} min"
