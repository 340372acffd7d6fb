"""Journeys as one JSON document, `mailbed.journey/1`; text, page and packet comments say nothing more.

    schema       "mailbed.journey/1"; a reader may rely on what stands here, and must not mind further fields
    capture      what it was read from
        packets, dropped, cut     packets in the file; packets the recorder lost (null: it did not say);
                                  whether the file ends within a block
        first, last               time of the first and the last packet, seconds since 1970; null without
    drops        what firewalls dropped, by who wanted what, in order of time; with or without mail
        firewall                  the host
        source, destination       host, name, address
        protocol, port            "tcp", "udp", "icmp" or ""; the destination's, 0 where there are none
        packets, first, last      how many, and when, seconds since 1970
        frame                     the first of them
    journeys     one for each message and recipient, in the order of their beginnings
        number                    1, 2, …; `notice` and `about` refer to it
        message_id, subject       as in the header; "" if there is none. An id that the first server added
                                  counts
        sender, recipient         reverse-path ("" is the null one) and forward-path, as first given
        size                      octets of the message as its first host sent it; 0 if it never did
        started                   seconds since 1970; every `ms` below counts from it, in milliseconds
        duration_ms               from `started` to `end`
        path                      the hosts that had the message, the sender's own first
        state                     delivered, kept, deferred, bounced, quarantined, deleted, refused, unknown
                                  (see model)
        end                       host, ms, reply: where, when and with which last reply; notice: the
                                  number of the failure notice's journey, or null
        about, action             for a notice: the number of the journey it reports on, and what it reports
                                  (failed, delayed, delivered, relayed, expanded); else null and ""
        notices                   those that report on this journey: journey (its number), action
        verdicts                  of content filters on the way, as their hosts tell: host, ms, action (pass,
                                  quarantine, delete), reason, virus, score (or null), rules (name, weight,
                                  evidence), authentication (an object: result by method)
        mailbox_file              where the message lies, relative to the run directory; "" if nobody looked
        checks                    what else says where the message went: source (received, events,
                                  mailbox), agrees, detail
        fetches                   each time that the message was read from the mail store, in order of time
            source                packets; or event: no packet shows it, its server tells of it
            client, server        host, name, address: of the mail program, of the IMAP server
            user                  who had logged in, "" if that is not known
            ms, ended_ms          from the FETCH to its reply
            size, whole           octets of the message in the responses; whether these are all
            session               the connection; null for an event
                port, client_port, ms, connected_ms, ended, path, tls, interface, frame, last_frame, filter
                                          as in a hop's attempt
                greeting                  text, ms, frame; null if there was none
                opening                   what was said before the first FETCH: command, ms, frame, reply
                command                   the FETCH and its reply, likewise
                number, uid, item         of the message in the mailbox (uid null: not told); BODY[] or RFC822
                first_frame, message_frame, message_ms   the packets of its octets, and when the last one came
        hops                      each server that was tried, in order of time
            step                  A, C, E or F: the letter of the transfer
            client, server        host, name, address; server is null where DNS named none to try
            reached               accepted, deferred, refused, unreachable, unroutable, broken
            ms, ended_ms          from the client's first lookup or packet to the last reply
            again                 the client had tried a server before this one
            waited_ms             how long nothing was done for it, since it came or the attempt before;
                                  null at the first hop
            sender, recipients    the envelope: reverse-path, number of forward-paths
            queue_id, size        at the server; octets of the message in the capture, null if there are none
            whole                 whether these are all of them: the session may have broken, packets be lost
            reply                 the decisive one: code, text, ms, frame; null if there was none
            dialogue              command, ms, frame, reply of MAIL, RCPT and DATA
            attempt               the connection; null where there was none
                port, client_port         of the server, of the client
                ms, connected_ms, ended   SYN, SYN-ACK (null: none came), and how the connection ended
                path                      the hosts that the SYN crossed, both ends included
                dropped_by                the firewall that dropped it; "" if none did
                helo, greeting            what client and server called themselves; greeting null if none
                tls, user                 "", "TLS 1.3" or "sealed: REASON"; who authenticated, "" for nobody
                opening                   what was said before the first MAIL, as in `dialogue`
                interface, frame, last_frame   where in the capture it was read
                filter                    a Wireshark display filter for the connection at that interface
            lookups               what the client asked for this hop, in order of time
                resolver, name, type      host, name, address of the resolver; the question
                ms, took_ms               when; how long until the answer, null if none came
                rcode, answers, said      "" if none came; the answer's records; the same in a few words
                cached                    the resolver asked nobody, and was captured so that this can be told
                path, frame, retries      hosts crossed, packet, retransmissions of the question
                queries                   what the resolver asked on account of it: server, name, type, ms,
                                          took_ms, transport, outcome, zone, said, path, frame

`frame` numbers count the packets of the file from 1, as Wireshark's do.
"""

from __future__ import annotations

from typing import Any, Final

from captures.conversations import Drop, Endpoint
from captures.imap import Exchange as ImapExchange
from captures.imap import Reply as ImapReply
from captures.journeys.model import Attempt, Fetch, Hop, Journey, Journeys, Place, Reading, Verdict
from captures.lookups import Lookup, Query
from captures.smtp import Exchange, Reply

SCHEMA: Final = "mailbed.journey/1"


def document(found: Journeys) -> dict[str, Any]:
    """Return the journeys of a capture as JSON values."""
    return {
        "schema": SCHEMA,
        "capture": {
            "packets": found.packets,
            "dropped": found.dropped,
            "cut": found.cut,
            "first": _seconds(found.first_ns),
            "last": _seconds(found.last_ns),
        },
        "drops": [_drop(drop) for drop in found.drops],
        "journeys": [_Writer(journey).journey() for journey in found.journeys],
    }


def _drop(drop: Drop) -> dict[str, Any]:
    return {
        "firewall": drop.host,
        "source": _endpoint(drop.source),
        "destination": _endpoint(drop.destination),
        "protocol": drop.protocol,
        "port": drop.destination.port,
        "packets": drop.packets,
        "first": _seconds(drop.first_ns),
        "last": _seconds(drop.last_ns),
        "frame": drop.frame,
    }


def _seconds(time_ns: int | None) -> float | None:
    return None if time_ns is None else round(time_ns / 1e9, 6)


class _Writer:
    """One journey: times are told from its start."""

    def __init__(self, journey: Journey) -> None:
        self._journey = journey
        self._start_ns = journey.started_ns

    def journey(self) -> dict[str, Any]:
        found, end = self._journey, self._journey.end
        return {
            "number": found.number,
            "message_id": found.message_id,
            "subject": found.subject,
            "sender": found.sender,
            "recipient": found.recipient,
            "size": found.size,
            "started": _seconds(self._start_ns),
            "duration_ms": self._ms(end.time_ns),
            "path": list(found.path),
            "state": end.state,
            "end": {
                "host": end.host,
                "ms": self._ms(end.time_ns),
                "reply": end.reply,
                "notice": end.notice,
            },
            "about": found.about,
            "action": found.action,
            "notices": [{"journey": notice.journey, "action": notice.action} for notice in found.notices],
            "verdicts": [self._verdict(verdict) for verdict in found.verdicts],
            "mailbox_file": found.mailbox_file,
            "checks": [
                {"source": check.source, "agrees": check.agrees, "detail": check.detail}
                for check in found.checks
            ],
            "fetches": [self._fetch(fetch) for fetch in found.fetches],
            "hops": [self._hop(hop) for hop in found.hops],
        }

    def _fetch(self, fetch: Fetch) -> dict[str, Any]:
        return {
            "source": "packets" if fetch.session else "event",
            "client": _place(fetch.client),
            "server": _place(fetch.server),
            "user": fetch.user,
            "ms": self._ms(fetch.began_ns),
            "ended_ms": self._ms(fetch.ended_ns),
            "size": fetch.size,
            "whole": fetch.whole,
            "session": self._reading(fetch, fetch.session) if fetch.session else None,
        }

    def _reading(self, fetch: Fetch, session: Reading) -> dict[str, Any]:
        return {
            **self._connection(fetch, session),
            "greeting": self._line(session.greeting),
            "opening": [self._command(exchange) for exchange in session.opening],
            "command": self._command(session.exchange),
            "number": session.number,
            "uid": session.uid,
            "item": session.item,
            "first_frame": session.first_frame,
            "message_frame": session.message_frame,
            "message_ms": self._ms(session.message_ns),
        }

    def _command(self, exchange: ImapExchange) -> dict[str, Any]:
        return {
            "command": exchange.command,
            "ms": self._ms(exchange.time_ns),
            "frame": exchange.frame,
            "reply": self._line(exchange.reply),
        }

    def _line(self, reply: ImapReply | None) -> dict[str, Any] | None:
        if reply is None:
            return None
        return {"text": reply.text, "ms": self._ms(reply.time_ns), "frame": reply.frame}

    def _connection(self, ends: Hop | Fetch, found: Attempt | Reading) -> dict[str, Any]:
        return {
            "port": found.port,
            "client_port": found.client_port,
            "ms": self._ms(found.opened_ns),
            "connected_ms": None if found.connected_ns is None else self._ms(found.connected_ns),
            "ended": found.ended,
            "path": list(found.path),
            "tls": _tls(found),
            "interface": found.interface,
            "frame": found.frame,
            "last_frame": found.last_frame,
            "filter": display_filter(ends, found),
        }

    def _verdict(self, verdict: Verdict) -> dict[str, Any]:
        return {
            "host": verdict.host,
            "ms": self._ms(verdict.time_ns),
            "action": verdict.action,
            "reason": verdict.reason,
            "virus": verdict.virus,
            "score": verdict.score,
            "rules": [
                {"name": rule.name, "weight": rule.weight, "evidence": rule.evidence}
                for rule in verdict.rules
            ],
            "authentication": dict(verdict.authentication),
        }

    def _ms(self, time_ns: int) -> float:
        return round((time_ns - self._start_ns) / 1e6, 3)

    def _hop(self, hop: Hop) -> dict[str, Any]:
        return {
            "step": hop.step,
            "client": _place(hop.client),
            "server": _place(hop.server) if hop.server else None,
            "reached": hop.reached,
            "ms": self._ms(hop.began_ns),
            "ended_ms": self._ms(hop.ended_ns),
            "again": hop.again,
            "waited_ms": None if hop.waited_ns is None else round(hop.waited_ns / 1e6, 3),
            "sender": hop.sender,
            "recipients": hop.recipients,
            "queue_id": hop.queue_id,
            "size": hop.size,
            "whole": hop.whole,
            "reply": self._reply(hop.reply),
            "dialogue": [self._exchange(exchange) for exchange in hop.dialogue],
            "attempt": self._attempt(hop, hop.attempt) if hop.attempt else None,
            "lookups": [self._lookup(lookup) for lookup in hop.lookups],
        }

    def _reply(self, reply: Reply | None) -> dict[str, Any] | None:
        if reply is None:
            return None
        return {
            "code": reply.code,
            "text": reply.text,
            "ms": self._ms(reply.time_ns),
            "frame": reply.frame,
        }

    def _exchange(self, exchange: Exchange) -> dict[str, Any]:
        return {
            "command": exchange.command,
            "ms": self._ms(exchange.time_ns),
            "frame": exchange.frame,
            "reply": self._reply(exchange.reply),
        }

    def _attempt(self, hop: Hop, attempt: Attempt) -> dict[str, Any]:
        return {
            **self._connection(hop, attempt),
            "dropped_by": attempt.dropped_by,
            "helo": attempt.helo,
            "greeting": self._reply(attempt.greeting),
            "user": attempt.user,
            "opening": [self._exchange(exchange) for exchange in attempt.opening],
        }

    def _lookup(self, lookup: Lookup) -> dict[str, Any]:
        query = lookup.query
        return {
            "resolver": _endpoint(query.server),
            "name": query.name,
            "type": query.type,
            "ms": self._ms(query.time_ns),
            "took_ms": _took_ms(query),
            "rcode": query.reply.rcode if query.reply else "",
            "answers": [record.text for record in query.reply.answers] if query.reply else [],
            "said": query.said,
            "cached": lookup.cached,
            "path": list(query.path),
            "frame": query.frame,
            "retries": lookup.retries,
            "queries": [self._query(asked) for asked in lookup.upstream],
        }

    def _query(self, query: Query) -> dict[str, Any]:
        return {
            "server": _endpoint(query.server),
            "name": query.name,
            "type": query.type,
            "ms": self._ms(query.time_ns),
            "took_ms": _took_ms(query),
            "transport": query.transport,
            "outcome": query.outcome,
            "zone": query.zone,
            "said": query.said,
            "path": list(query.path),
            "frame": query.frame,
        }


def display_filter(hop: Hop | Fetch, attempt: Attempt | Reading) -> str:
    """Return a Wireshark display filter for a connection, at the interface it was read at."""
    ends = f"ip.addr == {hop.client.address}" + (f" && ip.addr == {hop.server.address}" if hop.server else "")
    return (
        f'frame.interface_name == "{attempt.interface}" && {ends} && tcp.port == {attempt.client_port}'
        f" && tcp.port == {attempt.port}"
    )


def _took_ms(query: Query) -> float | None:
    return None if query.answered_ns is None else round((query.answered_ns - query.time_ns) / 1e6, 3)


def _tls(attempt: Attempt | Reading) -> str:
    return {"opened": "TLS 1.3", "sealed": f"sealed: {attempt.sealed_reason}"}.get(attempt.tls, "")


def _place(place: Place) -> dict[str, str]:
    return {"host": place.host, "name": place.name, "address": place.address}


def _endpoint(endpoint: Endpoint) -> dict[str, str]:
    return {"host": endpoint.host, "name": endpoint.name, "address": endpoint.address}
